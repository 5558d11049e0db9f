"""A run's page on medical questions, as HTML that needs nothing beside itself and as Markdown with the same content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitalfactory.card import Card
from vitalfactory.predictions import asked_of
from vitalfactory.scoring import qa_judge, qa_safety
from vitalfactory.scoring.intervals import Figure, tell, tell_value
from vitalfactory.scoring.qa import COUNTS, FIGURES, HONEST, NO_DOCTOR, UNDEFINED, UNSEEN, Answer
from vitalfactory.scoring.qa_entities import Vocabulary, said_of, wanted_of
from vitalfactory.scoring.report import bar, escaped, header, interval, number, page, told

EXAMPLES = 20
"""Questions shown with their answers."""
OF_PARTS = ("entity_f1", "exact_match", "rouge_l", "yes_no_text", "yes_no_auroc", "perplexity")
"""Figures by kind of question and by what training knew; metrics.json has all."""
SYNTHETIC = "Synthetic facts: these figures say nothing about patients"
NO_TEXT = "no answer"
STYLE = ".wide td:first-child{min-width:150px}"


@dataclass(frozen=True)
class Example:
    """A question with its answers, as a page shows it.

    Attributes
    ----------
    id, form, question, reference : str
    facts : list of str
        What the reference stands on.
    answers : dict of str to tuple of str and str
        By run: what it answered, and which entities that names.
    """

    id: str
    form: str
    question: str
    reference: str
    facts: list[str]
    answers: dict[str, tuple[str, str]]


def examples_of(
    answers: Sequence[Answer], run: str, beside: tuple[str, Mapping[str, str]] | None, vocabulary: Vocabulary
) -> list[Example]:
    """Choose questions to show, of every kind in turn and the same ones for every run.

    Parameters
    ----------
    answers : sequence of Answer
    run : str
        The run's name.
    beside : tuple of str and mapping, optional
        Another run's name and its answers by id; it is shown first, and questions that it has no answer to are not.
    vocabulary : Vocabulary
    """
    shown = []
    for answer in _in_turn(answers):
        texts = {} if beside is None else {beside[0]: beside[1].get(answer.id)}
        texts[run] = answer.text
        if None in texts.values():
            continue
        said = {name: (text or "", _names(answer, text or "", vocabulary)) for name, text in texts.items()}
        facts = [f"{head}, {relation}: {tail}" for head, relation, tail in answer.row.get("triples", ())]
        form = str(answer.row.get("form", "text"))
        shown.append(Example(answer.id, form, asked_of(answer.row), answer.reference, facts, said))
    return shown[:EXAMPLES]


def _in_turn(answers: Iterable[Answer]) -> list[Answer]:
    """Order answers so that every kind of question has its turn, each kind's own in an order that means nothing."""
    import hashlib

    ordered = sorted(answers, key=lambda answer: hashlib.sha256(answer.id.encode()).digest())
    places: dict[str, int] = {}
    turns = []
    for answer in ordered:
        places[answer.kind] = places.get(answer.kind, -1) + 1
        turns.append((places[answer.kind], answer.kind, answer))
    return [answer for *_, answer in sorted(turns, key=lambda turn: turn[:2])]


def _names(answer: Answer, text: str, vocabulary: Vocabulary) -> str:
    """Say how many of the wanted entities an answer names; nothing where it is no matter of names."""
    wanted = wanted_of(answer.row, answer.reference, vocabulary)
    if not wanted:
        return ""
    said = said_of(answer.row, text, vocabulary)
    return f"names {len(wanted & said)} of {len(wanted)} entities, and {len(said - wanted)} others"


def decoding_of(manifest: Mapping[str, Any]) -> str:
    """Say in words how a run's answers were decoded."""
    settings = manifest.get("decoding", {}).get("generations")
    if settings is None:
        return "no answers in free text"
    if "do_sample" not in settings:
        return ", ".join(f"{name} {value}" for name, value in settings.items()) or "not known"
    beams = settings.get("num_beams", 1)
    how = f"beam search with {beams} beams" if beams > 1 else "greedy"
    return f"{how}, at most {settings['max_new_tokens']} new tokens"


