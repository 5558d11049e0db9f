"""Tiny checkpoints of both networks, trained on made records in four folds."""

from collections.abc import Sequence
from pathlib import Path

from tests.signals.cinc import write_cinc
from vitalfactory.models.encoder import Manifest, Settings, find_architecture
from vitalfactory.models.encoder_training import Records, read_records, train

VAL_FOLD, TEST_FOLD = 2, 3
COUNT = 48
LABELS = "NAONANOANO"
OPTIONS = {"mamba": {"width": 8, "layers": 1}, "mscnn": {"streams": 1}}


def tiny(name: str = "mamba", **changed: float) -> Settings:
    """Settings of a network that trains in a second."""
    usual: dict[str, float] = {"seconds": 2.0 if name == "mamba" else 0.5, "epochs": 3 if name == "mamba" else 1}
    usual |= {"learning_rate": 0.01, "batch_size": 16, "patience": 3, **changed}
    return Settings.model_validate({"options": OPTIONS[name], **usual})


def names(count: int = COUNT) -> list[str]:
    return [f"A{number:05d}" for number in range(count)]


def write_folds(folder: Path, folds: Sequence[Sequence[str]]) -> Path:
    """Write fold files in the form of the public ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(folds):
        lines = [f"{place},{name},N" for place, name in enumerate(part)]
        (folder / f"cv{number}.csv").write_text("\n".join([",file_name,label", *lines, ""]))
    return folder


def write_source(root: Path, count: int = COUNT, more: Sequence[tuple[str, str]] = ()) -> tuple[Path, Path]:
    """Write records of 10 s dealt into four folds, and ``more`` that stand in none; returns both folders."""
    known = names(count)
    write_cinc(root / "training2017", [*((name, LABELS[int(name[1:]) % 10]) for name in known), *more])
    return root / "training2017", write_folds(root / "cv", [known[fold::4] for fold in range(4)])


def read(root: Path) -> Records:
    return read_records(root / "training2017", root / "cv")


def train_tiny(records: Records, out: Path, name: str = "mamba", **changed: float) -> Manifest:
    return train(find_architecture(name), records, tiny(name, **changed), VAL_FOLD, TEST_FOLD, out)
