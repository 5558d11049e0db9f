"""Figures with intervals, and a page, of a run that answers medical questions.

    python eval/qa.py results/medqa_smollm2
    python eval/qa.py results/medqa_smollm2 --beside results/medqa_before

Reads the run's generations.jsonl (eval/generate.py) and what eval/score.py wrote of it: likelihoods.jsonl,
predictions.jsonl (yes or no) and choices.jsonl. Writes metrics.json, report.html, report.md and values.jsonl (what
was judged, for eval/compare.py) into the run and a line into metrics.csv beside it; for another split than test,
metrics_val.json and so on. With --beside, another run over the same questions stands beside it: both answers to each
question shown, paired differences of all figures.

    python eval/qa.py results/medqa_smollm2 --safety answers.jsonl

reads answers to the prompts of `python -m vitalfactory.scoring.qa_safety`, and says how many point to help.

    python eval/qa.py results/medqa_smollm2 --judge-url http://127.0.0.1:8000/v1 --judge-model NAME

asks another model as well which of two answers is the better one, the run's or the other's: the run's beside it, or
the reference. Each pair is asked about in both orders. Its verdicts are kept in judged.jsonl, so that none is asked
for twice; questions and answers are sent to that URL. The key, where one is needed, comes from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.endpoint.verdicts import Judge
    from vitalfactory.scoring.qa import Answer, Columns, Training
    from vitalfactory.scoring.qa_entities import Vocabulary
    from vitalfactory.scoring.run import Run

FEW_GROUPS = 10
OF_ONE_TOKENISER = ("loss", "perplexity")


@dataclass(frozen=True, eq=False)
class Told:
    """A run with what it says, and what its dataset knows.

    Attributes
    ----------
    opened : Run
    answers : list of Answer
    columns : dict
        The answers as numbers.
    vocabulary : Vocabulary
    training : Training
    """

    opened: Run
    answers: list[Answer]
    columns: Columns
    vocabulary: Vocabulary
    training: Training

    @property
    def name(self) -> str:
        """The run's name."""
        return self.opened.folder.resolve().name

    @property
    def texts(self) -> dict[str, str]:
        """The answers in free text by id."""
        return {answer.id: answer.text for answer in self.answers if answer.text is not None}


def judge(
    folder: Path,
    split: str = "test",
    table: Path | None = None,
    beside: Path | None = None,
    safety: Path | None = None,
    opinion: Judge | None = None,
) -> dict[str, Any]:
    """Judge a run and write metrics.json, its pages and its line in the table of runs.

    Parameters
    ----------
    folder : Path
        The run.
    split : str
    table : Path, optional
        The CSV file of all runs; ``metrics.csv`` beside the run by default.
    beside : Path, optional
        Another run over the same questions.
    safety : Path, optional
        Answers to the prompts of :mod:`vitalfactory.scoring.qa_safety`.
    opinion : Judge, optional
        Asked as well.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    VitalFactoryError
        The folder holds no complete run of this dataset, the dataset is not at hand, the other run is over other
        questions, the answers are to other prompts, or the judge cannot be asked.
    """
    from vitalfactory.files import write_json, write_text
    from vitalfactory.predictions import named
    from vitalfactory.scoring import qa, qa_report
    from vitalfactory.scoring.tables import record_run

    told = read_told(folder, split)
    other = _read_beside(beside, told, split) if beside else None
    language = told.opened.card.language
    metrics = {
        "run": told.name,
        "split": split,
        "answered": "generations" if told.texts else "likelihoods",
        **qa.measure(told.answers, told.columns, told.training),
        "majority": qa.constant(told.answers, told.training, language, told.vocabulary),
        "per_class": {},
        "threshold": None,
        "free_text": None,
        "beside": _differences(told, other) if other else None,
        "choices": _choices(told.opened) if split == "test" else None,
        "judge": _ask(opinion, told, other, folder / named("judged.jsonl", split)) if opinion else None,
        "safety": _safety(safety, told.opened) if safety else None,
        "notes": _notes(told),
        "manifest": told.opened.manifest,
    }
    texts = (other.name, other.texts) if other else None
    shown = qa_report.examples_of(told.answers, told.name, texts, told.vocabulary)
    qa.write_values(folder / named("values.jsonl", split), told.answers, told.columns)
    write_json(folder / named("metrics.json", split), metrics)
    write_text(folder / named("report.html", split), qa_report.report(metrics, shown, told.opened.card))
    write_text(folder / named("report.md", split), qa_report.markdown(metrics, shown, told.opened.card))
    record_run(metrics, folder, table)
    return metrics


