"""What the five parts of the page have in common: the folders, the recipes, the datasets and the running scripts."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitalfactory.card import Card, read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json
from vitalfactory.recipes import dataset_names, read_recipe
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.jobs import Job
from vitalfactory.studio.prompts import Prompts
from vitalfactory.studio.tasks import KINDS
from vitalfactory.studio.words import Refusal

REGISTRY = "dataset_info.json"
UPLOADS = "uploads"
"""In the scratch folder: where Gradio puts what is uploaded, each file in a folder of its own."""
UNCLAIMED_SECONDS = 60.0
"""After which an upload that no open page has claimed is deleted."""


@dataclass
class Studio:
    """One running studio.

    Attributes
    ----------
    root : Path
        The folder of ``data/``, ``dataset_info.json``, ``saves/`` and ``results/``.
    folders : Folders
        Where sources may be taken from.
    scratch : Path
        For what is dropped on the page; it is deleted when the studio ends.
    prompts : Prompts
    endpoint : str or None
        The address that it was started with, which need not be on this machine.
    largest_mb : int
        Of a dropped file.
    jobs : dict
        The running script of each part of each open page.
    dropped : dict
        The files that were dropped on each open page.
    """

    root: Path
    folders: Folders
    scratch: Path
    prompts: Prompts
    endpoint: str | None = None
    largest_mb: int = 64
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    dropped: dict[str, list[Path]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def where(self) -> list[str]:
        """The flag that names another root than the repository."""
        return [] if self.root == ROOT else ["--root", str(self.root)]

    def recipes(self) -> dict[str, Path]:
        """List recipes by name: the repository's, and those in ``train_configs/`` of another root."""
        files = [*(ROOT / "train_configs").glob("*.yaml"), *(self.root / "train_configs").glob("*.yaml")]
        return {file.name: file for file in sorted(files, key=lambda file: (len(file.name), file.name))}

    def recipe(self, name: str | None) -> Path:
        """Find a recipe by its name.

        Raises
        ------
        VitalFactoryError
            There is none of that name.
        """
        known = self.recipes()
        if name not in known:
            raise Refusal("no_such", name=name)
        return known[name]

    def recipe_for(self, dataset: str) -> str:
        """Name the recipe that a dataset's rows are rendered with: the plainest that trains on it, else its task's."""
        for name, file in self.recipes().items():
            with suppress(VitalFactoryError):  # a recipe that cannot be read is no other dataset's fault
                if dataset in {full.rpartition("_")[0] for full in dataset_names(read_recipe(file))}:
                    return name
        _, card = self.dataset(dataset)
        return KINDS[card.task].recipe_for(card.representation) if card.task in KINDS else next(iter(self.recipes()))

    def datasets(self) -> list[str]:
        """Name the registered datasets that have been written."""
        path = self.root / REGISTRY
        registry = read_json(path) if path.is_file() else {}
        if not isinstance(registry, dict):
            raise VitalFactoryError(f"{path}: expected a JSON object of datasets")
        names = (name.removesuffix("_train") for name in registry if name.endswith("_train"))
        return [name for name in names if (self.root / "data" / name / "card.json").is_file()]

    def dataset(self, name: str | None) -> tuple[Path, Card]:
        """Find a dataset by its name.

        Raises
        ------
        VitalFactoryError
            None of that name is registered and written.
        """
        known = self.datasets()
        if name not in known:
            raise Refusal("no_such", name=name)
        folder = self.root / "data" / name
        return folder, read_card(folder)

    def start(
        self, session: str | None, part: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Job:
        """Run a script for one part of one open page, in place of the one that runs there."""
        self.cancel(session, part)
        job = Job(command, environment or {})
        self.jobs[session or "", part] = job
        return job

    def cancel(self, session: str | None, part: str | None = None) -> None:
        """End what runs for an open page, or for one part of it."""
        mine = [key for key in self.jobs if key[0] == (session or "") and part in (None, key[1])]
        for key in mine:
            self.jobs.pop(key).cancel()

    def keep(self, session: str | None, files: Sequence[str]) -> None:
        """Remember what was dropped on an open page."""
        with self._lock:
            self.dropped.setdefault(session or "", []).extend(map(Path, files))

    def forget(self, session: str | None) -> None:
        """Delete what was dropped on an open page, each file with the folder that it was put into."""
        with self._lock:
            files = self.dropped.pop(session or "", [])
        for file in files:
            if file.resolve().is_relative_to(self.scratch.resolve()):
                shutil.rmtree(file.parent, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what was uploaded for a page that was closed before it could say so."""
        with self._lock:
            known = {file.parent for files in self.dropped.values() for file in files}
        for file in (self.scratch / UPLOADS).glob("*/*"):
            with suppress(OSError):
                if file.parent not in known and time.time() - file.stat().st_mtime > UNCLAIMED_SECONDS:
                    shutil.rmtree(file.parent)

    def leave(self, session: str | None) -> None:
        """End what runs for a page that is closed, and forget what was dropped on it."""
        self.cancel(session)
        self.forget(session)

    def close(self) -> None:
        """End everything."""
        for job in self.jobs.values():
            job.cancel()
        self.prompts.close()

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Make a folder that is deleted with whatever it holds."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def flags_of(command: str) -> dict[str, list[str]]:
    """Take a card's command apart: flag to what follows it."""
    import shlex

    flags: dict[str, list[str]] = {}
    values: list[str] = []
    for word in shlex.split(command):
        if word.startswith("--"):
            values = flags.setdefault(word, [])
        else:
            values.append(word)
    return flags


def only(value: Any, known: Sequence[str]) -> str:
    """Return a choice that must be one of those offered.

    Raises
    ------
    VitalFactoryError
        It is none.
    """
    if value not in known:
        raise Refusal("not_offered", value=value, known=", ".join(known))
    return str(value)
