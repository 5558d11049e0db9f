"""Findings in chest X-rays of 64 x 64 pixels: two baselines and their figures, and the converter's speed.

Patients are split at random: 60 % train, 20 % validate (every choice is made there), 20 % test.
Takes some ten minutes on two cores with a few hundred images, goes on where it stopped, and writes its tables into
docs/results.md. The speed is measured at the end, on images of full size, and anew each time.

    python -m benchmarks.cxr
    python -m benchmarks.cxr --input FOLDER
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.calls import convert
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Step, run_steps
from vitalfactory.card import Card, read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, read_json
from vitalfactory.predictions import shown
from vitalfactory.signals.cxr_image import SUFFIXES, pixels, read_grey

FOLDER = ROOT / "results" / "cxr"
INPUT = Path("data/raw/cxr_nih14")
SPLIT, SIDE = "60/20/20", "64"
RUNS = {"boosted": "gradient boosting on small images", "cnn": "a small network on 64 x 64 pixels"}
REFERENCE = "boosted"
"""The run that the other is compared with."""
FULL = 1_000_000
"""Pixels of an image of full size; ChestX-ray14's are 1024 x 1024."""
IMAGES, COPIES, MARK = 12, 25, 24
"""The speed is measured on so many images, each so often, with a mark of so many pixels that tells copies apart."""


def plan(folder_name: str, source: str) -> list[Step]:
    """Lay out the commands.

    Parameters
    ----------
    folder_name : str
        Everything is written below it, from the repository.
    source : str
        The folder of NIH's labels and images.
    """
    data = ("--root", folder_name)
    runs = {name: f"{folder_name}/runs/{name}" for name in RUNS}
    options = ("--size", SIDE, "--split", SPLIT)
    return [
        Step(
            "Chest X-rays to an instruction dataset, by patient",
            ("python", "converters/cxr.py", "--input", source, *options, *data),
            shows=True,
        ),
        *(
            Step(
                title.capitalize(),
                (
                    "python",
                    "-m",
                    f"vitalfactory.models.findings_{name}",
                    "--dataset",
                    "cxr",
                    *data,
                    "--out",
                    runs[name],
                ),
            )
            for name, title in RUNS.items()
        ),
        *(
            Step(f"Figures and report: {title}", ("python", "eval/multilabel.py", runs[name]), shows=True)
            for name, title in RUNS.items()
        ),
        Step("Side by side", ("python", "eval/compare.py", *runs.values(), "--against", runs[REFERENCE]), shows=True),
    ]


def by_finding(runs: Path) -> str:
    """Lay out the AUROC of each finding of both runs in Markdown."""
    metrics = {name: read_json(runs / name / "metrics.json") for name in RUNS}
    lines = [
        f"| Finding | Images | {' | '.join(f'{name}, AUROC' for name in RUNS)} |",
        "|---|---|" + "---|" * len(RUNS),
    ]
    card = read_card(runs / REFERENCE / "card.json")
    for label, count in card.splits["test"].labels.items():
        told = [_figure(metrics[name]["per_class"][label]["auroc"]) for name in RUNS]
        lines.append(f"| {label} | {count} | {' | '.join(told)} |")
    return "\n".join(lines)


def _figure(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def write_full_size(source: Path, folder: Path) -> int:
    """Write copies of a few images of full size, each with another mark, and their labels; returns how many.

    Raises
    ------
    VitalFactoryError
        There are no images of full size.
    """
    found = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES and pixels(path) >= FULL]
    if not found:
        raise VitalFactoryError(f"{source}: holds no image of {FULL} pixels or more to measure the speed on")
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for patient, path in enumerate(found[:IMAGES], 1):
        grey = read_grey(path)
        for copy in range(COPIES):
            grey.paste(10 * copy, (0, 0, MARK, MARK))
            names.append(f"{patient:08d}_{copy:03d}.png")
            grey.save(folder / names[-1])
    with (folder / "sample_labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("Image Index", "Finding Labels", "Patient ID"))
        writer.writerows((name, "No Finding", int(name[:8])) for name in names)
    return len(names)


def measure(source: Path) -> list[str]:
    """Time the bare decoding of images of full size, and the converter on them, first anew and then kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_full_size(source, folder / "images")
        _decode(folder / "images")  # once before, so that the files are in memory
        floor = _decode(folder / "images")
        lines = [f"| decoding {count} PNGs of full size, one process | {floor:.0f} images/s | | 1 |"]
        for what, workers in (("one worker", "1"), ("two workers", "2"), ("two workers, the scaled images kept", "2")):
            root = folder / f"workers{workers}"
            found = _convert(folder / "images", root, workers)
            rate = count / found["seconds"]
            memory = f"{found['peak_rss_mb']:.0f} MB"
            lines.append(f"| `converters/cxr.py`, {what} | {rate:.0f} images/s | {memory} | {rate / floor:.2f} |")
    return lines


def _decode(folder: Path) -> float:
    from PIL import Image

    files = sorted(folder.glob("*.png"))
    start = time.perf_counter()
    for file in files:
        with Image.open(file) as opened:
            opened.load()
    return len(files) / (time.perf_counter() - start)


def _convert(source: Path, root: Path, workers: str) -> dict[str, Any]:
    """Convert once and return the summary that the converter prints."""
    given = ("--input", str(source), "--split", "60/20/20", "--workers", workers, "--root", str(root))
    return convert("cxr", *given)


def _section(steps: Sequence[Step], speed: Sequence[str]) -> str:
    runs = FOLDER / "runs"
    card = read_card(FOLDER / "data" / "cxr")
    table = compare_table([runs / name for name in RUNS], runs / REFERENCE)
    head = ["| what | speed | memory of the largest process | ratio to decoding |", "|---|---|---|---|"]
    commands = "\n".join(f"    {step.line()}" for step in steps)
    return (
        f"{table}\n\n{by_finding(runs)}\n\n{_rows(card)}\n\n" + "\n".join([*head, *speed]) + "\n\n"
        "LLaMA-Factory's own check of the finished rows is left out of the converter's figures.\n\n"
        f"Command: `python -m benchmarks.cxr`, which runs\n\n{commands}\n\n"
        f"{measured_with(card, runs / REFERENCE)}"
    )


def _rows(card: Card) -> str:
    parts = [f"{name} {part.rows} images of {part.groups} patients" for name, part in card.splits.items()]
    left_out = ", ".join(f"{reason} {count}" for reason, count in card.excluded.items()) or "nothing"
    return f"Rows: {'; '.join(parts)}. Left out: {left_out}."


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cxr", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, default=INPUT, help="NIH's labels and images (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier run has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    run_steps(plan(shown(FOLDER), str(arguments.input)), FOLDER, fresh=arguments.fresh)
    speed = measure(arguments.input)
    publish(RESULTS, "cxr", _section(plan(shown(FOLDER), str(INPUT)), speed))


if __name__ == "__main__":
    run(main)