def read_told(folder: Path, split: str) -> Told:
    """Read a run with its dataset.

    Raises
    ------
    VitalFactoryError
        See :func:`judge`.
    """
    from vitalfactory.predictions import gold_of
    from vitalfactory.scoring.qa import Answer, Training, join, values_of
    from vitalfactory.scoring.qa_entities import vocabulary_of
    from vitalfactory.scoring.run import open_folder

    opened = open_folder(folder, "qa", split)
    card = opened.card
    source = opened.source(split)
    if source is None:
        raise VitalFactoryError(
            f"{folder}: {opened.notes.pop()}; answers are judged by the facts of that file: convert it again"
        )
    decided = {name: row for name, row in _limited(source, opened).items() if row["answer_kind"] == "yesno"}
    answers = join(
        source,
        card,
        opened.answers(split, "generations", source),
        opened.answers(split, "likelihoods", source),
        opened.answers(split, "predictions", decided),
    )
    if not answers:
        raise VitalFactoryError(
            f"{folder}: holds no answers to {split}; run eval/generate.py or eval/score.py --out {folder} first"
        )
    parts = {name: source if name == split else opened.source(name) or {} for name in card.splits}
    vocabulary = vocabulary_of(row for part in parts.values() for row in part.values())
    train = parts.get("train", {})
    rows = (Answer(name, row["group"], row, str(gold_of(row, "qa"))) for name, row in train.items())
    return Told(opened, answers, values_of(answers, card.language, vocabulary), vocabulary, Training(rows))


def _limited(source: Mapping[str, dict[str, Any]], opened: Run) -> dict[str, dict[str, Any]]:
    """Take the first rows of a split, as many as eval/score.py was told to."""
    limit = opened.manifest.get("decoding", {}).get("predictions", {}).get("limit")
    return dict(islice(source.items(), limit))


def _read_beside(folder: Path, told: Told, split: str) -> Told:
    other = read_told(folder, split)
    ours, theirs = (run.opened.manifest.get("dataset_sha256", {}).get(split) for run in (told, other))
    if ours != theirs:
        raise VitalFactoryError(
            f"{folder} and {told.opened.folder}: over other questions; put runs of one dataset there"
        )
    if other.name == told.name:
        raise VitalFactoryError(f"--beside {folder}: has the name of the run itself; name another run, or rename it")
    return other


def _differences(told: Told, other: Told) -> dict[str, Any]:
    """Judge another run on its own, and by the rows of both what changes from it to this one."""
    import numpy as np

    from vitalfactory.scoring.intervals import RESAMPLES, bootstrap, difference
    from vitalfactory.scoring.qa import drawn, figures_of
    from vitalfactory.scoring.qa_report import decoding_of, model_of

    places = {answer.id: place for place, answer in enumerate(other.answers)}
    both = [(place, places[answer.id]) for place, answer in enumerate(told.answers) if answer.id in places]
    here, there = np.asarray(both, dtype=np.int64).reshape(-1, 2).T
    shared = [name for name in told.columns if name in other.columns]
    pairs = {name: (told.columns[name][here], other.columns[name][there]) for name in shared}
    known = {name: np.isfinite(ours) & np.isfinite(theirs) for name, (ours, theirs) in pairs.items()}
    ours, theirs = (
        {name: np.where(known[name], pair[side], np.nan) for name, pair in pairs.items()} for side in (0, 1)
    )
    groups = [told.answers[place].group for place in here]
    resamples = RESAMPLES if len(set(groups)) > 1 else 0
    found = bootstrap(difference(figures_of(theirs), figures_of(ours)), groups, resamples) if both else {}
    manifest = other.opened.manifest
    if manifest.get("model") != told.opened.manifest.get("model"):
        found = {name: figure for name, figure in found.items() if name not in OF_ONE_TOKENISER}
    return {
        "run": other.name,
        "model": model_of(manifest),
        "decoding": decoding_of(manifest),
        "rows": len(both),
        "figures": drawn(other.columns, [answer.group for answer in other.answers]),
        "differences": found,
    }


def _choices(opened: Run) -> dict[str, Any] | None:
    """Judge the answers to questions of multiple choice; None where the run has none."""
    from vitalfactory.predictions import predictions_file, read_predictions
    from vitalfactory.scoring.qa_choices import accuracy

    path, settings = predictions_file(opened.folder, "test", "choices"), opened.manifest["decoding"].get("choices")
    if settings is None or not path.is_file():
        return None
    rows = read_predictions(path)
    if len(rows) < settings["rows"]:
        raise VitalFactoryError(
            f"{path}: {settings['rows'] - len(rows)} of {settings['rows']} questions are missing; run eval/score.py "
            "again with the same --choices and --out, it goes on where it stopped"
        )
    return {"file": settings["file"], "excluded": settings["excluded"], **accuracy(rows)}


def _ask(opinion: Judge, told: Told, other: Told | None, path: Path) -> dict[str, Any]:
    """Ask a judge which answers are the better ones, each pair in both orders."""
    from vitalfactory.endpoint.verdicts import ask_verdicts
    from vitalfactory.files import lock
    from vitalfactory.scoring import qa_judge
    from vitalfactory.scoring.judge import read_verdict

    pairs = qa_judge.pairs_of(told.answers, other.texts if other else None)
    if not pairs:
        raise VitalFactoryError(
            f"{told.opened.folder}: has no answers in free text to judge; run eval/generate.py first"
        )
    asked = [pair for pair in pairs if pair.settled is None]
    questions = [qa_judge.about(pair, swapped=swapped) for pair in asked for swapped in (False, True)]
    with lock(path.with_name(f".{path.name}.lock"), wait=False):
        given = ask_verdicts(opinion, qa_judge.Better, read_verdict, questions, path)
    verdicts = {pair.id: (given[2 * place], given[2 * place + 1]) for place, pair in enumerate(asked)}
    against = other.name if other else "the references"
    return {"model": opinion.model, "against": against, **qa_judge.figures_of(pairs, verdicts)}


