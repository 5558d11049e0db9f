"""Speed and memory of the teacher against an endpoint on loopback, in a process of its own, that always takes 200 ms.

64 requests at a time then make 320 rows/s the most that there can be. Memory is measured against an endpoint that
answers at once. Some ten minutes on two cores, of which nothing else should make use; writes its table into
docs/results.md.

    python -m benchmarks.teacher_speed
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.publish import publish_measured
from vitalfactory.errors import run
from vitalfactory.files import ROOT

DELAY, CONCURRENCY = 0.2, 64
ROWS = 10_000
MEMORY_ROWS = (1_000, 10_000, 100_000)
NOTE = (
    "主诉：发热、咳嗽3天。现病史：受凉后出现发热，最高39.1℃，咳黄痰，无胸痛。"
    "查体：右下肺可闻及湿啰音。白细胞14.2×10^9/L。"
)
SAID = json.dumps({"diseases": ["肺炎"], "reason": "发热、咳嗽、咳黄痰，右下肺湿啰音，白细胞升高"}, ensure_ascii=False)
PROBED = '{"probe": "zq71", "answer": ' + SAID + "}"


def _answer(text: str, name: str) -> bytes:
    message = {"role": "assistant", "content": text}
    body = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 150, "completion_tokens": 40},
    }
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


class _Endpoint(asyncio.Protocol):
    """The cheapest endpoint there can be: every request is answered after the same time."""

    asked = 0

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._kept = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._kept += data
        head, found, rest = self._kept.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
        if len(rest) < size:
            return
        self._kept = b""
        _Endpoint.asked += 1
        answer = _answer(PROBED if b'"probe"' in rest else SAID, str(_Endpoint.asked))
        asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)


async def _serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Endpoint(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _endpoint(delay: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.teacher_speed", "--serve", str(delay)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.kill()


def _label(rows: int, delay: float) -> dict[str, Any]:
    """Label so many notes in a process of its own, and say how fast, at what processor time and in what memory."""
    with tempfile.TemporaryDirectory() as folder, _endpoint(delay) as url:
        notes = Path(folder) / "notes.jsonl"
        with notes.open("w", encoding="utf-8") as stream:
            for number in range(rows):
                row = {"id": number, "feature_content": f"患者{number % 90}岁。{NOTE}体温{number}。"}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        command = [sys.executable, "converters/teacher.py", "--input", str(notes), "--out", f"{folder}/labels.jsonl"]
        command += ["--base-url", url, "--model", "m", "--concurrency", str(CONCURRENCY), "--json"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        summary = json.loads(process.stdout.read().splitlines()[-1])
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    assert summary["states"] == {"answered": rows}, summary
    rate = summary["now"]["rows_per_second"]
    return {
        "rows": rows,
        "rows_per_second": rate,
        "share_of_ideal": round(rate * delay / CONCURRENCY, 3) if delay else None,
        "cpu_ms_a_row": round(1000 * (used.ru_utime + used.ru_stime) / rows, 2),
        "peak_rss_mb": round(used.ru_maxrss / 1024, 1),
    }


def _line(found: dict[str, Any]) -> str:
    share = f"{found['share_of_ideal']:.1%}" if found["share_of_ideal"] else "-"
    cost = f"{found['cpu_ms_a_row']:.1f} ms | {found['peak_rss_mb']:.0f} MB"
    return f"| {found['rows']:,} | {found['rows_per_second']:.0f} | {share} | {cost} |"


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teacher_speed", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--serve", type=float, metavar="S", help=argparse.SUPPRESS)
    add("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    if given.serve is not None:
        asyncio.run(_serve(given.serve))
        return
    head = "| rows | rows/s | of the most there can be | processor time a row | memory of the process |"
    lines = [head, "|---|---|---|---|---|", _line(_label(ROWS, DELAY))]
    lines += [_line(_label(rows, 0.0)) for rows in MEMORY_ROWS]
    publish_measured("teacher_speed", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
