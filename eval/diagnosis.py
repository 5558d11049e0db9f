"""Figures with intervals, and a report, of a run whose answers are diagnoses with their reasons.

    python eval/diagnosis.py results/clinical_smollm2
    python eval/diagnosis.py results/clinical_smollm2 --synonyms synonyms.csv

Reads the run's generations.jsonl (or predictions.jsonl, of the TF-IDF baseline) and its dataset. Writes metrics.json,
report.html and sets.jsonl (what was judged, for eval/compare.py) into the run and a line into metrics.csv beside it;
for another split than test, metrics_val.json and so on. The figures are over the notes that do not state their
diagnosis; those of the others stand apart.

    python eval/diagnosis.py results/mine --data data/clinical --answers answers.jsonl
    python eval/diagnosis.py results/mine --data data/clinical --generated-predictions generated_predictions.jsonl

makes a run out of rows {"id", "diseases": "a, b", "reason"}, or out of what LLaMA-Factory's do_predict wrote.

    python eval/diagnosis.py results/clinical_smollm2 --judge-url http://127.0.0.1:8000/v1 --judge-model NAME

asks another model as well whether names that differ mean one disease, and how well the note supports the reason. Its
verdicts are kept in judged.jsonl, so that none is asked for twice; notes are sent to that URL. The key, where one is
needed, comes from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.diagnosis import Answer
    from vitalfactory.scoring.run import Run

MANIFEST_COLUMNS = ("date", "dataset", "model", "method", "recipe", "adapter")
SHAPE_COLUMNS = ("split", "answered", "rows", "groups")
ROUGE_OVER = {"zh": "words cut by jieba"}
WORDS = "words"
APART = ("micro_f1", "macro_f1", "set_match")
"""What is printed of the notes that stand apart; the page and metrics.json have all figures."""
LONGEST_VERDICT = 64
"""Tokens."""


@dataclass(frozen=True)
class Judge:
    """The model that is asked for its opinion."""

    url: str
    model: str


def judge(
    folder: Path,
    split: str = "test",
    table: Path | None = None,
    synonyms: Path | None = None,
    opinion: Judge | None = None,
) -> dict[str, Any]:
    """Judge a run and write metrics.json, report.html and its line in the table of runs.

    Parameters
    ----------
    folder : Path
        The run.
    split : str
    table : Path, optional
        The CSV file of all runs; ``metrics.csv`` beside the run by default.
    synonyms : Path, optional
        CSV of names that mean the same, one disease a line.
    opinion : Judge, optional
        Asked as well.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    VitalFactoryError
        The folder holds no complete run of this dataset, the table of synonyms is none, or the judge cannot be asked.
    """
    from vitalfactory.files import write_json, write_text
    from vitalfactory.predictions import named
    from vitalfactory.scoring.diagnosis import judged_of
    from vitalfactory.scoring.diagnosis_report import report
    from vitalfactory.scoring.metrics import record
    from vitalfactory.scoring.run import open_folder

    opened = open_folder(folder, "diagnosis")
    if split not in opened.card.splits:
        raise VitalFactoryError(f"{folder}: its dataset has no {split}; it has {', '.join(opened.card.splits)}")
    metrics, answers, texts = _measure(opened, split, synonyms)
    chosen, _ = judged_of(answers)
    if opinion is not None:
        metrics["judge"] = _ask(opinion, chosen, folder / named("judged.jsonl", split))
    sets = (_sets(answer).line() for answer in chosen)
    write_text(folder / named("sets.jsonl", split), "".join(sets))
    write_json(folder / named("metrics.json", split), metrics)
    write_text(folder / named("report.html", split), report(metrics, chosen, opened.card, texts))
    record(table or folder.resolve().parent / "metrics.csv", _line(metrics))
    return metrics


def _measure(
    opened: Run, split: str, synonyms: Path | None
) -> tuple[dict[str, Any], list[Answer], dict[str, str | None]]:
    from vitalfactory.diagnosis import Synonyms, read_synonyms
    from vitalfactory.files import sha256
    from vitalfactory.scoring.diagnosis import measure, read_answers

    source = opened.source(split)
    generations = opened.answers(split, "generations", source)
    rows = generations or opened.answers(split, "predictions", source)
    if rows is None:
        raise VitalFactoryError(
            f"{opened.folder}: holds no answers to {split}; run eval/generate.py --out {opened.folder} first"
        )
    known = read_synonyms(synonyms) if synonyms else Synonyms()
    fields = "fields" in opened.manifest.get("decoding", {}).get("generations", {})
    answers = read_answers(rows, source, known, fields=fields)
    if opened.card.model_written:
        opened.notes.insert(0, agreement(opened.card.model_written))
    metrics = {
        "run": opened.folder.resolve().name,
        "split": split,
        "answered": "generations" if generations else "predictions",
        **measure(answers, opened.card, known),
        "threshold": None,
        "free_text": None,
        "rouge": ROUGE_OVER.get(opened.card.language, WORDS),
        "synonyms": {"file": synonyms.name, "sha256": sha256(synonyms)} if synonyms else None,
        "judge": None,
        "notes": opened.notes,
        "manifest": opened.manifest,
    }
    return metrics, answers, {row.id: row.text for row in rows}


def _sets(answer: Answer) -> Prediction:
    """Tell what was judged, names resolved, in the form that eval/compare.py reads."""
    from vitalfactory.predictions import Prediction

    return Prediction(
        id=answer.id,
        group=answer.group,
        label=sorted(answer.gold),
        probabilities=None,
        text=None,
        parsed=sorted(answer.said) or None,
    )


def agreement(model: str) -> str:
    """Say what figures against a model's labels are worth."""
    return (
        f"the gold labels were written by {model}: the figures say how far a run agrees with that model, not how often "
        "it is right"
    )


