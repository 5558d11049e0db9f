"""A dropped recording is told exactly as its dataset's rows, for a model on this machine alone, and is deleted."""

import json
from pathlib import Path
from typing import Any

import pytest

from converters import clinical, cxr, ecg, eeg, medqa
from tests.signals.psg import write_pair
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, write_jsonl
from vitalfactory.signals import single
from vitalfactory.studio import ask
from vitalfactory.studio.state import Studio, flags_of
from vitalfactory.studio.tasks import KINDS, TASKS
from vitalfactory.studio.words import CHINESE, ENGLISH, Refusal

CONVERTERS: dict[str, Any] = {"ecg": ecg, "eeg": eeg, "cxr": cxr, "clinical": clinical, "medqa": medqa}
NOT_TELLING = {
    *("--input", "--synthetic", "--download", "--features", "--hours", "--file-type", "--wake-margin", "--noise"),
    "--max-windows",
    *("--images", "--test-list", "--train-val-list", "--quota", "--repeat"),
    *("--name", "--folds", "--val-fold", "--test-fold", "--split", "--seed", "--balance", "--balance-alpha"),
    *(
        "--weight-method",
        "--train-rows",
        "--limit",
        "--max-bad",
        "--recipe",
        "--workers",
        "--root",
        "--json",
        "--debug",
    ),
    *("--engine", "--ray-address"),
}
"""Flags about the source, the split and the run: they change no row's text."""


def flags_of_script(task: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        CONVERTERS[task].main(["--help"])
    words = capsys.readouterr().out.replace(",", " ").replace("[", " ").replace("]", " ").split()
    return {word for word in words if word.startswith("--")} - {"--help", "--"}


@pytest.mark.parametrize("task", ["ecg", "eeg", "cxr"])
def test_every_flag_of_a_converter_is_known_to_tell_or_not_to_tell(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = flags_of_script(task, capsys)
    telling = set(KINDS[task].telling)
    assert telling <= known
    assert known - telling <= NOT_TELLING, "a new flag: does it decide how a recording is told?"


@pytest.mark.parametrize("task", TASKS)
def test_the_page_offers_what_the_converter_has(task: str) -> None:
    forms = KINDS[task].forms
    known = getattr(CONVERTERS[task], "REPRESENTATIONS", forms)
    assert set(forms) == set(known) - {"emotion"}, "emotion networks are a user's own files"
    assert KINDS[task].recipe == CONVERTERS[task].RECIPE


def told_again(studio: Studio, dataset: str, files: list[Path], place: int, folder: Path) -> list[dict[str, Any]]:
    """Tell a recording by the command that the page runs."""
    _, card = studio.dataset(dataset)
    asked = ask.Asked(studio.recipe(KINDS[card.task].recipe), card, "http://127.0.0.1:1/v1", "", "")
    new = folder / "root"
    new.mkdir()
    command = ask.tell_command(asked, ask.source_of(card.task, files, folder / "source"), new)
    assert command[:2] == ["python", f"converters/{card.task}.py"]
    CONVERTERS[card.task].main(command[2:])
    return ask.narrow(new / "data" / ask.ASKED, place)


def row_of(studio: Studio, dataset: str, name: str) -> dict[str, Any]:
    rows = (
        row
        for split in ("train", "val", "test")
        for row in read_jsonl(studio.root / "data" / dataset / f"{split}.jsonl")
    )
    return next(row for row in rows if row["id"] == name)


@pytest.mark.parametrize("endings", [[".mat"], [".mat", ".hea"]])
def test_an_ecg_is_told_as_in_its_dataset(
    studio: Studio, sources: Path, unchecked: None, tmp_path: Path, endings: list[str]
) -> None:
    files = [sources / "ecg" / f"A00004{ending}" for ending in endings]
    (row,) = told_again(studio, "ecg", files, 0, tmp_path)
    assert row["input"] == row_of(studio, "ecg", "A00004")["input"]
    assert row["instruction"] in ecg.task().questions["en"]


def test_an_epoch_is_told_as_in_its_dataset(studio: Studio, sources: Path, unchecked: None, tmp_path: Path) -> None:
    (row,) = told_again(studio, "eeg", [sources / "eeg" / "SC4011E0-PSG.edf"], 7, tmp_path)
    assert row["start"] == 180.0
    kept = row_of(studio, "eeg", "SC4011E0_000180.0")
    assert row["input"] == kept["input"]
    assert "--no-events" in flags_of(studio.dataset("eeg")[1].command)


def test_an_xray_is_told_as_in_its_dataset(studio: Studio, sources: Path, unchecked: None, tmp_path: Path) -> None:
    (image,) = (sources / "cxr").rglob("00000003_000.png")
    (row,) = told_again(studio, "cxr", [image], 0, tmp_path)
    assert row["image_sha256"] == row_of(studio, "cxr", "00000003_000")["image_sha256"]
    assert row["messages"][0]["content"].removeprefix("<image>") in cxr.QUESTIONS["list"]["en"]


def test_an_epoch_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"id": str(place), "night": "a"} for place in range(3)])
    for place in (0, 4, -1):
        with pytest.raises(Refusal, match="has the epochs 1 to 3"):
            ask.narrow(tmp_path, place)
    assert ask.narrow(tmp_path, 3) == [{"id": "2", "night": "a"}]
    assert list(read_jsonl(tmp_path / "test.jsonl")) == [{"id": "2", "night": "a"}]


