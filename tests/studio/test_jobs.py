"""A script as a process: its bar, its words, its end, and the end that it is given."""

import os
import sys
import time
from pathlib import Path

import pytest

from vitalfactory.studio.jobs import Job, python, shown

BAR = """
import sys, time
from tqdm import tqdm
for place in tqdm(range(4), desc="reading ecg", unit="record", disable=None):
    time.sleep(0.3)
print("a table")
print('{"rows": 4}')
"""
FAULT = """
import sys
print("error: notes.jsonl:3: not valid JSON", file=sys.stderr)
sys.exit(2)
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
TIDY = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.touch()
try:
    print("begun", flush=True)
    time.sleep(600)
finally:
    path.unlink()
"""


def start(code: str, *arguments: object) -> Job:
    return Job([sys.executable, "-c", code, *map(str, arguments)])


def wait_for(job: Job, text: str) -> str:
    while text not in "".join(job._out):
        assert job.running
        time.sleep(0.02)
    return "".join(job._out)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_bar_is_read_and_the_summary_is_the_last_line() -> None:
    job = start(BAR)
    seen = list(job.watch())
    shares = [progress.share for progress in seen if progress.share is not None]
    assert shares == sorted(shares)
    assert shares[-1] >= 0.5
    assert {progress.what for progress in seen} <= {"", "reading ecg"}
    assert job.progress().count == "4/4"
    outcome = job.end()
    assert (outcome.code, outcome.error, outcome.cancelled) == (0, None, False)
    assert outcome.summary == {"rows": 4}


def test_an_error_is_its_one_line() -> None:
    outcome = start(FAULT).end()
    assert outcome.code == 2
    assert outcome.error == "notes.jsonl:3: not valid JSON"
    assert outcome.summary is None


def test_a_traceback_is_no_error_for_people() -> None:
    outcome = start("raise ValueError('the text of a patient')").end()
    assert (outcome.code, outcome.error) == (1, None)


def test_cancelling_lets_a_script_tidy_up(tmp_path: Path) -> None:
    job = start(TIDY, tmp_path / "half")
    wait_for(job, "begun")
    job.cancel()
    outcome = job.end()
    assert outcome.cancelled
    assert not (tmp_path / "half").exists()


def test_cancelling_ends_what_will_not_end_and_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitalfactory.studio.jobs.GRACE_SECONDS", 0.5)
    job = start(STUBBORN)
    child = int(wait_for(job, "\n"))
    job.cancel()
    assert job.end().cancelled
    deadline = time.monotonic() + 60
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_cancelling_what_has_ended_changes_nothing() -> None:
    job = start("print('done')")
    assert job.end().code == 0
    job.cancel()
    assert not job.end().cancelled


def test_a_script_is_named_from_the_repository_and_finds_its_python() -> None:
    command = python("converters/check.py", "--dataset", "an ecg")
    assert shown(command) == "python converters/check.py --dataset 'an ecg'"
    outcome = Job(command).end()
    assert outcome.code == 2
    assert outcome.error is not None
    assert "an ecg: not registered" in outcome.error or "no recipe" in outcome.error


def test_an_environment_is_not_on_the_command_line() -> None:
    job = Job([sys.executable, "-c", "import os; print(os.environ['OPENAI_API_KEY'])"], {"OPENAI_API_KEY": "sesame"})
    assert job.end().text.strip() == "sesame"
    assert "OPENAI_API_KEY" not in os.environ or os.environ["OPENAI_API_KEY"] != "sesame"
