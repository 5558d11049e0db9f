"""A made dataset of medical questions, and runs over it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.scoring.conftest import make_card
from vitalfactory.card import Card
from vitalfactory.files import write_json, write_jsonl
from vitalfactory.predictions import Prediction, dataset_manifest, gold_of, open_run, predictions_file

SYMPTOMS = {
    "Balosis": ("fever", "night sweats"),
    "Coritis": ("cough", "high fever"),
    "Daremia": ("rash", "fever"),
    "Fenopathy": ("itching", "cough"),
}
TRAINED = ("Balosis", "Coritis")
Row = dict[str, Any]


def question_card(**changes: Any) -> Card:
    split = {"rows": 0, "groups": 0, "labels": {}, "sha256": ""}
    known = {
        "kind": "qa",
        "task": "medqa",
        "labels": [],
        "verdicts": {"present": "Yes", "absent": "No"},
        "splits": dict.fromkeys(("train", "test"), split),
    }
    return make_card({"answers": {}, "synonyms": {}}, None, **(known | changes))


def list_row(disease: str, form: int = 1) -> Row:
    facts = [[disease, "symptom", symptom] for symptom in SYMPTOMS[disease]]
    asked = {"instruction": f"What are the symptoms of {disease}?", "input": ""}
    known = {"id": f"{disease}-list-{form}", "group": disease, "form": f"list-{form}", "answer_kind": "list"}
    return {**known, **asked, "output": f"{', '.join(SYMPTOMS[disease])}.", "triples": facts}


def yes_no_row(disease: str, symptom: str) -> Row:
    yes = symptom in SYMPTOMS[disease]
    facts = [[disease, "symptom", own] for own in SYMPTOMS[disease] if not yes or own == symptom]
    asked = {"instruction": f"Is {symptom} one of the symptoms of {disease}?", "input": ""}
    known = {"id": f"{disease}-{symptom}", "group": disease, "form": "yesno-1", "answer_kind": "yesno"}
    return {**known, **asked, "output": "Yes" if yes else "No", "triples": facts}


def reverse_row(disease: str) -> Row:
    first, second = SYMPTOMS[disease]
    facts = [[disease, "symptom", first], [disease, "symptom", second]]
    asked = {"instruction": f"Which disease has {first} and {second} among its symptoms?", "input": ""}
    known = {"id": f"{disease}-reverse", "group": disease, "form": "reverse-1", "answer_kind": "list"}
    return {**known, **asked, "output": f"{disease}.", "triples": facts}


def rows_of(diseases: Sequence[str]) -> list[Row]:
    rows = []
    for disease in diseases:
        rows += [list_row(disease), yes_no_row(disease, SYMPTOMS[disease][0]), yes_no_row(disease, "tremor")]
        rows.append(reverse_row(disease))
    return rows


TEST = [list_row("Balosis", 2), *rows_of(("Daremia", "Fenopathy"))]
"""A known fact in a new form, and entities that training does not have."""


def make_data(folder: Path, **changes: Any) -> Path:
    """Write the dataset: two diseases in train, the others in test."""
    parts = {"train": rows_of(TRAINED), "test": TEST}
    splits = {}
    for split, rows in parts.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
        groups = len({row["group"] for row in rows})
        splits[split] = {"rows": len(rows), "groups": groups, "labels": {}, "sha256": ""}
    write_json(folder / "card.json", question_card(splits=splits, **changes).model_dump())
    return folder


def make_run(
    folder: Path,
    data: Path,
    say: Callable[[Row], str] | None,
    logprob: float | None = None,
    yes: Mapping[str, float] | None = None,
    **manifest: Any,
) -> Path:
    """Write a run: answers in free text, the references' likelihoods, and probabilities of yes by id."""
    about = {"model": "tiny <model>", "method": "language model", "recipe": None, "adapter": None, **manifest}
    how = {"do_sample": False, "max_new_tokens": 32, "num_beams": 4}
    decoding = {"generations": how} if say else {}
    decoding |= {"likelihoods": {"limit": None}} if logprob else {}
    decoding |= {"predictions": {"limit": None}} if yes else {}
    open_run(folder, about | dataset_manifest(data, question_card()), decoding, data / "card.json")
    if say:
        _write(folder, "generations", [answered(row, say(row)) for row in TEST])
    if logprob:
        scored = {"logprob": logprob, "tokens": 4}
        _write(folder, "likelihoods", [answered(row, None).model_copy(update=scored) for row in TEST])
    if yes:
        rows = [row for row in TEST if row["answer_kind"] == "yesno"]
        told = [{"Yes": yes[row["id"]], "No": 1 - yes[row["id"]]} for row in rows]
        said = [answered(row, None).model_copy(update={"probabilities": p}) for row, p in zip(rows, told, strict=True)]
        _write(folder, "predictions", said)
    return folder


def answered(row: Row, text: str | None) -> Prediction:
    known = {"id": row["id"], "group": row["group"], "label": gold_of(row, "qa")}
    parsed = text.strip() or None if text is not None else None
    return Prediction(**known, probabilities=None, text=text, parsed=parsed, cut=None if text is None else False)


def _write(folder: Path, answered_by: Any, rows: Sequence[Prediction]) -> None:
    path = predictions_file(folder, "test", answered_by)
    path.write_text("".join(row.line() for row in rows), encoding="utf-8")
