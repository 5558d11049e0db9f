"""The command line that every converter shares."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitalfactory.dataset.balance import Balance, WeightMethod
from vitalfactory.dataset.engine import ENGINES, Engine
from vitalfactory.errors import VitalFactoryError, check_counts, closest
from vitalfactory.files import ROOT


@dataclass(frozen=True)
class Options:
    """How a dataset is made, apart from what its source needs.

    Attributes
    ----------
    name : str
        The dataset's name; its folder is ``<root>/data/<name>``.
    recipe : Path
        The recipe whose template, tokenizer and cutoff every row must fit.
    language : str
        ``en`` or ``zh``.
    wordings : int or None
        How many wordings of the question are used; all by default.
    folds : Path or None
        A folder of fold files, with ``val_fold`` and ``test_fold``; without it ``split`` is used.
    val_fold, test_fold : int or None
    split : str
        Shares of train, validation and test in per cent.
    seed : int
    balance : str
        How training rows are repeated: ``none``, ``blend`` or ``weighted``.
    balance_alpha : float
        For ``blend``: 1 keeps the labels' own shares, 0 makes them equal.
    weight_method : str
        For ``weighted``: ``inverse``, ``sqrt_inverse`` or ``log_inverse``.
    train_rows : int or None
        Write at most so many training rows, drawn by the seed, after balancing.
    limit : int or None
        Take this many records, drawn by the seed.
    max_bad : int or None
        Stop when more records than this cannot be used.
    workers : int or None
        Processes that read records; all cores by default.
    engine : str
        Where they run: ``local`` or ``ray``.
    ray_address : str or None
        Of a cluster; see :class:`vitalfactory.dataset.engine.Engine`.
    root : Path
        LLaMA-Factory's ``dataset_dir``.
    started : float
        When they were made, on the clock of :func:`time.perf_counter`: a conversion's time counts from here.
    """

    name: str
    recipe: Path
    language: str = "en"
    wordings: int | None = None
    folds: Path | None = None
    val_fold: int | None = None
    test_fold: int | None = None
    split: str = "80/10/10"
    seed: int = 2026
    balance: Balance = "none"
    balance_alpha: float = 0.5
    weight_method: WeightMethod = "inverse"
    train_rows: int | None = None
    limit: int | None = None
    max_bad: int | None = None
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    root: Path = ROOT
    started: float = field(default_factory=time.perf_counter, init=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse values that are out of range or contradict one another."""
        if not self.name.replace("_", "").replace("-", "").isalnum() or not self.name.isascii():
            raise VitalFactoryError(f"--name {self.name!r}: use ASCII letters, digits, '-' and '_' only")
        if self.folds is not None and (self.val_fold is None or self.test_fold is None):
            raise VitalFactoryError("--folds needs --val-fold K and --test-fold K")
        if self.folds is None and (self.val_fold is not None or self.test_fold is not None):
            raise VitalFactoryError("--val-fold and --test-fold need --folds DIR")
        if not 0 <= self.balance_alpha <= 1:
            raise VitalFactoryError(f"--balance-alpha {self.balance_alpha}: expected a number between 0 and 1")
        counts = {"--workers": self.workers, "--limit": self.limit}
        check_counts({**counts, "--wordings": self.wordings, "--train-rows": self.train_rows})
        for flag, value in (("--seed", self.seed), ("--max-bad", self.max_bad)):
            if value is not None and value < 0:
                raise VitalFactoryError(f"{flag} {value}: expected 0 or more")
        self.reader()

    def reader(self) -> Engine:
        """Return where records are read."""
        return Engine(self.engine, self.workers, self.ray_address)

    def flags(self) -> list[str]:
        """List the flags that decide the dataset's content, for its card."""
        split = ["--split", self.split]
        if self.folds is not None:
            split = ["--folds", str(self.folds), "--val-fold", str(self.val_fold), "--test-fold", str(self.test_fold)]
        balance = {
            "none": [],
            "blend": ["--balance", "blend", "--balance-alpha", str(self.balance_alpha)],
            "weighted": ["--balance", "weighted", "--weight-method", self.weight_method],
        }[self.balance]
        numbers = (
            ("--wordings", self.wordings),
            ("--train-rows", self.train_rows),
            ("--limit", self.limit),
            ("--max-bad", self.max_bad),
        )
        given = [part for flag, value in numbers if value is not None for part in (flag, str(value))]
        name = ["--language", self.language, "--name", self.name]
        return [*name, *split, "--seed", str(self.seed), *balance, *given]


