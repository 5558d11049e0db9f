"""The report of a run that names findings in images: one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.card import Card
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.metrics import FROM_HALF, FROM_TEXT
from vitalfactory.scoring.multilabel import FIGURES, OF_DECISIONS, OF_LABEL, OF_PART, reliability
from vitalfactory.scoring.report import (
    bar,
    calibration_chart,
    escaped,
    figures_table,
    header,
    number,
    page,
    shaded,
    told,
)

SYNTHETIC = "Synthetic images: these figures say nothing about patients"
SHOWN = 8
"""Images of wrong answers, and of right ones."""
SIDE, QUALITY = 176, 70
"""Of a thumbnail: its longest side in pixels, and JPEG's quality."""
SURE = 6
"""Labels whose probabilities are told of an image."""
LOSSES = ("hamming_loss", "brier", "ece")
"""Figures that are better the lower they are."""
RANKED = ("auroc", "auprc", "brier", "ece")
DECIDED = ("f1", "precision", "recall", "specificity")
CELLS = {"tp": "TP", "fp": "FP", "fn": "FN", "tn": "TN"}
UNREAD = {"unread_present": "Unread, there", "unread_absent": "Unread, not there"}
CHANCE = {"value": 0.5, "low": None, "high": None}
PARTS = {"view": "View", "sex": "Sex", "age": "Age"}

STYLE = """
td.bar{min-width:130px;width:20%}
.labels th,.labels td{padding:4px 7px;font-size:13px}.labels th.number{white-space:normal}
.labels td:first-child,.labels td:nth-child(2){white-space:nowrap}
.one{max-width:520px}
.findings{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(230px,100%),1fr));gap:12px}
.findings .card{padding:10px 12px}.findings th,.findings td{padding:4px 6px;font-size:13px}
.pictured{display:flex;gap:16px;flex-wrap:wrap;align-items:flex-start}
.pictured img{width:176px;height:auto;flex:none;background:#000;border-radius:4px}
.pictured div{flex:1 1 220px;min-width:0}.pictured pre{max-height:15em;overflow:auto}
"""


def report(
    metrics: Mapping[str, Any],
    images: Sequence[Prediction],
    card: Card,
    about: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
) -> str:
    """Write a run's page.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json, with the run's manifest.
    images : sequence of Prediction
        Those that the figures are about, with what was decided.
    card : Card
    about : mapping
        By id: what the dataset tells of an image, where it is at hand.
    pictures : mapping of str to str
        By id: addresses of the images to show, of :func:`thumbnail`; see :func:`shown`.

    Returns
    -------
    str
        HTML. The same arguments give the same page.
    """
    sections = [
        _header(metrics, card),
        _figures(metrics),
        _ranking(metrics),
        _calibration(images, card),
        _decisions(metrics),
        _counts(metrics["per_class"]),
        _confusions(metrics["per_class"]),
        _parts(metrics["parts"]),
        _free_text(metrics),
        _examples(metrics, images, about, pictures, card),
    ]
    return page(metrics, SYNTHETIC, sections, STYLE)


def _header(metrics: Mapping[str, Any], card: Card) -> str:
    manifest, source = metrics["manifest"], card.source
    about = [
        ("Model", f"{manifest.get('model', 'unknown')} ({manifest.get('method', 'unknown')})"),
        ("Adapter", manifest.get("adapter") or "none"),
        (
            "Dataset",
            f"{card.name}, {card.representation}, {card.language}: {source.name}, {source.version} ({source.licence})",
        ),
        ("Judged", f"{metrics['split']}: {metrics['rows']} images of {metrics['groups']} groups"),
        ("Decision", decision(metrics)),
        ("Date", manifest.get("date", "unknown")),
    ]
    return header(metrics["run"], about, metrics["notes"], card)


def decision(metrics: Mapping[str, Any]) -> str:
    """Say in words how an answer became a set of labels."""
    if metrics["thresholds_from"] == FROM_TEXT:
        return "the findings read from free text; an uncertain one is not named"
    if metrics["thresholds_from"] == FROM_HALF:
        return "each label from a probability of 0.5; no validation rows chose another"
    searched = metrics["searched_threshold"]
    return (
        "each label from its own threshold, the best F1 on the validation rows; beside it 0.5, and the one searched "
        f"threshold {searched:.2f}"
    )


def _figures(metrics: Mapping[str, Any]) -> str:
    apart = (
        f" The findings are all labels but {escaped(metrics['normal'])}, which the other figures count as a label like "
        "the others."
        if metrics["normal"]
        else ""
    )
    titles = {name: f"{title}{' (lower is better)' if name in LOSSES else ''}" for name, title in FIGURES.items()}
    remark = f"An answer that cannot be read counts as wrong. The grey mark is the constant answer.{apart}"
    return figures_table(metrics, titles, remark, beside="constant answer")


