"""Nights become rows: what a row tells, what is left out and why, and what is refused before anything is read."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import medqa
from converters import eeg
from tests.signals.psg import write_pair
from vitalfactory.dataset.build import Summary
from vitalfactory.dataset.options import Options
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl
from vitalfactory.signals.eeg import Cut

RECIPE = ROOT / "train_configs" / "eeg_smollm2_lora.yaml"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "sleep_edf"
STAGES = [("W", 60.0), ("N1", 30.0), ("N2", 60.0), ("N3", 60.0), ("R", 30.0), ("?", 30.0)]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, the first with two nights."""
    folder = tmp_path_factory.mktemp("nights")
    for place, name in enumerate(("SC4001", "SC4002", "SC4011", "ST7021")):
        write_pair(folder, name, [*STAGES, ("W", 30.0 * (place + 1))])
    return folder


@pytest.fixture
def subjects(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "folds"
    folder.mkdir()
    for fold, name in enumerate(("SC400", "SC401", "ST702")):
        (folder / f"cv{fold}.csv").write_text(f"subject\n{name}\n", encoding="utf-8")
    return {"folds": folder, "val_fold": 1, "test_fold": 2}


def convert(root: Path, **arguments: Any) -> Summary:
    given = {"recipe": RECIPE, "root": root, "workers": 1, "events": False, "wake_margin": None}
    return eeg.convert(**{**given, **arguments})


def rows_of(summary: Summary, split: str = "train") -> list[dict[str, Any]]:
    return list(read_jsonl(summary.folder / f"{split}.jsonl"))


def test_a_row_tells_five_epochs(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    summary = convert(tmp_path, input=[nights], **subjects)
    assert summary.excluded == {"not scored": 4}
    rows = rows_of(summary)
    assert [row["label"] for row in rows[:9]] == ["W", "W", "N1", "N2", "N2", "N3", "N3", "R", "W"]
    assert {row["group"] for row in rows} == {"SC400"}
    assert {row["night"] for row in rows} == {"SC4001E0", "SC4002E0"}
    first, third, last = rows[0], rows[2], rows[8]
    assert (first["id"], first["start"], third["start"], last["start"]) == ("SC4001E0_000000.0", 0.0, 60.0, 270.0)
    channels = {line.split()[0]: line.split()[1:] for line in third["input"].splitlines()}
    assert list(channels) == ["Fpz-Cz", "Pz-Oz", "EOG", "EMG"]
    told = dict(zip(channels["Fpz-Cz"][::2], channels["Fpz-Cz"][1::2], strict=True))
    assert list(told) == list(eeg.BANDS)
    assert all(len(digits) == 5 and digits.isdigit() for digits in told.values())
    assert first["input"].splitlines()[0].split()[2].startswith("--")
    # the epoch before the last one was not scored, and the one before that is REM sleep
    assert [digits[1] for digits in last["input"].splitlines()[0].split()[2::2]] == ["-"] * 5
    assert last["input"].splitlines()[0].split()[2][0].isdigit()
    alpha = {row["label"]: told_digit(row, "alpha") for row in rows[:8]}
    assert alpha["W"] == max(alpha.values())
    assert told_digit(rows[5], "delta") > told_digit(rows[0], "delta")


def told_digit(row: dict[str, Any], band: str) -> int:
    words = row["input"].splitlines()[0].split()
    return int(words[words.index(band) + 1][2])


def test_nights_of_features_are_told_alike(nights: Path, tmp_path: Path) -> None:
    """The same text, splits and scoring from tables as from signals."""
    from vitalfactory.signals.eeg import EdfNight, edf_folder
    from vitalfactory.signals.eeg_features import table

    tables = tmp_path / "tables"
    tables.mkdir()
    labels = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 4}
    names = [f"log_{band}" for band in eeg.BANDS] + [f"rel_{band}" for band in eeg.BANDS]
    for night in edf_folder(nights):
        assert isinstance(night, EdfNight)
        found = table(night, Cut(wake_margin=None), events=False)
        values = np.stack([[found.values[f"{channel} {name}"] for name in names] for channel in found.channels])
        stem = tables / f"{night.group}__{night.id}"
        np.savez(
            stem.with_suffix(".npz"),
            features=np.moveaxis(values, -1, 0),
            labels=[labels[stage] for stage in found.epochs.stage],
            onsets_sec=found.epochs.start,
        )
        about = {"channel_names": ["Fpz-Cz", "Pz-Oz", "horizontal"], "feature_names": names}
        stem.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
    split = {"split": "40/30/30"}
    of_tables = eeg.convert(features=tables, root=tmp_path / "a", recipe=RECIPE, **split)
    of_signals = convert(tmp_path / "b", input=[nights], **split)
    for part in ("train", "val", "test"):
        one, other = rows_of(of_tables, part), rows_of(of_signals, part)
        assert [row["input"] for row in one] == [row["input"].rpartition("\nEMG")[0] for row in other]
        assert [(row["group"], row["label"], row["start"]) for row in one] == [
            (row["group"], row["label"], row["start"]) for row in other
        ]


def test_the_number_of_workers_changes_nothing(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    one = convert(tmp_path / "a", input=[nights], workers=1, **subjects)
    two = convert(tmp_path / "b", input=[nights], workers=2, **subjects)
    assert {name: part.sha256 for name, part in one.splits.items()} == {
        name: part.sha256 for name, part in two.splits.items()
    }


def test_balance_and_statistics(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    summary = convert(tmp_path, input=[nights], balance="blend", balance_alpha=0.0, train_rows=10, **subjects)
    assert summary.splits["train"].labels == {"N1": 2, "N2": 2, "N3": 2, "R": 2, "W": 2}
    assert summary.unbalanced == {"N1": 2, "N2": 4, "N3": 4, "R": 2, "W": 7}
    assert summary.splits["test"].labels == {"N1": 1, "N2": 2, "N3": 2, "R": 1, "W": 6}
    statistics = read_json(summary.folder / "statistics.json")
    assert statistics["train before balance"] == {"W": 7, "N1": 2, "N2": 4, "N3": 4, "R": 2}
    assert (summary.folder / "statistics.csv").read_text(encoding="utf-8").splitlines()[1] == "train before balance,W,7"
    assert (summary.folder / "statistics.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("kind", "kept"), [("sc", {"SC400", "SC401"}), ("st", {"ST702"})])
def test_file_types(nights: Path, tmp_path: Path, kind: str, kept: set[str]) -> None:
    summary = convert(tmp_path, input=[nights], file_type=kind, split="100/0/0")
    assert {row["group"] for row in rows_of(summary)} == kept
    assert summary.excluded["of another --file-type"] == (1 if kind == "sc" else 3)


def test_numbers_are_told_at_a_rate_that_fits(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    summary = convert(tmp_path, input=[nights], representation="numbers", window=7.5, step=7.5, **subjects)
    times = rows_of(summary)[0]["input"].removesuffix(">").split(">")
    assert len(times) == round(7.5 * 2)
    for time in times:
        assert [len(number.partition(".")[2]) for number in time.split(",")] == [2, 2]
    assert summary.tokens.longest <= summary.tokens.cutoff


def test_numbers_that_cannot_fit(nights: Path, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"60 s take some 84120 tokens at 100 Hz and 960 at 1 Hz; .* --window"):
        convert(tmp_path, input=[nights], representation="numbers", window=60.0)


def test_pictures(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    recipe = ROOT / "train_configs" / "eeg_qwen2vl_lora.yaml"
    summary = convert(tmp_path, input=[nights], representation="picture", recipe=recipe, **subjects)
    row = rows_of(summary, "test")[0]
    assert row["messages"][0]["content"].startswith("<image>")
    with Image.open(tmp_path / row["images"][0]) as picture:
        assert picture.size == (560, 3 * 84 + 112)
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20


def test_training_nights_come_once_more_with_noise(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    plain = convert(tmp_path / "a", input=[nights], **subjects)
    noisy = convert(tmp_path / "b", input=[nights], noise=20.0, **subjects)
    again = convert(tmp_path / "c", input=[nights], noise=20.0, **subjects)
    rows = rows_of(noisy)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert [row for row in rows if "_noise" not in row["id"]] == rows_of(plain)
    assert noisy.splits["train"].rows == 2 * plain.splits["train"].rows
    assert noisy.splits["train"].sha256 == again.splits["train"].sha256
    assert noisy.splits["test"].sha256 == plain.splits["test"].sha256
    clean, heard = rows[0], next(row for row in rows if row["id"] == "SC4001E0_noise_000000.0")
    assert heard["label"] == clean["label"]
    assert heard["features"]["Fpz-Cz rel_beta"] > clean["features"]["Fpz-Cz rel_beta"]


def write_networks(folder: Path) -> Path:
    """Four networks of one layer; each is active where its own input stands out."""
    from safetensors.numpy import save_file

    folder.mkdir()
    for place, name in enumerate(("HVHA", "HVLA", "LVHA", "LVLA")):
        weights = np.zeros((10, 2), dtype=np.float32)
        weights[place, 1] = 4.0
        save_file({"kernel": weights, "bias": np.asarray([0.5, 0.0], dtype=np.float32)}, folder / f"{name}.safetensors")
        dense = {"layer": "Dense", "units": 2, "activation": "softmax", "kernel": "kernel", "bias": "bias"}
        described = {"input": [10, 1], "layers": [{"layer": "Flatten"}, dense]}
        (folder / f"{name}.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def test_emotion_codes(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    told = {"input": [nights], "representation": "bands+emotion", "emotion_models": write_networks(tmp_path / "nets")}
    summary = convert(tmp_path / "a", **told, **subjects)
    for row in rows_of(summary):
        shares = re.fullmatch(r"Emotion ((?:[01]{4} <?\d+%(?:, )?)+); sequence .*", row["input"].splitlines()[-1])
        assert shares is not None
        codes = [share.split()[0] for share in shares[1].split(", ")]
        assert all(code.count("1") <= 1 for code in codes)
    kept = convert(tmp_path / "b", keep_contradictions=True, **told, **subjects)
    assert any(code.count("1") > 1 for row in rows_of(kept) for code in re.findall(r"\b[01]{4}\b", row["input"]))
    assert read_json(summary.folder / "card.json")["model_written"].startswith("emotion networks (")


def test_the_standardiser_is_fitted_on_training_nights_alone(
    nights: Path, subjects: dict[str, Any], tmp_path: Path
) -> None:
    """Another test subject changes nothing in what training rows say."""
    told = {"representation": "bands+emotion", "emotion_models": write_networks(tmp_path / "nets")}
    other = tmp_path / "nights"
    other.mkdir()
    for path in nights.iterdir():
        if not path.name.startswith("ST"):
            (other / path.name).write_bytes(path.read_bytes())
    write_pair(other, "ST7022", [("N3", 600.0)])
    one = convert(tmp_path / "a", input=[nights], **told, **subjects)
    two = convert(tmp_path / "b", input=[other], **told, **subjects)
    assert one.splits["train"].sha256 == two.splits["train"].sha256
    assert one.splits["test"].sha256 != two.splits["test"].sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"representation": "bands+emotion"}, "--emotion-models DIR go together"),
        ({"emotion_models": Path("nets")}, "--emotion-models DIR go together"),
        ({"representation": "bands+emotion", "emotion_models": Path("nets")}, "nets: no such folder"),
        ({"representation": "emotion", "emotion_models": Path("nets")}, r"give\s+bands\+emotion"),
        ({"representation": "band"}, "expected bands, numbers, picture.* did you mean 'bands'"),
        ({"representation": "bands+bands"}, "names a part twice"),
        ({"window": 0.0}, "--window 0: expected a number above 0"),
        ({"rate": 50.0}, "expected at least 60"),
        ({"rate": 60.0, "events": True}, "more than 60 to count spindles, or --no-events"),
        ({"noise": -1.0}, "--noise -1: expected microvolts, 0 or more"),
        ({"max_windows": 0}, "--max-windows 0: expected at least 1"),
        ({"wake_margin": -1.0}, "--wake-margin -1"),
        ({"channels": ["EEG C3"]}, "no night has the channels; SC4001E0: no EEG C3; it has EEG Fpz-Cz, EEG Pz-Oz"),
        ({"input": [Path("nowhere")]}, "nowhere: no such file or folder"),
        ({"synthetic": 3}, "give one of --input"),
    ],
)
def test_what_is_refused(nights: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        convert(tmp_path, **{"input": [nights], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 128.0}, "leave out --representation, --window"),
        ({"wake_margin": None}, "leave out --representation, --window"),
        ({"representation": "picture"}, "leave out --representation, --window"),
        ({"file_type": "sc"}, "--file-type: needs signals"),
        ({"channels": ["EEG Fpz-Cz"]}, "--channels: needs signals"),
        ({"noise": 5.0}, "--noise: needs signals"),
        ({"events": False}, "--no-events: needs signals"),
    ],
)
def test_what_tables_cannot_do_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        eeg.convert(features=tmp_path, root=tmp_path, **arguments)


def test_some_windows_of_each_night(nights: Path, subjects: dict[str, Any], tmp_path: Path) -> None:
    """Rows are those of the whole conversion, evenly spaced, with the same text."""
    whole = convert(tmp_path / "a", input=[nights], **subjects)
    few = convert(tmp_path / "b", input=[nights], max_windows=3, **subjects)
    texts = {row["id"]: row["input"] for row in rows_of(whole)}
    taken = {row["id"]: row["input"] for row in rows_of(few)}
    assert taken.items() < texts.items()
    for night in {name.rsplit("_", 1)[0] for name in taken}:
        every = sorted(name for name in texts if name.startswith(night))
        assert [name for name in every if name in taken] == [every[place * len(every) // 3] for place in range(3)]
    assert few.excluded["over --max-windows"] == sum(len(rows_of(whole, split)) for split in whole.splits) - 3 * 4


def test_no_more_workers_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    free = 2.5 * eeg.WORKER_BYTES
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    options = Options(name="eeg", recipe=Path("r.yaml"), workers=8)
    assert eeg._bounded(options).workers == 2
    free = 1.0
    assert eeg._bounded(options).workers == 1
    assert eeg._bounded(replace(options, engine="ray")).workers == 8


def test_a_csv_lists_the_nights(nights: Path, tmp_path: Path) -> None:
    """The same recordings give the same text, whoever names them."""
    names = ("SC4001", "SC4011", "ST7021")
    lines = ["psg,hypnogram,subject"]
    for name in names:
        (psg,), (hypnogram,) = (list(nights.glob(f"{name}*-{kind}.edf")) for kind in ("PSG", "Hypnogram"))
        lines.append(f"{psg.name},{hypnogram.name},person {name}")
    table = nights / "nights.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    listed = convert(tmp_path / "a", input=[table], split="100/0/0")
    found = convert(tmp_path / "b", input=[nights], split="100/0/0")
    texts = {row["id"]: row["input"] for row in rows_of(found) if row["id"][:6] in names}
    assert {row["id"]: row["input"] for row in rows_of(listed)} == texts
    assert {row["group"] for row in rows_of(listed)} == {f"person {name}" for name in names}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real crops of Sleep-EDF")
def test_the_real_crops_are_told(tmp_path: Path) -> None:
    """Windows at a record's edge stand without the neighbours that they lack; with all figures, a text stays short."""
    pairs = [REAL / "sleep-cassette", REAL / "sleep-telemetry"]
    how = {"window": 15.0, "stages": "rk", "wake_margin": None, "events": True}
    summary = eeg.convert(input=pairs, root=tmp_path, recipe=RECIPE, split="100/0/0", **how)
    assert summary.splits["train"].labels == {"N1": 2, "N2": 4, "N3": 40, "N4": 32, "R": 14, "W": 26}
    assert summary.excluded == {"past the end of the signal": 5740}
    texts = [row["instruction"] + "\n" + row["input"] for row in rows_of(summary)]
    assert any("delta --" in text for text in texts)
    assert all("spindles" in text for text in texts)
    template = 40  # system prompt, marks of the turns and the answer, in Qwen's template
    tokens = [len(ids) + template for ids in medqa.qwen_vocabulary().encode_ordinary_batch(texts)]
    assert np.percentile(tokens, 95) <= 350


def test_a_broken_night_is_counted_and_stops_nothing(nights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nights"
    folder.mkdir()
    for path in nights.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    cut = folder / "SC4002E0-PSG.edf"
    cut.write_bytes(cut.read_bytes()[:5000])
    summary = convert(tmp_path, input=[folder], split="100/0/0")
    assert summary.excluded == {"not scored": 3, "truncated": 1}
    listed = {row["reason"]: row for row in read_jsonl(summary.folder / "excluded.jsonl")}
    assert "SC4002E0-PSG.edf: holds" in listed["truncated"]["detail"]


def test_when_no_night_is_left_the_reason_is_told(nights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        VitalFactoryError,
        match=r"no row is left; excluded: no window \(4\), first SC4001E0: of 500 s lies in a scored stage",
    ):
        convert(tmp_path, input=[nights], window=500.0, step=500.0)
