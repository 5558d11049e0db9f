"""Figures with 95 % intervals: a bootstrap over groups, and weighted figures that make it quick.

A resample draws whole groups (patients) with replacement. It is held as weights, how often each row
was drawn, and every figure is computed from the weights of many resamples at once; with all weights 1
it is the figure itself, equal to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
Statistics = Callable[[Floats], Mapping[Key, Floats]]

RESAMPLES = 1000
SEED = 2026
LEVEL = 95
_CELLS = 2_000_000
"""Most weights held at a time."""


class Figure(TypedDict):
    """A value and its interval; each is None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


def tell_value(value: float | None, sign: str = "") -> str:
    """Write a value for a table, ``-`` where it is undefined; with ``sign='+'`` as a difference."""
    return "-" if value is None else f"{value:{sign}.3f}"


def tell(figure: Figure, sign: str = "") -> str:
    """Write a figure with its interval for a table: ``0.978 [0.969, 0.986]``."""
    value = tell_value(figure["value"], sign)
    if figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return value
    return f"{value} [{tell_value(figure['low'], sign)}, {tell_value(figure['high'], sign)}]"


def bootstrap(
    statistics: Statistics[Key], groups: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[Key, Figure]:
    """Compute figures with percentile intervals over resampled groups.

    Parameters
    ----------
    statistics : callable
        Takes row weights of shape (resamples, rows) and returns for each figure an array of shape
        (resamples,), NaN where the figure is undefined.
    groups : sequence of str
        The group of each row. Groups are drawn in the order of their names, so that one seed draws the
        same groups for every run over the same rows.
    resamples : int
    seed : int

    Returns
    -------
    dict of hashable to Figure
        Resamples in which a figure is undefined are left out of its interval; the interval is None where
        they are the majority.
    """
    values = statistics(np.ones((1, len(groups))))
    drawn = [statistics(weights) for weights in _resampled(groups, resamples, seed)]
    return {
        key: _figure(float(value[0]), np.concatenate([part[key] for part in drawn] or [np.empty(0)]))
        for key, value in values.items()
    }


def difference(first: Statistics[Key], second: Statistics[Key]) -> Statistics[Key]:
    """Subtract the figures of one run from those of another over the same rows, as far as both have them.

    Returns
    -------
    callable
        For :func:`bootstrap`, which then draws the same groups for both.
    """

    def statistics(weights: Floats) -> dict[Key, Floats]:
        ours, theirs = first(weights), second(weights)
        return {key: theirs[key] - ours[key] for key in ours if key in theirs}

    return statistics


def _resampled(groups: Sequence[str], resamples: int, seed: int) -> Iterator[Floats]:
    names, owner = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    random = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, len(groups)))
    for start in range(0, resamples if len(names) else 0, step):
        counts = [
            np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
            for _ in range(min(step, resamples - start))
        ]
        yield np.stack(counts)[:, owner].astype(np.float64)


def _figure(value: float, resampled: Floats) -> Figure:
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value):
        return Figure(value=None, low=None, high=None)
    if not len(defined) or 2 * len(defined) < len(resampled):
        return Figure(value=value, low=None, high=None)
    low, high = np.percentile(defined, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Figure(value=value, low=float(low), high=float(high))


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide, NaN where there is nothing to divide by."""
    undefined = np.full(np.broadcast(above, below).shape, np.nan)
    divided: Floats = np.divide(above, below, out=undefined, where=below != 0)
    return divided


def mean(weights: Floats, values: Floats) -> Floats:
    """Average values of rows, those that are NaN left out.

    Parameters
    ----------
    weights : array of float, shape (resamples, rows)
    values : array of float, shape (rows,)

    Returns
    -------
    array of float, shape (resamples,)
    """
    known = np.isfinite(values)
    return ratio(weights @ np.where(known, values, 0.0), weights @ known.astype(np.float64))


class Ranking:
    """Weighted figures of one score's order, ties handled exactly.

    Parameters
    ----------
    scores : array of float, shape (rows,)
    positive : array of bool, shape (rows,)

    Attributes
    ----------
    rows : int
    distinct : array of float, shape (distinct scores,)
        The scores that occur, the highest first.
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, int)
        self._positive = positive[self._order].astype(np.float64)
        self.rows = len(scores)
        self.distinct: Floats = ordered[self._starts]
        self._steps = self._lay_steps()

    def _lay_steps(self) -> Any:
        """Lay out which rows stand on each step of the curves, and which positives; shape (2 * steps, rows), sparse.

        A run of distinct scores without a positive is one step: what lies within it changes no area.
        """
        from scipy.sparse import csr_array

        found = np.add.reduceat(self._positive, self._starts) > 0 if self.rows else np.empty(0, bool)
        first = np.r_[found[:1], found[1:] | found[:-1]]
        lengths = np.diff(np.r_[self._starts, self.rows])
        step = np.repeat(first.cumsum(), lengths)
        steps = int(step[-1]) + 1 if self.rows else 0
        hits = self._positive > 0
        places = np.r_[self._order, self._order[hits]]
        return csr_array(
            (np.ones(len(places)), (np.r_[step, steps + step[hits]], places)), shape=(2 * steps, self.rows)
        )

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Count positives and negatives at each distinct score, the highest first.

        Parameters
        ----------
        weights : array of float, shape (resamples, rows)

        Returns
        -------
        positives, negatives : array of float, shape (resamples, distinct scores)
        """
        ordered = weights[:, self._order]
        positives = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        return positives, np.add.reduceat(ordered, self._starts, axis=1) - positives

    def auroc(self, weights: Floats) -> Floats:
        """Area under the ROC curve, shape (resamples,): a tie counts as half."""
        return self.areas(weights)[0]

    def average_precision(self, weights: Floats) -> Floats:
        """Average precision, shape (resamples,): precision weighted by the steps of recall."""
        return self.areas(weights)[1]

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Area under the ROC curve and average precision, each of shape (resamples,)."""
        there, positives = np.split(self._steps @ weights.T, 2)
        called, found = there.cumsum(axis=0), positives.cumsum(axis=0)
        above = np.einsum("ij,ij->j", there - positives, found - positives / 2)
        # Scores that no drawn row has come before the first call too; they add nothing.
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        steps = np.einsum("ij,ij->j", positives, precision)
        all_positive = positives.sum(axis=0)
        return ratio(above, all_positive * (there.sum(axis=0) - all_positive)), ratio(steps, all_positive)


def calibration_error(weights: Floats, probabilities: Floats, true: Floats, bins: int) -> Floats:
    """Compute the expected calibration error over equal-width bins.

    Parameters
    ----------
    weights : array of float, shape (resamples, rows)
    probabilities, true : array of float, shape (rows,)
        What was said and what came true, between 0 and 1.
    bins : int

    Returns
    -------
    array of float, shape (resamples,)
        The mean distance between the two in a bin, weighted by the rows in it.
    """
    distance = np.abs(weights @ calibration_gaps(probabilities, true, bins)).sum(axis=1)
    return ratio(distance, weights.sum(axis=1))


def calibration_gaps(probabilities: Floats, true: Floats, bins: int) -> Floats:
    """Put how much more was said than came true into the bin of each probability, shape (rows, bins)."""
    gaps: Floats = np.eye(bins)[bin_of(probabilities, bins)] * (probabilities - true)[:, None]
    return gaps


def bin_of(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """Find the equal-width bin of each probability; 1 belongs to the last."""
    places: NDArray[np.int64] = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    return places