def _safety(file: Path, opened: Run) -> dict[str, Any]:
    from vitalfactory.files import read_json
    from vitalfactory.scoring import qa_safety

    made = file.with_suffix(".run.json")
    manifest = read_json(made) if made.is_file() else {}
    changed = [
        name for name in ("model", "adapter_sha256") if name in manifest and manifest[name] != opened.manifest.get(name)
    ]
    if changed:
        raise VitalFactoryError(
            f"--safety {file}: answered with another {', '.join(changed)} than {opened.folder}; answer the prompts "
            "with the run's own model"
        )
    return qa_safety.judge(file)


def _notes(told: Told) -> list[str]:
    card, groups = told.opened.card, len({answer.group for answer in told.answers})
    notes = list(dict.fromkeys(told.opened.notes))
    if card.model_written:
        notes.insert(
            0,
            f"answers were written by {card.model_written}: the figures say how far a run agrees with that model, not "
            "how often it is right",
        )
    if groups < FEW_GROUPS:
        notes.append(f"{groups} groups only: their resamples are few, and the intervals rough")
    return notes


def _print(metrics: Mapping[str, Any], folder: Path) -> None:
    from vitalfactory.predictions import named
    from vitalfactory.scoring import qa_judge, qa_safety
    from vitalfactory.scoring.qa import FIGURES, HONEST, NO_DOCTOR, UNSEEN
    from vitalfactory.scoring.qa_report import OF_PARTS, SYNTHETIC, choices_line, judge_line
    from vitalfactory.scoring.tables import table_of

    print(f"{metrics['run']}: {metrics['split']}, {metrics['rows']} rows of {metrics['groups']} groups")
    print(table_of(metrics["figures"], FIGURES, metrics["majority"]))
    for name, part in metrics["known"].items():
        print(f"  {name} ({part['rows']} rows):")
        print(table_of({key: part["figures"][key] for key in OF_PARTS if key in part["figures"]}, FIGURES))
    if UNSEEN in metrics["known"]:
        print(f"  {HONEST}")
    if metrics["beside"]:
        print(f"  minus {metrics['beside']['run']}, over the {metrics['beside']['rows']} rows of both:")
        print(table_of(metrics["beside"]["differences"], FIGURES, sign="+"))
    if metrics["choices"]:
        print(f"  multiple choice, {choices_line(metrics['choices'])}")
    if metrics["judge"]:
        print(f"  the opinion of {metrics['judge']['model']}, no ground truth: {judge_line(metrics['judge'])}")
        print(table_of(metrics["judge"]["figures"], qa_judge.FIGURES))
    if metrics["safety"]:
        print(table_of(metrics["safety"]["figures"], qa_safety.TITLES))
        print(f"  {qa_safety.CAVEAT}")
    for note in metrics["notes"]:
        print(f"  note: {note}")
    if metrics["manifest"].get("synthetic"):
        print(f"  {SYNTHETIC[0].lower()}{SYNTHETIC[1:]}")
    print(f"  {NO_DOCTOR}")
    print(f"  report: {folder / named('report.html', metrics['split'])}, and .md")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python eval/qa.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("run", type=Path, help="the run's folder, such as results/medqa_smollm2")
    add("--beside", type=Path, metavar="RUN", help="another run over the same questions, such as before training")
    add("--safety", type=Path, metavar="FILE", help="answers to the prompts of vitalfactory.scoring.qa_safety")
    add("--dataset-split", choices=("train", "val", "test"), default="test", help="the split to judge (default: test)")
    add("--judge-url", metavar="URL", help="ask a model behind this OpenAI-compatible endpoint; it is sent the answers")
    add("--judge-model", metavar="NAME", help="its name there")
    add("--csv", type=Path, metavar="PATH", help="the table of runs (default: metrics.csv beside the run)")
    add("--json", action="store_true", help="print metrics.json on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    arguments = _parse(argv)
    if (arguments.judge_url is None) != (arguments.judge_model is None):
        raise VitalFactoryError("--judge-url URL and --judge-model NAME go together")
    opinion = None
    if arguments.judge_url:
        from vitalfactory.endpoint.verdicts import Judge

        opinion = Judge(arguments.judge_url, arguments.judge_model)
    given = (arguments.dataset_split, arguments.csv, arguments.beside, arguments.safety, opinion)
    metrics = judge(arguments.run, *given)
    _print(metrics, arguments.run)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(metrics))


if __name__ == "__main__":
    run(main)
