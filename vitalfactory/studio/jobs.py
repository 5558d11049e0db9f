"""A script of the pack as a process of its own: how far it is, how it ended, and how it is ended early.

A script shows how far it is on a terminal alone, so its standard error is one.
"""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from vitalfactory.files import ROOT

LOOK_SECONDS = 0.25
GRACE_SECONDS = 20.0
"""A script that is told to end leaves nothing half-written; one that does not end by then is killed."""
COLUMNS = 100
MOST_TEXT = 200_000
"""Characters of a script's words that are kept, the last ones."""
_BAR = re.compile(r"(?P<what>[^:\r\n]*):\s+(?P<percent>\d+)%\|")
_COUNTED = re.compile(r"\|\s*(?P<done>[\d.]+[kMG]?)/(?P<total>[\d.]+[kMG]?) ")
_ERROR = re.compile(r"^error: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Progress:
    """How far a script is.

    Attributes
    ----------
    seconds : float
        Since it began.
    what : str
        What it says that it does; empty until it says anything.
    share : float or None
        Of that, between 0 and 1; None where it does not say.
    count : str
        Such as ``320/8528``.
    """

    seconds: float
    what: str = ""
    share: float | None = None
    count: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a script ended.

    Attributes
    ----------
    code : int
        Its exit code; negative where a signal ended it.
    text : str
        What it wrote to standard output.
    error : str or None
        Its own words on what was wrong, one line; None where it ended well or said nothing that is for people.
    cancelled : bool
    """

    code: int
    text: str
    error: str | None
    cancelled: bool

    @property
    def summary(self) -> dict[str, Any] | None:
        """The JSON object on the last line of standard output, where there is one."""
        for line in reversed(self.text.splitlines()):
            if line.startswith("{"):
                with suppress(ValueError):
                    found = json.loads(line)
                    return found if isinstance(found, dict) else None
        return None


def python(script: str, *arguments: object) -> list[str]:
    """Write a command that runs a script of the repository, as a person would type it."""
    return ["python", script, *map(str, arguments)]


def shown(command: Sequence[str]) -> str:
    """Write a command on one line, to be copied."""
    return shlex.join(command)


@dataclass
class Job:
    """A running script.

    Parameters
    ----------
    command : sequence of str
        ``python`` is that of this environment; a script's path is from the repository.
    environment : mapping of str to str
        Beside the studio's own.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    _words: list[str] = field(default_factory=list)
    _out: list[str] = field(default_factory=list)
    _cancelled: bool = False

    def __post_init__(self) -> None:
        """Start it, in a session of its own, so that Ctrl-C reaches the studio alone, which ends it in its turn."""
        words = [sys.executable if word == "python" else word for word in self.command]
        (terminal, errors), (reading, out) = pty.openpty(), os.pipe()
        termios.tcsetwinsize(errors, (24, COLUMNS))
        try:
            self._process = subprocess.Popen(
                words,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )
        finally:
            os.close(errors)
            os.close(out)
        self._started = time.monotonic()
        self._threads = [
            threading.Thread(target=_collect, args=(terminal, self._words), daemon=True),
            threading.Thread(target=_collect, args=(reading, self._out), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def progress(self) -> Progress:
        """Say how far it is."""
        seconds = time.monotonic() - self._started
        last = next((part for part in reversed(re.split(r"[\r\n]", "".join(self._words))) if _BAR.search(part)), "")
        bar = _BAR.search(last)
        if bar is None:
            return Progress(seconds)
        counted = _COUNTED.search(last)
        count = f"{counted['done']}/{counted['total']}" if counted else ""
        return Progress(seconds, bar["what"].strip(), int(bar["percent"]) / 100, count)

    def watch(self) -> Iterator[Progress]:
        """Say how far it is until it ends."""
        while self.running:
            yield self.progress()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)

    def end(self) -> Outcome:
        """Wait for its end."""
        code = self._process.wait()
        for thread in self._threads:
            thread.join(GRACE_SECONDS)
        words = "".join(self._words).replace("\r\n", "\n").replace("\r", "\n")
        errors = _ERROR.findall(words)
        return Outcome(code, "".join(self._out), errors[-1].strip() if errors else None, self._cancelled)

    def cancel(self) -> None:
        """End it and all that it started, as Ctrl-C does; what does not end is killed."""
        if not self.running:
            return
        self._cancelled = True
        self._signal(signal.SIGINT)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)  # what it started may live on

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _collect(handle: int, into: list[str]) -> None:
    """Read to the end, which a terminal tells as an error; keep the last of it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    kept = 0
    with os.fdopen(handle, "rb", buffering=0) as stream, suppress(OSError):
        while data := stream.read(65536):
            into.append(decoder.decode(data))
            kept += len(into[-1])
            while kept > MOST_TEXT and len(into) > 1:
                kept -= len(into.pop(0))