@pytest.mark.parametrize(
    ("given", "started_with", "found"),
    [
        ("http://127.0.0.1:8080/v1", None, "http://127.0.0.1:8080/v1"),
        (" http://localhost:8080/v1/ ", None, "http://localhost:8080/v1"),
        ("http://[::1]:8080/v1", None, "http://[::1]:8080/v1"),
        ("http://127.8.9.1/v1", None, "http://127.8.9.1/v1"),
        ("https://models.example.org/v1/", "https://models.example.org/v1", "https://models.example.org/v1"),
    ],
)
def test_an_endpoint_is_on_this_machine_or_the_one_that_was_named(
    given: str, started_with: str | None, found: str
) -> None:
    assert ask.check_address(given, started_with) == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://models.example.org/v1", "another machine"),
        ("http://localhost.example.org/v1", "another machine"),
        ("http://127.0.0.1.example.org/v1", "another machine"),
        ("http://192.168.0.7:8080/v1", "another machine"),
        ("http://0.0.0.0:8080/v1", "another machine"),
        ("http://2130706433/v1", "another machine"),
        ("", "expected an address"),
        ("127.0.0.1:8080", "expected an address"),
        ("file:///etc/passwd", "expected an address"),
        ("http://key@127.0.0.1/v1", "expected an address"),
        ("http://127.0.0.1:port/v1", "expected an address"),
        ("http://127.0.0.1/v1?key=1", "expected an address"),
        ("http://[::1/v1", "expected an address"),
    ],
)
def test_any_other_endpoint_is_refused(given: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        ask.check_address(given, "https://elsewhere.example.org/v1")


def test_what_is_dropped_must_be_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "a.mat").touch()
    assert ask.files_for("ecg", [str(tmp_path / "a.mat")]) == [tmp_path / "a.mat"]
    assert ask.files_for("ecg", None) == []
    for task, names, words in (
        ("eeg", ["a.mat"], "asked with .edf"),
        ("ecg", ["gone.mat"], "drop it again"),
        ("cxr", ["a.png", "b.png"], "drop"),
        ("ecg", ["a.exe"], "asked with .mat, .hea"),
    ):
        with pytest.raises(Refusal, match=words):
            ask.files_for(task, [str(tmp_path / name) for name in names])


def test_a_text_is_typed_or_dropped(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("发热咳嗽3天。", encoding="utf-8")
    assert ask.text_of([note], "") == "发热咳嗽3天。"
    assert ask.text_of([], "Fever.") == "Fever."
    for typed, words in (("", "nothing is asked"), (" \n", "nothing is asked"), ("x" * 20_001, "20001 characters")):
        with pytest.raises(Refusal, match=words):
            ask.text_of([], typed)
    note.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="not UTF-8"):
        ask.text_of([note], "")


def test_a_key_stands_in_the_environment_alone(studio: Studio) -> None:
    given = {"dataset": "ecg", "recipe": "ecg_qwen7b_lora.yaml", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    asked = ask.asked_of({**given, "key": " sesame "}, studio)
    assert asked.environment == {"OPENAI_API_KEY": "sesame"}
    assert "sesame" not in " ".join(asked.where)
    assert ask.asked_of({**given, "key": None}, studio).environment == {}
    with pytest.raises(Refusal, match="printable"):
        ask.asked_of({**given, "key": "se\nsame"}, studio)


def test_answers_are_shown_with_what_is_read_from_them() -> None:
    html = ask.words_html([{"text": "It is <AF>.", "parsed": "AF"}], ENGLISH)
    assert "It is &lt;AF&gt;." in html
    assert "Read as: AF" in html
    assert "nothing could be read" in ask.words_html([{"text": "Hm.", "parsed": None}], ENGLISH)
    assert "prompt too long" in ask.words_html([{"text": None, "failure": "prompt too long"}], ENGLISH)
    assert "gout, asthma" in ask.words_html([{"diseases": ["gout", "asthma"], "reason": "a toe"}], ENGLISH)
    bars = ask.probabilities_html([{"probabilities": {"AF": 0.25, "no AF": 0.75}}], ENGLISH)
    assert bars.count("<meter") == 2
    assert "0.250" in bars
    assert "没有给出概率" in ask.probabilities_html([{"probabilities": None}], CHINESE)


@pytest.mark.parametrize("content", [b"", b"no MAT file at all", b"\x1e\x00\x00\x00" + b"\xff" * 30])
def test_a_file_that_is_no_ecg_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    (tmp_path / "source").mkdir()
    with pytest.raises(VitalFactoryError, match=r"^x\.mat: "):
        single.ecg_source([tmp_path / "x.mat"], tmp_path / "source")


def test_a_file_that_is_no_night_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.edf").write_bytes(b"0       " + b" " * 100)
    (tmp_path / "source").mkdir()
    with pytest.raises(VitalFactoryError, match="EDF"):
        single.night_source(tmp_path / "x.edf", tmp_path / "source")


def test_a_part_of_a_night_has_its_whole_time_scored(tmp_path: Path) -> None:
    from vitalfactory.signals.eeg import Cut, cut, listed_nights

    write_pair(tmp_path / "night", "SC4001", [("W", 60), ("N2", 90)])
    (tmp_path / "source").mkdir()
    table = single.night_source(tmp_path / "night" / "SC4001E0-PSG.edf", tmp_path / "source")
    (night,) = listed_nights(table)
    epochs = cut(night.annotations(), night.open().seconds, Cut())
    assert epochs.start.tolist() == [0, 30, 60, 90, 120]


def test_an_xray_is_listed_with_its_image(tmp_path: Path) -> None:
    (tmp_path / "x.PNG").write_bytes(b"image")
    (tmp_path / "source").mkdir()
    labels = single.xray_source(tmp_path / "x.PNG", tmp_path / "source")
    assert json.loads(labels.read_text()) == [{"image_path": "asked.png", "disease_names": ["no finding"]}]
    assert (tmp_path / "source" / "asked.png").read_bytes() == b"image"
