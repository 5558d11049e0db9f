"""What a run's page shows of nights: hypnograms, sleep figures, their agreement, and transitions between stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitalfactory.card import Card
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.report import Section, escaped, number, shaded, told
from vitalfactory.scoring.staging import AGREEMENT, NIGHT_FIGURES, REM, WAKE, Hypnogram, hypnograms, titles_of

DRAWN = 40
"""Nights drawn in full; of more, the page would be slow to open."""
WIDTH, LEFT, RIGHT = 360, 24, 8
ROW, TITLE, STRIP, AXIS = 10, 13, 12, 14
"""Heights in a hypnogram: of a stage, of a panel's title, of the strip of wrong epochs, of the time axis."""
PLOT, TALL, PAD = 250, 150, 34
"""A Bland-Altman plot: width, height, and room for the axis on the left."""
INK, MAIN, DREAM, WRONG, SOFT, RULE = "#1c2733", "#0b6e99", "#a8324a", "#b3541e", "#5b6773", "#e3e8ec"
HOURS = (1 / 60, 1 / 12, 1 / 4, 1 / 2, 1, 2, 4, 6, 12, 24)
TICKS = 9

STYLE = """
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(250px,100%),1fr));gap:16px}
.nights h3 small{font-weight:400;color:var(--soft)}.card+h3{margin-top:24px}
.sleep th,.sleep td{padding:4px 7px;font-size:13px}.sleep th.number{white-space:normal}
.sleep small,.sleep b{display:block;font-size:inherit;font-weight:400}
.sleep small{color:var(--soft)}.sleep b{color:var(--main)}
@media print{.nights{grid-template-columns:1fr 1fr}.plots{grid-template-columns:repeat(3,1fr)}
.wide{overflow:visible}.sleep th,.sleep td{padding:2px 3px;font-size:10px}
tr{break-inside:avoid}h2,h3,h2+p,h3+p{break-after:avoid}td{print-color-adjust:exact}}
"""

Nights = Sequence[Mapping[str, Any]]


def sections(
    metrics: Mapping[str, Any], test: Sequence[Prediction], card: Card, rows: Mapping[str, Mapping[str, Any]]
) -> list[Section]:
    """Lay out what the page says of nights.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json; ``staging`` is not None.
    test : sequence of Prediction
        The rows that the figures are about.
    card : Card
    rows : mapping
        The dataset's rows by id.

    Returns
    -------
    list of Section
    """
    staging = metrics["staging"]
    drawn = hypnograms(test, rows, card, metrics["threshold"])
    parts = [
        _overview(staging),
        _hypnograms(drawn, staging, card.labels),
        _each_night(staging["nights"]),
        _sleep_table(staging["nights"], card.labels),
        _agreement(staging, card.labels),
        _plots(staging, card.labels),
        _transitions(staging["transitions"]),
    ]
    return [Section("\n".join(parts), STYLE)]


def _overview(staging: Mapping[str, Any]) -> str:
    lines = "".join(
        f"<tr><td>Mean {escaped(title)} of a night</td><td class='number'>{told(staging['figures'][name])}</td>"
        f"<td class='number'>{len(staging['nights']) - staging['undefined'][name]}</td></tr>"
        for name, title in NIGHT_FIGURES.items()
    )
    undecided = (
        f" {staging['undecided']} of {staging['epochs']} epochs are undecided: they count as wrong, and the predicted "
        "hypnogram has neither sleep nor wake there."
        if staging["undecided"]
        else ""
    )
    return (
        f"<h2>Nights</h2><div class='card wide'><table><tr><th>{len(staging['nights'])} nights of "
        f"{staging['subjects']} subjects</th><th class='number'>Value (95 % interval)</th>"
        f"<th class='number'>Nights</th></tr>{lines}</table></div><p class='soft'>An epoch is "
        f"{staging['epoch_seconds']:g} s. Intervals are over subjects; one subject alone has none.{undecided}</p>"
    )


