"""Train, validation and test by group, so that no patient stands in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vitalfactory.card import SPLITS
from vitalfactory.dataset.example import Entry, digest
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_csv


def parse_shares(text: str) -> tuple[int, int, int]:
    """Read ``80/10/10``: the shares of train, validation and test in per cent.

    Raises
    ------
    VitalFactoryError
        Not three whole numbers that add up to 100.
    """
    try:
        train, val, test = (int(part) for part in text.split("/"))
    except ValueError:
        raise VitalFactoryError(f"--split {text}: expected three whole numbers such as 80/10/10") from None
    if min(train, val, test) < 0 or train + val + test != 100:
        raise VitalFactoryError(f"--split {text}: the three shares must add up to 100")
    return train, val, test


def by_group(entries: Sequence[Entry], shares: tuple[int, int, int], seed: int) -> dict[str, str]:
    """Draw groups into splits, each label in the same shares.

    Parameters
    ----------
    entries : sequence of Entry
    shares : tuple of int
        Per cent of train, validation and test.
    seed : int

    Returns
    -------
    dict of str to str
        Group to split. A group whose entries carry several labels counts under its rarest one.
    """
    totals: dict[str, int] = defaultdict(int)
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        totals[str(entry.label)] += 1
        labels[entry.group].add(str(entry.label))
    strata: dict[str, list[str]] = defaultdict(list)
    for group, found in labels.items():
        strata[min(found, key=lambda label: (totals[label], label))].append(group)
    return {group: split for groups in strata.values() for group, split in _deal(groups, shares, seed).items()}


def _deal(groups: Sequence[str], shares: tuple[int, int, int], seed: int) -> dict[str, str]:
    order = sorted(groups, key=lambda group: (digest("split", seed, group), group))
    first = round(len(order) * shares[0] / 100)
    second = round(len(order) * (shares[0] + shares[1]) / 100)
    return {group: SPLITS[(place >= first) + (place >= second)] for place, group in enumerate(order)}


def by_folds(entries: Sequence[Entry], folds: Mapping[str, int], val_fold: int, test_fold: int) -> dict[str, str]:
    """Give each group the split of its fold; every other fold is train.

    Parameters
    ----------
    entries : sequence of Entry
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
    fold_of: dict[str, int] = {}
    for entry in entries:
        name = entry.id if entry.id in folds else entry.group
        if name not in folds:
            continue
        fold = folds[name]
        if fold_of.setdefault(entry.group, fold) != fold:
            raise VitalFactoryError(f"group {entry.group!r} stands in folds {fold_of[entry.group]} and {fold}")
    names = {val_fold: "val", test_fold: "test"}
    return {group: names.get(fold, "train") for group, fold in fold_of.items()}


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