def model_of(manifest: Mapping[str, Any]) -> str:
    """Name a run's model and its adapter."""
    return f"{manifest.get('model', 'unknown')}, adapter {manifest.get('adapter') or 'none'}"


def about(metrics: Mapping[str, Any], card: Card) -> list[tuple[str, str]]:
    """List what a reader must know before the figures."""
    manifest, source, beside = metrics["manifest"], card.source, metrics["beside"]
    counts = ", ".join(f"{what} {count}" for what, count in metrics["counts"].items())
    lines = [
        ("Model", f"{model_of(manifest)} ({manifest.get('method', 'unknown')})"),
        ("Decoding", decoding_of(manifest)),
        ("Dataset", f"{card.name}, {card.language}: {source.name}, {source.version} ({source.licence})"),
        ("Judged", f"{metrics['split']}: {metrics['rows']} rows of {metrics['groups']} groups; {counts}"),
        ("Date", str(manifest.get("date", "unknown"))),
    ]
    if beside:
        lines[2:2] = [("Beside", f"{beside['run']}: {beside['model']}"), ("Its decoding", beside["decoding"])]
    return lines


def report(metrics: Mapping[str, Any], shown: Sequence[Example], card: Card) -> str:
    """Write a run's page.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    shown : sequence of Example
    card : Card

    Returns
    -------
    str
        HTML. The same arguments give the same page.
    """
    sections = [
        header(metrics["run"], about(metrics, card), [NO_DOCTOR, *metrics["notes"]]),
        _figures(metrics),
        _parts("By kind of question", "Kind", metrics["kinds"]),
        _parts("By what training knew", "Facts", metrics["known"], HONEST if UNSEEN in metrics["known"] else ""),
        _choices(metrics["choices"]),
        _judge(metrics["judge"]),
        _safety(metrics["safety"]),
        _examples(shown),
    ]
    return page(metrics, SYNTHETIC, sections, STYLE, f"Not a medical device. {NO_DOCTOR}")


def _figures(metrics: Mapping[str, Any]) -> str:
    usual = metrics["majority"]["figures"] if metrics["majority"] else {}
    beside = metrics["beside"]
    head = ["Figure", "Value", f"{metrics['intervals']['level']:.0%} interval", "Constant answer"]
    head += [beside["run"], "Difference"] if beside else []
    lines = ""
    for name, figure in metrics["figures"].items():
        if figure["value"] is None:
            continue
        cells = [f"<b>{number(figure['value'])}</b>", interval(figure), number(usual.get(name, UNDEFINED)["value"])]
        if beside:
            change = beside["differences"].get(name, UNDEFINED)
            cells += [number(beside["figures"].get(name, UNDEFINED)["value"]), escaped(tell(change, "+"))]
        lines += (
            f"<tr><td>{escaped(FIGURES[name])}</td>{''.join(f'<td class=number>{cell}</td>' for cell in cells)}"
            f"<td class='bar'>{'' if name in COUNTS else bar(figure, usual.get(name))}</td></tr>"
        )
    heads = "".join(f"<th{' class=number' if place else ''}>{escaped(name)}</th>" for place, name in enumerate(head))
    return (
        f"<h2>Figures</h2><div class='card wide'><table><tr>{heads}<th>0 to 1</th></tr>{lines}</table></div>"
        f"<p class='soft'>{escaped(_explained(metrics))}</p>"
    )


def _explained(metrics: Mapping[str, Any]) -> str:
    how = metrics["intervals"]
    constant = f" The constant answer is {metrics['majority']['label']}." if metrics["majority"] else ""
    beside = metrics["beside"]
    rows = f" Differences: this run minus {beside['run']}, over the {beside['rows']} rows of both." if beside else ""
    return (
        f"Intervals: {how['resamples']} bootstrap resamples of {how['over']}, seed {how['seed']}. An answer without "
        "text counts as wrong. Entities are looked for by name: neither a denial nor a synonym is understood. Likeness "
        f"to a reference is not correctness.{constant}{rows}"
    )


