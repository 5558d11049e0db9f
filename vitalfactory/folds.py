"""Published folds: which record or group belongs to which part of the data.

Converters split by them, and networks are trained on them, so that both mean the same by ``--folds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_csv


class Named(Protocol):
    """Whatever has an id and belongs to a group."""

    @property
    def id(self) -> str:
        """Unique in its source."""

    @property
    def group(self) -> str:
        """The patient, or the record itself."""


def by_folds(records: Sequence[Named], folds: Mapping[str, int], val_fold: int, test_fold: int) -> dict[str, str]:
    """Give each group the split of its fold; every other fold is train.

    Parameters
    ----------
    records : sequence of Named
        Anything with an ``id`` and a ``group``.
    folds : mapping of str to int
        Record or group to fold, as :func:`read_folds` returns it.
    val_fold, test_fold : int

    Returns
    -------
    dict of str to str
        Group to split; groups that stand in no fold are left out.

    Raises
    ------
    VitalFactoryError
        A fold does not exist, or one group stands in two folds.
    """
    for flag, fold in (("--val-fold", val_fold), ("--test-fold", test_fold)):
        if fold not in folds.values():
            raise VitalFactoryError(f"{flag} {fold}: no such fold; there are {sorted(set(folds.values()))}")
    if val_fold == test_fold:
        raise VitalFactoryError(f"--val-fold and --test-fold are both {val_fold}; they must differ")
    names = {val_fold: "val", test_fold: "test"}
    return {group: names.get(fold, "train") for group, fold in fold_of_groups(records, folds).items()}


def fold_of_groups(records: Iterable[Named], folds: Mapping[str, int]) -> dict[str, int]:
    """Find the fold of every group.

    Parameters
    ----------
    records : iterable of Named
    folds : mapping of str to int
        Record or group to fold, as :func:`read_folds` returns it.

    Returns
    -------
    dict of str to int
        Group to fold; groups that stand in no fold are left out.

    Raises
    ------
    VitalFactoryError
        One group stands in two folds.
    """
    fold_of: dict[str, int] = {}
    for record in records:
        name = record.id if record.id in folds else record.group
        if name not in folds:
            continue
        fold = folds[name]
        if fold_of.setdefault(record.group, fold) != fold:
            raise VitalFactoryError(f"group {record.group!r} stands in folds {fold_of[record.group]} and {fold}")
    return fold_of


def read_folds(folder: Path) -> dict[str, int]:
    """Read a folder of ``cv0.csv``, ``cv1.csv`` ...: one file a fold, one record or group a line.

    Parameters
    ----------
    folder : Path
        The files' names end in the fold's number. The names stand in the column ``file_name``,
        ``record``, ``group``, ``subject`` or ``id``.

    Returns
    -------
    dict of str to int
        Record or group to fold.

    Raises
    ------
    VitalFactoryError
        No such folder, no fold file in it, a file without such a column, or a name in two folds.
    """
    files = sorted(folder.glob("*[0-9].csv"))
    if not files:
        raise VitalFactoryError(f"{folder}: no fold files; expected cv0.csv, cv1.csv, ...")
    folds: dict[str, int] = {}
    for file in files:
        fold = int(file.stem[len(file.stem.rstrip("0123456789")) :])
        for name in _names(file):
            if folds.setdefault(name, fold) != fold:
                raise VitalFactoryError(f"{file}: {name!r} stands in folds {folds[name]} and {fold}")
    return folds


def _names(file: Path) -> list[str]:
    lines = read_csv(file)
    _, header = next(lines, (0, []))
    known = ("file_name", "record", "group", "subject", "id")
    column = next((name for name in known if name in header), None)
    if column is None:
        raise VitalFactoryError(f"{file}: expected a column named one of {', '.join(known)}")
    place = header.index(column)
    return [cells[place] for _, cells in lines if len(cells) > place and cells[place]]
