"""The gate answers this machine's own page alone, and lets Gradio's page fetch nothing from elsewhere."""

import asyncio
import re
import socket
from typing import Any

import pytest

from vitalfactory.errors import VitalFactoryError
from vitalfactory.studio.server import Gate, bind, rewrite

PAGE = (
    '<html lang="en"><head><link rel="preconnect" href="https://fonts.googleapis.com" />'
    '<script\n src="https://cdnjs.cloudflare.com/x.js"\n async\n></script><meta property="og:url" content="https://g/">'
    "</head></html>"
)


async def page(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer everything with a page, in two pieces."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(PAGE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE[:40].encode(), "more_body": True})
    await send({"type": "http.response.body", "body": PAGE[40:].encode()})


def ask(path: str, host: str = "127.0.0.1:7860", **headers: str) -> tuple[int, dict[str, str], str]:
    given = [(b"host", host.encode()), *((name.encode(), value.encode()) for name, value in headers.items())]
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    asyncio.run(Gate(page)({"type": "http", "path": path, "headers": given}, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/en", "/en/", "/zh/", "/en/config", "/zh/theme.css", "/en/assets/index-D.js"),
        *("/en/assets/svelte/svelte.js", "/en/gradio_api/queue/join", "/zh/gradio_api/queue/data"),
        *("/en/gradio_api/upload", "/en/gradio_api/heartbeat/abc123", "/reports/study%2Fcnn"),
    ],
)
def test_what_the_page_needs_is_answered(path: str) -> None:
    assert ask(path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/en/gradio_api/file=/etc/passwd", "/en/file=/etc/passwd", "/en/gradio_api/proxy=https://example.org"),
        *("/en/gradio_api/vibe-edit/", "/en/gradio_api/stream/1", "/en/monitoring", "/en/gradio_api/call/lambda"),
        *("/en/gradio_api/run/predict", "/en/login", "/docs", "/openapi.json", "/fr/", "/en/assets/../../etc/passwd"),
        *("/en/gradio_api/process_recording", "/en/gradio_api/openapi.json", "/reports/", "/reports/a/b"),
    ],
)
def test_other_paths_are_not_there(path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "", "10.0.0.7:7860", "localhost.evil"])
def test_another_name_is_refused(host: str) -> None:
    assert ask("/en/", host)[0] == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:7860", 200), ("http://127.0.0.1:9999", 403), ("https://example.org", 403), ("null", 403)],
)
def test_another_page_is_refused(origin: str, status: int) -> None:
    assert ask("/en/gradio_api/queue/join", origin=origin)[0] == status


def test_a_page_fetches_nothing_from_elsewhere() -> None:
    status, headers, body = ask("/zh/")
    assert status == 200
    assert not re.search("https?://", body)
    assert '<html lang="zh-CN">' in body
    assert "content-length" not in headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]


def test_a_report_runs_nothing() -> None:
    _, headers, body = ask("/reports/ecg")
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert body == PAGE


def test_gradios_page_is_as_the_gate_expects() -> None:
    from importlib.util import find_spec
    from pathlib import Path

    package = find_spec("gradio")
    assert package is not None
    assert package.origin is not None
    template = (Path(package.origin).parent / "templates" / "frontend" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall("https://", template)) >= 4
    left = rewrite(template, "en")
    assert not re.search("https?://", left)
    assert "known = {language: 'en'" in left


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(VitalFactoryError, match=r"--port \d+: .*; give another one"):
            bind(taken.getsockname()[1])
    with pytest.raises(VitalFactoryError, match="--port 70000"):
        bind(70000)
