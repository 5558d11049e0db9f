"""The command line of the networks over ECG signals: ``train``, ``cross-validate`` and ``predict``.

``cross-validate`` lets every fold be the test fold once. ``predict`` makes a run of a dataset's rows, to be judged
beside the language models'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_jsonl
from vitalfactory.models.encoder import MAIN, OUTPUTS, Architecture, Encoder, Settings
from vitalfactory.models.encoder_training import ANSWERS, Records, prediction_of, read_records, train
from vitalfactory.predictions import Prediction, answer_rows, dataset_manifest, open_run


def cross_validate(
    architecture: Architecture, records: Records, settings: Settings, out: Path
) -> list[tuple[int, float, float]]:
    """Let every fold be the test fold once, the next one validating.

    Returns
    -------
    list of tuple of int, float and float
        Test fold, AUROC, and F1 at the threshold that is best on the validation fold.

    Raises
    ------
    VitalFactoryError
        As :func:`train`.
    """
    present = sorted(set(records.fold.tolist()))
    rows = []
    for place, test_fold in enumerate(present):
        val_fold = present[(place + 1) % len(present)]
        folder = out / f"test_{test_fold}"
        train(architecture, records, settings, val_fold, test_fold, folder, out_of_fold=False)
        rows.append((test_fold, *_figures(folder, val_fold, test_fold)))
        print(f"test fold {test_fold}: AUROC {rows[-1][1]:.3f}, F1 {rows[-1][2]:.3f}", flush=True)
    figures = np.asarray([row[1:] for row in rows])
    mean, spread = figures.mean(axis=0), figures.std(axis=0, ddof=1)
    print(f"mean of {len(rows)} folds: AUROC {mean[0]:.3f} (sd {spread[0]:.3f}), F1 {mean[1]:.3f} (sd {spread[1]:.3f})")
    return rows


def _figures(folder: Path, val_fold: int, test_fold: int) -> tuple[float, float]:
    from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

    with np.load(folder / OUTPUTS, allow_pickle=False) as told:
        fold, af, probability = told["fold"], told["af"], told["probability"]
    val, test = fold == val_fold, fold == test_fold
    precision, recall, thresholds = precision_recall_curve(af[val], probability[val])
    product = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], 1e-12)
    threshold = thresholds[int(np.argmax(product))]
    return float(roc_auc_score(af[test], probability[test])), float(f1_score(af[test], probability[test] >= threshold))


def predict(architecture: Architecture, folder: Path, dataset: Path, out: Path) -> None:
    """Answer a dataset's validation and test rows with what a checkpoint said of their records.

    Parameters
    ----------
    architecture : Architecture
    folder : Path
        The checkpoint.
    dataset : Path
        A dataset of the ECG converter with the answers AF and no AF, over the same folds.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The dataset has other labels or other splits, or holds records that the encoder has not been shown.
    """
    encoder = Encoder(folder, architecture.name)
    card = read_card(dataset)
    if tuple(card.labels) != ANSWERS:
        raise VitalFactoryError(f"{dataset}: its labels are {', '.join(card.labels)}; expected {', '.join(ANSWERS)}")
    rows = {split: list(read_jsonl(dataset / f"{split}.jsonl")) for split in ("val", "test")}
    said = {split: _said(encoder, split, part, dataset) for split, part in rows.items()}
    manifest = {
        "model": f"{architecture.name} {encoder.manifest.settings.options}",
        "method": "network",
        "recipe": None,
        "adapter": None,
        "adapter_sha256": encoder.manifest.networks[MAIN].sha256,
        **dataset_manifest(dataset, card),
    }
    open_run(out, manifest, {"predictions": encoder.manifest.settings.model_dump()}, dataset / "card.json")
    for split, part in rows.items():

        def answer(todo: Sequence[dict[str, Any]], told: dict[str, float] = said[split]) -> Iterator[Prediction]:
            return (prediction_of(row["id"], row["group"], row["label"], told[row["id"]]) for row in todo)

        print(answer_rows(out, split, "predictions", part, answer))


def _said(encoder: Encoder, split: str, rows: Sequence[dict[str, Any]], dataset: Path) -> dict[str, float]:
    told = {}
    for row in rows:
        encoding, fold = encoder.told(row["id"]), encoder.manifest.fold_of(row["id"], row["group"])
        if encoding is None or fold is None:
            raise VitalFactoryError(f"{dataset}: {row['id']} is no record that {encoder.folder} has told of")
        if encoder.manifest.split_of(fold) != split:
            raise VitalFactoryError(
                f"{dataset}: {row['id']} is a {split} row, and the encoder's {encoder.manifest.split_of(fold)}; "
                "the folds differ"
            )
        told[row["id"]] = encoding.probability
    return told


def main(architecture: Architecture, argv: Sequence[str]) -> None:
    """Run the command line of an architecture's module."""
    arguments = _parse(architecture, argv)
    if arguments.command == "predict":
        predict(architecture, arguments.encoder, arguments.root / "data" / arguments.dataset, arguments.out)
        return
    settings = _settings(architecture, arguments)
    records = read_records(arguments.input, arguments.folds, arguments.limit)
    if arguments.command == "cross-validate":
        cross_validate(architecture, records, settings, arguments.out)
        return
    out_of_fold = not arguments.no_out_of_fold
    made = train(
        architecture, records, settings, arguments.val_fold, arguments.test_fold, arguments.out, out_of_fold=out_of_fold
    )
    for name, trained in made.networks.items():
        told = f"{trained.records} records, {trained.epochs} epochs, best {trained.best_epoch}"
        print(f"  {name:<12}{told}, validation loss {trained.val_loss:.4f}, {trained.seconds:.0f} s")
    print(f"encoder: {arguments.out}")


