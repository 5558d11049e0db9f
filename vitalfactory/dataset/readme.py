"""A dataset's README: the card told to people, under the head that the Hugging Face hub reads."""

from __future__ import annotations

import yaml

from vitalfactory.card import Card

MOST_COLUMNS = 20
"""A vocabulary of more labels stands in card.json alone."""
IMAGES = """
The images lie in `images/`. A row's column `images` has their paths as LLaMA-Factory reads them, from the folder
that holds `data/` (its `dataset_dir`), and `image_sha256` their hashes.
"""


def readme(card: Card, *, images: bool = False) -> str:
    """Write the README of a dataset folder.

    Parameters
    ----------
    card : Card
    images : bool
        Whether its rows have images.

    Returns
    -------
    str
        Markdown with a YAML head.
    """
    return f"---\n{_head(card)}---\n\n{_body(card)}{IMAGES if images else ''}"


def _head(card: Card) -> str:
    files = [{"split": name, "path": f"{name}.jsonl"} for name in card.splits]
    head = {
        "license": "other",
        "license_name": card.source.licence,
        "language": [card.language],
        "pretty_name": card.name,
        "tags": ["medical", card.task, *(["synthetic"] if card.source.synthetic else [])],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _body(card: Card) -> str:
    origin = f"{card.source.name}, version {card.source.version}, licence {card.source.licence}."
    synthetic = " **The records are synthetic: no figure from them says anything about patients.**"
    excluded = "".join(f"- {reason}: {count}\n" for reason, count in card.excluded.items()) or "- nothing\n"
    return (
        f"# {card.name}\n\n"
        f"{origin}{synthetic if card.source.synthetic else ''}\n\n"
        f"Question: {card.question[0]}\n\n"
        f"Answers: {', '.join(f'`{answer}` ({label})' for label, answer in card.answers.items()) or 'free text'}"
        f"{_asked(card)}\n\n"
        f"Representation: `{card.representation}`. Written by a model: {card.model_written or 'no'}.\n\n"
        f"{_table(card)}\n"
        f"Excluded source rows:\n\n{excluded}\n"
        f"Made by:\n\n    {card.command}\n"
    )


def _asked(card: Card) -> str:
    if card.verdicts is None:
        return ""
    asks = "some rows ask for one word" if card.kind == "qa" else "each row asks about one of them"
    return f"; {asks}, `{card.verdicts.present}` or `{card.verdicts.absent}`"


def _table(card: Card) -> str:
    labels = card.labels if len(card.labels) <= MOST_COLUMNS else []
    head = "| split | rows | groups |" + "".join(f" {label} |" for label in labels)
    lines = [head, "|---|" + "---|" * (2 + len(labels))]
    for name, part in card.splits.items():
        counts = "".join(f" {part.labels.get(label, 0)} |" for label in labels)
        lines.append(f"| {name} | {part.rows} | {part.groups} |{counts}")
    return "\n".join(lines) + "\n"
