"""Smoothing of stages over a night with a hidden Markov model, in plain numpy.

The hidden states are the stages. Transitions and the stages' shares come from the training hypnograms, what is observed
of an epoch from a classifier's probabilities: divided by the shares that it was trained with they are likelihoods up to
a factor (Bourlard and Morgan 1994), and an exponent says how far they are to be trusted against the transitions, which
take epochs as independent although windows overlap and classifiers are surer than they should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError
from vitalfactory.scoring.intervals import Floats
from vitalfactory.scoring.staging import Ints, nights_of, transitions

FLOOR = 1e-6
"""The lowest probability that is believed: with 0, one epoch could forbid a whole path."""
FEWEST_PAIRS = 100
"""Pairs of consecutive epochs that transitions are estimated from, at the least."""
TELLING, TIMES = 0.25, 5
"""Gaps tell the answer where more than this share of all changes of stage lies in gaps, and so many times the share of
other pairs."""


@dataclass(frozen=True, eq=False)
class Chain:
    """What the training rows say of stages and of what follows them; every count is taken as one more than it is.

    Attributes
    ----------
    initial : array of float, shape (labels,)
        Shares of the stages among the distinct training epochs: where a night begins, or goes on after a gap.
    transition : array of float, shape (labels, labels)
        Probability of the column's stage after the row's.
    prior : array of float, shape (labels,)
        Shares of the stages among all rows that the model has learnt from, copies of ``--balance`` included.
    counts : array of int, shape (labels, labels)
        The pairs of consecutive training epochs.
    rows, epochs, nights : int
        Rows that the model has learnt from; distinct epochs that transitions are from, and their nights.
    """

    initial: Floats
    transition: Floats
    prior: Floats
    counts: Ints
    rows: int
    epochs: int
    nights: int


def learn(
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    epoch_seconds: float,
    learnt_from: Sequence[Mapping[str, Any]] | None = None,
) -> Chain:
    """Estimate transitions and shares from training rows.

    Parameters
    ----------
    rows : sequence of mapping
        All training rows of a dataset, with ``group``, ``night``, ``start`` and ``label``.
    labels : sequence of str
    epoch_seconds : float
    learnt_from : sequence of mapping, optional
        The rows that the model has learnt from, where those are others of the same subjects.

    Raises
    ------
    VitalFactoryError
        Too few epochs follow one another; or gaps stand where stages change, as windows that overlap within
        annotations leave them, so that a chain that ends at a gap would know the answer.
    """
    nights = nights_of(rows)
    number = {label: place for place, label in enumerate(labels)}
    stages = _numbered(rows, number)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    over_gaps = counts.copy()
    for night in nights:
        told = [str(rows[place]["label"]) for place in night.places]
        followed = transitions(told, night.breaks(epoch_seconds), labels)
        counts += followed
        over_gaps += transitions(told, np.empty(0, dtype=np.int64), labels) - followed
    _check(counts, over_gaps)
    distinct = stages[np.concatenate([night.places for night in nights])]
    smooth = counts + 1.0
    return Chain(
        initial=_shares(distinct, len(labels)),
        transition=smooth / smooth.sum(axis=1, keepdims=True),
        prior=_shares(_numbered(rows if learnt_from is None else learnt_from, number), len(labels)),
        counts=counts,
        rows=len(rows if learnt_from is None else learnt_from),
        epochs=len(distinct),
        nights=len(nights),
    )


def _numbered(rows: Sequence[Mapping[str, Any]], number: Mapping[str, int]) -> Ints:
    return np.asarray([number[str(row["label"])] for row in rows])


def _check(counts: Ints, over_gaps: Ints) -> None:
    pairs = int(counts.sum())
    if pairs < FEWEST_PAIRS:
        raise VitalFactoryError(
            f"only {pairs} pairs of consecutive epochs in train.jsonl, at least {FEWEST_PAIRS} are needed for "
            "transitions; where --balance or --train-rows left epochs out, give --transitions DIR, the same nights "
            "converted without them"
        )
    stays, stays_over = int(np.trace(counts)), int(np.trace(over_gaps))
    changes, changes_over = pairs - stays, int(over_gaps.sum()) - stays_over
    share = changes_over / max(1, changes + changes_over)
    if share > TELLING and share > TIMES * stays_over / max(1, stays + stays_over):
        raise VitalFactoryError(
            f"{changes_over} of {changes + changes_over} changes of stage in train.jsonl lie in gaps, few other pairs "
            "do: where a chain ends would tell the answer; convert with windows that follow one another without gaps, "
            "of a length that divides the scored epochs"
        )


def _shares(stages: NDArray[np.int64], labels: int) -> Floats:
    counts = np.bincount(stages, minlength=labels) + 1.0
    shares: Floats = counts / counts.sum()
    return shares


def emissions(probabilities: Floats, prior: Floats, exponent: float) -> Floats:
    """Turn a classifier's probabilities into log likelihoods up to a constant, both shape (epochs, labels)."""
    scaled: Floats = exponent * (np.log(np.maximum(probabilities, FLOOR)) - np.log(prior))
    return scaled


def smoothed(emission: Floats, initial: Floats, transition: Floats, *, viterbi: bool = False) -> Floats:
    """Compute the probability of each stage in each epoch of a chain, given all its epochs.

    Parameters
    ----------
    emission : array of float, shape (epochs, labels)
        Log likelihoods, of :func:`emissions`.
    initial : array of float, shape (labels,)
        Above 0.
    transition : array of float, shape (labels, labels)
        Above 0; rows add up to 1.
    viterbi : bool
        Instead of the sum over all paths through a stage take the most probable one (max-marginals), so that the
        largest value of each epoch lies on the most probable path of all.

    Returns
    -------
    array of float, shape (epochs, labels)
        Each row adds up to 1.
    """
    join = np.maximum if viterbi else np.logaddexp
    step = np.log(transition)
    forward, backward = emission.copy(), np.zeros_like(emission)
    forward[0] += np.log(initial)
    for place in range(1, len(emission)):
        forward[place] += join.reduce(forward[place - 1][:, None] + step, axis=0)
    for place in range(len(emission) - 2, -1, -1):
        backward[place] = join.reduce(step + emission[place + 1] + backward[place + 1], axis=1)
    joint = forward + backward
    probabilities: Floats = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    return probabilities