def _ranking(metrics: Mapping[str, Any]) -> str:
    """Lay out how well each label's probability tells images with it from images without."""
    labels = metrics["per_class"]
    if all(figures["auroc"]["value"] is None for figures in labels.values()):
        return ""
    lines = "".join(
        f"<tr><td>{escaped(label)}</td><td class='number'>{told(figures['auroc'])}</td>"
        f"<td class='bar'>{bar(figures['auroc'], CHANCE) if figures['auroc']['value'] is not None else ''}</td>"
        f"<td class='number'>{told(figures['auprc'])}</td>"
        f"<td class='number'>{figures['support'] / metrics['rows']:.3f}</td>"
        f"<td class='number'>{number(figures['brier']['value'])}</td>"
        f"<td class='number'>{number(figures['ece']['value'])}</td></tr>"
        for label, figures in labels.items()
    )
    titles = [OF_LABEL[name] for name in RANKED]
    head = "".join(
        f"<th class='number'>{title}</th>" if title else "<th>AUROC, 0 to 1</th>"
        for title in (titles[0], "", titles[1], "Share of images", *titles[2:])
    )
    return (
        "<h2>Each label: its probability</h2><div class='card wide'><table class='labels'>"
        f"<tr><th>Label</th>{head}</tr>{lines}</table></div>"
        "<p class='soft'>The grey mark is 0.5, chance. The share of images with a label is the AUPRC of chance.</p>"
    )


def _calibration(images: Sequence[Prediction], card: Card) -> str:
    bins = reliability(images, card)
    if not bins:
        return (
            "<p class='soft'>The run has no probabilities, so there are no areas under curves and no calibration.</p>"
        )
    chart = calibration_chart(bins, "probability of a finding")
    return f"<h2>Calibration</h2><div class='one'>{chart}</div><p class='soft'>All findings of all images together.</p>"


def _decisions(metrics: Mapping[str, Any]) -> str:
    usual = metrics["majority"]["per_class"] if metrics["majority"] else {}
    lines = ""
    for label, figures in metrics["per_class"].items():
        cells = [f"<td class='number'>{told(figures[name])}</td>" for name in DECIDED]
        cells.insert(1, f"<td class='number'>{number(usual[label]['f1']['value'] if label in usual else None)}</td>")
        threshold = "" if figures["threshold"] is None else f"{figures['threshold']:.3g}"
        lines += f"<tr><td>{escaped(label)}</td><td class='number'>{threshold}</td>{''.join(cells)}</tr>"
    beside = f"F1, always {escaped(metrics['majority']['label'])}" if metrics["majority"] else "F1, constant"
    titles = [OF_LABEL[name] for name in DECIDED]
    head = "".join(f"<th class='number'>{title}</th>" for title in ("Threshold", titles[0], beside, *titles[1:]))
    return (
        "<h2>Each label: what was said</h2><div class='card wide'><table class='labels'>"
        f"<tr><th>Label</th>{head}</tr>{lines}</table></div>"
    )


def _counts(labels: Mapping[str, Any]) -> str:
    shown = _cells(labels)
    lines = ""
    for label, figures in labels.items():
        cells = "".join(f"<td class='number'>{figures['counts'][name]}</td>" for name in shown)
        lines += f"<tr><td>{escaped(label)}</td>{cells}<td class='number'>{figures['support']}</td></tr>"
    head = "".join(f"<th class='number'>{title}</th>" for title in shown.values())
    return (
        f"<h2>Counts</h2><div class='card wide'><table><tr><th>Label</th>{head}<th class='number'>Images with it</th>"
        f"</tr>{lines}</table></div>"
    )


def _cells(labels: Mapping[str, Any]) -> dict[str, str]:
    """Name the counts to show: those of unread answers where there are any."""
    unread = any(figures["counts"][name] for figures in labels.values() for name in UNREAD)
    return CELLS | UNREAD if unread else CELLS


def _confusions(labels: Mapping[str, Any]) -> str:
    unread = UNREAD.keys() <= _cells(labels).keys()
    drawn = "".join(_confusion(label, figures["counts"], unread=unread) for label, figures in labels.items())
    return (
        "<h2>Confusion matrices</h2><p class='soft'>Rows: what is true. Columns: what was said. Shares are of the row."
        f"</p><div class='findings'>{drawn}</div>"
    )


def _confusion(label: str, counts: Mapping[str, int], *, unread: bool) -> str:
    lines = ""
    for title, names in (("there", ("tp", "fn", "unread_present")), ("not there", ("fp", "tn", "unread_absent"))):
        row = [counts[name] for name in names]
        cells = "".join(shaded(count, sum(row)) for count in (row if unread else row[:2]))
        lines += f"<tr><th>{title}</th>{cells}</tr>"
    head = "<th>said</th><th>not said</th>" + ("<th>unread</th>" if unread else "")
    return (
        f"<div class='card'><h3>{escaped(label)}</h3><table class='confusion'><tr><th></th>{head}</tr>{lines}"
        "</table></div>"
    )


