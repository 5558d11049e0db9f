"""The plan over chest X-rays keeps to its folder, and its tables hold what was judged."""

from pathlib import Path

import pytest

from benchmarks.cxr import COPIES, IMAGES, RUNS, by_finding, plan, write_full_size
from tests.scoring.conftest import make_card
from tests.signals.xrays import ramp
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import write_json
from vitalfactory.signals.cxr import label_file, radiographs
from vitalfactory.signals.cxr_image import pixels


def test_the_plan_keeps_to_its_folder() -> None:
    lines = [step.line() for step in plan("results/cxr", "data/raw/cxr_nih14")]
    assert len(set(lines)) == len(lines)
    assert all("results/cxr" in line for line in lines)
    assert sum("eval/multilabel.py" in line for line in lines) == len(RUNS)
    assert "--size 64" in lines[0]


def test_the_findings_of_both_runs_stand_side_by_side(tmp_path: Path) -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    none = {"value": None, "low": None, "high": None}
    labels = {"mass": 3, "hernia": 0}
    terms = {"answers": {label: label for label in labels}, "synonyms": {}}
    splits = {"test": {"rows": 9, "groups": 9, "labels": labels, "sha256": ""}}
    card = make_card(terms, None, kind="multilabel", splits=splits).model_dump()
    for name in RUNS:
        judged = {"mass": {"auroc": figure}, "hernia": {"auroc": none}}
        write_json(tmp_path / name / "metrics.json", {"per_class": judged})
        write_json(tmp_path / name / "card.json", card)
    assert by_finding(tmp_path).splitlines() == [
        "| Finding | Images | boosted, AUROC | cnn, AUROC |",
        "|---|---|---|---|",
        "| mass | 3 | 0.500 [0.250, 0.750] | 0.500 [0.250, 0.750] |",
        "| hernia | 0 | - | - |",
    ]


def test_copies_of_full_size_images_differ(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    ramp(64, 64).save(tmp_path / "set" / "small.png")
    with pytest.raises(VitalFactoryError, match="holds no image of 1000000 pixels or more"):
        write_full_size(tmp_path / "set", tmp_path / "out")
    for number in range(2):
        ramp(1024, 1024, 10 * number).save(tmp_path / "set" / "a" / f"{number}.png")
    assert write_full_size(tmp_path / "set", tmp_path / "out") == 2 * COPIES <= IMAGES * COPIES
    files = sorted((tmp_path / "out").glob("*.png"))
    assert len({file.read_bytes() for file in files}) == 2 * COPIES
    assert pixels(files[0]) == 1024 * 1024
    found = list(radiographs([label_file(tmp_path / "out")], [tmp_path / "out"]))
    assert len({item.about.group for item in found}) == 2  # type: ignore[union-attr]
