"""Speed and memory of the EEG converter on synthetic nights of eight hours, for docs/results.md.

Two EEG channels, eye and chin. The floor is reading the same channels with mne and doing nothing with them. Measured
once, some ten minutes on two cores.

    python -m benchmarks.eeg_speed
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.calls import convert
from benchmarks.publish import publish_measured
from vitalfactory.errors import run
from vitalfactory.files import ROOT
from vitalfactory.signals.eeg import EdfNight, edf_folder
from vitalfactory.signals.eeg_features import choose
from vitalfactory.signals.eeg_synthetic import write_nights

FOLDER = ROOT / "results" / "eeg_speed"
NIGHTS, FEW = 20, 5
HOURS, SEED = 8.0, 2026
RECIPE = "train_configs/eeg_smollm2_lora.yaml"


def _convert(nights: int, root: Path, *flags: str) -> dict[str, Any]:
    """Convert once, no table kept from before, and return the summary that the converter prints."""
    source = ("--input", str(FOLDER / "nights"), "--limit", str(nights), "--root", str(root / str(time.time_ns())))
    return convert("eeg", *source, "--recipe", RECIPE, *flags)


def _read_all() -> float:
    """Time the bare reading of all channels that the converter looks at, in seconds a night."""
    nights = [night for night in edf_folder(FOLDER / "nights") if isinstance(night, EdfNight)]
    start = time.perf_counter()
    for night in nights:
        signals = night.open()
        montage = choose(signals.channels, None)
        for name in (*montage.eeg, montage.eog, montage.emg):
            if name is not None:
                signals.read(name)
    return (time.perf_counter() - start) / len(nights)


def measure() -> list[str]:
    """Measure the converter with and without events, on many nights and on few."""
    write_nights(FOLDER / "nights", NIGHTS, SEED, HOURS)
    _read_all()  # once before, so that the files are in memory and mne is imported
    floor = _read_all()
    lines = [f"| reading the channels with mne | {floor:.2f} s a night | | 1 |"]
    for what, nights, flags in (
        ("without spindles and slow waves", NIGHTS, ("--no-events",)),
        ("all figures", NIGHTS, ()),
        ("all figures", FEW, ()),
    ):
        found = _convert(nights, FOLDER / "datasets", *flags)
        each = found["seconds"] / nights
        memory = f"{found['peak_rss_mb']:.0f} MB"
        lines.append(
            f"| `converters/eeg.py`, {nights} nights, {what} | {each:.1f} s a night | {memory} | {each / floor:.0f} |"
        )
    return lines


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eeg_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.parse_args(argv)
    head = ["| what | speed | memory of the largest process | ratio to reading |", "|---|---|---|---|"]
    apart = (
        "Some 20 seconds of each conversion are the import of antropy and yasa, which compile on import; "
        "LLaMA-Factory's own check of the finished rows is left out."
    )
    publish_measured("eeg_speed", [*head, *measure()], apart)


if __name__ == "__main__":
    run(main)
