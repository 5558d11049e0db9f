"""The plan for synthetic nights keeps to its folders, and its emotion networks say different things."""

import shlex
from pathlib import Path

import numpy as np

from benchmarks.eeg_synthetic import FEW, FOLDER, RUNS, SOURCE, plan, write_networks
from vitalfactory.models.emotion import EmotionModels, codes


def test_runs_are_of_the_same_nights_and_lie_apart() -> None:
    steps = plan(FOLDER, Path("networks"))
    assert len({step.line() for step in steps}) == len(steps)
    converted = [step.line() for step in steps if "converters/eeg.py" in step.command]
    assert len(converted) == len(RUNS)
    assert all(line.startswith(f"python converters/eeg.py {shlex.join(SOURCE)} ") for line in converted)
    assert [shlex.join(FEW) in line for line in converted] == [False, True, True]
    assert ["--emotion-models networks" in line for line in converted] == [False, False, True]
    for line, name in zip(converted, RUNS, strict=True):
        assert line.endswith(f"--root results/eeg_synthetic/{Path(name).parent}")


def test_the_networks_can_be_read_and_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (EmotionModels(write_networks(tmp_path / name)) for name in ("first", "second"))
    assert first.digest == second.digest
    inputs = np.random.default_rng(1).normal(size=(200, 10))
    found = codes(first.activity(inputs), resolve=False)
    assert len(set(found.tolist())) > 4
