"""One of the pack's commands, run to its end, and what it prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT

LAST = 500
"""Characters of a failed command's errors that are shown."""
_RATE = re.compile(r"([\d.]+) rows/s")


def call(*words: str) -> str:
    """Run a command in the repository and return what it prints.

    Parameters
    ----------
    *words : str
        ``python`` and ``llamafactory-cli`` are those of this environment.

    Raises
    ------
    VitalFactoryError
        It failed; says its last words.
    """
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise VitalFactoryError(f"{' '.join(words)}: {done.stderr.strip()[-LAST:]}")
    return done.stdout


def convert(task: str, *flags: str) -> dict[str, Any]:
    """Run a task's converter and return the summary that it prints."""
    summary: dict[str, Any] = json.loads(call("python", f"converters/{task}.py", *flags, "--json").splitlines()[-1])
    return summary


def rows_a_second(printed: str) -> float:
    """Read the rate out of what ``eval/score.py`` prints."""
    found = _RATE.search(printed)
    assert found, "score.py prints its rate"
    return float(found[1])
