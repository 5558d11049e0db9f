"""A run's answers to the epochs of nights, smoothed over time with a hidden Markov model: a run of its own.

    python eval/smooth.py results/eeg_boosted --out results/eeg_boosted_hmm
    python eval/classify.py results/eeg_boosted_hmm
    python eval/compare.py results/eeg_boosted results/eeg_boosted_hmm
    python eval/smooth.py results/eeg_smollm2 --out results/eeg_smollm2_hmm --transitions data/eeg_whole

Transitions between stages come from the training rows of the run's dataset, or, where those leave epochs out
(--balance, --train-rows), from a dataset of the same training nights without gaps. How far the run's probabilities are
trusted against them is one exponent, chosen on the validation rows by macro F1. Where epochs are missing, the chain
begins anew. The folder of the smoothed run is one that classify.py and compare.py read like any other.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.hmm import Chain
    from vitalfactory.scoring.intervals import Floats
    from vitalfactory.scoring.run import Run
    from vitalfactory.scoring.staging import Ints

EXPONENTS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
OWN = ("run", "decoding", "versions", "hardware", "date", "smoothing")
"""What a manifest says of its own run alone."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A split's answers and the chains of consecutive epochs that they form.

    Attributes
    ----------
    rows : list of Prediction
    chains : list of array of int
        The places of the rows of each chain, in the order of time.
    probabilities : array of float, shape (rows, labels)
    """

    rows: list[Prediction]
    chains: list[Ints]
    probabilities: Floats


def read_answers(opened: Run, split: str, epoch_seconds: float) -> Answers:
    """Read a split's answers and how its epochs follow one another.

    Raises
    ------
    VitalFactoryError
        The run has no probabilities of the split, or its dataset is not the one that it is about.
    """
    from vitalfactory.scoring.metrics import probabilities_of
    from vitalfactory.scoring.staging import nights_of

    source = read_source(opened, split)
    rows = opened.answers(split, "predictions", source) if split in opened.card.splits else None
    if rows is None:
        raise VitalFactoryError(
            f"{opened.folder}: holds no predictions of {split}, and smoothing needs val and test; "
            f"run eval/score.py --split val test --out {opened.folder} first"
        )
    probabilities = probabilities_of(rows, opened.card.labels)
    if probabilities is None:
        raise VitalFactoryError(
            f"{opened.folder}: its answers to {split} have no probabilities, which smoothing needs; score it with "
            "eval/score.py"
        )
    nights = nights_of([source[row.id] for row in rows])
    chains = [chain for night in nights for chain in night.chains(epoch_seconds)]
    if sum(map(len, chains)) < len(rows):
        raise VitalFactoryError(
            f"{opened.dataset / split}.jsonl: an epoch stands twice; only train may hold copies, convert again"
        )
    return Answers(rows, chains, probabilities)


def read_source(opened: Run, split: str) -> Mapping[str, Mapping[str, Any]]:
    """Read a split of the run's dataset by id.

    Raises
    ------
    VitalFactoryError
        It has gone or has changed.
    """
    source = opened.source(split)
    if source is None:
        path = opened.dataset / f"{split}.jsonl"
        state = "has changed since the run was made" if path.is_file() else "is not there"
        raise VitalFactoryError(
            f"{path} {state}, and smoothing reads nights from it; convert the dataset again as its card says, or make "
            "the run anew"
        )
    return source


def smooth_rows(
    answers: Answers, chain: Chain, labels: Sequence[str], exponent: float, *, viterbi: bool = False
) -> list[Prediction]:
    """Smooth a split's answers, chain by chain.

    Parameters
    ----------
    answers : Answers
    chain : Chain
        Of the training rows.
    labels : sequence of str
    exponent : float
        Of the likelihoods.
    viterbi : bool
        See :func:`vitalfactory.scoring.hmm.smoothed`.

    Returns
    -------
    list of Prediction
        In the order of the answers, with posteriors for probabilities.
    """
    import numpy as np

    from vitalfactory.scoring.hmm import emissions, smoothed

    told = np.zeros_like(answers.probabilities)
    observed = emissions(answers.probabilities, chain.prior, exponent)
    for places in answers.chains:
        told[places] = smoothed(observed[places], chain.initial, chain.transition, viterbi=viterbi)
    best = told.argmax(axis=1)
    return [
        row.model_copy(
            update={
                "probabilities": dict(zip(labels, map(float, values), strict=True)),
                "text": None,
                "parsed": labels[place],
                "cut": None,
            }
        )
        for row, values, place in zip(answers.rows, told, best, strict=True)
    ]


def choose_exponent(val: Answers, chain: Chain, opened: Run, *, viterbi: bool = False) -> list[tuple[float, float]]:
    """Judge every exponent of the grid on the validation rows.

    Returns
    -------
    list of (float, float)
        Exponent and macro F1, the best first; of equally good ones the largest, which changes least.
    """
    labels = opened.card.labels
    judged = [
        (exponent, macro_f1(smooth_rows(val, chain, labels, exponent, viterbi=viterbi), opened))
        for exponent in EXPONENTS
    ]
    return sorted(judged, key=lambda pair: (pair[1], pair[0]), reverse=True)


def macro_f1(rows: Sequence[Prediction], opened: Run) -> float:
    """Compute the macro F1 of the most probable labels."""
    import numpy as np

    from vitalfactory.scoring.metrics import figures_of

    hard = [row.model_copy(update={"probabilities": None}) for row in rows]
    return float(figures_of(hard, opened.card, None)(np.ones((1, len(hard))))["", "macro_f1"][0])


def read_chain(opened: Run, answers: Mapping[str, Answers], epoch_seconds: float, other: Path | None) -> Chain:
    """Learn transitions from the run's own training rows, or from another conversion of the same training nights.

    Raises
    ------
    VitalFactoryError
        A subject of the other conversion's train is validated or tested on here.
    """
    from vitalfactory.files import read_jsonl
    from vitalfactory.scoring.hmm import learn

    own = list(read_source(opened, "train").values())
    if other is None:
        return learn(own, opened.card.labels, epoch_seconds)
    rows = list(read_jsonl(other / "train.jsonl"))
    judged = {row.group for split in answers.values() for row in split.rows}
    if leaking := sorted({str(row.get("group")) for row in rows} & judged):
        raise VitalFactoryError(
            f"--transitions {other}: trains on {', '.join(leaking[:3])}, whose nights are judged here (a leak); "
            "convert the same nights with the same split"
        )
    if unknown := sorted({str(row.get("label")) for row in rows} - set(opened.card.labels)):
        raise VitalFactoryError(f"--transitions {other}: has the stage {unknown[0]!r}, which the run does not know")
    return learn(rows, opened.card.labels, epoch_seconds, own)


def smooth(folder: Path, out: Path, *, viterbi: bool = False, transitions: Path | None = None) -> dict[str, Any]:
    """Smooth a run's answers to val and test into a run of its own.

    Parameters
    ----------
    folder : Path
        The run.
    out : Path
        The folder of the smoothed run.
    viterbi : bool
        Decide by the most probable path instead of each epoch's posterior.
    transitions : Path, optional
        The folder of a dataset of the same training nights, where the run's own leaves epochs out.

    Returns
    -------
    dict
        What the new manifest says under ``smoothing``.

    Raises
    ------
    VitalFactoryError
        The rows are no epochs, the run has no probabilities of val and test, its dataset has gone or changed, or
        ``out`` holds another run. Nothing is written then.
    """
    from vitalfactory.files import write_text
    from vitalfactory.predictions import open_run, predictions_file
    from vitalfactory.scoring.run import open_folder

    opened = open_folder(folder)
    epoch_seconds = epoch_of(opened)
    answers = {split: read_answers(opened, split, epoch_seconds) for split in ("val", "test")}
    chain = read_chain(opened, answers, epoch_seconds, transitions)
    judged = choose_exponent(answers["val"], chain, opened, viterbi=viterbi)
    told = describe(opened, chain, judged, answers["val"], transitions or opened.dataset, viterbi=viterbi)
    kept = {name: value for name, value in opened.manifest.items() if name not in OWN}
    manifest = {**kept, "method": f"{opened.manifest.get('method', 'unknown')} + HMM", "smoothing": told}
    decoding = opened.manifest.get("decoding", {}).get("predictions", {})
    open_run(out, manifest, {"predictions": decoding}, folder / "card.json")
    for split, read in answers.items():
        rows = smooth_rows(read, chain, opened.card.labels, judged[0][0], viterbi=viterbi)
        write_text(predictions_file(out, split), "".join(row.line() for row in rows))
    return told


def epoch_of(opened: Run) -> float:
    """Return the seconds from one of a run's epochs to the next.

    Raises
    ------
    VitalFactoryError
        Its rows are no epochs, or are smoothed already.
    """
    if opened.card.epoch_seconds is None:
        raise VitalFactoryError(
            f"{opened.folder}: the card of its dataset has no epoch_seconds; only rows that are epochs of nights can "
            "be smoothed over time"
        )
    if "smoothing" in opened.manifest:
        raise VitalFactoryError(
            f"{opened.folder}: is smoothed already; name the run that it was made of, "
            f"{opened.manifest['smoothing'].get('run')}"
        )
    return opened.card.epoch_seconds


def describe(
    opened: Run, chain: Chain, judged: Sequence[tuple[float, float]], val: Answers, learnt: Path, *, viterbi: bool
) -> dict[str, Any]:
    """Lay out how a run was smoothed, for its manifest."""
    from vitalfactory.files import sha256
    from vitalfactory.predictions import predictions_file, shown

    train, own = shown(learnt / "train.jsonl"), shown(opened.dataset / "train.jsonl")
    pairs = f"{chain.counts.sum()} pairs of consecutive epochs of {chain.nights} nights"
    return {
        "run": shown(opened.folder),
        "predictions_sha256": {split: sha256(predictions_file(opened.folder, split)) for split in ("val", "test")},
        "algorithm": "Viterbi (max-marginals)" if viterbi else "forward-backward",
        "exponent": judged[0][0],
        "exponent_from": "val: the highest macro F1",
        "val_macro_f1": [{"exponent": exponent, "macro_f1": value} for exponent, value in sorted(judged)],
        "val_macro_f1_unsmoothed": macro_f1(with_best(val, opened), opened),
        "labels": opened.card.labels,
        "transitions": chain.transition.tolist(),
        "transition_counts": chain.counts.tolist(),
        "transitions_from": f"{train}: {pairs}, each count plus one",
        "initial": chain.initial.tolist(),
        "initial_from": f"{train}: {chain.epochs} distinct epochs, each count plus one",
        "prior": chain.prior.tolist(),
        "prior_from": f"{own}: {chain.rows} rows, copies included, each count plus one",
        "balanced": learnt == opened.dataset and chain.rows > chain.epochs,
    }


def with_best(answers: Answers, opened: Run) -> list[Prediction]:
    """Give each answer its most probable label."""
    best = answers.probabilities.argmax(axis=1)
    labels = opened.card.labels
    return [row.model_copy(update={"parsed": labels[place]}) for row, place in zip(answers.rows, best, strict=True)]


def _print(told: Mapping[str, Any], out: Path) -> None:
    print(f"{told['run']}: smoothed by {told['algorithm']}")
    print(f"  transitions: {told['transitions_from']}")
    if told["balanced"]:
        print(
            "  note: train.jsonl was balanced, so epochs are missing from its nights; transitions are of the pairs left"
        )
    print(f"  macro F1 on val: {told['val_macro_f1_unsmoothed']:.3f} as it was")
    for row in told["val_macro_f1"]:
        mark = "  chosen" if row["exponent"] == told["exponent"] else ""
        print(f"    exponent {row['exponent']:<5g} {row['macro_f1']:.3f}{mark}")
    print(f"  {out}: next, python eval/classify.py {out}")


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/smooth.py", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="the run's folder, such as results/eeg_boosted")
    parser.add_argument("--out", type=Path, required=True, help="the smoothed run's, such as results/eeg_boosted_hmm")
    parser.add_argument("--viterbi", action="store_true", help="decide by the most probable path of stages")
    parser.add_argument("--transitions", type=Path, metavar="DIR", help="a dataset of the same nights, none left out")
    parser.add_argument("--json", action="store_true", help="print how it was smoothed as JSON on the last line")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    told = smooth(arguments.run, arguments.out, viterbi=arguments.viterbi, transitions=arguments.transitions)
    _print(told, arguments.out)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(told))


if __name__ == "__main__":
    run(main)
