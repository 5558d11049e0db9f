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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.endpoint.verdicts import Judge
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.diagnosis import Answer
    from vitalfactory.scoring.run import Run

ROUGE_OVER = {"zh": "words cut by jieba"}
WORDS = "words"
APART = ("micro_f1", "macro_f1", "set_match")
"""What is printed of the notes that stand apart; the page and metrics.json have all figures."""


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
    from vitalfactory.scoring.run import open_folder
    from vitalfactory.scoring.tables import record_run

    opened = open_folder(folder, "diagnosis", split)
    metrics, answers, texts = _measure(opened, split, synonyms)
    chosen, _ = judged_of(answers)
    if opinion is not None:
        metrics["judge"] = _ask(opinion, chosen, folder / named("judged.jsonl", split))
    sets = (_sets(answer).line() for answer in chosen)
    write_text(folder / named("sets.jsonl", split), "".join(sets))
    write_json(folder / named("metrics.json", split), metrics)
    write_text(folder / named("report.html", split), report(metrics, chosen, opened.card, texts))
    record_run(metrics, folder, table)
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
    from vitalfactory.endpoint.verdicts import ask_verdicts
    from vitalfactory.files import lock
    from vitalfactory.scoring import judge as judging

    pairs = judging.unmatched(answers)
    asked = {answer.id: question for answer in answers if (question := judging.about_reason(answer))}
    with lock(path.with_name(f".{path.name}.lock"), wait=False):
        about = [judging.about_names(pair) for pair in pairs]
        same = ask_verdicts(opinion, judging.Same, judging.read_verdict, about, path)
        rated = ask_verdicts(opinion, judging.Rating, judging.read_verdict, list(asked.values()), path)
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


def _print(metrics: Mapping[str, Any], folder: Path) -> None:
    from vitalfactory.scoring import judge as judging
    from vitalfactory.scoring.diagnosis import FIGURES
    from vitalfactory.scoring.diagnosis_report import SYNTHETIC, judge_line
    from vitalfactory.scoring.tables import closing, table_of

    print(f"{metrics['run']}: {metrics['split']}, {metrics['judged']}; {metrics['groups']} groups")
    print(table_of(metrics["figures"], FIGURES, metrics["majority"]))
    for name, part in metrics["apart"].items():
        print(f"  apart, {name} ({part['rows']} rows):")
        print(table_of({key: part["figures"][key] for key in APART}, FIGURES))
    if metrics["judge"]:
        print(f"  the opinion of {metrics['judge']['model']}, no ground truth. {judge_line(metrics['judge'])}")
        print(table_of(metrics["judge"]["figures"], judging.FIGURES))
    print(closing(metrics, folder, SYNTHETIC))


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
    opinion = None
    if arguments.judge_url:
        from vitalfactory.endpoint.verdicts import Judge

        opinion = Judge(arguments.judge_url, arguments.judge_model)
    metrics = judge(arguments.run, split, arguments.csv, arguments.synonyms, opinion)
    _print(metrics, arguments.run)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(metrics))


if __name__ == "__main__":
    run(main)
