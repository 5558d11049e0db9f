"""What sleep staging is judged by: nights one by one, transitions between stages, and the figures of a sleep report.

The rows of a dataset whose card has ``epoch_seconds`` are epochs of nights. A night is a subject (``group``) and the
column ``night``; its epochs stand in the order of ``start``, and a copy that ``--balance`` made counts once. Two epochs
are consecutive where ``start`` differs by ``epoch_seconds``; anything else is a gap. Each epoch stands for
``epoch_seconds``, also where windows are longer and overlap.

Sleep figures follow the AASM manual as far as scored epochs allow:

- The scored time is that of all epochs of the night in the dataset. It is the denominator of sleep efficiency for both
  hypnograms; epochs that the dataset left out (unscored, movement) are in no figure.
- Sleep latency counts from the first scored epoch, since lights off is not known; REM latency from the first epoch of
  sleep to the first of REM. Both are read from ``start``, so time in gaps counts.
- Wake after sleep onset is all wake after the first epoch of sleep, wake after the last epoch of sleep included.
- Awakenings are bouts of wake after sleep onset, however short, the final one included.

An undecided (unparsed) epoch is a wrong answer. In the predicted hypnogram it is neither sleep nor wake: it adds to no
time, share, bout or transition, and stays in the scored time. A figure that a hypnogram does not have (no sleep, no
REM) is None; the night is left out of that figure's agreement, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    SEED,
    Figure,
    Floats,
    Key,
    Statistics,
    bootstrap,
    mean,
    tell,
)
from vitalfactory.scoring.metrics import decide, figures_of

WAKE, REM = "W", "R"
STAGES = frozenset({WAKE, "N1", "N2", "N3", "N4", REM})
TOLERANCE = 0.01
"""How far, in epochs, the distance of consecutive epochs may lie from one epoch: starts are rounded."""
LIMITS = 1.96
"""Standard deviations from the bias to the limits of agreement (Bland and Altman 1986)."""

NIGHT_FIGURES = {"accuracy": "accuracy", "kappa": "Cohen's kappa", "macro_f1": "macro F1"}
SLEEP_FIGURES = {
    "total_sleep_time": ("Total sleep time", "min"),
    "sleep_efficiency": ("Sleep efficiency", "%"),
    "sleep_latency": ("Sleep latency", "min"),
    "rem_latency": ("REM latency", "min"),
    "wake_after_sleep_onset": ("Wake after sleep onset", "min"),
    "awakenings": ("Awakenings", ""),
}
"""Every sleep figure but the shares of the stages: its title and unit."""
SHARE_OF = "share_"
"""Before a label: the figure's name for that stage's share of sleep."""
AGREEMENT = ("gold", "predicted", "bias", "lower_limit", "upper_limit", "mean_absolute_error")
"""What is said of a sleep figure over the nights that have it in both hypnograms: means, differences, their limits."""
SUMMARY = ("total_sleep_time", "sleep_efficiency", "sleep_latency", "wake_after_sleep_onset")

Ints = NDArray[np.int64]
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Night:
    """One night's epochs in the order of time.

    Attributes
    ----------
    subject, name : str
    places : array of int, shape (epochs,)
        Which of the rows given to :func:`nights_of` the epochs are.
    start : array of float, shape (epochs,)
        Seconds from the beginning of the recording.
    """

    subject: str
    name: str
    places: Ints
    start: Floats

    def breaks(self, epoch_seconds: float) -> Ints:
        """Find the epochs that follow a gap, shape (gaps,)."""
        distance = np.diff(self.start) / epoch_seconds
        places: Ints = np.flatnonzero(np.abs(distance - 1) > TOLERANCE) + 1
        return places

    def chains(self, epoch_seconds: float) -> list[Ints]:
        """Split the places of the rows where there are gaps."""
        return np.split(self.places, self.breaks(epoch_seconds))


@dataclass(frozen=True, eq=False)
class Hypnogram:
    """A night with its gold and its predicted stages; a predicted None is an undecided epoch."""

    night: Night
    gold: list[str]
    predicted: list[str | None]


def is_staging(card: Card) -> bool:
    """Say whether a dataset's rows are epochs of nights with sleep stages as labels."""
    labels = set(card.labels)
    return card.epoch_seconds is not None and card.kind == "classify" and {WAKE, REM} <= labels <= STAGES


