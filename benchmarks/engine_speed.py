"""The converter's speed on a Ray cluster of this machine against this machine's own processes, for docs/results.md.

    python -m benchmarks.engine_speed --input data/raw/training2017

Each engine converts the records in turn, three times, with the same number of workers: Ray once on a cluster that runs
already, as one of several machines would, and once on one that is started for the work and ends with it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks.calls import convert
from benchmarks.ecg import RECIPE
from benchmarks.ecg_cinc2017 import INPUT
from benchmarks.ecg_speed import repeat
from benchmarks.publish import publish_measured
from vitalfactory.errors import VitalFactoryError, run

RUNS, TIMES = 3, 4
ENGINES = {
    "local": ("--engine", "local"),
    "ray, on a cluster that runs": ("--engine", "ray", "--ray-address"),
    "ray, its cluster started for it": ("--engine", "ray"),
}


@contextmanager
def cluster(flags: Sequence[str]) -> Iterator[list[str]]:
    """Have a Ray cluster of this machine running where the flags are to name one; yield the flags with its address."""
    if "--ray-address" not in flags:
        yield list(flags)
        return
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": os.cpu_count(), "include_dashboard": False})
    try:
        yield [*flags, started.address]
    finally:
        started.shutdown()  # type: ignore[no-untyped-call]


def measure(records: Path, root: Path, runs: int = RUNS) -> dict[str, float]:
    """Time the engines in turn.

    Parameters
    ----------
    records, root : Path
    runs : int
        Of each engine.

    Returns
    -------
    dict of str to float
        The median of each engine's records a second.

    Raises
    ------
    VitalFactoryError
        The engines did not write the same files.
    """
    source = ("--input", str(records), "--recipe", RECIPE, "--workers", str(os.cpu_count() or 1))
    rates: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    written = set()
    for _ in range(runs):
        for engine, flags in ENGINES.items():
            with cluster(flags) as whole:
                found = convert("ecg", *source, "--root", str(root / engine), *whole)
            rates[engine].append(found["records_per_second"])
            written.add(tuple(part["sha256"] for part in found["splits"].values()))
    if len(written) > 1:
        raise VitalFactoryError("the engines did not write the same files")
    return {engine: statistics.median(found) for engine, found in rates.items()}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, default=INPUT, help="the records (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(repeat(given.input, Path(folder) / "records", TIMES), Path(folder))
    lines = ["| engine | records/s | ratio |", "|---|---|---|"]
    lines += [f"| {name} | {rate:.0f} | {rate / rates['local']:.2f} |" for name, rate in rates.items()]
    remark = (
        f"`converters/ecg.py`, all records of CinC 2017, {TIMES} times each, {os.cpu_count()} workers, medians of "
        f"{RUNS} runs in turn; the same files. Versions: ray {version('ray')}."
    )
    publish_measured("engine_speed", lines, remark)
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
