"""The studio's server: this machine alone, what the page needs and no more, and nothing fetched from elsewhere."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import threading
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from vitalfactory.errors import VitalFactoryError
from vitalfactory.studio import parts, results
from vitalfactory.studio.state import Studio
from vitalfactory.studio.words import LANGUAGES

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
"""What the studio may be called by: another name may be another page's, led here by its name server."""
OPEN = re.compile(
    r"/(?:(?:en|zh)(?:/(?:config/?|theme\.css|favicon\.ico|manifest\.json|assets/[\w./-]+|static/[\w/.-]+"
    r"|gradio_api/(?:info/?|startup-events|theme\.css|upload|upload_progress|cancel|reset/?"
    r"|heartbeat/\w+|queue/(?:join|data)))?)?|reports/[^/]+)?"
)
"""The paths that are answered. Gradio has others, which serve files and fetch addresses."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
)
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
FETCHED = re.compile(
    r'<link\s+rel="(?:preconnect|manifest)"[^>]*>|<script\s+src="https://[^"]*"[^>]*>\s*</script>'
    r'|<meta\s+property="og:[^>]*>|<meta\s+name="twitter:[^>]*>'
)
"""What Gradio's page would load from elsewhere, or says of elsewhere."""
NO_ICON = '<link rel="icon" href="data:,">'
"""Else a browser asks for one."""
START_SECONDS = 60.0
SWEEP_SECONDS = 10.0
SET_LOCALE = "for (const name in known) Object.defineProperty(navigator, name, {get: () => known[name]});"
"""Gradio takes the language of its own words from the browser's."""

Scope = MutableMapping[str, Any]


class Gate:
    """What stands before the page: refuses other names, other pages and other paths, and rewrites the page's head.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        refused = _refusal(scope, headers)
        if refused:
            await _plain(send, *refused)
            return
        await self.app(scope, receive, _Rewriter(scope["path"], send))


def _refusal(scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
    host = headers.get("host", "")
    if scope["type"] != "http" or urlsplit(f"//{host}").hostname not in NAMES:
        return 421, "this studio answers as 127.0.0.1 and localhost alone"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return 403, "this studio takes nothing from other pages"
    if not OPEN.fullmatch(scope["path"]) or ".." in scope["path"]:
        return 404, "there is no such page"
    return None


async def _plain(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class _Rewriter:
    """Passes an answer on with the policy of its path; of the page itself, the head is rewritten first."""

    def __init__(self, path: str, send: Any) -> None:
        self.send = send
        self.language = path.strip("/") if path.strip("/") in LANGUAGES else None
        self.fixed = "/assets/" in path
        self.policy = REPORT_POLICY if path.startswith("/reports/") else POLICY
        self.start: dict[str, Any] | None = None
        self.body = b""

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            added = {
                b"content-security-policy": self.policy.encode(),
                b"x-content-type-options": b"nosniff",
                b"referrer-policy": b"no-referrer",
                b"cache-control": b"max-age=86400" if self.fixed else b"no-store",
            }
            html = dict(message["headers"]).get(b"content-type", b"").startswith(b"text/html")
            whole = self.language is not None and html and message["status"] == 200
            headers = [*(kept if whole else message["headers"]), *added.items()]
            message = {**message, "headers": headers}
            if whole:
                self.start = message
                return
        elif self.start is not None:
            self.body += message.get("body", b"")
            if message.get("more_body"):
                return
            await self.send(self.start)
            body = rewrite(self.body.decode("utf-8"), str(self.language)).encode("utf-8")
            message = {"type": "http.response.body", "body": body}
        await self.send(message)


def rewrite(page: str, language: str) -> str:
    """Take out of Gradio's page what it would fetch, and let its own words be those of the page's language.

    Parameters
    ----------
    page : str
    language : {'en', 'zh'}
    """
    locale = "zh-CN" if language == "zh" else "en"
    own = f"<script>const known = {{language: '{locale}', languages: ['{locale}']}};{SET_LOCALE}</script>{NO_ICON}"
    return FETCHED.sub("", page).replace('lang="en"', f'lang="{locale}"', 1).replace("<head>", f"<head>{own}", 1)


def application(studio: Studio) -> Any:
    """Put the pages of both languages, the reports and the gate together.

    Parameters
    ----------
    studio : Studio

    Returns
    -------
    ASGI application
    """
    import gradio as gr
    from fastapi import FastAPI
    from starlette.responses import FileResponse, RedirectResponse, Response

    from vitalfactory.studio.app import page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def start(request: Any) -> Response:
        wanted = request.headers.get("accept-language", "")
        return RedirectResponse("/zh/" if wanted.lower().startswith("zh") else "/en/")

    def report(request: Any) -> Response:
        path = results.report_of(studio, unquote(request.path_params["run"]))
        return FileResponse(path, media_type="text/html") if path else Response("there is no such report", 404)

    app.add_route("/", start)
    app.add_route("/reports/{run:path}", report)
    for language, words in LANGUAGES.items():
        with contextlib.redirect_stdout(io.StringIO()):  # gradio prints where it was mounted
            app = gr.mount_gradio_app(
                app,
                page(studio, words),
                path=f"/{language}",
                server_name=HOST,
                allowed_paths=[],
                max_file_size=studio.largest_mb * 2**20,
                show_error=False,
                show_api=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
            )
    return Gate(app)


def bind(port: int) -> socket.socket:
    """Take a port of this machine.

    Raises
    ------
    VitalFactoryError
        It is taken.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except (OSError, OverflowError) as error:
        taken.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise VitalFactoryError(f"--port {port}: {reason}; give another one, or 0 for a free one") from None
    return taken


def serve(studio: Studio, taken: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; say "ready" and the address as soon as the page is there.

    Parameters
    ----------
    studio : Studio
    taken : socket
        Of :func:`bind`.
    """
    import uvicorn

    config = uvicorn.Config(
        application(studio),
        log_level="error" if parts.DEBUG else "critical",  # a page that is open at the end would be a traceback
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    def announce() -> None:
        end = time.monotonic() + START_SECONDS
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        if server.started:
            print(f"ready http://{HOST}:{taken.getsockname()[1]}", flush=True)

    def sweep() -> None:
        while True:
            time.sleep(SWEEP_SECONDS)
            studio.sweep()

    for work in (announce, sweep):
        threading.Thread(target=work, daemon=True).start()
    server.run(sockets=[taken])
