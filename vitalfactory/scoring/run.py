"""A run's folder as the eval scripts read it: its manifest, its card, and answers checked against its dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitalfactory.card import Card, Kind, read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, sha256
from vitalfactory.predictions import Answered, Prediction, gold_of, predictions_file, read_predictions
from vitalfactory.scoring.metrics import check

WRITTEN_BY = {"predictions": "eval/score.py", "likelihoods": "eval/score.py", "generations": "eval/generate.py"}


@dataclass
class Run:
    """A run's folder and what it is about.

    Attributes
    ----------
    folder : Path
    manifest : dict
        The content of run.json.
    card : Card
    notes : list of str
        What a reader of the figures must know.
    """

    folder: Path
    manifest: dict[str, Any]
    card: Card
    notes: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> Path:
        """The dataset's folder, which may have gone."""
        return ROOT / str(self.manifest.get("dataset_dir"))

    def source(self, split: str) -> dict[str, dict[str, Any]] | None:
        """Read a split of the dataset by id; None where the file is not the one that the run is about."""
        path = self.dataset / f"{split}.jsonl"
        wanted = self.manifest.get("dataset_sha256", {}).get(split)
        if not path.is_file() or sha256(path) != wanted:
            state = "has changed since the run was made" if path.is_file() else "is not there"
            self.notes.append(f"{path} {state}: ids and labels were not checked against it")
            return None
        return {row["id"]: row for row in read_jsonl(path)}

    def answers(
        self, split: str, answered: Answered, source: Mapping[str, Mapping[str, Any]] | None
    ) -> list[Prediction] | None:
        """Read and check the answers to a split; None where the run has none."""
        path = predictions_file(self.folder, split, answered)
        if not path.is_file() or not self.card.splits[split].rows:
            return None
        rows = read_predictions(path)
        check(rows, self.card, str(path), self.card.kind)
        limit = self.manifest.get("decoding", {}).get(answered, {}).get("limit")
        total = len(source) if source is not None else self.card.splits[split].rows
        expected = min(total, limit or total)
        again = f"run {WRITTEN_BY[answered]} again with the same --out, it goes on where it stopped"
        if source is not None:
            _compare(rows, self.card.kind, source, list(source)[:expected], path, again)
        elif len(rows) < expected:
            raise VitalFactoryError(f"{path}: {expected - len(rows)} of {expected} {split} rows are missing; {again}")
        if expected < total:
            self.notes.append(f"{answered} ({split}): the first {expected} of {total} rows only, by --limit")
        return rows


def _compare(
    rows: Sequence[Prediction],
    kind: Kind,
    source: Mapping[str, Mapping[str, Any]],
    expected: Sequence[str],
    path: Path,
    again: str,
) -> None:
    """Check that a predictions file holds the dataset's rows, with their labels and groups."""
    have = {row.id for row in rows}
    missing = [name for name in expected if name not in have]
    if missing:
        raise VitalFactoryError(
            f"{path}: {len(missing)} of {len(expected)} rows of the dataset are missing, first {missing[0]!r}; {again}"
        )
    for row in rows:
        if row.id not in source:
            raise VitalFactoryError(f"{path}: row {row.id!r} is not in the dataset; it belongs to another one")
        known = source[row.id]
        for name, value, expects in (
            ("label", row.label, gold_of(known, kind)),
            ("group", row.group, known.get("group")),
        ):
            if value != expects:
                raise VitalFactoryError(f"{path}: row {row.id!r} has the {name} {value!r}; the dataset has {expects!r}")


def open_folder(folder: Path, kind: Kind = "classify", split: str | None = None) -> Run:
    """Open a run's folder.

    Parameters
    ----------
    folder : Path
    kind : str
        The kind of answers that is expected.
    split : str, optional
        A split that its dataset must have.

    Raises
    ------
    VitalFactoryError
        It holds no run, or one whose answers are of another kind, or to a dataset without the split.
    """
    if not (folder / "run.json").is_file():
        raise VitalFactoryError(f"{folder}: holds no run (run.json); make one with eval/score.py --out {folder}")
    manifest = read_json(folder / "run.json")
    if not isinstance(manifest, dict):
        raise VitalFactoryError(f"{folder / 'run.json'}: expected a JSON object")
    card = read_card(folder / "card.json")
    if card.kind != kind:
        raise VitalFactoryError(f"{folder}: its answers are of the kind {card.kind!r}; expected {kind!r}")
    if split is not None and split not in card.splits:
        raise VitalFactoryError(f"{folder}: its dataset has no {split}; it has {', '.join(card.splits)}")
    return Run(folder, manifest, card)
