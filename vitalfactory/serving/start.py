"""A recipe's model behind an address of this machine, closed before it is said to be ready.

The default engine is LLaMA-Factory's API (:mod:`vitalfactory.serving.stock`); ``constrained`` serves the same model as
GGUF (:mod:`vitalfactory.serving.local`), which keeps to a JSON schema and tells log-probabilities.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from vitalfactory.endpoint.client import KEY_REFUSED
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock
from vitalfactory.serving.calls import chat
from vitalfactory.serving.export import constrained_gguf
from vitalfactory.serving.local import HOST, KEYS, POLL_SECONDS, Served, launch
from vitalfactory.serving.plan import Plan
from vitalfactory.serving.stock import closed

KEY = KEYS[0]
KEY_BYTES = 32
LISTENING = "Uvicorn running on"
"""What the API says when it has the port, and so before any request can come."""
CONTEXT = 2048
"""Tokens of one request to the constrained server, where the recipe's rows are not longer."""
QUESTION = "Is water wet? Answer yes or no."
"""Asked once, before the server is said to be ready."""


class Words:
    """The last words of a server, kept until it listens; what it writes afterwards may repeat requests and is dropped.

    Parameters
    ----------
    stream : file of text
        What the server writes.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.listening = threading.Event()
        self._stream = stream
        self._last: deque[str] = deque(maxlen=1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            if self.listening.is_set():
                continue
            if LISTENING in line:
                self._last.clear()
                self.listening.set()
            elif line.strip():
                self._last.append(line.strip())

    def last(self) -> str:
        """Wait for the end of what is written, and return the last line."""
        self._thread.join()
        return self._last[0].removeprefix("error: ") if self._last else "it said nothing"


def read_key() -> tuple[str, bool]:
    """Take the key that requests must bring from the environment, or make one.

    Returns
    -------
    key : str
    made : bool

    Raises
    ------
    VitalFactoryError
        The environment's key cannot stand in a request.
    """
    given = os.environ.get(KEY)
    if given is None:
        return secrets.token_urlsafe(KEY_BYTES), True
    if not given.strip() or given != given.strip() or not given.isascii() or not given.isprintable():
        raise VitalFactoryError(f"{KEY}: expected printable ASCII characters, and no blanks around them")
    return given, False


@contextmanager
def reserve(port: int) -> Iterator[int]:
    """Keep a port from other servers that are started by this module.

    Parameters
    ----------
    port : int
        0 takes a free one.

    Yields
    ------
    int

    Raises
    ------
    VitalFactoryError
        It is in use, or another server is being started on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "expected a number up to 65535"
            raise VitalFactoryError(f"--port {port}: {reason}; give another one") from None
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        try:
            path = Path(tempfile.gettempdir()) / f"vitalfactory-{os.getuid()}-port-{port}.lock"
            stack.enter_context(lock(path, wait=False))
        except VitalFactoryError:
            raise VitalFactoryError(f"--port {port}: another server is being started on it; give another one") from None
        yield port


@contextmanager
def stock_api(plan: Plan, key: str, port: int) -> Iterator[Served]:
    """Serve a plan's model by LLaMA-Factory's API, in a process that ends with the block or with this process.

    Parameters
    ----------
    plan : Plan
    key : str
    port : int

    Yields
    ------
    Served

    Raises
    ------
    VitalFactoryError
        It ended while it loaded the model; says its last words.
    """
    command = [sys.executable, "-m", "vitalfactory.serving.stock", "api", *plan.stock_words]
    process = subprocess.Popen(
        [*command, "--parent", str(os.getpid())],
        env=closed(key, port, plan.name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that Ctrl-C reaches this process alone, which ends the other
    )
    assert process.stdout is not None
    with process:
        try:
            words = Words(process.stdout)
            while not words.listening.wait(POLL_SECONDS):
                if process.poll() is not None:
                    raise VitalFactoryError(f"the server did not start: {_death(process, words)}")
            yield Served(f"http://{HOST}:{port}/v1", process)
        finally:
            process.kill()


def _death(process: subprocess.Popen[str], words: Words) -> str:
    if process.returncode < 0:
        return f"it was killed (signal {-process.returncode}), most often for want of memory"
    return words.last()


@contextmanager
def constrained(plan: Plan, key: str, port: int) -> Iterator[Served]:
    """Serve a plan's model as GGUF, made anew where its adapter is another one.

    Parameters
    ----------
    plan, key, port
        See :func:`stock_api`.

    Yields
    ------
    Served

    Raises
    ------
    VitalFactoryError
        See :func:`vitalfactory.serving.export.constrained_gguf` and :func:`vitalfactory.serving.local.serve`.
    """
    gguf = constrained_gguf(plan)
    os.environ[KEY] = key
    context = max(CONTEXT, int(plan.recipe.get("cutoff_len") or 0))
    with launch(gguf, None, {"context": context, "port": port}) as served:
        yield served


def check_closed(served: Served, key: str, model: str) -> None:
    """Check that a server answers a question with the key, and none without.

    Raises
    ------
    VitalFactoryError
        It does otherwise.
    """
    for wrong in (None, f"{key}x"):
        if chat(served.url, QUESTION, wrong, model, max_tokens=1).status not in KEY_REFUSED:
            raise VitalFactoryError(f"{served.url}: answers without the key; it is not left running")
    reply = chat(served.url, QUESTION, key, model)
    if not reply.choice:
        raise VitalFactoryError(f"{served.url}: does not answer a plain question (status {reply.status})")


def start(plan: Plan, port: int, *, as_gguf: bool) -> None:
    """Serve a plan's model until Ctrl-C.

    Parameters
    ----------
    plan : Plan
    port : int
        0 takes a free one.
    as_gguf : bool
        Serve it by :func:`constrained` instead of :func:`stock_api`.

    Raises
    ------
    VitalFactoryError
        The port or the key cannot be used, the server does not start, or it ends by itself.
    """
    key, made = read_key()
    engine = constrained if as_gguf else stock_api
    with reserve(port) as port:
        shown = f"{plan.recipe['model_name_or_path']} with {plan.adapter or 'no adapter'}"
        print(f"loading {shown}, which takes half a minute or more", flush=True)
        with engine(plan, key, port) as served:
            check_closed(served, key, plan.name)
            if made:
                print(f"key {key}  (shown once; set {KEY} to choose it)", flush=True)
            print(f"ready {served.url}", flush=True)
            print("clients take the key from OPENAI_API_KEY; Ctrl-C stops the server", flush=True)
            with suppress(KeyboardInterrupt):
                code = served.process.wait()
                raise VitalFactoryError(f"{served.url}: the server ended by itself (exit code {code})")
