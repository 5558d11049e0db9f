"""How often each training row is repeated, so that rare labels are seen more often."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from vitalfactory.dataset.example import digest

Balance = Literal["none", "blend", "weighted"]
WeightMethod = Literal["inverse", "sqrt_inverse", "log_inverse"]

WEIGHTS: dict[str, Callable[[int], float]] = {
    "inverse": lambda n: 1 / n,
    "sqrt_inverse": lambda n: 1 / math.sqrt(n),
    "log_inverse": lambda n: 1 / math.log(n + 1),
}


def rarest(labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Count each row under one label: its rarest, where it has several; an empty one, where it has none.

    Parameters
    ----------
    labels : mapping of str to sequence of str
        Row id to labels.
    """
    counts = Counter(label for several in labels.values() for label in several)
    return {row: min(several, key=lambda label: (counts[label], label), default="") for row, several in labels.items()}


def blend_shares(counts: Mapping[str, int], alpha: float) -> dict[str, float]:
    """Mix the labels' own shares with equal shares: alpha * share + (1 - alpha) / K."""
    total = sum(counts.values())
    return {label: alpha * n / total + (1 - alpha) / len(counts) for label, n in counts.items()}


def weighted_shares(counts: Mapping[str, int], method: WeightMethod) -> dict[str, float]:
    """Weigh every row of a label with n rows by 1/n, 1/sqrt(n) or 1/log(n + 1)."""
    mass = {label: n * WEIGHTS[method](n) for label, n in counts.items()}
    total = sum(mass.values())
    return {label: value / total for label, value in mass.items()}


def copies(labels: Mapping[str, str], shares: Mapping[str, float], seed: int, total: int) -> dict[str, int]:
    """Count how often each row is written so that the labels reach their shares.

    Parameters
    ----------
    labels : mapping of str to str
        Row id to label.
    shares : mapping of str to float
        Label to its share of the rows; they add up to 1.
    seed : int
        Decides which rows of a label come once more than others.
    total : int
        Rows to be written.

    Returns
    -------
    dict of str to int
        Row id to its count, 0 for a row left out; they add up to ``total``.
    """
    target = _apportion(shares, total)
    members: dict[str, list[str]] = {label: [] for label in shares}
    for row, label in labels.items():
        members[label].append(row)
    result: dict[str, int] = {}
    for label, rows in members.items():
        rows.sort(key=lambda row: (digest("balance", seed, row), row))
        whole, extra = divmod(target[label], len(rows))
        result.update({row: whole + (place < extra) for place, row in enumerate(rows)})
    return result


def _apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Round shares of a total to whole numbers that add up to it (largest remainder)."""
    exact = {label: share * total for label, share in shares.items()}
    whole = {label: math.floor(value) for label, value in exact.items()}
    left = total - sum(whole.values())
    by_remainder = sorted(exact, key=lambda label: (whole[label] - exact[label], label))
    return {label: whole[label] + (label in by_remainder[:left]) for label in whole}


def plan(
    labels: Mapping[str, str],
    method: Balance,
    alpha: float,
    weight_method: WeightMethod,
    seed: int,
    most: int | None = None,
) -> dict[str, int]:
    """Plan the copies of every training row, at most so many in all; see :func:`copies`."""
    counts = Counter(labels.values())
    if not counts or (method == "none" and most is None):
        return dict.fromkeys(labels, 1)
    if method == "weighted":
        shares = weighted_shares(counts, weight_method)
    else:
        shares = blend_shares(counts, alpha if method == "blend" else 1.0)
    return copies(labels, shares, seed, len(labels) if most is None else min(most, len(labels)))
