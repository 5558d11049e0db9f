"""Speed and memory of the ECG converter and of scoring, for docs/results.md.

Needs the results of ``python -m benchmarks.ecg_cinc2017``, whose adapter and test rows it scores. Takes some
15 minutes on two cores. The converter on all records and score.py are medians of three runs, the rest is
measured once.

    python -m benchmarks.ecg_speed
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.calls import call, convert, rows_a_second
from benchmarks.ecg import RECIPE
from benchmarks.ecg_cinc2017 import FOLDER, INPUT
from benchmarks.publish import publish_measured
from vitalfactory.errors import run
from vitalfactory.files import read_json
from vitalfactory.signals.ecg import read_folder

RUNS = 3
TENFOLD = 10
SCORED = 320
BATCH = 16


def _convert(records: Path, representation: str, root: Path) -> dict[str, Any]:
    """Convert once and return the summary that the converter prints."""
    flags = ("--representation", representation, "--recipe", RECIPE, "--root", str(root))
    return convert("ecg", "--input", str(records), *flags)


def repeat(records: Path, folder: Path, times: int) -> Path:
    """Lay records out several times as a WFDB folder, the copies of each under one patient."""
    folder.mkdir()
    for copy in range(times):
        (folder / f"d{copy}").symlink_to(records.resolve())
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("record", "label", "patient"))
        for record in read_folder(records):
            writer.writerows((f"d{copy}/{record.id}", record.label, record.id) for copy in range(times))
    return folder


def measure_converter(records: Path, folder: Path) -> list[str]:
    """Time the converter on all records, and its memory on ten times as many."""
    rows = []
    for representation in ("rr", "rhythm"):
        runs = [_convert(records, representation, folder / "once") for _ in range(RUNS)]
        rate = statistics.median(run["records_per_second"] for run in runs)
        memory = max(run["peak_rss_mb"] for run in runs)
        rows.append(
            f"| `converters/ecg.py`, `{representation}`, all records | {rate:.0f} records/s | {memory:.0f} MB |"
        )
    tenfold = _convert(repeat(records, folder / "tenfold", TENFOLD), "rhythm", folder / "ten")
    rate, memory = tenfold["records_per_second"], tenfold["peak_rss_mb"]
    rows.append(f"| the same, `rhythm`, ten times the records | {rate:.0f} records/s | {memory:.0f} MB |")
    return rows


def measure_scoring(folder: Path) -> list[str]:
    """Time score.py and LLaMA-Factory's own prediction on the same rows with the same adapter."""
    adapter = FOLDER / "saves" / "ecg_smollm2_lora"
    ours = [_score(adapter, folder / f"score{number}") for number in range(RUNS)]
    rate = statistics.median(ours)
    lines = [f"| `eval/score.py`, {SCORED} test rows, 2 answers each, {BATCH} at a time | {rate:.1f} rows/s | |"]
    for batch, remark in ((1, ", as in its examples"), (BATCH, "")):
        theirs = _predict(adapter, folder / f"predict{batch}", batch)
        what = f"`llamafactory-cli` predict, the same rows, {batch} at a time{remark}"
        lines.append(f"| {what} | {theirs:.1f} rows/s, a ratio of {rate / theirs:.1f} | |")
    return lines


def _score(adapter: Path, out: Path) -> float:
    flags = (
        "--root",
        str(FOLDER),
        "--adapter",
        str(adapter),
        "--split",
        "test",
        "--limit",
        str(SCORED),
        "--batch-size",
        str(BATCH),
        "--out",
        str(out),
    )
    return rows_a_second(call("python", "eval/score.py", "--recipe", RECIPE, *flags))


def _predict(adapter: Path, out: Path, batch: int) -> float:
    changes = {
        "do_train": "false",
        "do_predict": "true",
        "predict_with_generate": "true",
        "do_sample": "false",
        "max_new_tokens": "16",
        "dataset": "null",
        "eval_dataset": "ecg_test",
        "dataset_dir": str(FOLDER),
        "max_samples": str(SCORED),
        "per_device_eval_batch_size": str(batch),
        "adapter_name_or_path": str(adapter),
        "output_dir": str(out),
    }
    call("llamafactory-cli", "train", RECIPE, *(f"{key}={value}" for key, value in changes.items()))
    return float(read_json(out / "predict_results.json")["predict_samples_per_second"])


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ecg_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, default=INPUT, help="the records (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rows = [*measure_converter(arguments.input, Path(folder)), *measure_scoring(Path(folder))]
    apart = (
        "The converter's figures leave out LLaMA-Factory's own check of the finished rows, which runs in a process of "
        "its own."
    )
    head = ["| what | speed | memory of the largest process |", "|---|---|---|"]
    publish_measured("ecg_speed", [*head, *rows], apart)


if __name__ == "__main__":
    run(main)
