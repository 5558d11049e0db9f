"""A fault server for a test, and notes to ask it about."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vitalfactory.files import write_jsonl

SERVER = Path(__file__).with_name("fault_server.py")


class FaultServer:
    """A fault server that runs."""

    def __init__(self, settings: dict[str, Any]) -> None:
        command = [sys.executable, str(SERVER), json.dumps(settings)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url) as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts

    def stop(self) -> None:
        with self.process:
            self.process.kill()


Serve = Callable[..., FaultServer]


def fault_servers() -> Iterator[Serve]:
    """Start fault servers that end with the test."""
    started: list[FaultServer] = []

    def start(**settings: Any) -> FaultServer:
        started.append(FaultServer(settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()


serve = pytest.fixture(fault_servers)


def make_notes(path: Path, count: int) -> Path:
    """Write notes, each of its own."""
    write_jsonl(
        path,
        [{"id": number, "feature_content": f"主诉：咳嗽{number}天。\n查体：“湿啰音”。"} for number in range(count)],
    )
    return path
