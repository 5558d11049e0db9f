"""A GGUF model, with or without a LoRA adapter, behind an OpenAI-compatible endpoint on 127.0.0.1.

The server is llama.cpp's own (package xllamacpp): chat and text completions, JSON schema, log-probabilities.

    python -m vitalfactory.serving.local --model model.gguf --adapter adapter.gguf --port 8080

The chat template is the one in the GGUF. A model that was tuned under a system message must be sent the same one: the
template ``smollm2`` of LLaMA-Factory ends it with a full stop, the template in SmolLM2's GGUF does not.

Where VITALFACTORY_API_KEY or else OPENAI_API_KEY is set, requests must bring that key.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from vitalfactory.errors import VitalFactoryError, run

HOST = "127.0.0.1"
KEYS = ("VITALFACTORY_API_KEY", "OPENAI_API_KEY")
"""Environment variables that hold the key to ask for, the first one that is set."""
START_SECONDS = 300.0
"""Within which a model must be loaded."""
POLL_SECONDS = 0.2
READY = "ready "
LOG_LINES = 6
_TIMESTAMP = re.compile(r"^[\d.]+ [EW] +")
ERRORS_ONLY = 1
"""llama.cpp's verbosity; from warnings on it repeats what was wrong in a request, text included."""
HTTP_THREADS = 64
"""A client that keeps its connection open holds one of them."""


@contextmanager
def serve(
    model: Path,
    *,
    adapter: Path | None = None,
    parallel: int = 4,
    context: int = 2048,
    port: int = 0,
    threads: int | None = None,
) -> Iterator[str]:
    """Serve a model in a process of its own, which ends with the block or with this process, however that ends.

    Parameters
    ----------
    model : Path
        GGUF file.
    adapter : Path, optional
        LoRA adapter as GGUF, see :mod:`vitalfactory.serving.gguf`.
    parallel : int
        Requests answered at the same time; others wait.
    context : int
        Tokens of one request's prompt and answer together; a longer prompt is refused with status 400.
    port : int
        0 takes a free one.
    threads : int, optional
        Of the computation; all cores by default.

    Yields
    ------
    str
        The base URL, ``http://127.0.0.1:PORT/v1``.

    Raises
    ------
    VitalFactoryError
        The server does not come up: a file is missing or not what it should be, the port is taken, or xllamacpp is
        not installed.
    """
    settings: dict[str, Any] = {"parallel": parallel, "context": context, "port": port, "threads": threads}
    with launch(model, adapter, settings) as served:
        yield served.url


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Attributes
    ----------
    url : str
        ``http://127.0.0.1:PORT/v1``.
    process : Popen
    """

    url: str
    process: subprocess.Popen[str]


@contextmanager
def launch(model: Path, adapter: Path | None, settings: Mapping[str, Any]) -> Iterator[Served]:
    """Do the same, and tell the server's process.

    Parameters
    ----------
    model, adapter
        See :func:`serve`.
    settings : mapping
        Its other parameters; those that are None are left out.
    """
    _check(model, adapter)
    command = [sys.executable, "-m", "vitalfactory.serving.local", "--model", str(model), "--parent", str(os.getpid())]
    given = {"adapter": adapter, **settings}
    command += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    with tempfile.TemporaryFile() as log:
        # In a session of its own, so that Ctrl-C reaches the caller alone, whose last requests are still answered.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        with process:
            try:
                yield Served(_wait(process, log), process)
            finally:
                process.kill()


def _wait(process: subprocess.Popen[str], log: IO[bytes]) -> str:
    """Wait for the line that says where the server answers."""
    assert process.stdout is not None
    limit = threading.Timer(START_SECONDS, process.kill)
    limit.start()
    try:
        line = process.stdout.readline()
    finally:
        limit.cancel()
    if line.startswith(READY):
        return line.removeprefix(READY).strip()
    process.wait()
    log.seek(0)
    words = [_TIMESTAMP.sub("", line) for line in log.read().decode(errors="replace").splitlines()]
    last = "; ".join(words[-LOG_LINES:]) or f"it was stopped, or did not answer within {START_SECONDS:.0f} s"
    raise VitalFactoryError(f"the local server did not start: {last}")


def _check(model: Path, adapter: Path | None) -> None:
    for file in filter(None, (model, adapter)):
        if not file.is_file():
            raise VitalFactoryError(f"{file}: no such file")
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise VitalFactoryError(f"{file}: not a GGUF file")
    if find_spec("xllamacpp") is None:
        raise VitalFactoryError("xllamacpp is not installed; run pip install 'vitalfactory[local]'")


def start(model: Path, adapter: Path | None, *, parallel: int, context: int, port: int, threads: int | None) -> Any:
    """Start the server in this process; it ends when the returned object does.

    Parameters
    ----------
    model, adapter, parallel, context, port, threads
        As in :func:`serve`.

    Returns
    -------
    xllamacpp.Server

    Raises
    ------
    VitalFactoryError
        See :func:`serve`; llama.cpp has then written why to standard error.
    """
    _check(model, adapter)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin take the cores that others compute on
    library: Any = importlib.import_module("xllamacpp")
    settings = library.CommonParams()
    settings.model.path = str(model)
    settings.model_alias = {model.stem}
    if adapter:
        settings.lora_adapters = [library.CommonAdapterLoraInfo(str(adapter), 1.0)]
    settings.n_parallel = parallel
    settings.n_ctx = context * parallel
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads or os.cpu_count() or 1
    settings.fit_params = False
    settings.port = port
    _close(settings)
    try:
        return library.Server(settings)
    except RuntimeError:
        where = f"{model.name} with {adapter.name}" if adapter else model.name
        raise VitalFactoryError(f"llama.cpp does not serve {where} on port {port}; its own words stand above") from None


def _close(settings: Any) -> None:
    """Answer this machine alone, under the key of the environment; neither show nor log what is asked."""
    settings.hostnames = [HOST]
    settings.n_threads_http = HTTP_THREADS
    settings.api_keys = [key for key in map(os.environ.get, KEYS) if key][:1]
    settings.cors_origins = f"http://{HOST}"
    settings.ui = False
    settings.endpoint_slots = False
    settings.cache_ram_mib = 0
    settings.verbosity = ERRORS_ONLY


def stay(parent: int | None) -> None:
    """Wait for Ctrl-C, or until the process that started this one is gone.

    Parameters
    ----------
    parent : int or None
        Its id; None waits for Ctrl-C alone.
    """
    while parent is None or os.getppid() == parent:
        time.sleep(POLL_SECONDS)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.serving.local", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="FILE", help="GGUF file")
    add("--adapter", type=Path, metavar="FILE", help="LoRA adapter as GGUF (python -m vitalfactory.serving.gguf)")
    add("--parallel", type=_positive, default=4, metavar="N", help="requests at the same time (default: %(default)s)")
    add("--context", type=_positive, default=2048, metavar="N", help="tokens with the answer (default: %(default)s)")
    add("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    add("--threads", type=_positive, metavar="N", help="threads of the computation (default: all cores)")
    add("--parent", type=int, metavar="PID", help="end when this process, which started the server, is gone")
    add("--debug", action="store_true", help="show the traceback of an error")
    given = vars(parser.parse_args(argv))
    parent = given.pop("parent")
    del given["debug"]
    server = start(given.pop("model"), given.pop("adapter"), **given)
    print(f"{READY}{server.listening_address}/v1", flush=True)
    with suppress(KeyboardInterrupt):
        stay(parent)
    os._exit(0)  # llama.cpp's own end would wait for answers that are still being written


if __name__ == "__main__":
    run(main)
