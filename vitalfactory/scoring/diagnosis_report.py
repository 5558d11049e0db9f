"""A diagnosis run's report: one HTML page that needs nothing beside itself, neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitalfactory.card import Card
from vitalfactory.scoring import judge
from vitalfactory.scoring.diagnosis import COUNTS, FIGURES, Answer
from vitalfactory.scoring.report import WORST, escaped, figures_table, header, page, told

MOST_DISEASES = 60
"""Diseases in the page's table; metrics.json has all."""
REASON_FIGURES = ("rouge_1", "rouge_2", "rouge_l", "evidence", "evidence_gold")
SYNTHETIC = "Synthetic notes: these figures say nothing about patients"


def report(metrics: Mapping[str, Any], answers: Sequence[Answer], card: Card, texts: Mapping[str, str | None]) -> str:
    """Write a run's page.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    answers : sequence of Answer
        Those that the figures are over.
    card : Card
    texts : mapping of str to str or None
        By id: what the model wrote.

    Returns
    -------
    str
        HTML. The same arguments give the same page.
    """
    sections = [
        _header(metrics, card),
        _figures(metrics),
        _reading(metrics),
        _apart(metrics["apart"]),
        _judge(metrics["judge"]),
        _per_disease(metrics["per_class"]),
        _examples(answers, texts),
    ]
    return page(metrics, SYNTHETIC, sections)


def _header(metrics: Mapping[str, Any], card: Card) -> str:
    manifest, source = metrics["manifest"], card.source
    about = [
        ("Model", f"{manifest.get('model', 'unknown')} ({manifest.get('method', 'unknown')})"),
        ("Adapter", manifest.get("adapter") or "none"),
        ("Dataset", f"{card.name}, {card.language}: {source.name}, {source.version} ({source.licence})"),
        ("Judged", f"{metrics['split']}: {metrics['judged']}; {metrics['groups']} groups"),
        ("Synonyms", metrics["synonyms"]["file"] if metrics["synonyms"] else "none; names in their normal form"),
        ("Date", manifest.get("date", "unknown")),
    ]
    return header(metrics["run"], about, metrics["notes"], card)


def _figures(metrics: Mapping[str, Any]) -> str:
    remark = (
        "An answer that no diagnosis could be read from counts as wrong: it names no disease and gives no reason. The "
        "grey mark is the answer that always names the most frequent disease of the training rows."
    )
    return figures_table(metrics, FIGURES, remark, COUNTS)


def _reading(metrics: Mapping[str, Any]) -> str:
    """Say how texts were read, and by what rules reasons are judged."""
    read = metrics["read"]
    texts = (
        f"<p class='soft'>Texts: {read['valid']} were the JSON that was asked for, {read['repaired']} were read with "
        f"tolerance, {read['unreadable']} could not be read.</p>"
        if any(read.values())
        else ""
    )
    if all(metrics["figures"][name]["value"] is None for name in REASON_FIGURES):
        return texts
    return (
        f"{texts}<p class='soft'>Reasons: ROUGE by rouge-chinese over {escaped(metrics['rouge'])}. A fact is what "
        "stands between two marks of punctuation; it is found where its words stand in the note one after another, or "
        "all its numbers and three quarters of its other content do. The check looks for words: it does not see that a "
        "note denies a finding, and it does not know synonyms. The gold reasons' own share says how much it can "
        "find.</p>"
    )


def _apart(parts: Mapping[str, Any]) -> str:
    """Lay out the figures of the notes that give their answer away, and of all."""
    if not parts:
        return ""
    head = "".join(f"<th class='number'>{escaped(name)}, {part['rows']} rows</th>" for name, part in parts.items())
    lines = "".join(
        f"<tr><td>{escaped(title)}</td>"
        + "".join(f"<td class='number'>{told(part['figures'][name])}</td>" for part in parts.values())
        + "</tr>"
        for name, title in FIGURES.items()
        if any(part["figures"][name]["value"] is not None for part in parts.values())
    )
    return (
        "<h2>Notes that state their diagnosis</h2><p class='soft'>They give the answer away, so they are left out of "
        f"the figures above.</p><div class='card wide'><table><tr><th>Figure</th>{head}</tr>{lines}</table></div>"
    )


def _judge(judged: Mapping[str, Any] | None) -> str:
    if judged is None:
        return ""
    lines = "".join(
        f"<tr><td>{escaped(judge.FIGURES[name])}</td><td class='number'>{told(figure)}</td></tr>"
        for name, figure in judged["figures"].items()
        if figure["value"] is not None
    )
    return (
        f"<h2>The opinion of {escaped(judged['model'])}</h2><p class='soft'>A model was asked, and its verdicts are "
        f"no ground truth: they stand apart from the figures above. {escaped(judge_line(judged))}</p>"
        f"<div class='card wide'><table>{lines}</table></div>"
    )


def judge_line(judged: Mapping[str, Any]) -> str:
    """Say what a judge was asked and how often it gave a verdict."""
    return (
        f"Of {judged['pairs']} pairs of unmatched names it holds {judged['same']} for the same disease; of "
        f"{judged['reasons']} reasons it rated {judged['rated']}; {judged['failed']} questions have no verdict."
    )


def _per_disease(diseases: Mapping[str, Any]) -> str:
    lines = ""
    for name, figures in list(diseases.items())[:MOST_DISEASES]:
        cells = "".join(f"<td class='number'>{told(figures[each])}</td>" for each in ("precision", "recall", "f1"))
        lines += f"<tr><td>{escaped(name)}</td>{cells}<td class='number'>{figures['support']}</td></tr>"
    head = "".join(f"<th class='number'>{name}</th>" for name in ("Precision", "Recall", "F1", "Notes"))
    more = len(diseases) - MOST_DISEASES
    rest = f"<p class='soft'>{more} rarer diseases stand in metrics.json.</p>" if more > 0 else ""
    return (
        f"<h2>Each disease</h2><div class='card wide'><table><tr><th>Disease</th>{head}</tr>{lines}</table></div>{rest}"
    )


def worst(answers: Sequence[Answer]) -> list[Answer]:
    """List the wrong answers, those that could not be read first, then those with the lowest F1 of their own."""

    def share(answer: Answer) -> float:
        return 2 * len(answer.gold & answer.said) / (len(answer.gold) + len(answer.said) or 1)

    wrong = [answer for answer in answers if answer.said != answer.gold]
    return sorted(wrong, key=lambda answer: (bool(answer.said), share(answer), answer.id))[:WORST]


def _examples(answers: Sequence[Answer], texts: Mapping[str, str | None]) -> str:
    wrong = worst(answers)
    if not wrong:
        return "<h2>Most wrong</h2><p>No note was answered wrongly.</p>"
    shown = "".join(_example(answer, texts.get(answer.id)) for answer in wrong)
    return (
        f"<h2>Most wrong</h2><p class='soft'>{len(wrong)} wrongly answered notes: those without a readable answer "
        f"first, then those with the fewest diseases right.</p>{shown}"
    )


def _example(answer: Answer, text: str | None) -> str:
    gold, said = (escaped(", ".join(sorted(names))) for names in (answer.gold, answer.said))
    said = said or "no diagnosis could be read"
    parts = f"<h3>{escaped(answer.id)}</h3><p>Gold <b>{gold}</b>, answered <b>{said}</b></p>"
    if answer.note:
        parts += f"<pre>{escaped(answer.note)}</pre>"
    if text is not None:
        parts += f"<p class='soft'>The model wrote:</p><pre>{escaped(text)}</pre>"
    return f"<div class='card example'>{parts}</div>"
