"""What a row was told of is found again, drawn, and never read from outside."""

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitalfactory.files import read_jsonl
from vitalfactory.signals.ecg import Recording, WfdbRecord
from vitalfactory.studio import pictures, source
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.look import answer_of, line_of, picture_of, prompt_html, question_of, split_of
from vitalfactory.studio.prompts import Prompt
from vitalfactory.studio.state import Studio, flags_of
from vitalfactory.studio.words import CHINESE, ENGLISH, Refusal


def first(root: Path, dataset: str, split: str = "train") -> dict[str, Any]:
    return next(iter(read_jsonl(root / "data" / dataset / f"{split}.jsonl")))


def image_in(html: str) -> Image.Image:
    found = re.search(r"data:image/png;base64,([^\"]+)", html)
    assert found is not None
    return Image.open(BytesIO(base64.b64decode(found[1])))


def test_an_ecg_is_its_sources_recording(studio: Studio, sources: Path) -> None:
    folder, card = studio.dataset("ecg")
    row = first(studio.root, "ecg")
    found = source.find_ecg({**row, "id": f"{row['id']}+2"}, folder, card, studio.folders)
    assert found is not None
    kept = WfdbRecord(row["id"], "", "", sources / "ecg").read()
    assert found.fs == kept.fs
    assert np.array_equal(found.signal, kept.signal)


def test_without_its_source_a_test_row_is_its_preview_and_a_training_row_is_not_at_hand(
    studio: Studio, tmp_path: Path
) -> None:
    elsewhere = replace(studio, folders=Folders.of([tmp_path]))
    folder, card = studio.dataset("ecg")
    found = source.find_ecg(first(studio.root, "ecg", "test"), folder, card, elsewhere.folders)
    assert found is not None
    assert found.fs == 100
    assert 0.1 < np.abs(found.signal).max() < 10
    told = picture_of(first(studio.root, "ecg"), folder, card, elsewhere, ENGLISH)
    assert "not at hand" in told
    eeg_folder, eeg_card = studio.dataset("eeg")
    assert "not at hand" in picture_of(first(studio.root, "eeg"), eeg_folder, eeg_card, elsewhere, ENGLISH)


def test_a_synthetic_ecg_is_made_again(studio: Studio) -> None:
    folder, card = studio.dataset("ecg")
    made = card.model_copy(update={"command": "python converters/ecg.py --synthetic 12", "seed": 5})
    found = source.find_ecg({"id": "S00003"}, folder, made, studio.folders)
    assert found is not None
    assert len(found.signal) > 1000
    assert source.find_ecg({"id": "S00013"}, folder, made, studio.folders) is None


def test_an_epoch_is_its_nights_signals(studio: Studio) -> None:
    folder, card = studio.dataset("eeg")
    row = first(studio.root, "eeg")
    found = source.find_epoch(row, studio.root, card, studio.folders)
    assert found is not None
    assert (found.rate, found.start) == (100.0, row["start"])
    assert {name: len(trace) for name, trace in found.traces.items()} == {"Fpz-Cz": 3000, "Pz-Oz": 3000, "EOG": 3000}
    assert image_in(picture_of(row, folder, card, studio, CHINESE)).width == 900


@pytest.mark.parametrize(("dataset", "drawn"), [("ecg", True), ("cxr", True), ("clinical", False)])
def test_each_task_is_drawn_as_it_is_told(studio: Studio, dataset: str, drawn: bool) -> None:
    folder, card = studio.dataset(dataset)
    html = picture_of(first(studio.root, dataset), folder, card, studio, ENGLISH)
    assert bool(html) == drawn
    if drawn:
        assert min(image_in(html).size) > 100


def test_an_image_outside_the_dataset_is_refused(studio: Studio) -> None:
    folder, card = studio.dataset("cxr")
    for name in ("../secret.png", "/etc/passwd", "data/ecg/card.json", "data/cxr/../ecg/card.json"):
        with pytest.raises(Refusal, match="outside its folder"):
            picture_of({"id": "1", "images": [name]}, folder, card, studio, ENGLISH)


def test_a_spoilt_recording_is_said_and_not_raised(studio: Studio, own_cinc: Path) -> None:
    folder, card = studio.dataset("ecg")
    spoilt = card.model_copy(update={"command": f"python converters/ecg.py --input {own_cinc}"})
    (own_cinc / "A00000.mat").write_bytes(b"no recording")
    own = replace(studio, folders=Folders.of([own_cinc]))
    assert "vf-problem" in picture_of({"id": "A00000"}, folder, spoilt, own, ENGLISH)


def test_rows_are_told_on_a_line_and_in_full(studio: Studio) -> None:
    alpaca = {"id": "7", "instruction": "What?", "input": "Rate\n60", "output": "AF", "label": "AF"}
    assert line_of(4, alpaca) == "5 · 7 · AF · Rate 60"
    assert question_of(alpaca) == "What?\nRate\n60"
    assert answer_of(alpaca) == "AF"
    turns = [{"role": "user", "content": "<image>Which?"}, {"role": "assistant", "content": "mass"}]
    assert question_of({"messages": turns}) == "<image>Which?"
    assert answer_of({"messages": turns}) == "mass"
    assert line_of(0, {"id": "1", "messages": turns, "labels": ["mass", "hernia"]}).startswith(
        "1 · 1 · mass, hernia · "
    )
    assert len(line_of(0, {**alpaca, "input": "x" * 500})) == 90


def test_only_splits_and_datasets_that_there_are_open(studio: Studio) -> None:
    assert len(split_of(studio, "ecg", "train")) == 32
    for dataset, split in (("ecg", "../val"), ("../ecg", "train"), (None, "train"), ("", "train")):
        with pytest.raises(Refusal):
            split_of(studio, dataset, split)


def test_a_prompt_is_escaped_and_its_answer_marked() -> None:
    html = prompt_html(Prompt("<|im_start|>user\n<b>", "AF", 12, 2, 512, "SmolLM2", True), ENGLISH)
    assert "&lt;|im_start|&gt;user\n&lt;b&gt;<mark>AF</mark>" in html
    assert "14 tokens of at most 512: 12 of the prompt, then 2 of the answer, from token 13 on (SmolLM2)." in html
    assert "not at hand" in html


def test_a_command_is_taken_apart() -> None:
    flags = flags_of("python converters/eeg.py --input 'a b' c --no-events --channels C3-M2 --rate 100")
    assert flags == {"--input": ["a b", "c"], "--no-events": [], "--channels": ["C3-M2"], "--rate": ["100"]}


@pytest.mark.parametrize("seconds", [4.0, 12.0, 61.0])
def test_a_drawing_takes_any_length(seconds: float) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, round(seconds * 250))
    with Image.open(BytesIO(pictures.draw_ecg(Recording(noise, 250.0), CHINESE))) as drawn:
        assert drawn.width == 900
        assert drawn.height == round(100 * (0.5 + 1.7 * min(3, -(-seconds // 10))))


def test_a_drawing_is_in_english_where_no_font_has_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_chinese_font", lambda: None)
    assert pictures.labels_in(CHINESE) is ENGLISH
    monkeypatch.setattr(pictures, "_chinese_font", lambda: "SimHei")
    assert pictures.labels_in(CHINESE) is CHINESE