def _parts(title: str, what: str, parts: Mapping[str, Any], remark: str = "") -> str:
    if not parts:
        return ""
    names = _told_names(parts)
    heads = "".join(f"<th class='number'>{escaped(FIGURES[name])}</th>" for name in names)
    lines = "".join(
        f"<tr><td>{escaped(part)}</td><td class='number'>{found['rows']}</td>"
        + "".join(f"<td class='number'>{told(found['figures'].get(name, UNDEFINED))}</td>" for name in names)
        + "</tr>"
        for part, found in parts.items()
    )
    said = f"<p class='soft'>{escaped(remark)}</p>" if remark else ""
    return (
        f"<h2>{escaped(title)}</h2><div class='card wide'><table><tr><th>{escaped(what)}</th>"
        f"<th class='number'>Rows</th>{heads}</tr>{lines}</table></div>{said}"
    )


def _told_names(parts: Mapping[str, Any]) -> list[str]:
    return [name for name in OF_PARTS if any(name in part["figures"] for part in parts.values())]


def choices_line(choices: Mapping[str, Any]) -> str:
    """Say how questions of multiple choice were answered."""
    return (
        f"{choices['file']}: {choices['rows']} questions, {choices['several']} with several right options; accuracy "
        f"{tell(choices['accuracy'])}, by chance {tell_value(choices['chance'])}"
    )


def _choices(choices: Mapping[str, Any] | None) -> str:
    if choices is None:
        return ""
    return (
        f"<h2>Multiple choice</h2><p>{escaped(choices_line(choices))}</p><p class='soft'>By the likelihood of each "
        "letter behind the question with its options.</p>"
    )


def judge_line(judged: Mapping[str, Any]) -> str:
    """Say what a judge was asked and how often it gave a verdict."""
    return (
        f"{judged['pairs']} pairs against {judged['against']}, {judged['asked']} of them asked about in both orders; "
        f"{judged['failed']} without a verdict are left out"
    )


def _judge(judged: Mapping[str, Any] | None) -> str:
    if judged is None:
        return ""
    lines = "".join(
        f"<tr><td>{escaped(qa_judge.FIGURES[name])}</td><td class='number'>{told(figure)}</td></tr>"
        for name, figure in judged["figures"].items()
    )
    return (
        f"<h2>The opinion of {escaped(judged['model'])}</h2><p class='soft'>A model was asked, and its verdicts are no "
        f"ground truth. {escaped(judge_line(judged))}.</p><div class='card wide'><table>{lines}</table></div>"
    )


def _safety(safety: Mapping[str, Any] | None) -> str:
    if safety is None:
        return ""
    shares = "".join(
        f"<tr><td>{escaped(qa_safety.TITLES[name])}</td><td class='number'>{told(figure)}</td></tr>"
        for name, figure in safety["figures"].items()
    )
    missed = "".join(
        f"<tr><td>{escaped(row['question'])}</td><td>{escaped(row['answer'] or NO_TEXT)}</td></tr>"
        for row in safety["rows"]
        if not row["met"]
    )
    table = f"<h3>Not met</h3><table><tr><th>Asked</th><th>Answered</th></tr>{missed}</table>" if missed else ""
    return (
        f"<h2>Prompts that call for help</h2><p class='soft'>{escaped(qa_safety.CAVEAT)} {len(safety['rows'])} prompts."
        f"</p><div class='card wide'><table>{shares}</table>{table}</div>"
    )


def _examples(shown: Sequence[Example]) -> str:
    if not shown:
        return ""
    several = " side by side" if len(shown[0].answers) > 1 else ""
    return f"<h2>Answers{several}</h2>{''.join(map(_example, shown))}"


def _example(example: Example) -> str:
    facts = f"<p class='soft'>Facts: {escaped('; '.join(example.facts))}</p>" if example.facts else ""
    answers = "".join(
        f"<div><h3>{escaped(run)}</h3><pre>{escaped(text or NO_TEXT)}</pre><p class='soft'>{escaped(names)}</p></div>"
        for run, (text, names) in example.answers.items()
    )
    return (
        f"<div class='card example'><p><b>{escaped(example.question)}</b> <span class='soft'>{escaped(example.form)}, "
        f"{escaped(example.id)}</span></p><p>Reference: {escaped(example.reference)}</p>{facts}"
        f"<div class='grid'>{answers}</div></div>"
    )


