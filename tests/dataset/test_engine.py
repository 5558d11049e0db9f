"""Work on many chunks: in order on every engine; the same bytes from a cluster, and after the death of a worker."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from vitalfactory.dataset import engine
from vitalfactory.dataset.engine import Engine
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, sha256

CONVERSIONS = {
    "ecg": ("--synthetic", "150"),
    "cxr": ("--synthetic", "60"),
    "eeg": ("--synthetic", "3", "--hours", "0.5", "--split", "34/33/33"),
}
"""Recordings, images and nights, made by each converter itself."""


def add(left: int, right: int) -> int:
    return left + right


def fail(number: int) -> int:
    if number == 5:
        raise VitalFactoryError(f"record {number} is broken")
    return number


def leave(number: int) -> int:
    os._exit(number)


@pytest.mark.parametrize("workers", [1, 2, None])
def test_results_come_in_the_order_of_the_tasks(workers: int | None) -> None:
    tasks = [(number, 1000) for number in range(40)]
    assert list(Engine(workers=workers).map(add, tasks)) == [number + 1000 for number in range(40)]
    assert list(Engine(workers=workers).map(add, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(workers: int) -> None:
    with pytest.raises(VitalFactoryError, match="record 5 is broken"):
        list(Engine(workers=workers).map(fail, [(number,) for number in range(20)]))


def test_a_worker_that_dies_is_told_of() -> None:
    with pytest.raises(VitalFactoryError, match="a worker process died"):
        list(Engine(workers=2).map(leave_second, [(number,) for number in range(3)]))


def leave_second(number: int) -> int:
    return leave(9) if number else number  # the first task is done in this process


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "spark"}, "--engine spark: expected local or ray"),
        ({"address": "auto"}, "--ray-address goes with --engine ray"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(VitalFactoryError, match=told):
        Engine(**given)


def test_ray_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(VitalFactoryError, match="Ray is not installed"):
        list(Engine("ray").map(add, [(1, 2)]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster of two nodes with a core each, in processes of their own."""
    pytest.importorskip("ray")
    for name, value in engine.SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1, include_dashboard=False)
    yield found.address
    found.shutdown()


def convert(name: str, root: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, f"converters/{name}.py", *CONVERSIONS[name], "--root", str(root), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): sha256(path) for path in (root / "data").rglob("[!.]*") if path.is_file()}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {name: tmp_path_factory.mktemp(name) for name in CONVERSIONS}
    for name, root in roots.items():
        process = convert(name, root, "--workers", "1")
        told, _ = process.communicate()
        assert process.returncode == 0, told
    return roots


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_cluster_writes_the_same_bytes(name: str, local: dict[str, Path], cluster: str, tmp_path: Path) -> None:
    process = convert(name, tmp_path, "--engine", "ray", "--ray-address", cluster)
    told, _ = process.communicate()
    assert process.returncode == 0, told
    kept = {path: digest for path, digest in files(local[name]).items() if "cache" not in path}
    assert {path: digest for path, digest in files(tmp_path).items() if "cache" not in path} == kept


@pytest.mark.slow
def test_records_of_a_killed_worker_are_done_again(local: dict[str, Path], cluster: str, tmp_path: Path) -> None:
    process = convert("ecg", tmp_path, "--engine", "ray", "--ray-address", cluster)
    limit = time.monotonic() + 300
    while not (busy := workers_at_work()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.05)
    busy[0].kill()
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert files(tmp_path) == files(local["ecg"])
    excluded = read_json(tmp_path / "data" / "ecg" / "card.json")["excluded"]
    assert excluded == {}


def workers_at_work() -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])  # that of a process that has ended is None
    return [process for process in processes if "ray::_as_in_script" in (process.info["cmdline"] or ())]


@pytest.mark.slow
def test_no_cluster_at_an_address(tmp_path: Path) -> None:
    process = convert("ecg", tmp_path, "--engine", "ray", "--ray-address", "127.0.0.1:9")
    told, _ = process.communicate()
    assert process.returncode == 2
    assert "no Ray cluster at 127.0.0.1:9" in told.splitlines()[-1]
    assert not (tmp_path / "data" / "ecg").exists()
