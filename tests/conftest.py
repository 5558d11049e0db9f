"""What all tests share: the check in this process, scripts as processes of their own, made and real recordings."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.signals.cinc import write_cinc
from vitalfactory.dataset import check
from vitalfactory.files import ROOT

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

DRIVER = ROOT / "tests" / "converters" / "driver.py"
SHARED_ECG = ROOT.parent / "shared" / "data" / "ecg_cinc2017"
CHECK_ALL = check.check_all


@pytest.fixture(scope="session", autouse=True)
def check_in_process() -> Iterator[None]:
    """Check in this process, so that LLaMA-Factory is imported once and not once for every conversion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "check_all", check.inspect_all)
        yield


@pytest.fixture(autouse=True)
def check_as_shipped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check as the converters do in tests marked ``subprocess_check``."""
    if request.node.get_closest_marker("subprocess_check"):
        monkeypatch.setattr(check, "check_all", CHECK_ALL)


Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start_script() -> Iterator[Start]:
    """Start a script as a process of its own, LLaMA-Factory's check left out; its workers end with it."""
    started = []

    def start(script: str, *arguments: object, **environment: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(DRIVER), str(ROOT / script), *map(str, arguments)]
        variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_script(start_script: Start) -> Run:
    """Run a script as a process of its own to its end."""

    def run(script: str, *arguments: object, **environment: object) -> "subprocess.CompletedProcess[str]":
        process = start_script(script, *arguments, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def cinc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty synthetic records in the Challenge's format, 10 s each: 16 N, 12 A and 12 O."""
    folder = tmp_path_factory.mktemp("cinc") / "training2017"
    write_cinc(folder, [(f"A{number:05d}", "NAONANOANO"[number % 10]) for number in range(40)])
    return folder


@pytest.fixture
def own_cinc(cinc_folder: Path, tmp_path: Path) -> Path:
    """Copy those records, to be spoilt by a test."""
    folder = tmp_path / "training2017"
    shutil.copytree(cinc_folder, folder)
    return folder


@pytest.fixture(scope="session")
def real_folds() -> Path:
    """Find the public folds of the Challenge's records."""
    if not (SHARED_ECG / "cv").is_dir():
        pytest.skip(f"no real recordings: {SHARED_ECG} is absent")
    return SHARED_ECG / "cv"


@pytest.fixture(scope="session")
def real_ecg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the Challenge's real records once."""
    archive = SHARED_ECG / "training2017.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real recordings: {archive} is absent")
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return next(folder.rglob("REFERENCE.csv")).parent
