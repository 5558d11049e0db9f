"""A plan of commands, shown as they run, so that each can be repeated by hand.

The plan and what is done of it stand in ``plan.json`` in the plan's folder. The same plan goes on
where it stopped; another plan starts the folder anew.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, lock, read_json, write_json
from vitalfactory.recipes import read_recipe

LOG_LINES = 12
POLL_SECONDS = 0.5
NOTE_SECONDS = 30
"""From one note of what a running step has taken to the next, so that little is forgotten when all is killed."""
_PERCENT = re.compile(rb"(\d+)%\|")


@dataclass(frozen=True)
class Step:
    """One command of a plan.

    Attributes
    ----------
    title : str
        What it does, for people.
    command : tuple of str
        ``python`` and ``llamafactory-cli`` are those of this environment.
    shows : bool
        Whether its output is printed, also when the step was done before.
    """

    title: str
    command: tuple[str, ...]
    shows: bool = False

    def line(self) -> str:
        """Write the command as it is typed in a shell, in the repository."""
        return shlex.join(self.command)


@dataclass(frozen=True)
class Cost:
    """What a step took, all attempts together: a training that was cut off goes on and does not begin anew.

    Attributes
    ----------
    seconds : float
        By the clock.
    core_seconds : float
        Of all cores together, whatever else the machine was doing.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Add what another attempt took."""
        return Cost(self.seconds + other.seconds, self.core_seconds + other.core_seconds)


def run_steps(steps: Sequence[Step], folder: Path, *, fresh: bool = False) -> dict[str, Cost]:
    """Run the steps of a plan that are not done yet.

    Parameters
    ----------
    steps : sequence of Step
    folder : Path
        Where the plan's record, its logs and its results are.
    fresh : bool
        Start anew, whatever was done before.

    Returns
    -------
    dict of str to Cost
        Of each step by its command line, also of those done before.

    Raises
    ------
    VitalFactoryError
        A step failed; its log is named.
    """
    plan = {"commands": [step.line() for step in steps], "recipes": _recipes(steps)}
    record = folder / "plan.json"
    with lock(folder.parent / f".{folder.name}.lock", wait=False):
        done = read_json(record) if record.exists() and not fresh else {}
        if done.get("plan") != plan:
            shutil.rmtree(folder, ignore_errors=True)
            done = {"plan": plan, "costs": {}, "attempts": {}}
            write_json(record, done)
        for number, step in enumerate(steps, 1):
            log = folder / "logs" / f"{number:02d}.log"
            print(f"\n[{number}/{len(steps)}] {step.title}\n  $ {step.line()}", flush=True)
            if step.line() in done["costs"]:
                print("  done before", flush=True)
            else:
                done["costs"][step.line()] = _attempt(step, log, done, record)
                write_json(record, done)
            if step.shows:
                print(_printed(log))
    return {str(line): Cost(**cost) for line, cost in done["costs"].items()}


def training_minutes(costs: Mapping[str, Cost]) -> list[float]:
    """List what each fine-tuning of a plan took, in core-minutes."""
    return [cost.core_seconds / 60 for line, cost in costs.items() if line.startswith("llamafactory-cli train")]


def _recipes(steps: Sequence[Step]) -> dict[str, dict[str, Any]]:
    """Read the recipes that the commands name: with other arguments, what was done before is of another plan."""
    names = sorted({word for step in steps for word in step.command if word.endswith(".yaml")})
    return {name: read_recipe(ROOT / name) for name in names}


def _attempt(step: Step, log: Path, done: dict[str, Any], record: Path) -> dict[str, float]:
    """Run a step and return what it took, earlier attempts with it; what is not finished is noted in the record."""
    attempts = done["attempts"]
    earlier = Cost(**attempts.get(step.line(), {}))

    def note(cost: Cost) -> None:
        attempts[step.line()] = asdict(earlier + cost)
        write_json(record, done)

    cost = earlier + _run(step, log, note)
    attempts.pop(step.line(), None)
    return asdict(cost)


def _run(step: Step, log: Path, note: Callable[[Cost], None]) -> Cost:
    log.parent.mkdir(parents=True, exist_ok=True)
    binaries = Path(sys.executable).parent
    command = [str(binaries / step.command[0]), *step.command[1:]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    start, cores = time.monotonic(), _core_seconds()
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, env=environment)
        try:
            _wait(process, log.with_suffix(".err"), start, note)
        except BaseException:
            note(Cost(time.monotonic() - start, _core_seconds_of(process.pid)))
            process.terminate()
            process.wait()
            raise
    cost = Cost(time.monotonic() - start, _core_seconds() - cores)
    if process.returncode != 0:
        note(cost)
        last = "\n".join(_lines(log.with_suffix(".err"))[-LOG_LINES:])
        print(last, file=sys.stderr)
        raise VitalFactoryError(f"{step.title}: exit code {process.returncode}; the whole log is {log} and .err")
    print(f"  {cost.seconds:.0f} s", flush=True)
    return cost


def _core_seconds() -> float:
    """Count the seconds of all processes that have been started and waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _core_seconds_of(pid: int) -> float:
    """Count the seconds of a running process and of all that it has started; 0 when it is gone."""
    try:
        parent = psutil.Process(pid)
        return sum(sum(process.cpu_times()[:4]) for process in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0.0


def _wait(process: subprocess.Popen[bytes], log: Path, start: float, note: Callable[[Cost], None]) -> None:
    """Wait for a step, its own progress bar told in one line where a person is watching."""
    noted = start
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        if time.monotonic() > noted + NOTE_SECONDS:
            noted = time.monotonic()
            note(Cost(noted - start, _core_seconds_of(process.pid)))
        if sys.stdout.isatty():
            percent = _PERCENT.findall(log.read_bytes()[-2000:])
            bar = f"{int(percent[-1])} %, " if percent else ""
            print(f"\r  {bar}{time.monotonic() - start:.0f} s ", end="", flush=True)
    if sys.stdout.isatty():
        print("\r" + " " * 30 + "\r", end="")


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()


def _printed(log: Path) -> str:
    return "\n".join(_lines(log))