def split_representation(representation: str, known: Sequence[str]) -> tuple[str, ...]:
    """Split a representation at its ``+``.

    Raises
    ------
    VitalFactoryError
        A part is not known, or stands there twice.
    """
    parts = tuple(representation.split("+"))
    if unknown := [part for part in parts if part not in known]:
        expected = f"{', '.join(known)}, or some of them joined by +{closest(unknown[0], known)}"
        raise VitalFactoryError(f"--representation {representation}: expected {expected}")
    if len(set(parts)) < len(parts):
        raise VitalFactoryError(f"--representation {representation}: names a part twice")
    return parts


def add_arguments(parser: argparse.ArgumentParser, *, name: str, recipe: str, workers: int | None = None) -> None:
    """Add the shared flags to a converter's parser.

    Parameters
    ----------
    parser : ArgumentParser
    name : str
        The task's name, by default the dataset's.
    recipe : str
        The task's first recipe, a file in ``train_configs/``.
    workers : int, optional
        By default so many; None takes all cores.
    """
    add = parser.add_argument
    add("--name", default=name, help="the dataset's name (default: %(default)s)")
    add("--language", choices=("en", "zh"), default="en", help="language of question and answer (default: en)")
    add("--wordings", type=int, metavar="N", help="use the first N wordings of the question (default: all)")
    add("--folds", type=Path, metavar="DIR", help="folder of cv0.csv, cv1.csv, ...: records or groups of each fold")
    add("--val-fold", type=int, metavar="K", help="the fold to validate on")
    add("--test-fold", type=int, metavar="K", help="the fold to test on")
    add("--split", default="80/10/10", help="train/val/test in per cent, by group (default: 80/10/10)")
    add("--seed", type=int, default=2026, help="decides every draw (default: 2026)")
    add(
        "--balance",
        choices=("none", "blend", "weighted"),
        default="none",
        help="repeat rows of rare labels in train and leave out some of the others",
    )
    add("--balance-alpha", type=float, default=0.5, metavar="A", help="blend: share kept of the labels' own mix")
    methods = ("inverse", "sqrt_inverse", "log_inverse")
    add("--weight-method", choices=methods, default="inverse", help="weighted: a row's weight, of its label's rows")
    add("--train-rows", type=int, metavar="N", help="write at most N training rows, drawn by the seed, after balancing")
    add("--limit", type=int, metavar="N", help="take N records, drawn by the seed")
    add("--max-bad", type=int, metavar="N", help="stop when more than N records cannot be used (default: never)")
    add("--recipe", type=Path, default=ROOT / "train_configs" / recipe, help=f"(default: train_configs/{recipe})")
    add("--workers", type=int, default=workers, metavar="N", help=f"processes (default: {workers or 'all cores'})")
    add("--engine", choices=ENGINES, default="local", help="read records on this machine or on a Ray cluster")
    where = "of --engine ray: the cluster's address (default: RAY_ADDRESS, or else a cluster of this machine alone)"
    add("--ray-address", metavar="ADDRESS", help=where)
    add("--root", type=Path, default=ROOT, help="folder of data/ and dataset_info.json (default: the repository)")
    add("--json", action="store_true", help="print the summary as one JSON object on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")


def shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """Collect the shared flags of a parsed command line, by the names of the fields of :class:`Options`."""
    return {name: getattr(arguments, name) for name, known in Options.__dataclass_fields__.items() if known.init}