def _ask(opinion: Judge, answers: Sequence[Answer], path: Path) -> dict[str, Any]:
    """Ask a judge about names that differ and about reasons."""
    from vitalfactory.files import lock
    from vitalfactory.scoring import judge as judging

    pairs = judging.unmatched(answers)
    asked = {answer.id: question for answer in answers if (question := judging.about_reason(answer))}
    with lock(path.with_name(f".{path.name}.lock"), wait=False):
        same = _verdicts(opinion, judging.Same, [judging.about_names(pair) for pair in pairs], path)
        rated = _verdicts(opinion, judging.Rating, list(asked.values()), path)
    matched = {pair: verdict for pair, verdict in zip(pairs, same, strict=True) if verdict is not None}
    ratings = {name: verdict for name, verdict in zip(asked, rated, strict=True) if verdict is not None}
    return {
        "model": opinion.model,
        "pairs": len(pairs),
        "same": sum(matched.values()),
        "reasons": len(asked),
        "rated": len(ratings),
        "failed": len(pairs) - len(matched) + len(asked) - len(ratings),
        "figures": judging.figures_of(answers, matched, ratings),
    }


def _verdicts(
    opinion: Judge, form: type[BaseModel], questions: Sequence[list[dict[str, str]]], path: Path
) -> list[Any]:
    """Ask what is not answered in the file of verdicts yet, and keep each verdict there as soon as it comes."""
    from tqdm import tqdm

    from vitalfactory.endpoint.asking import Question, ask
    from vitalfactory.endpoint.client import Endpoint
    from vitalfactory.endpoint.structured import Form, bare_schema
    from vitalfactory.files import dumps, recover_jsonl

    keys = [_key(opinion.model, messages) for messages in questions]
    verdicts = {row["key"]: row["verdict"] for row in recover_jsonl(path) if row["verdict"] is not None}
    todo = {key: messages for key, messages in zip(keys, questions, strict=True) if key not in verdicts}
    if not todo:
        return [verdicts[key] for key in keys]
    wanted = Form(form.__name__.lower(), bare_schema(form.model_json_schema()), lambda text: _checked(text, form))
    asked = (Question(key, messages) for key, messages in todo.items())
    answers = ask(
        Endpoint(opinion.url, opinion.model), asked, wanted, {"temperature": 0, "max_tokens": LONGEST_VERDICT}
    )
    with path.open("a", encoding="utf-8") as stream:
        for answer in tqdm(answers, desc=f"judging ({wanted.name})", total=len(todo), unit="question", disable=None):
            verdicts[answer.key] = answer.value
            kept = {"key": answer.key, "model": opinion.model, "verdict": answer.value, "failure": answer.reason}
            stream.write(dumps(kept) + "\n")
            stream.flush()
    return [verdicts.get(key) for key in keys]


