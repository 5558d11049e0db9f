"""Run a script as ``__main__`` without LLaMA-Factory's check, as the test's environment variables say.

PAUSE_AFTER and MARKER: after so many rows touch the marker and wait to be killed.
FILE_LIMIT: no file may grow over so many bytes, as on a full disk.
"""

import os
import resource
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

from vitalfactory.dataset import build, check


def passed(requests: list[check.Request]) -> list[check.Report]:
    """Find every dataset in order."""
    tokens = check.Tokens(0, 0, 0, 0, 0, 0, 0, "none", True, {})
    return [check.Report(tokens=tokens) for _ in requests]


def pause_after(rows: int, marker: Path) -> None:
    """Make the writer stop in the middle of its work."""
    write_row = build._Writer._write_row
    written = 0

    def write_and_pause(writer: Any, row: Any) -> None:
        nonlocal written
        write_row(writer, row)
        written += 1
        if written == rows:
            marker.touch()
            time.sleep(600)

    vars(build)["_Writer"]._write_row = write_and_pause


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started to ignore it
vars(check)["check_all"] = passed
if "PAUSE_AFTER" in os.environ:
    pause_after(int(os.environ["PAUSE_AFTER"]), Path(os.environ["MARKER"]))
if "FILE_LIMIT" in os.environ:
    limit = int(os.environ["FILE_LIMIT"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
