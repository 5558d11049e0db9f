"""converters/ecg.py as a process of its own: killed, out of disk, twice at once, and asked for its help."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from converters import ecg
from vitalfactory.dataset import registry
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, lock, read_jsonl

if TYPE_CHECKING:
    from tests.conftest import Run, Start

SCRIPT = "converters/ecg.py"
HEAVY = {
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "transformers",
    "datasets",
    "llamafactory",
    "wfdb",
    "sleepecg",
    "pydantic",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for(marker: Path, process: subprocess.Popen[str]) -> None:
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def convert_when_free(root: Path) -> None:
    """Convert as soon as the workers of a killed process have left, which they do by themselves."""
    for _ in range(500):
        try:
            with lock(root / "data" / ".ecg.lock", wait=False):
                break
        except VitalFactoryError:
            time.sleep(0.02)
    ecg.convert(synthetic=70, root=root, workers=1)


def test_a_kill_leaves_the_old_dataset_and_a_second_run_is_refused(
    start_script: Start, run_script: Run, tmp_path: Path
) -> None:
    ecg.convert(synthetic=20, root=tmp_path, workers=1)
    folder, marker = tmp_path / "data" / "ecg", tmp_path / "marker"
    old, info = contents(folder), (tmp_path / "dataset_info.json").read_bytes()
    arguments = ("--synthetic", 70, "--root", tmp_path, "--workers", 2)
    first = start_script(SCRIPT, *arguments, PAUSE_AFTER=40, MARKER=marker)
    wait_for(marker, first)

    second = run_script(SCRIPT, *arguments)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert ".ecg.lock: another run holds this lock" in second.stderr
    assert (tmp_path / "data" / ".ecg.partial").is_dir()

    first.send_signal(signal.SIGKILL)
    first.wait()
    assert contents(folder) == old
    assert (tmp_path / "dataset_info.json").read_bytes() == info
    convert_when_free(tmp_path)
    assert sum(1 for split in ("train", "val", "test") for _ in read_jsonl(folder / f"{split}.jsonl")) == 70
    assert not (tmp_path / "data" / ".ecg.partial").exists()


def test_an_interrupt_ends_with_one_line_and_leaves_nothing(start_script: Start, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    arguments = ("--synthetic", 70, "--root", tmp_path, "--workers", 2)
    process = start_script(SCRIPT, *arguments, PAUSE_AFTER=40, MARKER=marker)
    wait_for(marker, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".ecg.lock"}


def test_a_full_disk_leaves_the_old_dataset(run_script: Run, tmp_path: Path) -> None:
    ecg.convert(synthetic=20, root=tmp_path, workers=1)
    old = contents(tmp_path / "data" / "ecg")
    done = run_script(SCRIPT, "--synthetic", 60, "--root", tmp_path, "--workers", 1, FILE_LIMIT=20_000)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "File too large; the conversion was given up, the dataset is as it was" in done.stderr
    assert contents(tmp_path / "data" / "ecg") == old
    assert not (tmp_path / "data" / ".ecg.partial").exists()


def test_two_at_once_under_different_names_both_land(start_script: Start, tmp_path: Path) -> None:
    names = ("one", "two")
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    processes = [
        start_script(SCRIPT, "--synthetic", 40, "--root", tmp_path, "--workers", 2, "--name", name, "--json")
        for name in names
    ]
    for name, process in zip(names, processes, strict=True):
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["dataset"] == name
    wanted = {f"{name}_{split}" for name in names for split in ("train", "val", "test")}
    assert set(registry.read(tmp_path)) == {"mine", *wanted}
    first, second = (contents(tmp_path / "data" / name) for name in names)
    assert all(first[file] == second[file] for file in ("train.jsonl", "val.jsonl", "test.jsonl"))


@pytest.mark.slow
@pytest.mark.subprocess_check
def test_the_script_as_shipped(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / SCRIPT),
        "--synthetic",
        "70",
        "--workers",
        "2",
        "--root",
        str(tmp_path),
        "--json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout.splitlines()[-1])
    assert sum(part["rows"] for part in summary["splits"].values()) == summary["tokens"]["rows"] == 70
    assert summary["peak_rss_mb"] < 600


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "converters").glob("*.py")))
def test_help_imports_nothing_heavy(script: str) -> None:
    code = (
        "import runpy, sys\nsys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "converters" / script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python converters/")
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


def test_workers_that_share_nothing_with_their_parent(tmp_path: Path) -> None:
    """Processes are spawned on macOS and not forked as on Linux: all they are handed must be importable."""
    code = (
        "import multiprocessing, sys\nfrom pathlib import Path\nfrom converters import ecg\n"
        "from vitalfactory.dataset import check\nmultiprocessing.set_start_method('spawn')\n"
        "tokens = check.Tokens(0, 0, 0, 0, 0, 0, 0, 'none', True, {})\n"
        "check.check = lambda request: check.Report(tokens=tokens)\n"
        "ecg.convert(synthetic=40, root=Path(sys.argv[1]), workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "spawned")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ecg.convert(synthetic=40, root=tmp_path / "alone", workers=1)
    spawned, alone = (contents(tmp_path / root / "data" / "ecg") for root in ("spawned", "alone"))
    assert spawned == alone
