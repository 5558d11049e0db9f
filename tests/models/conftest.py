"""Drawn chest X-rays as datasets, and a tiny Qwen2-VL: what the models of findings are tested on."""

from pathlib import Path

import pytest

from converters import cxr
from tests.tiny import make_qwen2_vl


@pytest.fixture(scope="session")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the datasets cxr (160 images), cxr_few (16 to train on) and cxr_yesno, and the model tiny."""
    root = tmp_path_factory.mktemp("chest")
    make_qwen2_vl(root / "tiny")
    shared = {"root": root, "workers": 1, "wordings": 1}
    cxr.convert(synthetic=160, size=64, split="60/20/20", **shared)
    cxr.convert(synthetic=36, size=56, split="50/25/25", name="cxr_few", train_rows=16, **shared)
    cxr.convert(synthetic=6, size=56, split="40/30/30", name="cxr_yesno", representation="yesno", **shared)
    return root
