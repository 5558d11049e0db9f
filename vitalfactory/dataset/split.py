"""Train, validation and test by group, so that no patient stands in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from vitalfactory.card import SPLITS
from vitalfactory.dataset.example import Entry, digest
from vitalfactory.errors import VitalFactoryError


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
        Of train, validation and test, as they are to one another.
    seed : int

    Returns
    -------
    dict of str to str
        Group to split. A group whose entries carry several labels counts under its rarest one; labels too rare to
        reach every split are drawn together.
    """
    totals: dict[str, int] = defaultdict(int)
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        totals[str(entry.label)] += 1
        labels[entry.group].add(str(entry.label))
    strata: dict[str, list[str]] = defaultdict(list)
    for group, found in labels.items():
        strata[min(found, key=lambda label: (totals[label], label))].append(group)
    return {group: split for groups in _pooled(strata, shares) for group, split in _deal(groups, shares, seed).items()}


def _pooled(strata: Mapping[str, list[str]], shares: tuple[int, int, int]) -> list[list[str]]:
    """Put the groups of rare labels together: dealt label by label, they would all go to train."""
    least = min(share for share in shares if share) / sum(shares)
    frequent = [groups for groups in strata.values() if round(len(groups) * least)]
    rare = [group for groups in strata.values() if not round(len(groups) * least) for group in groups]
    return [*frequent, rare]


def beside_test(
    entries: Sequence[Entry], test: Collection[str], shares: tuple[int, int, int], seed: int
) -> dict[str, str]:
    """Give the groups of a published test set to test, and draw the others into train and validation.

    Raises
    ------
    VitalFactoryError
        The test set has none of the groups, or the shares leave nothing to draw.
    """
    tested = {entry.group for entry in entries} & set(test)
    if not tested:
        raise VitalFactoryError("the test list names none of the groups that are at hand")
    if shares[0] + shares[1] == 0:
        raise VitalFactoryError("--split: with a test list, train and validation need shares of what is not in it")
    others = [entry for entry in entries if entry.group not in tested]
    return dict.fromkeys(sorted(tested), "test") | by_group(others, (shares[0], shares[1], 0), seed)


def _deal(groups: Sequence[str], shares: tuple[int, int, int], seed: int) -> dict[str, str]:
    order = sorted(groups, key=lambda group: (digest("split", seed, group), group))
    first = round(len(order) * shares[0] / sum(shares))
    second = round(len(order) * (shares[0] + shares[1]) / sum(shares))
    return {group: SPLITS[(place >= first) + (place >= second)] for place, group in enumerate(order)}
