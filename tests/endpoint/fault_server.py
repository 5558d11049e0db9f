"""An OpenAI-compatible endpoint on loopback with faults as asked for, in a process of its own.

    python tests/endpoint/fault_server.py '{"delay": 0.2, "faults": {"429": 0.05}}'

prints its port. It answers each note with a reason that names the note, and counts what it was paid for: an answer
counts once its last byte is written to a client that is still there. ``GET /stats`` gives the counts.
"""

import asyncio
import hashlib
import json
import random
import signal
import sys
from collections import Counter
from typing import Any

PROBE = {"probe": "zq71"}
FAULTS = (
    "429 with Retry-After",
    "429",
    "500",
    "502",
    "drop",
    "half a body",
    "hang",
    "drip",
    "broken body",
    "truncated",
    "filter",
    "filter 400",
    "wrong schema",
    "twice",
)


def name_of(content: str) -> str:
    """Name a question by its text."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str, *headers: str) -> bytes:
    return http(status, json.dumps({"error": {"code": code, "message": "no"}}).encode(), *headers)


class Server:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.delay = settings.get("delay", 0.0)
        self.faults: dict[str, float] = settings.get("faults", {})
        self.key = settings.get("key")
        self.model = settings.get("model")
        self.vanish_after = settings.get("vanish_after")
        self.refuse_after = settings.get("refuse_after")
        self.late = settings.get("late", 0.0)
        self.structured = settings.get("structured", True)
        self.random = random.Random(settings.get("seed", 0))
        self.kept: dict[str, Any] = {"paid": 0, "asked": 0, "good": Counter(), "faults": Counter(), "longest": 0}
        self.now = 0

    def answer(self, request: dict[str, Any], wrong: str | None = None) -> bytes:
        """Write the answer to a request."""
        content = request["messages"][0]["content"]
        held = request.get("response_format", {}).get("type") if self.structured else None
        value: Any = {"diseases": ["pneumonia", "肺炎"], "reason": f'the note {name_of(content)} "says" so'}
        if "without JSON" in content:
            value = {**PROBE, "answer": value} if held == "json_schema" else {} if held else None
        if wrong == "wrong schema":
            value = {"answer": [1, 2]}
        text = "hello" if value is None else json.dumps(value, ensure_ascii=False)
        if wrong == "truncated":
            text = text[: len(text) // 2]
        finish = {"truncated": "length", "filter": "content_filter"}.get(wrong or "", "stop")
        self.now += 1
        body = {
            "id": f"chatcmpl-{self.now}",
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": len(content), "completion_tokens": 10},
        }
        return json.dumps(body).encode()

    def refusal(self, headers: str, request: dict[str, Any]) -> bytes | None:
        if self.key and f"bearer {self.key}" not in headers.lower():
            return error(401, "invalid_api_key")
        if self.refuse_after is not None and self.kept["paid"] >= self.refuse_after:
            return error(401, "invalid_api_key")
        if self.model and request["model"] != self.model:
            return error(404, "model_not_found")
        if self.vanish_after is not None and self.kept["paid"] >= self.vanish_after:
            return error(404, "model_not_found")
        return None

    def draw(self) -> str | None:
        place = self.random.random()
        for fault, share in self.faults.items():
            place -= share
            if place < 0:
                return fault
        return None

    async def reply(self, writer: asyncio.StreamWriter, headers: str, request: dict[str, Any]) -> None:
        """Answer one request, or fail as is due."""
        self.kept["asked"] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if (refused := self.refusal(headers, request)) is not None:
            writer.write(refused)
            return
        probing = "without JSON" in request["messages"][0]["content"]
        fault = None if probing else self.draw()
        self.kept["faults"][fault or "none"] += 1
        await self.act(writer, request, fault)

    async def act(self, writer: asyncio.StreamWriter, request: dict[str, Any], fault: str | None) -> None:
        simple = {
            "429 with Retry-After": error(429, "rate_limit", "Retry-After: 0.3"),
            "429": error(429, "rate_limit"),
            "500": error(500, "oops"),
            "502": http(502, b"<html>bad gateway</html>"),
            "filter 400": error(400, "content_filter"),
        }
        if fault in simple:
            writer.write(simple[fault])
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault == "drop":
            writer.close()
        elif fault == "half a body":
            whole = http(200, self.answer(request))
            writer.write(whole[: len(whole) - 20])
            await writer.drain()
            writer.close()
        elif fault == "drip":
            await self.drip(writer, http(200, self.answer(request)))
        elif fault == "broken body":
            self.pay(writer, http(200, self.answer(request)[:-30]))
        else:
            whole = http(200, self.answer(request, fault))
            good = fault in (None, "twice")
            self.pay(writer, whole, request if good else None)
            if fault == "twice" and self.late:
                await asyncio.sleep(self.late)
            if fault == "twice":
                writer.write(whole)

    def pay(self, writer: asyncio.StreamWriter, whole: bytes, request: dict[str, Any] | None = None) -> None:
        if writer.is_closing():
            return
        writer.write(whole)
        self.kept["paid"] += 1
        if request is not None:
            self.kept["good"][name_of(request["messages"][0]["content"])] += 1

    async def drip(self, writer: asyncio.StreamWriter, whole: bytes) -> None:
        for place in range(len(whole)):
            writer.write(whole[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0.1)
        self.kept["paid"] += 1

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if head.startswith("GET"):
                    writer.write(http(200, json.dumps(self.kept).encode()))
                    continue
                size = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
                self.kept["longest"] = max(self.kept["longest"], size)
                await self.reply(writer, head, json.loads(await reader.readexactly(size)))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def main() -> None:
    server = Server(json.loads(sys.argv[1]))
    port = json.loads(sys.argv[1]).get("port", 0)
    listening = await asyncio.start_server(server.connected, "127.0.0.1", port, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    await stop


if __name__ == "__main__":
    asyncio.run(main())