def titles_of(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name the sleep figures of a set of stages: title and unit by name."""
    shares = {f"{SHARE_OF}{label}": (f"{_stage(label)}, share of sleep", "%") for label in labels if label != WAKE}
    return SLEEP_FIGURES | shares


def _stage(label: str) -> str:
    return "REM" if label == REM else label


def nights_of(rows: Sequence[Row]) -> list[Night]:
    """Gather epochs into nights.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of a dataset, with ``group``, ``night``, ``start`` and ``label``. Of copies of an epoch the first counts.

    Returns
    -------
    list of Night
        In the order of subjects, then of their nights.

    Raises
    ------
    VitalFactoryError
        A row does not say which night it is of and when, or an epoch stands twice with two labels.
    """
    nights: dict[tuple[str, str], dict[float, int]] = {}
    for place, row in enumerate(rows):
        night, start = _when(row)
        epochs = nights.setdefault((str(row["group"]), night), {})
        first = epochs.setdefault(start, place)
        if rows[first]["label"] != row["label"]:
            raise VitalFactoryError(
                f"rows {rows[first]['id']!r} and {row['id']!r} are one epoch of night {night!r}, with the labels "
                f"{rows[first]['label']!r} and {row['label']!r}; convert the dataset again"
            )
    return [
        Night(subject, name, np.asarray([epochs[start] for start in sorted(epochs)]), np.asarray(sorted(epochs)))
        for (subject, name), epochs in sorted(nights.items())
    ]


def _when(row: Row) -> tuple[str, float]:
    night, start = row.get("night"), row.get("start")
    if not isinstance(night, str) or not isinstance(start, int | float) or not math.isfinite(start):
        raise VitalFactoryError(
            f"row {row['id']!r}: night {night!r} and start {start!r}; expected a text and seconds, since the card has "
            "epoch_seconds; convert the dataset again"
        )
    return night, float(start)


def hypnograms(
    rows: Sequence[Prediction], source: Mapping[str, Row], card: Card, threshold: float | None = None
) -> list[Hypnogram]:
    """Lay answers out as nights.

    Parameters
    ----------
    rows : sequence of Prediction
    source : mapping of str to mapping
        The dataset's rows by id.
    card : Card
    threshold : float or None
        See :func:`vitalfactory.scoring.metrics.choose_threshold`.

    Raises
    ------
    VitalFactoryError
        The dataset's rows are no epochs; see :func:`nights_of`.
    """
    decided = decide(rows, card, threshold)
    nights = nights_of([source[row.id] for row in rows])
    return [
        Hypnogram(night, [str(rows[place].label) for place in night.places], [decided[place] for place in night.places])
        for night in nights
    ]


def sleep_figures(
    stages: Sequence[str | None], start: Floats, epoch_seconds: float, labels: Sequence[str]
) -> dict[str, float | None]:
    """Compute the figures of one hypnogram; the head of this module defines them.

    Parameters
    ----------
    stages : sequence of str or None, length epochs
        In the order of time; None is an undecided epoch.
    start : array of float, shape (epochs,)
        Seconds.
    epoch_seconds : float
    labels : sequence of str
        The stages that there are.

    Returns
    -------
    dict of str to float or None
        Times in minutes, efficiency and shares in per cent; None where the hypnogram has no such figure.
    """
    sleep = [place for place, stage in enumerate(stages) if stage not in (None, WAKE)]
    found: dict[str, float | None] = dict.fromkeys(titles_of(labels))
    found["total_sleep_time"] = len(sleep) * epoch_seconds / 60
    found["sleep_efficiency"] = 100 * len(sleep) / len(stages)
    if not sleep:
        return found
    onset = sleep[0]
    after = [stage for stage in stages[onset:] if stage is not None]
    found["sleep_latency"] = float(start[onset] - start[0]) / 60
    found["wake_after_sleep_onset"] = after.count(WAKE) * epoch_seconds / 60
    found["awakenings"] = sum(stage == WAKE != before for before, stage in pairwise(after))
    if REM in stages:
        found["rem_latency"] = float(start[stages.index(REM)] - start[onset]) / 60
    shares = {f"{SHARE_OF}{label}": 100 * after.count(label) / len(sleep) for label in labels if label != WAKE}
    return found | shares


def transitions(stages: Sequence[str | None], breaks: Ints, labels: Sequence[str]) -> Ints:
    """Count the pairs of consecutive epochs of a night.

    Parameters
    ----------
    stages : sequence of str or None, length epochs
    breaks : array of int, shape (gaps,)
        Epochs that follow a gap, and so follow no other.
    labels : sequence of str

    Returns
    -------
    array of int, shape (labels, labels)
        From the stage of the row to that of the column; pairs with an undecided epoch are left out.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    number = {label: place for place, label in enumerate(labels)}
    broken = set(breaks.tolist())
    for place in range(1, len(stages)):
        before, after = stages[place - 1], stages[place]
        if before is not None and after is not None and place not in broken:
            counts[number[before], number[after]] += 1
    return counts


def measure_nights(
    rows: Sequence[Prediction], source: Mapping[str, Row], card: Card, threshold: float | None = None
) -> dict[str, Any]:
    """Compute what is about nights rather than epochs.

    Parameters
    ----------
    rows : sequence of Prediction
        Of a dataset that :func:`is_staging` knows, checked by :func:`vitalfactory.scoring.metrics.check`.
    source : mapping of str to mapping
        The dataset's rows by id.
    card : Card
    threshold : float or None

    Returns
    -------
    dict
        ``epoch_seconds``, ``subjects``, ``epochs``, ``undecided``, ``gaps``, ``nights`` (one each), ``figures`` (means
        over nights), ``undefined`` (nights that such a mean leaves out), ``sleep`` (agreement of each sleep figure),
        ``transitions``, ``intervals``. It holds no NaN. Where there is one subject only, no figure has an interval.

    Raises
    ------
    VitalFactoryError
        The dataset's rows are no epochs; see :func:`nights_of`.
    """
    if card.epoch_seconds is None:
        raise VitalFactoryError(f"{card.name}: its card has no epoch_seconds; its rows are no epochs of nights")
    drawn = hypnograms(rows, source, card, threshold)
    nights = [_night(one, rows, card, threshold, card.epoch_seconds) for one in drawn]
    subjects = [one.night.subject for one in drawn]
    values = {name: _column(nights, name) for name in NIGHT_FIGURES}
    pairs = {name: _Pair.of(name, nights) for name in titles_of(card.labels)}

    def statistics(weights: Floats) -> dict[tuple[str, str], Floats]:
        means = {("", name): mean(weights, each) for name, each in values.items()}
        return means | {(name, part): each for name, pair in pairs.items() for part, each in pair(weights).items()}

    found = _intervals(statistics, subjects)
    return {
        "epoch_seconds": card.epoch_seconds,
        "subjects": len(set(subjects)),
        "epochs": sum(night["epochs"] for night in nights),
        "undecided": sum(night["undecided"] for night in nights),
        "gaps": sum(night["gaps"] for night in nights),
        "nights": nights,
        "figures": {name: found["", name] for name in NIGHT_FIGURES},
        "undefined": {name: int(np.isnan(each).sum()) for name, each in values.items()},
        "sleep": {
            name: pair.counts() | {part: found[name, part] for part in AGREEMENT} for name, pair in pairs.items()
        },
        "transitions": _all_transitions(drawn, card.epoch_seconds, card.labels),
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "subjects"},
    }


