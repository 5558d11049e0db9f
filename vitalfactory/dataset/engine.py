"""Work on many chunks of records, on this machine's cores or on a Ray cluster; results come in the order of the chunks.

On a cluster every machine has the same environment, and finds the repository and the source under the same paths. A
chunk whose worker dies is done again by another one.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from typing import Any, TypeVar

from vitalfactory.errors import VitalFactoryError

ENGINES = ("local", "ray")
ADDRESS = "RAY_ADDRESS"
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
"""Ray tells nobody that it is used, and has time to start on a busy machine."""
RETRIES = 3
"""How often a chunk is done again whose worker died: one that brings down every worker must not go on for ever."""
AHEAD = 4
"""Results held for their turn, for each worker."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes
    ----------
    name : {'local', 'ray'}
    workers : int or None
        Processes; None takes all cores of the machine or of the cluster.
    address : str or None
        Of a Ray cluster, such as ``10.0.0.1:6379``, or ``auto`` for the one that runs on this machine; by default the
        environment's RAY_ADDRESS, or else a cluster of this machine alone, which ends with the work.

    Raises
    ------
    VitalFactoryError
        The engine is not known, or an address is given to the local one.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.name not in ENGINES:
            raise VitalFactoryError(f"--engine {self.name}: expected {' or '.join(ENGINES)}")
        if self.address is not None and self.name != "ray":
            raise VitalFactoryError("--ray-address goes with --engine ray")

    def map(self, work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Generator[Result, None, None]:
        """Call a function with each of many tuples of arguments.

        Parameters
        ----------
        work : callable
            A function of this package's.
        tasks : sequence of tuple

        Yields
        ------
        object
            What it returns, in the order of the tasks.

        Raises
        ------
        VitalFactoryError
            A worker died; with Ray, several times over one task; Ray is not installed, or there is no cluster.
        """
        return _on_ray(work, tasks, self) if self.name == "ray" else _here(work, tasks, self.workers)


def _here(
    work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int | None
) -> Generator[Result, None, None]:
    count = workers or os.cpu_count() or 1
    # The first task is done here, so that the workers are forked from a process that has imported what it takes.
    alone = tasks if count == 1 else tasks[:1]
    for task in alone:
        yield work(*task)
    if len(alone) == len(tasks):
        return
    with ProcessPoolExecutor(min(count, len(tasks)), initializer=_start_worker) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks[1:]:
                waiting.append(pool.submit(work, *task))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise VitalFactoryError("a worker process died, perhaps for want of memory; try --workers 1") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import signal
    from threading import Thread

    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)  # each worker is one of several: threads of its own would only fight over the cores
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent is killed: a worker left behind would hold the dataset's lock for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _on_ray(
    work: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], engine: Engine
) -> Generator[Result, None, None]:
    with _cluster(engine) as ray:
        workers = engine.workers or int(ray.cluster_resources()["CPU"])
        remote = ray.remote(max_retries=RETRIES)(_as_in_script)
        script = getattr(sys.modules["__main__"], "__file__", None)
        running: list[Any] = []
        waiting: deque[Any] = deque()
        for task in tasks:
            if len(running) == workers:
                _, running = ray.wait(running)
            waiting.append(remote.remote(script, pickle.dumps((work, task))))
            running.append(waiting[-1])
            if len(waiting) > AHEAD * workers:
                yield _result(ray, waiting.popleft())
        while waiting:
            yield _result(ray, waiting.popleft())


def _as_in_script(script: str | None, packed: bytes) -> Any:
    """Do a task in a worker of Ray's, where the names of the script that was started are to be found as well."""
    if script is not None:
        _load_script(script)
    work, task = pickle.loads(packed)  # from this package's own process, over Ray's connection
    return work(*task)


@cache
def _load_script(script: str) -> None:
    """Let a script stand for ``__main__``, as multiprocessing does for the workers that it spawns."""
    spec = spec_from_file_location("__mp_main__", script)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["__mp_main__"] = sys.modules["__main__"] = module
    spec.loader.exec_module(module)


@contextmanager
def _cluster(engine: Engine) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine."""
    if find_spec("ray") is None:
        raise VitalFactoryError("Ray is not installed; run pip install 'vitalfactory[ray]'")
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    address = engine.address or os.environ.get(ADDRESS) or "local"
    own: dict[str, Any] = {"num_cpus": engine.workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises this very class where it does not start in time
        first = str(error).strip().partition("\n")[0]
        raise VitalFactoryError(f"no Ray cluster at {address}: {first}; start one with ray start --head") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _result(ray: Any, reference: Any) -> Any:
    """Wait for a task; what it raised is raised here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        kind = type(error).__name__
        raise VitalFactoryError(f"Ray gave a chunk of records up after {RETRIES} further tries ({kind})") from None
