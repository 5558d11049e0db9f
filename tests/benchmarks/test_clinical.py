"""The clinical path's whole plan, with a real teacher, a real model trained for two steps, and a real server."""

from pathlib import Path

import pytest

from benchmarks.clinical import RUNS, Size, plan
from benchmarks.steps import run_steps
from vitalfactory.files import read_json, read_jsonl

TINY = Size("40", "60/20/20", "4", ("max_steps=2", "save_steps=2"))


@pytest.mark.slow
def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clinical"
    run_steps(plan(str(folder), TINY), folder)
    labels = list(read_jsonl(folder / "taught.jsonl"))
    assert [row["state"] in ("answered", "failed") for row in labels] == [True] * 4
    rows = sum(1 for _ in read_jsonl(folder / "data" / "clinical" / "test.jsonl"))
    for run in RUNS:
        metrics = read_json(folder / "runs" / run / "metrics.json")
        assert metrics["rows"] == rows > 0
        assert (folder / "runs" / run / "report.html").stat().st_size > 10_000
    constrained = read_json(folder / "runs" / "constrained" / "metrics.json")
    assert constrained["manifest"]["decoding"]["generations"]["json_schema"] is True
    shown = capsys.readouterr().out
    table = [line.split()[0] for line in shown[shown.index("Side by side") :].splitlines() if "[" in line]
    assert set(RUNS) <= set(table)