def _night(
    drawn: Hypnogram, rows: Sequence[Prediction], card: Card, threshold: float | None, step: float
) -> dict[str, Any]:
    """Judge one night; its figures are those of the whole run, over its epochs alone."""
    night = drawn.night
    own = [rows[place] for place in night.places]
    figures = figures_of(own, card, threshold)(np.ones((1, len(own))))
    found = {name: float(figures["", name][0]) for name in NIGHT_FIGURES}
    return {
        "night": night.name,
        "subject": night.subject,
        "epochs": len(own),
        "scored_minutes": len(own) * step / 60,
        "undecided": drawn.predicted.count(None),
        "gaps": len(night.breaks(step)),
        **{name: value if math.isfinite(value) else None for name, value in found.items()},
        "gold": sleep_figures(drawn.gold, night.start, step, card.labels),
        "predicted": sleep_figures(drawn.predicted, night.start, step, card.labels),
    }


def _column(nights: Sequence[Row], name: str) -> Floats:
    """Lay one figure of all nights out, shape (nights,), NaN where it is None."""
    return np.asarray([night[name] for night in nights], dtype=np.float64)


def _intervals(statistics: Statistics[Key], subjects: Sequence[str]) -> dict[Key, Figure]:
    """Bootstrap over subjects; the only subject drawn again and again would give an interval without width."""
    found = bootstrap(statistics, subjects)
    if len(set(subjects)) > 1:
        return found
    return {name: Figure(value=figure["value"], low=None, high=None) for name, figure in found.items()}