def markdown(metrics: Mapping[str, Any], shown: Sequence[Example], card: Card) -> str:
    """Write the same page as Markdown, so that it can be read and quoted as text."""
    lines = [f"# {_cell(metrics['run'])}", "", f"> {NO_DOCTOR}", ""]
    lines += [f"> {SYNTHETIC}.", ""] if metrics["manifest"].get("synthetic") else []
    lines += [f"- {name}: {_cell(value)}" for name, value in about(metrics, card)]
    lines += [f"- Note: {_cell(note)}" for note in metrics["notes"]]
    lines += ["", *_figures_md(metrics), "", _explained(metrics), ""]
    for title, parts in (("By kind of question", metrics["kinds"]), ("By what training knew", metrics["known"])):
        lines += _parts_md(title, parts)
    lines += [HONEST, ""] if UNSEEN in metrics["known"] else []
    if metrics["choices"]:
        lines += ["## Multiple choice", "", f"{_cell(choices_line(metrics['choices']))}.", ""]
    if metrics["judge"]:
        lines += _titled_md(
            f"The opinion of {metrics['judge']['model']}", qa_judge.FIGURES, metrics["judge"]["figures"]
        )
        lines += [f"No ground truth: {_cell(judge_line(metrics['judge']))}.", ""]
    if metrics["safety"]:
        lines += _titled_md("Prompts that call for help", qa_safety.TITLES, metrics["safety"]["figures"])
        lines += [qa_safety.CAVEAT, ""]
    return "\n".join([*lines, *_examples_md(shown)])


def _cell(text: object) -> str:
    """Write a text within one line or cell of Markdown, its own marks as they are read."""
    flat = " ".join(str(text).encode("utf-8", "replace").decode("utf-8").split())
    for mark in "\\|<>`*_[]":
        flat = flat.replace(mark, f"\\{mark}")
    return flat


def _table_md(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(line)} |" for line in lines)]


def _figures_md(metrics: Mapping[str, Any]) -> list[str]:
    usual = metrics["majority"]["figures"] if metrics["majority"] else {}
    beside = metrics["beside"]
    head = [
        "Figure",
        "Value [95 % interval]",
        "Constant answer",
        *([_cell(beside["run"]), "Difference"] if beside else []),
    ]
    lines = []
    for name, figure in metrics["figures"].items():
        if figure["value"] is not None:
            line = [FIGURES[name], tell(figure), tell_value(usual.get(name, UNDEFINED)["value"])]
            if beside:
                line += [
                    tell(beside["figures"].get(name, UNDEFINED)),
                    tell(beside["differences"].get(name, UNDEFINED), "+"),
                ]
            lines.append(line)
    return _table_md(head, lines)


def _parts_md(title: str, parts: Mapping[str, Any]) -> list[str]:
    if not parts:
        return []
    names = _told_names(parts)
    lines = [
        [part, str(found["rows"]), *(tell(found["figures"].get(name, UNDEFINED)) for name in names)]
        for part, found in parts.items()
    ]
    return [f"## {title}", "", *_table_md(["", "Rows", *(FIGURES[name] for name in names)], lines), ""]


def _titled_md(title: str, titles: Mapping[str, str], figures: Mapping[str, Figure]) -> list[str]:
    table = _table_md(["", "Value"], ([titles[name], tell(figure)] for name, figure in figures.items()))
    return [f"## {_cell(title)}", "", *table, ""]


def _examples_md(shown: Sequence[Example]) -> list[str]:
    lines = ["## Answers", ""] if shown else []
    for example in shown:
        lines += [f"### {_cell(example.question)}", "", f"- Reference: {_cell(example.reference)}"]
        lines += [f"- Facts: {_cell('; '.join(example.facts))}"] if example.facts else []
        for run, (text, names) in example.answers.items():
            lines.append(f"- {_cell(run)}: {_cell(text or NO_TEXT)}{f' ({names})' if names else ''}")
        lines.append("")
    return lines
