"""The comparison of engines, on a few records."""

from pathlib import Path

import pytest

from benchmarks.engine_speed import ENGINES, measure


@pytest.mark.slow
def test_engines_are_timed_on_the_same_files(cinc_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    rates = measure(cinc_folder, tmp_path, runs=1)
    assert set(rates) == set(ENGINES)
    assert min(rates.values()) > 0