class _Pair:
    """One sleep figure of both hypnograms over nights, and how they agree (Bland and Altman 1986).

    Parameters
    ----------
    gold, predicted : array of float, shape (nights,)
        NaN where the hypnogram does not have the figure.
    """

    def __init__(self, gold: Floats, predicted: Floats) -> None:
        self.gold, self.predicted = gold, predicted
        self.known = np.isfinite(gold) & np.isfinite(predicted)
        self.difference = predicted - gold

    @classmethod
    def of(cls, name: str, nights: Sequence[Row]) -> _Pair:
        return cls(*(_column([night[which] for night in nights], name) for which in ("gold", "predicted")))

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        bias, spread = mean(weights, self.difference), LIMITS * _deviation(weights, self.difference)
        figures = (
            mean(weights, np.where(self.known, self.gold, np.nan)),
            mean(weights, np.where(self.known, self.predicted, np.nan)),
            bias,
            bias - spread,
            bias + spread,
            mean(weights, np.abs(self.difference)),
        )
        return dict(zip(AGREEMENT, figures, strict=True))

    def counts(self) -> dict[str, Any]:
        """Count the nights that have both, and those that lack either."""
        undefined = {"gold": int(np.isnan(self.gold).sum()), "predicted": int(np.isnan(self.predicted).sum())}
        return {"nights": int(self.known.sum()), "undefined": undefined}


def _deviation(weights: Floats, values: Floats) -> Floats:
    """Compute weighted standard deviations, shape (resamples,), NaN for fewer than two values."""
    known = np.isfinite(values)
    centred = np.where(known, values - (values[known].mean() if known.any() else 0), np.nan)
    count = weights @ known.astype(np.float64)
    variance = mean(weights, centred**2) - mean(weights, centred) ** 2
    more = np.where(count > 1, count / np.maximum(count - 1, 1), np.nan)
    deviation: Floats = np.sqrt(np.maximum(variance, 0) * more)
    return deviation


def _all_transitions(drawn: Sequence[Hypnogram], epoch_seconds: float, labels: Sequence[str]) -> dict[str, Any]:
    gold, predicted = (
        sum(
            (transitions(stages, one.night.breaks(epoch_seconds), labels) for one, stages in told),
            np.zeros((len(labels), len(labels)), dtype=np.int64),
        )
        for told in ([(one, one.gold) for one in drawn], [(one, one.predicted) for one in drawn])
    )
    return {"labels": list(labels), "gold": gold.tolist(), "predicted": predicted.tolist()}


def summary(staging: Row) -> list[str]:
    """Tell the figures of nights in a few lines, for a terminal.

    Parameters
    ----------
    staging : mapping
        What :func:`measure_nights` gave.
    """
    told = ", ".join(f"{title} {tell(staging['figures'][name])}" for name, title in NIGHT_FIGURES.items())
    lines = [f"{len(staging['nights'])} nights of {staging['subjects']} subjects, mean of a night: {told}"]
    for name in SUMMARY:
        title, unit = SLEEP_FIGURES[name]
        if (found := staging["sleep"][name])["bias"]["value"] is not None:
            bias, error = tell_of(found["bias"], "+"), tell_of(found["mean_absolute_error"])
            lines.append(
                f"{title.lower()} ({unit}): bias {bias}, mean absolute error {error}, {found['nights']} nights"
            )
    return lines


def tell_of(figure: Figure, sign: str = "", digits: int = 1) -> str:
    """Write minutes or per cent with their interval: ``+4.5 [-1.0, 9.5]``."""
    if figure["value"] is None:
        return "-"
    # Adding 0 makes 0.0 of -0.0.
    parts = [f"{round(each, digits) + 0:{sign}.{digits}f}" for each in figure.values() if isinstance(each, float)]
    return parts[0] if len(parts) < 3 else f"{parts[0]} [{parts[1]}, {parts[2]}]"
