"""The clinical path's whole plan, with a real teacher, a real model trained for two steps, and a real server."""

from pathlib import Path

import pytest

from benchmarks.clinical import RUNS, Size, plan
from benchmarks.steps import run_steps
from vitalfactory.files import read_json, read_jsonl

TINY = Size("80", "60/20/20", "6", ("max_steps=2", "save_steps=2"))


@pytest.mark.slow
def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clinical"
    run_steps(plan(str(folder), TINY), folder)
    labels = list(read_jsonl(folder / "taught.jsonl"))
    assert [row["state"] in ("answered", "failed") for row in labels] == [True] * 6
    for run in RUNS:
        metrics = read_json(folder / "runs" / run / "metrics.json")
        assert metrics["rows"] == 16
        assert (folder / "runs" / run / "report.html").stat().st_size > 10_000
    constrained = read_json(folder / "runs" / "constrained" / "metrics.json")
    assert constrained["manifest"]["decoding"]["generations"]["json_schema"] is True
    shown = capsys.readouterr().out
    table = [line.split()[0] for line in shown[shown.index("Side by side") :].splitlines() if "[" in line]
    assert set(RUNS) <= set(table)