def _parts(parts: Mapping[str, Any]) -> str:
    if not parts:
        return ""
    lines = ""
    for name, own in parts.items():
        for part, judged in own.items():
            cells = "".join(f"<td class='number'>{told(judged['figures'][figure])}</td>" for figure in _told(parts))
            lines += (
                f"<tr><td>{PARTS[name]}</td><td>{escaped(part)}</td><td class='number'>{judged['rows']}</td>"
                f"<td class='number'>{judged['groups']}</td>{cells}</tr>"
            )
    head = "".join(f"<th class='number'>{escaped(FIGURES[figure])}</th>" for figure in _told(parts))
    return (
        "<h2>By view, sex and age</h2><div class='card wide'><table class='labels'><tr><th colspan='2'>Part</th>"
        f"<th class='number'>Images</th><th class='number'>Groups</th>{head}</tr>{lines}</table></div>"
        "<p class='soft'>At the same thresholds. Parts have other shares of each finding, so that their F1 differ even "
        "where a model is as good.</p>"
    )


def _told(parts: Mapping[str, Any]) -> list[str]:
    every = [judged["figures"] for own in parts.values() for judged in own.values()]
    return [name for name in OF_PART[:4] if any(figures[name]["value"] is not None for figures in every)]


def _free_text(metrics: Mapping[str, Any]) -> str:
    free = metrics["free_text"]
    if not free:
        return ""
    mentions = ", ".join(f"{count} {state}" for state, count in (free["mentions"] or {}).items())
    mentioned = f"<p class='soft'>Mentions of labels in the texts: {mentions}.</p>" if mentions else ""
    if metrics["answered"] == "generations":
        return f"<h2>What was written</h2>{mentioned}" if mentioned else ""
    lines = "".join(
        f"<tr><td>{escaped(FIGURES[name])}</td><td class='number'>{told(free['figures'][name])}</td></tr>"
        for name in OF_DECISIONS
        if free["figures"][name]["value"] is not None
    )
    return (
        f"<h2>The same model in free text</h2><p class='soft'>{free['rows']} images answered in words.</p>"
        f"<div class='card wide'><table>{lines}</table></div>{mentioned}"
    )


def shown(images: Sequence[Prediction], card: Card) -> tuple[list[Prediction], list[Prediction]]:
    """Choose the images that the page shows.

    Returns
    -------
    wrong : list of Prediction
        Those that could not be read first, then those with the lowest F1 of their own.
    right : list of Prediction
        Those with the most findings first.
    """

    def share(row: Prediction) -> float:
        gold, said = set(row.label or ()), set(row.parsed or ())
        return 2 * len(gold & said) / (len(gold) + len(said) or 1)

    right = [row for row in images if not row.unread and set(row.label or ()) == set(row.parsed or ())]
    have = {row.id for row in right}
    wrong = [row for row in images if row.id not in have]
    wrong.sort(key=lambda row: (not row.unread, share(row), row.id))
    right.sort(key=lambda row: (row.label == [card.normal], -len(row.label or ()), row.id))
    return wrong[:SHOWN], right[:SHOWN]


def thumbnail(path: Path) -> str | None:
    """Make a small picture of an image, as an address that holds it; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            small = opened.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _examples(
    metrics: Mapping[str, Any],
    images: Sequence[Prediction],
    about: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
    card: Card,
) -> str:
    wrong, right = shown(images, card)
    parts = ""
    for title, rows, order in (
        ("Wrong answers", wrong, "those that could not be read first, then those with the fewest labels right"),
        ("Right answers", right, "those with the most findings first"),
    ):
        if not rows:
            parts += f"<h2>{title}</h2><p>There are none.</p>"
            continue
        drawn = "".join(_example(row, metrics, about.get(row.id, {}), pictures.get(row.id)) for row in rows)
        parts += f"<h2>{title}</h2><p class='soft'>{len(rows)} images, {order}.</p><div class='grid'>{drawn}</div>"
    return parts


def _example(row: Prediction, metrics: Mapping[str, Any], about: Mapping[str, Any], picture: str | None) -> str:
    gold, said = (escaped(", ".join(names or ())) for names in (row.label, row.parsed))
    if row.unread:
        said = "not readable" if not row.parsed else f"{said}; {len(row.unread)} labels not readable"
    facts = [str(about[name]) for name in ("view", "sex") if about.get(name)]
    facts += [f"{about['age']} years"] if about.get("age") is not None else []
    parts = f"<h3>{escaped(row.id)}</h3><p>True <b>{gold}</b>, answered <b>{said or 'none of the labels'}</b></p>"
    parts += f"<p class='soft'>{escaped(', '.join(facts))}</p>" if facts else ""
    if row.probabilities:
        parts += _probabilities(row.probabilities, metrics["thresholds"] or {})
    if row.text is not None:
        parts += f"<p class='soft'>The model wrote:</p><pre>{escaped(row.text)}</pre>"
    image = f"<img src='{picture}' alt='the image'>" if picture else ""
    return f"<div class='card pictured'>{image}<div>{parts}</div></div>"


def _probabilities(probabilities: Mapping[str, float], thresholds: Mapping[str, float]) -> str:
    most = sorted(probabilities, key=lambda label: (-probabilities[label], label))[:SURE]
    told_of = ", ".join(
        f"{escaped(label)} {probabilities[label]:.3f}"
        + (f" (from {thresholds[label]:.3f})" if label in thresholds else "")
        for label in most
    )
    return f"<p>Most probable: {told_of}</p>"