def _key(model: str, messages: Sequence[Mapping[str, str]]) -> str:
    import hashlib

    from vitalfactory.files import dumps

    return hashlib.blake2b(dumps([model, messages]).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _checked(text: str, form: type[BaseModel]) -> Any:
    from vitalfactory.endpoint.structured import Checked, WrongAnswer, said
    from vitalfactory.scoring.judge import read_verdict

    try:
        return Checked(read_verdict(said(text), form))
    except ValueError as error:
        raise WrongAnswer(str(error)) from None


def take_over(folder: Path, data: Path, split: str, model: str, answers: Path | None, generated: Path | None) -> None:
    """Make a run out of answers that came as a file.

    Parameters
    ----------
    folder : Path
        The run to make.
    data : Path
        The dataset's folder.
    split : str
    model : str
        The model's name for the manifest.
    answers, generated : Path or None
        Rows of id, diseases and reason; or what LLaMA-Factory's do_predict wrote.

    Raises
    ------
    VitalFactoryError
        The dataset is of another kind, or the file does not belong to it.
    """
    from vitalfactory.card import read_card
    from vitalfactory.diagnosis import normalise, read_answer
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.taken import from_llamafactory, keep

    if (kind := read_card(data).kind) != "diagnosis":
        raise VitalFactoryError(f"{data}: its answers are of the kind {kind!r}; expected 'diagnosis'")
    file = answers or generated
    assert file is not None
    predictions = []
    for row, text in from_llamafactory(file, data, split) if generated else from_fields(file, data, split):
        found = read_answer(text).diagnosis
        parsed = [normalise(name) for name in found.diseases] if found else None
        known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
        predictions.append(Prediction(**known, probabilities=None, text=text, parsed=parsed))
    keep(folder, data, split, predictions, model, file, fields=answers is not None)


def from_fields(file: Path, data: Path, split: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Join rows of id, diseases and reason to the rows of a split.

    Parameters
    ----------
    file : Path
        An id is that of the dataset, or of the source: a repeated one needs its note beside it. Rows of other notes
        are passed over.
    data : Path
        The dataset's folder.
    split : str

    Yields
    ------
    tuple of dict and str
        A row, and its answer as JSON.

    Raises
    ------
    VitalFactoryError
        A note of the split has no answer, or two that differ.
    """
    from vitalfactory.files import dumps, read_jsonl
    from vitalfactory.notes.note import FIELDS

    rows = {row["id"]: row for row in read_jsonl(data / f"{split}.jsonl")}
    found: dict[str, str] = {}
    for number, given in enumerate(read_jsonl(file), 1):
        told = {name: value for name, value in given.items() if name not in ("id", *FIELDS)}
        text = dumps({name: value for name, value in told.items() if isinstance(value, str | list)})
        name = _id_of(given, rows)
        if name is not None and found.setdefault(name, text) != text:
            raise VitalFactoryError(
                f"{file}:{number}: id {name!r} is answered twice and not alike; expected one answer a note, or its "
                f"note beside it ({FIELDS[0]})"
            )
    missing = [name for name in rows if name not in found]
    if missing:
        raise VitalFactoryError(
            f"{file}: {len(missing)} of {len(rows)} notes of {data / split}.jsonl have no answer, first "
            f"{missing[0]!r}; expected one row with its id for each"
        )
    yield from ((row, found[name].encode("utf-8", "replace").decode("utf-8")) for name, row in rows.items())


def _id_of(given: Mapping[str, Any], rows: Mapping[str, Any]) -> str | None:
    """Find the note of the dataset that an answer is about: by its id, or by its id and its text."""
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.notes.note import note_key, note_of

    name = str(given.get("id"))
    if name in rows:
        return name
    try:
        name = f"{name}-{note_key(note_of(given))}"
    except UnusableRecord:
        return None
    return name if name in rows else None


def _line(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a run's figures out as one line of the table of runs."""
    run = metrics["run"] if metrics["split"] == "test" else f"{metrics['run']} ({metrics['split']})"
    line = {"run": run, **{name: metrics["manifest"].get(name) for name in MANIFEST_COLUMNS}}
    line |= {name: metrics[name] for name in SHAPE_COLUMNS}
    for name, figure in metrics["figures"].items():
        line |= {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
    return {name: _shown(value) for name, value in line.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def table_of(figures: Mapping[str, Any], titles: Mapping[str, str], majority: Mapping[str, Any] | None = None) -> str:
    """Lay figures out in aligned columns, those of the most frequent disease beside them."""
    from vitalfactory.scoring.intervals import tell, tell_value

    usual = majority["figures"] if majority else {}
    lines = [("figure", "value [95 % interval]", f"always {majority['label']}" if majority else "")]
    lines += [
        (titles[name], tell(figure), tell_value(usual[name]["value"]) if name in usual else "")
        for name, figure in figures.items()
        if figure["value"] is not None
    ]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "\n".join(f"  {name:<{first}}  {value:<{second}}  {other}".rstrip() for name, value, other in lines)


def _print(metrics: Mapping[str, Any], folder: Path) -> None:
    from vitalfactory.predictions import named
    from vitalfactory.scoring import judge as judging
    from vitalfactory.scoring.diagnosis import FIGURES
    from vitalfactory.scoring.diagnosis_report import SYNTHETIC, judge_line

    print(f"{metrics['run']}: {metrics['split']}, {metrics['judged']}; {metrics['groups']} groups")
    print(table_of(metrics["figures"], FIGURES, metrics["majority"]))
    for name, part in metrics["apart"].items():
        print(f"  apart, {name} ({part['rows']} rows):")
        print(table_of({key: part["figures"][key] for key in APART}, FIGURES))
    if metrics["judge"]:
        print(f"  the opinion of {metrics['judge']['model']}, no ground truth. {judge_line(metrics['judge'])}")
        print(table_of(metrics["judge"]["figures"], judging.FIGURES))
    for note in metrics["notes"]:
        print(f"  note: {note}")
    if metrics["manifest"].get("synthetic"):
        print(f"  {SYNTHETIC[0].lower()}{SYNTHETIC[1:]}")
    print(f"  report: {folder / named('report.html', metrics['split'])}")


def _check(arguments: argparse.Namespace) -> None:
    files = (arguments.answers, arguments.generated_predictions)
    if all(files):
        raise VitalFactoryError("give --answers or --generated-predictions, not both")
    if any(files) != (arguments.data is not None):
        raise VitalFactoryError("--data DIR goes with --answers FILE or --generated-predictions FILE")
    if (arguments.judge_url is None) != (arguments.judge_model is None):
        raise VitalFactoryError("--judge-url URL and --judge-model NAME go together")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python eval/diagnosis.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("run", type=Path, help="the run's folder, such as results/clinical_smollm2")
    add("--synonyms", type=Path, metavar="CSV", help="names that mean the same: one disease a line, no header")
    add("--answers", type=Path, metavar="FILE", help="make the run out of rows of id, diseases, reason; needs --data")
    llamafactory = "make the run out of LLaMA-Factory's output; needs --data"
    add("--generated-predictions", type=Path, metavar="FILE", help=llamafactory)
    add("--data", type=Path, metavar="DIR", help="the dataset's folder, for these two")
    add("--model-name", default="unknown", help="the model's name in the manifest, for these two")
    add("--dataset-split", choices=("train", "val", "test"), default="test", help="the split to judge (default: test)")
    add("--judge-url", metavar="URL", help="ask a model behind this OpenAI-compatible endpoint; it is sent the notes")
    add("--judge-model", metavar="NAME", help="its name there")
    add("--csv", type=Path, metavar="PATH", help="the table of runs (default: metrics.csv beside the run)")
    add("--json", action="store_true", help="print metrics.json on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    arguments = _parse(argv)
    _check(arguments)
    split = arguments.dataset_split
    if arguments.data is not None:
        files = (arguments.answers, arguments.generated_predictions)
        take_over(arguments.run, arguments.data, split, arguments.model_name, *files)
    opinion = Judge(arguments.judge_url, arguments.judge_model) if arguments.judge_url else None
    metrics = judge(arguments.run, split, arguments.csv, arguments.synonyms, opinion)
    _print(metrics, arguments.run)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(metrics))


if __name__ == "__main__":
    run(main)
