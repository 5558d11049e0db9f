"""Datasets of the tasks, written without LLaMA-Factory's check, and a studio over them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from converters import clinical, cxr, ecg, eeg
from tests.studio.sources import write_all
from vitalfactory.dataset import check
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.prompts import Prompts
from vitalfactory.studio.state import Studio


def passed(requests: list[check.Request]) -> list[check.Report]:
    """Find every dataset in order."""
    return [check.Report(tokens=check.Tokens(0, 0, 0, 0, 0, 0, 0, "none", True, {})) for _ in requests]


@contextmanager
def no_check() -> Iterator[None]:
    """Leave LLaMA-Factory's check out, and no longer than the block takes: other tests follow in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "check_all", passed)
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let converters write what LLaMA-Factory has not seen."""
    with no_check():
        yield


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def root(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset of each task whose rows are told of recordings, and one of notes."""
    root = tmp_path_factory.mktemp("root")
    with no_check():
        ecg.convert(input=sources / "ecg", root=root, workers=1)
        eeg.convert(input=[sources / "eeg"], root=root, workers=1, events=False, wake_margin=None)
        cxr.convert(input=[sources / "cxr"], root=root, workers=1)
        clinical.convert(labels=sources / "clinical" / "notes.jsonl", root=root, workers=1)
    return root


@pytest.fixture
def studio(root: Path, sources: Path, tmp_path: Path) -> Studio:
    return Studio(root, Folders.of([root / "data", sources]), tmp_path, Prompts())
