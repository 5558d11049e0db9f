"""A run's report: one HTML page that needs nothing beside itself, neither network nor script.

Charts are SVG written here, so that the same run gives the same bytes. All text from datasets, models and
manifests is escaped, and the page's own policy forbids everything but its inline style.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import Floats, Ranking
from vitalfactory.scoring.metrics import BINS, FROM_TEXT, FROM_VAL, decide, probabilities_of, reliability, title_of

WORST = 8
COLOURS = ("#0b6e99", "#b3541e", "#4b7d2a", "#7a4fa3", "#a8324a", "#00796b", "#8a6d00", "#5c6670")
SIZE, LEFT, TOP = 240, 40, 10
"""Side of a chart's square, and where it stands, in the chart's units."""
BARS = 34
SYNTHETIC = "Synthetic recordings: these figures say nothing about patients"
NO_DEVICE = (
    "Not a medical device: these figures describe one run on one dataset, and nothing here may guide the care of a "
    "patient."
)
SPEED, GAIN, SMALLEST = 25, 10, 20
"""ECG paper: millimetres a second and a millivolt; millimetres of height at the least."""
TALLEST = 60

STYLE = """
:root{--ink:#1c2733;--soft:#5b6773;--line:#d9dfe5;--paper:#fff;--tint:#f4f7f9;--main:#0b6e99}
*{box-sizing:border-box}
body{margin:0;background:var(--tint);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 24px 48px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 10px}h3{font-size:15px;margin:0 0 6px}
p{margin:6px 0}.soft{color:var(--soft)}
.banner{background:#8c1d18;color:#fff;font-size:18px;font-weight:600;padding:14px 24px;text-align:center}
.note{border-left:4px solid #c98a00;background:#fff7e0;padding:8px 14px}
.card{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:16px 18px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:16px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:13px}tr:last-child>*{border-bottom:0}
td.number,th.number{text-align:right;white-space:nowrap}
td.bar{width:34%;vertical-align:middle}
.track{position:relative;height:10px;background:#eaeff3;border-radius:5px}
.track i{position:absolute;top:2px;height:6px;background:#8dbdd3;border-radius:3px}
.track b{position:absolute;top:0;width:3px;height:10px;margin-left:-1.5px;background:var(--main)}
.track u{position:absolute;top:0;width:2px;height:10px;margin-left:-1px;background:#9aa5af}
.confusion td{text-align:center}.confusion small{display:block;color:var(--soft)}
svg{display:block;width:100%;height:auto}svg text{font:9px system-ui,sans-serif;fill:var(--soft)}
.legend span{display:inline-block;margin-right:14px;font-size:13px}
.legend i{display:inline-block;width:12px;height:3px;margin-right:5px;vertical-align:middle}
.example{margin-bottom:16px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0 0;font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}
.manifest td{overflow-wrap:anywhere;font-size:13px}
footer{margin-top:40px;padding-top:14px;border-top:1px solid var(--line);color:var(--soft)}
@media print{body{background:#fff}.card{break-inside:avoid}}
"""

GRID = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    '<pattern id="small" width="1" height="1" patternUnits="userSpaceOnUse">'
    '<path d="M1 0H0V1" fill="none" stroke="#f6c9c4" stroke-width=".08"/></pattern>'
    '<pattern id="large" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" fill="url(#small)"/>'
    '<path d="M5 0H0V5" fill="none" stroke="#e99b93" stroke-width=".16"/></pattern></defs></svg>'
)


@dataclass(frozen=True)
class Section:
    """What a kind of task adds to the page: its HTML, and the style that goes into the page's own."""

    html: str
    style: str = ""


def report(
    metrics: Mapping[str, Any],
    test: Sequence[Prediction],
    card: Card,
    previews: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Mapping[str, Any]],
    more: Sequence[Section] = (),
) -> str:
    """Write a run's page.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json, with the run's manifest.
    test : sequence of Prediction
        The rows that the figures are about.
    card : Card
    previews : mapping
        By row id: ``fs``, ``unit``, ``scale`` and ``trace``, where there is something to draw; see
        :func:`worst` for the rows whose previews are shown.
    rows : mapping
        By id: the dataset's rows, where they are at hand.
    more : sequence of Section, optional
        Stand after the figures of each label.

    Returns
    -------
    str
        HTML. The same arguments give the same page.
    """
    sections = [
        _header(metrics, card),
        _figures(metrics),
        _charts(metrics, test, card),
        _per_class(metrics),
        *(section.html for section in more),
        _free_text(metrics),
        _examples(metrics, test, card, previews, rows),
    ]
    return page(metrics, SYNTHETIC, sections, "".join(section.style for section in more))


def page(
    metrics: Mapping[str, Any], synthetic: str, sections: Sequence[str], style: str = "", warning: str = NO_DEVICE
) -> str:
    """Frame a run's page: one file that needs nothing beside itself.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    synthetic : str
        What stands over the page of a run on synthetic data.
    sections : sequence of str
        HTML, before the manifest; empty ones are left out.
    style : str
        CSS after the page's own.
    warning : str
        What stands under the page.
    """
    manifest = metrics["manifest"]
    banner = f'<div class="banner">{synthetic}</div>' if manifest.get("synthetic") else ""
    parts = [*sections, manifest_table(manifest), f"<footer>{warning}</footer>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escaped(metrics['run'])}: figures</title><style>{STYLE}{style}</style></head>\n"
        f"<body>{GRID}{banner}<main>\n" + "\n".join(part for part in parts if part) + "\n</main></body></html>\n"
    )


def escaped(value: object) -> str:
    """Escape text; what UTF-8 cannot hold becomes a question mark."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def number(value: float | None, digits: int = 3) -> str:
    """Write a value, a dash where it is undefined."""
    return "—" if value is None else f"{value:.{digits}f}"


def _header(metrics: Mapping[str, Any], card: Card) -> str:
    manifest, source = metrics["manifest"], card.source
    about = [
        ("Model", f"{manifest.get('model', 'unknown')} ({manifest.get('method', 'unknown')})"),
        ("Adapter", manifest.get("adapter") or "none"),
        (
            "Dataset",
            f"{card.name}, {card.representation}, {card.language}: {source.name}, {source.version} ({source.licence})",
        ),
        ("Judged", f"{metrics['split']}: {metrics['rows']} rows of {metrics['groups']} groups"),
        ("Decision", _decision(metrics)),
        ("Date", manifest.get("date", "unknown")),
    ]
    return header(metrics["run"], about, metrics.get("notes", []), card)


def header(run: str, about: Sequence[tuple[str, str]], notes: Sequence[str], card: Card | None = None) -> str:
    """Open a page.

    Parameters
    ----------
    run : str
        The run's name.
    about : sequence of tuple of str and str
        What a reader must know before the figures: names and values.
    notes : sequence of str
    card : Card, optional
        The first wording of its question stands under the name.
    """
    lines = "".join(f"<tr><th>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in about)
    told_notes = "".join(f'<p class="note">{escaped(note)}</p>' for note in notes)
    asked = f"<p class='soft'>{escaped(card.question[0] if card.question else '')}</p>" if card else ""
    return f"<header><h1>{escaped(run)}</h1>{asked}</header>{told_notes}<div class='card'><table>{lines}</table></div>"


def _decision(metrics: Mapping[str, Any]) -> str:
    """Say in words how an answer became a label."""
    threshold = metrics["threshold"]
    if metrics["threshold_from"] == FROM_VAL:
        return f"{metrics['positive']} from a probability of {threshold:.4g}, the best F1 on the validation rows"
    if threshold is not None:
        return f"{metrics['positive']} from a probability of {threshold:g}; no validation rows chose another"
    return "the label read from free text" if metrics["threshold_from"] == FROM_TEXT else "the most probable label"


def _figures(metrics: Mapping[str, Any]) -> str:
    shown = {**metrics["figures"], "parse_rate": metrics["parse_rate"]}
    remark = (
        "An answer that no label could be read from counts as wrong. The grey mark is the answer that always names the "
        "most frequent label of the training rows."
    )
    titles = {name: title_of(name, metrics["scored"]) for name in shown}
    return figures_table({**metrics, "figures": shown}, titles, remark)


def figures_table(
    metrics: Mapping[str, Any],
    titles: Mapping[str, str],
    remark: str,
    counts: Sequence[str] = (),
    beside: str = "majority",
) -> str:
    """Lay a run's figures out with their intervals, those of a constant answer beside them.

    Parameters
    ----------
    metrics : mapping
        ``figures``, ``majority`` and ``intervals`` of metrics.json; what is undefined is left out.
    titles : mapping of str to str
    remark : str
        HTML behind what is said of the intervals.
    counts : sequence of str
        Figures that are not between 0 and 1.
    beside : str
        How the constant answer's column is called where there is none.
    """
    majority = metrics.get("majority")
    usual = majority["figures"] if majority else {}
    lines = "".join(
        f"<tr><td>{escaped(titles[name])}</td>"
        f"<td class='number'><b>{number(figure['value'])}</b></td><td class='number'>{interval(figure)}</td>"
        f"<td class='number'>{number(usual[name]['value']) if name in usual else '—'}</td>"
        f"<td class='bar'>{'' if name in counts else bar(figure, usual.get(name))}</td></tr>"
        for name, figure in metrics["figures"].items()
        if figure["value"] is not None
    )
    constant = f"always {escaped(majority['label'])}" if majority else beside
    how = metrics["intervals"]
    return (
        "<h2>Figures</h2><div class='card wide'><table><tr><th>Figure</th><th class='number'>Value</th>"
        f"<th class='number'>{how['level']:.0%} interval</th><th class='number'>{constant}</th><th>0 to 1</th></tr>"
        f"{lines}</table></div><p class='soft'>Intervals: {how['resamples']} bootstrap resamples of "
        f"{escaped(how['over'])}, seed {how['seed']}. {remark}</p>"
    )


def interval(figure: Mapping[str, float | None], digits: int = 3) -> str:
    """Write an interval, a dash where there is none."""
    return "—" if figure["low"] is None else f"{number(figure['low'], digits)} to {number(figure['high'], digits)}"


def bar(figure: Mapping[str, float | None], usual: Mapping[str, float | None] | None) -> str:
    """Draw a value, its interval and the baseline on a track from 0 to 1."""

    def place(value: float | None) -> str:
        return f"{100 * min(max(value or 0, 0), 1):.1f}%"

    parts = ""
    if figure["low"] is not None and figure["high"] is not None:
        width = min(max(figure["high"], 0), 1) - min(max(figure["low"], 0), 1)
        parts += f'<i style="left:{place(figure["low"])};width:{100 * width:.1f}%"></i>'
    if usual and usual["value"] is not None:
        parts += f'<u style="left:{place(usual["value"])}"></u>'
    return f'<div class="track">{parts}<b style="left:{place(figure["value"])}"></b></div>'


def _charts(metrics: Mapping[str, Any], test: Sequence[Prediction], card: Card) -> str:
    confusion = _confusion(metrics["confusion"])
    probabilities = probabilities_of(test, card.labels)
    if probabilities is None:
        return (
            f"<h2>Answers</h2><div class='grid'>{confusion}</div><p class='soft'>The run has no probabilities, so "
            "there are no ROC, precision-recall and calibration curves.</p>"
        )
    gold = np.asarray([row.label for row in test])
    binary = card.positive is not None and len(card.labels) == 2
    labels = [card.positive] if binary and card.positive else card.labels
    ranked = [(label, Ranking(probabilities[:, card.labels.index(label)], gold == label)) for label in labels]
    curves = [(label, *_counts(ranking)) for label, ranking in ranked]
    whose = f"probability of {card.positive}" if binary else "probability of the most probable label"
    return (
        f"<h2>Curves</h2><div class='grid'>{_roc(curves, metrics)}{_precision_recall(curves, metrics)}"
        f"{calibration_chart(reliability(test, card), whose)}{confusion}</div>"
    )


Curve = tuple[str, Floats, Floats]


def _counts(ranking: Ranking) -> tuple[Floats, Floats]:
    """Count true and false positives down to each distinct score."""
    positives, negatives = ranking.counts(np.ones((1, ranking.rows)))
    return positives[0].cumsum(), negatives[0].cumsum()


def _chart(title: str, under: str, beside: str, body: str, below: str = "", height: float = 0) -> str:
    """Frame a square chart with both axes from 0 to 1."""
    ticks = ""
    for tenth in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(tenth), _y(tenth)
        ticks += f'<path d="M{x:g} {TOP}v{SIZE}M{LEFT} {y:g}h{SIZE}" stroke="#e3e8ec" stroke-width=".7"/>'
        ticks += f'<text x="{x:g}" y="{TOP + SIZE + height + 12:g}" text-anchor="middle">{tenth:g}</text>'
        ticks += f'<text x="{LEFT - 5}" y="{y + 3:g}" text-anchor="end">{tenth:g}</text>'
    middle = TOP + SIZE / 2
    bottom = TOP + SIZE + height + 26
    return (
        f"<div class='card'><h3>{escaped(title)}</h3><svg viewBox='0 0 {LEFT + SIZE + 14} {bottom + 6:g}' role='img' "
        f"aria-label='{escaped(title)}'>{ticks}{body}"
        f'<text x="{LEFT + SIZE / 2:g}" y="{bottom:g}" text-anchor="middle">{escaped(under)}</text>'
        f'<text transform="translate(10 {middle:g}) rotate(-90)" text-anchor="middle">{escaped(beside)}</text></svg>'
        f"{below}</div>"
    )


def _x(share: float) -> float:
    return LEFT + SIZE * share


def _y(share: float) -> float:
    return TOP + SIZE * (1 - share)


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>'


def _dashed(start: tuple[float, float], end: tuple[float, float]) -> str:
    path = f"M{_x(start[0]):.1f} {_y(start[1]):.1f}L{_x(end[0]):.1f} {_y(end[1]):.1f}"
    return f'<path d="{path}" fill="none" stroke="#9aa5af" stroke-dasharray="4 3"/>'


def _legend(labels: Sequence[str]) -> str:
    if len(labels) < 2:
        return ""
    marks = (
        f'<span><i style="background:{COLOURS[place % len(COLOURS)]}"></i>{escaped(label)}</span>'
        for place, label in enumerate(labels)
    )
    return f"<p class='legend'>{''.join(marks)}each against the rest</p>"


def _corners(x: Floats, y: Floats) -> list[tuple[float, float]]:
    """Keep the points where a line bends."""
    turns = np.diff(x[:-1]) * np.diff(y[1:]) != np.diff(y[:-1]) * np.diff(x[1:])
    kept: NDArray[np.bool_] = np.r_[True, turns, True] if len(x) > 1 else np.ones(len(x), dtype=np.bool_)
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _roc(curves: Sequence[Curve], metrics: Mapping[str, Any]) -> str:
    body = _dashed((0, 0), (1, 1))
    for place, (_, true, false) in enumerate(curves):
        if true[-1] and false[-1]:
            points = _corners(np.r_[0, false / false[-1]], np.r_[0, true / true[-1]])
            body += _line(points, COLOURS[place % len(COLOURS)])
    figures = metrics["figures"]
    if metrics["threshold"] is not None and figures["specificity"]["value"] is not None:
        body += _point(1 - figures["specificity"]["value"], figures["sensitivity"]["value"])
    title = f"ROC curve: area {told(figures['auroc'])}"
    return _chart(title, "1 - specificity", "sensitivity", body, _legend([label for label, *_ in curves]))


def _precision_recall(curves: Sequence[Curve], metrics: Mapping[str, Any]) -> str:
    body = ""
    for place, (_, true, false) in enumerate(curves):
        if not true[-1]:
            continue
        prevalence = true[-1] / (true[-1] + false[-1])
        if len(curves) == 1:
            body += _dashed((0, prevalence), (1, prevalence))
        recall, precision = true / true[-1], true / (true + false)
        # A step a found positive, as average precision adds them up.
        steps = np.flatnonzero(np.diff(np.r_[0, recall]))
        x = np.repeat(np.r_[0, recall[steps]], 2)[1:-1]
        body += _line(_corners(x, np.repeat(precision[steps], 2)), COLOURS[place % len(COLOURS)])
    figures = metrics["figures"]
    if metrics["threshold"] is not None and figures["ppv"]["value"] is not None:
        body += _point(figures["sensitivity"]["value"], figures["ppv"]["value"])
    title = f"Precision-recall curve: average precision {told(figures['auprc'])}"
    return _chart(title, "recall (sensitivity)", "precision (PPV)", body, _legend([label for label, *_ in curves]))


def told(figure: Mapping[str, float | None], digits: int = 3) -> str:
    """Write a figure with its interval."""
    beside = "" if figure["low"] is None else f" ({interval(figure, digits)})"
    return f"{number(figure['value'], digits)}{beside}"


def _point(x: float | None, y: float | None) -> str:
    """Mark where the run's threshold lies."""
    if x is None or y is None:
        return ""
    return (
        f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4" fill="#fff" stroke="{COLOURS[0]}" stroke-width="2">'
        "<title>at the threshold</title></circle>"
    )


def calibration_chart(bins: Sequence[Mapping[str, float]], whose: str) -> str:
    """Draw what was said against what came true, with the rows in each bin of probabilities."""
    most = max(row["rows"] for row in bins)
    width = SIZE / BINS
    body = _dashed((0, 0), (1, 1)) + _line([(row["said"], row["true"]) for row in bins], COLOURS[0])
    floor = TOP + SIZE + BARS
    for row in bins:
        radius = 2 + 3 * (row["rows"] / most) ** 0.5
        body += f'<circle cx="{_x(row["said"]):.1f}" cy="{_y(row["true"]):.1f}" r="{radius:.1f}" fill="{COLOURS[0]}"/>'
        height, left = (BARS - 12) * row["rows"] / most, LEFT + row["bin"] * width
        box = f'x="{left + 1:.1f}" y="{floor - height:.1f}" width="{width - 2:.1f}" height="{height:.1f}"'
        body += f'<rect {box} fill="#8dbdd3"/>'
        body += (
            f'<text x="{left + width / 2:.1f}" y="{floor - height - 2:.1f}" text-anchor="middle" '
            f'style="font-size:6px">{row["rows"]}</text>'
        )
    return _chart("Calibration, with the rows in each bin", whose, "share that came true", body, height=BARS)


def _confusion(confusion: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{escaped(label)}</th>" for label in confusion["answered"])
    lines = ""
    for label, counts in zip(confusion["gold"], confusion["counts"], strict=True):
        total = sum(counts)
        cells = "".join(shaded(count, total) for count in counts)
        lines += f"<tr><th>{escaped(label)}</th>{cells}</tr>"
    return (
        "<div class='card'><h3>Confusion matrix</h3><p class='soft'>Rows: gold label. Columns: answer.</p>"
        f"<div class='wide'><table class='confusion'><tr><th></th>{head}</tr>{lines}</table></div></div>"
    )


def shaded(count: int, total: int) -> str:
    """Write a count in a cell that is darker the larger its share of a total."""
    share = count / total if total else 0
    return f'<td style="background:rgba(11,110,153,{0.5 * share:.2f})">{count}<small>{share:.1%}</small></td>'


def _per_class(metrics: Mapping[str, Any]) -> str:
    lines = ""
    for label, figures in metrics["per_class"].items():
        cells = "".join(f"<td class='number'>{told(figures[name])}</td>" for name in ("precision", "recall", "f1"))
        lines += f"<tr><td>{escaped(label)}</td>{cells}<td class='number'>{figures['support']}</td></tr>"
    head = "".join(f"<th class='number'>{name}</th>" for name in ("Precision", "Recall", "F1", "Rows"))
    return f"<h2>Each label</h2><div class='card wide'><table><tr><th>Label</th>{head}</tr>{lines}</table></div>"


def _free_text(metrics: Mapping[str, Any]) -> str:
    free = metrics.get("free_text")
    if not free or metrics["answered"] == "generations":
        return ""
    shown = {**free["figures"], "parse_rate": free["parse_rate"]}
    lines = "".join(
        f"<tr><td>{escaped(title_of(name, metrics['scored']))}</td><td class='number'>{told(figure)}</td></tr>"
        for name, figure in shown.items()
        if figure["value"] is not None
    )
    return (
        f"<h2>The same model in free text</h2><p class='soft'>{free['rows']} rows answered in words, decoded greedily; "
        f"an answer that no label can be read from is wrong.</p><div class='card wide'><table>{lines}</table></div>"
    )


def worst(test: Sequence[Prediction], card: Card, threshold: float | None) -> list[tuple[Prediction, str | None]]:
    """List the wrong rows that the model was surest of.

    Parameters
    ----------
    test : sequence of Prediction
    card : Card
    threshold : float or None

    Returns
    -------
    list of (Prediction, str or None)
        At most ``WORST`` rows with the decision, the lowest probability of the gold label first.
    """
    decided = zip(test, decide(test, card, threshold), strict=True)
    wrong = [(row, decision) for row, decision in decided if decision != row.label]
    return sorted(wrong, key=lambda pair: (_of_gold(pair[0]), pair[0].id))[:WORST]


def _of_gold(row: Prediction) -> float:
    return row.probabilities[str(row.label)] if row.probabilities else 0.0


def _examples(
    metrics: Mapping[str, Any],
    test: Sequence[Prediction],
    card: Card,
    previews: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Mapping[str, Any]],
) -> str:
    wrong = worst(test, card, metrics["threshold"])
    if not wrong:
        return "<h2>Most wrong</h2><p>No row was answered wrongly.</p>"
    shown = "".join(_example(row, decision, previews.get(row.id), rows.get(row.id)) for row, decision in wrong)
    order = (
        "the least probability on the gold label first" if wrong[0][0].probabilities else "in the order of their ids"
    )
    return f"<h2>Most wrong</h2><p class='soft'>{len(wrong)} wrongly answered rows, {order}.</p>{shown}"


def _example(
    row: Prediction, decision: str | None, preview: Mapping[str, Any] | None, source: Mapping[str, Any] | None
) -> str:
    answer = escaped(decision) if decision else "no label could be read"
    if row.probabilities:
        answer += "; " + ", ".join(f"{escaped(label)} {value:.3f}" for label, value in row.probabilities.items())
    parts = f"<h3>{escaped(row.id)}</h3><p>Gold <b>{escaped(row.label)}</b>, answered <b>{answer}</b></p>"
    if preview:
        parts += _trace(preview)
    if source and source.get("input"):
        parts += f"<pre>{escaped(source['input'])}</pre>"
    if row.text is not None:
        parts += f"<p class='soft'>The model wrote:</p><pre>{escaped(row.text)}</pre>"
    return f"<div class='card example'>{parts}</div>"


def _trace(preview: Mapping[str, Any]) -> str:
    """Draw a recording on ECG paper, or stretched to the same width where it is not in millivolts."""
    values = np.asarray(preview["trace"], dtype=np.float64) * float(preview["scale"])
    rate, unit = float(preview["fs"]), str(preview["unit"])
    if len(values) < 2 or rate <= 0 or not np.isfinite(values).all():
        return ""
    seconds, spread = len(values) / rate, float(np.ptp(values)) or 1.0
    speed = SPEED if unit == "mV" else 250 / seconds
    gain = GAIN if unit == "mV" else 30 / spread
    height = min(max(gain * spread + 4, SMALLEST), TALLEST)
    middle = (values.max() + values.min()) / 2
    x = np.arange(len(values)) / rate * speed
    y = height / 2 - (values - middle) * gain
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in zip(x, y, strict=True))
    scale = f"{SPEED} mm/s, {GAIN} mm/mV" if unit == "mV" else f"{spread:.3g} {unit} from top to bottom"
    return (
        f'<svg viewBox="0 0 {seconds * speed:.1f} {height:.1f}" role="img" aria-label="recording">'
        '<rect width="100%" height="100%" fill="#fffafa"/><rect width="100%" height="100%" fill="url(#large)"/>'
        f'<path d="M{path}" fill="none" stroke="#1c2733" stroke-width=".35" stroke-linejoin="round"/></svg>'
        f"<p class='soft'>{seconds:.1f} s; {escaped(scale)}</p>"
    )


def manifest_table(manifest: Mapping[str, Any]) -> str:
    """Lay out how a run was made."""
    lines = "".join(f"<tr><th>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in _flat(manifest))
    return f"<h2>How the run was made</h2><div class='card'><table class='manifest'>{lines}</table></div>"


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{before}{name}: ")
        else:
            yield f"{before}{name}", inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