def choose(nights: Nights) -> dict[int, str]:
    """Choose the nights that are drawn.

    Parameters
    ----------
    nights : sequence of mapping
        As in metrics.json.

    Returns
    -------
    dict of int to str
        Which, in the order in which they are drawn: those of the lowest, the median and the highest accuracy, then
        others in the order of subjects and nights; and what each is called, empty for the others.
    """
    ranked = sorted(range(len(nights)), key=lambda place: (nights[place]["accuracy"], place))
    chosen: dict[int, str] = {}
    for name, rank in (("worst", 0), ("median", (len(ranked) - 1) // 2), ("best", len(ranked) - 1)):
        chosen.setdefault(ranked[rank], name)
    for place in range(len(nights)):
        if len(chosen) < DRAWN:
            chosen.setdefault(place, "")
    return chosen


def _hypnograms(drawn: Sequence[Hypnogram], staging: Mapping[str, Any], labels: Sequence[str]) -> str:
    nights = staging["nights"]
    chosen = choose(nights)
    cards = "".join(
        f"<div class='card'><h3>{_name(nights[place])} <small>{_remark(nights[place], called)}</small></h3>"
        f"{_hypnogram(drawn[place], staging['epoch_seconds'], labels)}</div>"
        for place, called in chosen.items()
    )
    left_out = (
        f" {len(chosen)} of {len(nights)} nights are drawn: the worst, the median and the best by accuracy, then "
        "others in the order of their names."
        if len(chosen) < len(nights)
        else ""
    )
    return (
        f"<h2>Hypnograms</h2><p class='soft'>Above the gold stages, below the predicted ones, REM in red; between "
        f"them the epochs that were answered wrongly. A gap is time without scored epochs.{left_out}</p>"
        f"<div class='grid nights'>{cards}</div>"
    )


def _name(night: Mapping[str, Any]) -> str:
    return f"{escaped(night['subject'])}, night {escaped(night['night'])}"


def _remark(night: Mapping[str, Any], called: str) -> str:
    figures = f"accuracy {number(night['accuracy'], 2)}, kappa {number(night['kappa'], 2)}"
    return f"{called}: {figures}" if called else figures


def _hypnogram(drawn: Hypnogram, epoch_seconds: float, labels: Sequence[str]) -> str:
    """Draw gold stages over predicted ones against the hours of the night."""
    order = [label for label in (WAKE, REM, "N1", "N2", "N3", "N4") if label in labels]
    start = (drawn.night.start - drawn.night.start[0]).tolist()
    total = start[-1] + epoch_seconds
    scale = (WIDTH - LEFT - RIGHT) / total
    ends = [
        LEFT + scale * min(now + epoch_seconds, after) for now, after in zip(start, [*start[1:], total], strict=True)
    ]
    spans = [(LEFT + scale * now, end) for now, end in zip(start, ends, strict=True)]
    breaks = set(drawn.night.breaks(epoch_seconds).tolist())
    panel = TITLE + ROW * len(order)
    height = 2 * panel + STRIP + AXIS
    wrong = [gold != predicted for gold, predicted in zip(drawn.gold, drawn.predicted, strict=True)]
    undecided = [predicted is None for predicted in drawn.predicted]
    body = (
        _hours(total / 3600, scale * 3600, height - AXIS)
        + _panel("gold", drawn.gold, spans, breaks, order, 0, INK)
        + _strip(spans, wrong, panel + 3, WRONG)
        + _strip(spans, undecided, panel + 3, SOFT)
        + _panel("predicted", drawn.predicted, spans, breaks, order, panel + STRIP, MAIN)
    )
    said = f"hypnogram of {escaped(drawn.night.subject)}, night {escaped(drawn.night.name)}"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}">{body}</svg>'


def _hours(hours: float, scale: float, bottom: float) -> str:
    """Draw the time axis, in hours or, for a short recording, in minutes."""
    step = next((each for each in HOURS if hours / each <= TICKS), HOURS[-1])
    unit, factor = ("h", 1) if step >= 0.5 else ("min", 60)
    parts = ""
    for tick in range(int(hours / step) + 1):
        x = LEFT + tick * step * scale
        parts += f'<path d="M{x:.1f} {TITLE}V{bottom:g}" stroke="{RULE}" stroke-width=".7"/>'
        parts += f'<text x="{x:.1f}" y="{bottom + 10:g}" text-anchor="middle">{tick * step * factor:.3g}</text>'
    return f'{parts}<text x="{LEFT - 6}" y="{bottom + 10:g}" text-anchor="end">{unit}</text>'


def _panel(
    title: str,
    stages: Sequence[str | None],
    spans: Sequence[tuple[float, float]],
    breaks: set[int],
    order: Sequence[str],
    top: float,
    colour: str,
) -> str:
    """Draw one hypnogram as a staircase that ends at gaps and undecided epochs."""
    height = {label: top + TITLE + ROW * (place + 0.5) for place, label in enumerate(order)}
    parts = f'<text x="{LEFT}" y="{top + TITLE - 4:g}" style="font-weight:600">{title}</text>'
    for label, y in height.items():
        parts += f'<text x="{LEFT - 5}" y="{y + 3:g}" text-anchor="end">{escaped(label)}</text>'
    path, dreams = "", ""
    for first, end, stage, joined in _runs(stages, breaks):
        if stage is None:
            continue
        left, right, y = spans[first][0], spans[end][1], height[stage]
        path += f"V{y:g}H{right:.1f}" if joined else f"M{left:.1f} {y:g}H{right:.1f}"
        dreams += f"M{left:.1f} {y:g}H{right:.1f}" if stage == REM else ""
    for drawn, stroke, width in ((path, colour, 1), (dreams, DREAM, 3)):
        if drawn:
            parts += f'<path d="{drawn}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'
    return parts


def _runs(stages: Sequence[str | None], breaks: set[int]) -> list[tuple[int, int, str | None, bool]]:
    """Gather like stages: first and last epoch, stage, and whether a decided one comes right before."""
    runs: list[tuple[int, int, str | None, bool]] = []
    for place, stage in enumerate(stages):
        if runs and place not in breaks and runs[-1][2] == stage:
            runs[-1] = (runs[-1][0], place, stage, runs[-1][3])
        else:
            joined = bool(runs) and place not in breaks and runs[-1][2] is not None
            runs.append((place, place, stage, joined))
    return runs


def _strip(spans: Sequence[tuple[float, float]], marked: Sequence[bool], top: float, colour: str) -> str:
    path, end = "", math.nan
    for (left, right), mark in zip(spans, marked, strict=True):
        if mark:
            path += f"H{right:.1f}" if left == end else f"M{left:.1f} {top + 3:g}H{right:.1f}"
            end = right
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="6"/>' if path else ""


def _each_night(nights: Nights) -> str:
    head = _head(("Subject", "Night"), ("Epochs", "Gaps", "Undecided", "Accuracy", "Kappa", "Macro F1"))
    lines = ""
    for night in nights:
        counts = "".join(f"<td class='number'>{night[name]}</td>" for name in ("epochs", "gaps", "undecided"))
        figures = "".join(f"<td class='number'>{number(night[name])}</td>" for name in NIGHT_FIGURES)
        lines += f"<tr><td>{escaped(night['subject'])}</td><td>{escaped(night['night'])}</td>{counts}{figures}</tr>"
    return f"<h2>Each night</h2><div class='card wide'><table class='sleep'>{head}{lines}</table></div>"


def _head(words: Sequence[str], numbers: Sequence[str]) -> str:
    cells = [f"<th>{escaped(word)}</th>" for word in words]
    cells += [f"<th class='number'>{escaped(word)}</th>" for word in numbers]
    return f"<tr>{''.join(cells)}</tr>"


def _whole(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title


def _sleep_table(nights: Nights, labels: Sequence[str]) -> str:
    titles = titles_of(labels)
    head = _head(
        ("Subject", "Night"), [_whole(title.removesuffix(", share of sleep"), unit) for title, unit in titles.values()]
    )
    lines = ""
    for night in nights:
        cells = "".join(
            f"<td class='number'>{_amount(night['gold'][name])}<b>{_amount(night['predicted'][name])}</b></td>"
            for name in titles
        )
        lines += f"<tr><td>{escaped(night['subject'])}</td><td>{escaped(night['night'])}</td>{cells}</tr>"
    return (
        f"<h2>Sleep figures</h2><p class='soft'>In each cell the gold figure, and below it in blue the predicted one. "
        "Efficiency is of the scored time; latency counts from the first scored epoch, REM latency from the first "
        "epoch of sleep; wake after sleep onset and awakenings include the final one. The shares of the stages are of "
        "sleep. A dash: there is no such figure.</p>"
        f"<div class='card wide'><table class='sleep'>{head}{lines}</table></div>"
    )


def _amount(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}".removesuffix(".0")


def _agreement(staging: Mapping[str, Any], labels: Sequence[str]) -> str:
    head = _head(
        ("Figure",),
        ("Nights", "Gold, mean", "Predicted, mean", "Bias", "Lower limit", "Upper limit", "Mean absolute error"),
    )
    lines = ""
    for name, (title, unit) in titles_of(labels).items():
        found = staging["sleep"][name]
        cells = "".join(f"<td class='number'>{_stacked(found[each])}</td>" for each in AGREEMENT)
        lines += f"<tr><td>{escaped(_whole(title, unit))}</td><td class='number'>{found['nights']}</td>{cells}</tr>"
    return (
        "<h2>Agreement</h2><p class='soft'>Predicted minus gold over nights: the bias, and the limits within which "
        "95 % of nights' differences are expected (Bland and Altman); below each, its 95 % interval over subjects. A "
        "night that lacks a figure in either hypnogram is left out of it.</p>"
        f"<div class='card wide'><table class='sleep'>{head}{lines}</table></div>"
    )


def _stacked(figure: Mapping[str, float | None]) -> str:
    value, _, interval = told(figure, 1).partition(" (")
    return f"{value}<small>{interval.removesuffix(')')}</small>" if interval else value


def _plots(staging: Mapping[str, Any], labels: Sequence[str]) -> str:
    plots = "".join(
        _bland_altman(_whole(title, unit), name, staging)
        for name, (title, unit) in titles_of(labels).items()
        if staging["sleep"][name]["nights"]
    )
    if not plots:
        return ""
    return (
        "<h3>Bland-Altman plots</h3><p class='soft'>A point is a night: across, the mean of gold and predicted; "
        "upwards, predicted minus gold. The line is the bias, the band its interval over subjects, dashed the limits "
        f"of agreement.</p><div class='plots'>{plots}</div>"
    )


def _bland_altman(title: str, name: str, staging: Mapping[str, Any]) -> str:
    pairs = [(night, night["gold"][name], night["predicted"][name]) for night in staging["nights"]]
    points = [
        (night, (gold + predicted) / 2, predicted - gold)
        for night, gold, predicted in pairs
        if gold is not None and predicted is not None
    ]
    found = staging["sleep"][name]
    levels = {each: found[each]["value"] for each in ("lower_limit", "bias", "upper_limit")}
    across = _Axis([x for _, x, _ in points], PAD, PLOT - 8)
    upwards = _Axis([0, *(y for *_, y in points), *(y for y in levels.values() if y is not None)], TALL - 28, 8)
    body = _ticks(across, upwards) + _band(found["bias"], upwards)
    for each, level in levels.items():
        if level is not None:
            dash = "" if each == "bias" else ' stroke-dasharray="4 3"'
            body += f'<path d="M{PAD} {upwards(level):.1f}H{PLOT - 8}" stroke="{MAIN}"{dash}/>'
    for night, x, y in points:
        body += (
            f'<circle cx="{across(x):.1f}" cy="{upwards(y):.1f}" r="2.6" fill="{INK}" fill-opacity=".65">'
            f"<title>{_name(night)}: {y:+.1f}</title></circle>"
        )
    return (
        f"<div class='card'><h3>{escaped(title)}</h3><svg viewBox='0 0 {PLOT} {TALL}' role='img' "
        f"aria-label='Bland-Altman plot: {escaped(title)}'>{body}</svg></div>"
    )


class _Axis:
    """A linear axis over values, with room around them and round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or max(abs(high) * 0.05, 1)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Choose three to six round values."""
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
        first = math.ceil(self.low / step)
        return [place * step for place in range(first, math.floor(self.high / step) + 1)]


def _ticks(across: _Axis, upwards: _Axis) -> str:
    bottom, right = upwards.start, across.end
    parts = ""
    for x in across.ticks():
        parts += f'<text x="{across(x):.1f}" y="{bottom + 13:g}" text-anchor="middle">{x:g}</text>'
        parts += f'<path d="M{across(x):.1f} 8V{bottom:g}" stroke="{RULE}" stroke-width=".7"/>'
    for y in upwards.ticks():
        stroke = SOFT if y == 0 else RULE
        parts += f'<text x="{PAD - 4}" y="{upwards(y) + 3:.1f}" text-anchor="end">{y:g}</text>'
        parts += f'<path d="M{PAD} {upwards(y):.1f}H{right:g}" stroke="{stroke}" stroke-width=".7"/>'
    return parts


def _band(bias: Mapping[str, float | None], upwards: _Axis) -> str:
    if bias["low"] is None or bias["high"] is None:
        return ""
    top, bottom = upwards(bias["high"]), upwards(bias["low"])
    box = f'x="{PAD}" y="{top:.1f}" width="{PLOT - 8 - PAD}" height="{max(bottom - top, 0):.1f}"'
    return f'<rect {box} fill="{MAIN}" fill-opacity=".15"/>'


def _transitions(found: Mapping[str, Any]) -> str:
    tables = "".join(_matrix(title, found["labels"], found[title]) for title in ("gold", "predicted"))
    return (
        "<h2>Transitions between stages</h2><p class='soft'>Counts of consecutive epochs, and their share of the row: "
        "from the stage of the row to that of the column. Gaps and undecided epochs break the chain.</p>"
        f"<div class='grid'>{tables}</div>"
    )


def _matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    head = "".join(f"<th>{escaped(label)}</th>" for label in labels)
    lines = "".join(
        f"<tr><th>{escaped(label)}</th>{''.join(shaded(count, sum(row)) for count in row)}</tr>"
        for label, row in zip(labels, counts, strict=True)
    )
    return (
        f"<div class='card'><h3>{title.capitalize()}</h3><div class='wide'><table class='confusion'>"
        f"<tr><th></th>{head}</tr>{lines}</table></div></div>"
    )