NUMBERS = ("seconds", "learning_rate", "pos_weight", "batch_size", "epochs", "patience", "seed")


def _settings(architecture: Architecture, arguments: argparse.Namespace) -> Settings:
    try:
        return Settings(
            options={name: getattr(arguments, name) for name in architecture.options},
            **{name: getattr(arguments, name) for name in NUMBERS},
            bfloat16=arguments.bfloat16,
        )
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).replace("_", "-")
        raise VitalFactoryError(f"--{flag} {first['input']}: {first['msg']}") from None


def _parse(architecture: Architecture, argv: Sequence[str]) -> argparse.Namespace:
    module = f"python -m vitalfactory.models.{architecture.name}"
    description = find_module_line(architecture)
    parser = argparse.ArgumentParser(prog=module, description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (
        ("train", "train on the training folds, stop on the validation fold"),
        ("cross-validate", "let every fold be the test fold once"),
    ):
        command = commands.add_parser(name, help=told, description=told)
        _add_training(command, architecture)
        if name == "train":
            command.add_argument("--val-fold", type=int, required=True, metavar="K", help="the fold to stop on")
            command.add_argument("--test-fold", type=int, required=True, metavar="K", help="the fold to leave alone")
            command.add_argument(
                "--no-out-of-fold",
                action="store_true",
                help="train the main network alone: figures, but no text of the training rows",
            )
    told = "answer a dataset's rows as a run, to be judged by eval/classify.py"
    command = commands.add_parser("predict", help=told, description=told)
    command.add_argument("--encoder", type=Path, required=True, metavar="DIR", help="the checkpoint")
    command.add_argument("--dataset", required=True, metavar="NAME", help="a dataset of converters/ecg.py")
    command.add_argument("--root", type=Path, default=ROOT, help="folder of data/ (default: the repository)")
    _add_out(command, "the run's folder")
    return parser.parse_args(argv)


def find_module_line(architecture: Architecture) -> str:
    """Return the first line of an architecture's module."""
    import importlib

    module = importlib.import_module(f"vitalfactory.models.{architecture.name}")
    return str(module.__doc__).split("\n")[0]


def _add_training(parser: argparse.ArgumentParser, architecture: Architecture) -> None:
    add = parser.add_argument
    usual = Settings(seconds=architecture.seconds, options=dict(architecture.options))
    add("--input", type=Path, required=True, metavar="DIR", help="folder of records, such as training2017")
    add("--folds", type=Path, required=True, metavar="DIR", help="folder of cv0.csv, cv1.csv, ...")
    add("--seconds", type=float, default=usual.seconds, help="length of a window (default: %(default)s)")
    for name, default in architecture.options.items():
        add(f"--{name}", type=int, default=default, help=f"{architecture.help[name]} (default: {default})")
    add("--learning-rate", type=float, default=usual.learning_rate, help="Adam's (default: %(default)s)")
    add("--pos-weight", type=float, default=usual.pos_weight, help="weight of AF in the loss (default: %(default)s)")
    add("--batch-size", type=int, default=usual.batch_size, metavar="N", help="records at a time (default: 32)")
    add("--epochs", type=int, default=usual.epochs, metavar="N", help="at most (default: %(default)s)")
    add("--patience", type=int, default=usual.patience, metavar="N", help="epochs without progress (default: 20)")
    add("--seed", type=int, default=usual.seed, help="decides weights, order and windows (default: 2026)")
    add("--bfloat16", action="store_true", help="compute in bfloat16 where card or processor can")
    add("--limit", type=int, metavar="N", help="the first N records of each fold only")
    _add_out(parser, "the checkpoint's folder")


def _add_out(parser: argparse.ArgumentParser, told: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=told)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
