"""The demo's whole plan, with a real model trained for two steps; a second run has nothing to do."""

from pathlib import Path

import pytest

from benchmarks.ecg import RUNS, plan
from benchmarks.steps import run_steps
from vitalfactory.files import read_json


@pytest.mark.slow
def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    steps = plan(folder, ["--synthetic", "48", "--split", "50/25/25"], ["max_steps=2", "save_steps=2"])
    costs = run_steps(steps, folder)
    assert all(cost.seconds > 0 and cost.core_seconds > 0 for cost in costs.values())
    shown = capsys.readouterr().out
    table = [line.split()[0] for line in shown[shown.index("Side by side") :].splitlines() if "[" in line]
    assert set(RUNS) <= set(table)
    assert "always no AF" in shown
    assert "these figures say nothing about patients" in shown
    for run in RUNS:
        metrics = read_json(folder / "runs" / run / "metrics.json")
        assert metrics["rows"] == 12
        assert metrics["threshold_from"] == "val"
        page = (folder / "runs" / run / "report.html").read_text(encoding="utf-8")
        assert "Synthetic recordings" in page
    after = read_json(folder / "runs" / "after" / "metrics.json")
    assert after["manifest"]["adapter"]
    assert after["free_text"]["rows"] == 12
    assert run_steps(steps, folder) == costs
    assert capsys.readouterr().out.count("done before") == len(steps)
