"""What an ECG row may show: every representation, alone and joined; what networks say that have not seen the record."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from converters import ecg
from tests.models.encoders import LABELS, TEST_FOLD, VAL_FOLD, names, tiny, train_tiny, write_folds
from tests.signals.cinc import write_cinc, write_record, write_reference
from vitalfactory import errors, files
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset import registry
from vitalfactory.dataset.build import Summary
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, sha256, write_json
from vitalfactory.models import mamba
from vitalfactory.models.encoder import Encoder, find_architecture, read_network, read_outputs, run_network
from vitalfactory.models.encoder_training import Records, read_records, train
from vitalfactory.signals.ecg import Recording, read_folder
from vitalfactory.signals.ecg_resampled import resample
from vitalfactory.signals.ecg_rhythm import find_beats
from vitalfactory.signals.ecg_synthetic import make

Row = dict[str, Any]
KNOWN = names(44)
NOISY = ["A90000", "A90001", "A90002", "A90003"]
NEW = [f"B{number:05d}" for number in range(20)]
"""Records of another source, which stand in no fold."""
NETWORKS = ("mscnn", "mamba")
VISION = ROOT / "train_configs" / "ecg_qwen2vl7b_lora.yaml"
SEED_RECIPE = ROOT / "train_configs" / "ecg_qwen7b_qlora_seed.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a source with folds, a source of other records, and an encoder of each architecture."""
    place = tmp_path_factory.mktemp("place")
    labelled = [(name, LABELS[number % 10]) for number, name in enumerate(KNOWN)]
    strange = [("C00000", "N"), ("C00001", "X"), ("C00002", "A")]
    write_cinc(place / "source", [*labelled, *((name, "~") for name in NOISY), *strange])
    parts = [[*KNOWN[fold::4], NOISY[fold]] for fold in range(4)]
    write_folds(place / "cv", parts)
    write_folds(place / "turned", [*parts[1:], parts[0]])
    write_cinc(place / "new", [(name, LABELS[(number + 3) % 10]) for number, name in enumerate(NEW)], 11.0)
    for name in NETWORKS:
        train_tiny(records(place), place / name, name)
    train(mamba.ARCHITECTURE, records(place), tiny(epochs=1), VAL_FOLD, TEST_FOLD, place / "alone", out_of_fold=False)
    return place


def records(place: Path) -> Records:
    return read_records(place / "source", place / "cv")


def convert(place: Path, root: Path, representation: str, **options: Any) -> Summary:
    """Convert the source over its folds, with the encoders that the representation takes."""
    networks = [place / part for part in representation.split("+") if part in NETWORKS]
    usual = {"input": place / "source", "folds": place / "cv", "val_fold": VAL_FOLD, "test_fold": TEST_FOLD}
    usual |= {"encoder": networks or None, "root": root, "workers": 1, "representation": representation}
    return ecg.convert(**{**usual, **options})


def convert_new(place: Path, root: Path, **options: Any) -> Summary:
    """Convert the records that no encoder knows, by a random split."""
    usual = {"input": place / "new", "folds": None, "val_fold": None, "test_fold": None, "split": "40/30/30"}
    return convert(place, root, "mamba", **{**usual, **options})


def rows_of(root: Path, split: str | None = None, name: str = "ecg") -> list[Row]:
    splits = SPLITS if split is None else [split]
    return [row for part in splits for row in read_jsonl(root / "data" / name / f"{part}.jsonl")]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


TEXTS = {
    ("rhythm", "en"): r"Rate \d+, RR change \d+%, .*\.\nRR( \d+){5,10}",
    ("rhythm", "zh"): r"心率\d+，RR变化\d+%，.*。\nRR( \d+){5,10}",
    ("rr", "en"): r"RR( \d+){5,40}",
    ("rr", "zh"): r"RR( \d+){5,40}",
    ("wave", "en"): r"Beat( -?\d+)+\. P wave \d+%, PR \d+ ms, .* QRS \d+ ms\.",
    ("wave", "zh"): r"平均心搏-?\d+( -?\d+)+。P波\d+%，PR\d+毫秒，.*QRS\d+毫秒。",
    ("raw", "en"): r"ECG \d{250}",
    ("raw", "zh"): r"ECG \d{250}",
    ("mscnn", "en"): r"CNN AF \d{1,3}\.\d%, code( \d\d){6}\.",
    ("mscnn", "zh"): r"CNN房颤\d{1,3}\.\d%，编码\d\d( \d\d){5}。",
    ("mamba", "en"): r"Mamba AF \d{1,3}\.\d%, code( \d\d){6}\.",
    ("mamba", "zh"): r"Mamba房颤\d{1,3}\.\d%，编码\d\d( \d\d){5}。",
}
FEATURES = {
    "rhythm": {"irregular_share", "p_match_share"},
    "rr": {"irregular_share"},
    "wave": {"p_amplitude", "beat_0", "qrs_width"},
    "raw": set[str](),
    "mscnn": {"mscnn_probability", *(f"mscnn_{number}" for number in range(6))},
    "mamba": {"mamba_probability", *(f"mamba_{number}" for number in range(6))},
}
JOINED = ("rhythm", "rr", "wave", "raw", "mscnn", "mamba", "rhythm+mscnn", "rhythm+wave", "mamba+rr+mscnn")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("representation", JOINED)
def test_rows_of_a_representation(place: Path, tmp_path: Path, representation: str, language: str) -> None:
    summary = convert(place, tmp_path, representation, language=language)
    assert summary.excluded == {"noisy (~)": 4, "unknown label": 1, "in no fold file": 2}
    rows, parts = rows_of(tmp_path), representation.split("+")
    assert sorted(row["id"] for row in rows) == KNOWN
    wanted = "\n".join(TEXTS[part, language] for part in parts)
    features = set().union(*(FEATURES[part] for part in parts))
    for row in rows:
        assert re.fullmatch(wanted, row["input"]), row["input"]
        assert features <= set(row.get("features", {}))
        assert ("features" in row) == (representation != "raw")
        assert all(np.isfinite(list(row.get("features", {}).values())))
        assert row["instruction"] in ecg.task().questions[language]
        assert row["output"] == ecg.task().answers[language][row["label"]]
    card = read_card(tmp_path / "data" / "ecg")
    assert card.representation == representation
    assert f"--representation {representation} " in card.command
    networks = [part for part in parts if part in NETWORKS]
    assert card.model_written == (", ".join(f"{name} ({hash_of(place / name)})" for name in networks) or None)
    assert (" --encoder " in card.command) == bool(networks)


def hash_of(encoder: Path) -> str:
    return sha256(encoder / "main.safetensors")[:12]


def percent(row: Row) -> str:
    found = re.search(r"AF (\d+\.\d)%", row["input"])
    assert found
    return found[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_row_tells_what_a_network_says_that_has_not_seen_it(place: Path, tmp_path: Path, name: str) -> None:
    """And not what the main network says, which was trained on it."""
    convert(place, tmp_path, name)
    said, known = read_outputs(place / name), records(place)
    encoder = Encoder(place / name, name)
    network, reading = read_network(place / name / "main.safetensors", encoder.architecture, encoder.manifest.settings)
    main, _ = reading.read(*run_network(network, known.signal, encoder.manifest.settings, "main"))
    by_main = {record: f"{100 * value:.1f}" for record, value in zip(known.id, main, strict=True)}
    train_rows = rows_of(tmp_path, "train")
    assert len(train_rows) == 22
    for row in rows_of(tmp_path):
        assert percent(row) == f"{100 * said[row['id']].probability:.1f}"
        assert row["features"][f"{name}_probability"] == pytest.approx(said[row["id"]].probability, rel=1e-5)
        code = re.findall(r" (\d\d)(?=[ .])", row["input"].split("code")[1])
        assert tuple(map(int, code)) == said[row["id"]].code
    for row in train_rows:
        assert said[row["id"]].network == f"without_{KNOWN.index(row['id']) % 4}"
    assert sum(percent(row) != by_main[row["id"]] for row in train_rows) > 11
    assert all(percent(row) == by_main[row["id"]] for row in [*rows_of(tmp_path, "val"), *rows_of(tmp_path, "test")])


def test_records_in_no_fold_are_told_of_by_the_main_network(place: Path, tmp_path: Path) -> None:
    assert convert_new(place, tmp_path).excluded == {}
    settings = Encoder(place / "mamba", "mamba").manifest.settings
    network, reading = read_network(place / "mamba" / "main.safetensors", mamba.ARCHITECTURE, settings)
    rows = {row["id"]: row for row in rows_of(tmp_path)}
    assert sorted(rows) == NEW
    for record in read_folder(place / "new"):
        logits, features = run_network(network, [resample(record.read())], settings, "main")
        probability, _ = reading.read(logits, features)
        assert float(percent(rows[record.id])) == pytest.approx(100 * probability[0], abs=0.051)


def test_noise_is_told_of_by_the_network_without_its_fold(place: Path, tmp_path: Path) -> None:
    """It is no record of the training, and stands in the fold files all the same."""
    assert convert(place, tmp_path, "mamba", labels="cinc").excluded == {"unknown label": 1, "in no fold file": 2}
    encoder = Encoder(place / "mamba", "mamba")
    noisy = [record for record in read_folder(place / "source") if record.label == "~"]
    said = encoder.encode(noisy)
    assert [said[name].network for name in NOISY] == ["without_0", "without_1", "main", "main"]
    rows = {row["id"]: row for row in rows_of(tmp_path)}
    assert [percent(rows[name]) for name in NOISY] == [f"{100 * said[name].probability:.1f}" for name in NOISY]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_challenges_four_classes(place: Path, tmp_path: Path, language: str) -> None:
    summary = convert(place, tmp_path, "rhythm", labels="cinc", language=language)
    assert summary.excluded == {"unknown label": 1, "in no fold file": 2}
    task = ecg.task("cinc")
    own = dict(line.split(",") for line in (place / "source" / "REFERENCE.csv").read_text().split())
    called = {"N": "normal rhythm", "A": "AF", "O": "other rhythm", "~": "noise"}
    rows = rows_of(tmp_path)
    assert sorted(row["id"] for row in rows) == sorted([*KNOWN, *NOISY])
    for row in rows:
        assert row["label"] == called[own[row["id"]]]
        assert row["output"] == task.answers[language][row["label"]]
        assert row["instruction"] in task.questions[language]
    card = read_card(tmp_path / "data" / "ecg")
    assert tuple(card.labels) == task.labels == ("normal rhythm", "AF", "other rhythm", "noise")
    assert (card.positive, card.scored) == (None, ["normal rhythm", "AF", "other rhythm"])
    assert "--labels cinc" in card.command
    for wording in task.questions[language]:
        assert all(task.answers[language][label] in wording for label in task.labels)


@pytest.mark.parametrize(
    ("representation", "language", "text"),
    [
        ("picture", "en", ""),
        ("picture", "zh", ""),
        ("rhythm+picture", "en", f"\n{TEXTS['rhythm', 'en']}"),
        ("picture+mamba", "zh", f"\n{TEXTS['mamba', 'zh']}"),
    ],
)
def test_pictures(place: Path, tmp_path: Path, representation: str, language: str, text: str) -> None:
    from PIL import Image

    convert(place, tmp_path, representation, recipe=VISION, language=language, limit=20)
    rows = rows_of(tmp_path)
    assert len(rows) == 20 - read_card(tmp_path / "data" / "ecg").excluded.get("in no fold file", 0)
    for row in rows:
        assert list(row) == ["id", "group", "messages", "images", "image_sha256", "label", "features"]
        asked, answered = row["messages"]
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        questions = "|".join(map(re.escape, ecg.task().questions[language]))
        assert re.fullmatch(f"<image>({questions}){text}", asked["content"]), asked["content"]
        assert answered["content"] == ecg.task().answers[language][row["label"]]
        assert row["images"] == [f"data/ecg/images/{row['id']}.png"]
        assert row["image_sha256"] == [sha256(tmp_path / row["images"][0])]
        with Image.open(tmp_path / row["images"][0]) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
    assert {path.stem for path in (tmp_path / "data" / "ecg" / "images").iterdir()} == {row["id"] for row in rows}
    for entry in registry.read(tmp_path).values():
        assert entry["formatting"] == "sharegpt"
        assert entry["columns"]["images"] == "images"


def test_a_preview_prints_samples_as_numbers(place: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "long.yaml"
    changed = {**yaml.safe_load(SEED_RECIPE.read_text(encoding="utf-8")), "cutoff_len": 4096}
    recipe.write_text(yaml.safe_dump(changed), encoding="utf-8")
    convert(place, tmp_path, "raw", preview=200, recipe=recipe, limit=10)
    assert "--preview 200" in read_card(tmp_path / "data" / "ecg").command
    by_id = {record.id: record for record in read_folder(place / "source")}
    for row in rows_of(tmp_path):
        assert re.fullmatch(r"-?\d+\.\d{4}( -?\d+\.\d{4}){199}", row["input"])
        signal = by_id[row["id"]].read().signal[::3]
        numbers = np.asarray(row["input"].split(), dtype=float)
        assert np.corrcoef(numbers, signal[:200])[0, 1] > 0.999
        np.testing.assert_allclose(numbers, (signal[:200] - signal.mean()) / signal.std(), atol=1e-4)


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the command line to its error; return that one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        errors.run(ecg.main, [str(argument) for argument in arguments])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_preview_is_refused_under_the_earlier_projects_cutoff(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--input", place / "source", "--root", tmp_path, "--workers", 1, "--representation", "raw"]
    line = failure(capsys, *given, "--preview", 200, "--recipe", SEED_RECIPE)
    words = r"46 of 46 rows are longer than cutoff_len 384 of ecg_qwen7b_qlora_seed.yaml .*A\d{5} \(\d{4}\)"
    assert re.search(words, line), line
    assert re.search(r"raise cutoff_len to \d{4} or choose a shorter representation", line)
    assert not (tmp_path / "data" / "ecg").exists()
    assert not (tmp_path / "dataset_info.json").exists()
    ecg.main([str(part) for part in [*given, "--recipe", SEED_RECIPE]])
    assert len(rows_of(tmp_path)) == 46


def told_raw(recording: Recording) -> str:
    text, features = ecg.REPRESENTATIONS["raw"](ecg.Heard(recording, {}, "en", None))
    assert features == {}
    return text.removeprefix("ECG ")


@pytest.mark.parametrize("fs", [128.0, 250.0, 300.0, 360.0, 1000.0])
@pytest.mark.parametrize("seconds", [8.0, 10.0, 30.0])
def test_raw_shows_ten_seconds_at_any_rate(fs: float, seconds: float) -> None:
    from scipy.signal import resample as change_rate

    for seed in range(4):
        made = make("NAO"[seed % 3], np.random.default_rng(seed), seconds)
        recording = Recording(change_rate(made, round(seconds * fs)), fs)
        digits, beats = told_raw(recording), find_beats(recording)
        assert len(digits) == min(seconds, 10) * 25
        shown = [peak for peak in beats.peaks if peak < min(seconds, 10) * fs - 2]
        assert len(shown) >= 5
        for peak in shown:
            height = min(max(round(ecg.RAW_ZERO + beats.signal[peak] / ecg.RAW_STEP_MV), 0), 9)
            step = int(peak / fs / 0.04)
            assert str(height) in digits[max(0, step - 1) : step + 2]


@pytest.mark.parametrize("shift", range(12))
def test_no_spike_falls_between_two_digits(shift: int) -> None:
    """Spikes that are shorter than a step show wherever in a step they stand, R peaks and others."""
    signal = np.zeros(3000)
    spikes = np.arange(240, 2800, 240) + shift
    for offset, height in ((-1, 1.0), (0, 2.0), (1, 1.0)):
        signal[spikes + offset] = height
        signal[spikes + 126 + offset] = -height / 2
    signal += 0.01 * np.sin(np.arange(3000) / 20)
    digits = told_raw(Recording(signal, 300.0))
    high = [place for place, digit in enumerate(digits) if digit >= "6"]
    assert {spike // 12 for spike in spikes} <= set(high)
    low = [place for place, digit in enumerate(digits) if digit <= "1"]
    assert {(spike + 126) // 12 for spike in spikes} <= set(low)
    assert digits.count("3") > 150


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--representation", "rythm"], ["--representation rythm: expected rhythm, rr,", "did you mean 'rhythm'"]),
        (["--representation", "rhythm+mscn"], ["rhythm+mscn: expected", "joined by +", "did you mean 'mscnn'"]),
        (["--representation", "rhythm+"], ["--representation rhythm+: expected"]),
        (["--representation", ""], ["--representation : expected"]),
        (["--representation", "rr+wave+rr"], ["--representation rr+wave+rr: names a part twice"]),
        (["--preview", 200], ["--preview 200: expected at least 1, with --representation raw"]),
        (["--preview", 0, "--representation", "raw"], ["--preview 0: expected at least 1"]),
        (["--encoder", "mamba"], ["--encoder: 1 given, and the representation has 0 networks"]),
        (
            ["--representation", "mscnn+mamba", "--encoder", "mscnn"],
            ["1 given, and the representation has 2 networks: mscnn, mamba; give one for each, in its order"],
        ),
        (
            ["--representation", "mscnn", "--encoder", "nowhere"],
            [
                "nowhere: holds no encoder (encoder.json)",
                "python -m vitalfactory.models.mscnn train --input FOLDER --folds DIR --val-fold K --test-fold K "
                "--out checkpoints/mscnn",
            ],
        ),
        (
            ["--representation", "mscnn", "--encoder", "mamba"],
            ["mamba: an encoder of the architecture 'mamba', not 'mscnn'"],
        ),
        (
            ["--representation", "mamba+mscnn", "--encoder", "mscnn", "mamba"],
            ["mscnn: an encoder of the architecture 'mscnn', not 'mamba'"],
        ),
        (
            ["--representation", "mamba", "--encoder", "pickled"],
            [
                "pickled/best.pth: a pickled checkpoint can run code when it is opened",
                "vitalfactory.models.mamba train",
            ],
        ),
        (
            ["--representation", "mamba", "--encoder", "pickled/best.pth"],
            ["pickled/best.pth: a pickled checkpoint can run code when it is opened and is refused"],
        ),
        (
            ["--representation", "mamba", "--encoder", "mamba", "--folds", "turned"],
            [
                "--encoder mamba: trained on other folds than the dataset's: ",
                "records stand in another split, first A00000 (test here, train there)",
                "convert with --folds DIR --val-fold 2 --test-fold 3, or train an encoder on the dataset's folds",
            ],
        ),
        (
            ["--representation", "mamba", "--encoder", "mamba", "--val-fold", 3, "--test-fold", 2],
            ["trained on other folds than the dataset's: 22 records", "first A00002 (test here, val there)"],
        ),
        (
            ["--representation", "rhythm+mamba", "--encoder", "alone"],
            ["--encoder alone: its only network was trained on A00000", "train without --no-out-of-fold"],
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_errors_are_one_line_and_nothing_is_written(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[object],
    words: list[str],
) -> None:
    monkeypatch.chdir(place)
    (place / "pickled").mkdir(exist_ok=True)
    (place / "pickled" / "best.pth").write_bytes(b"\x80\x04.")
    usual = ["--input", "source", "--folds", "cv", "--val-fold", VAL_FOLD, "--test-fold", TEST_FOLD]
    line = failure(capsys, *usual, "--root", tmp_path, "--workers", 1, *more)
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "dataset_info.json").exists()
    assert not {path.name for path in tmp_path.glob("data/*")} - {".ecg.lock"}


def test_a_random_split_is_not_the_encoders(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--input", place / "source", "--root", tmp_path, "--workers", 1, "--representation", "mscnn"]
    line = failure(capsys, *given, "--encoder", place / "mscnn", "--split", "50/25/25")
    assert "trained on other folds than the dataset's" in line
    assert not (tmp_path / "data" / "ecg").exists()


def test_the_encoders_place_by_default(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ecg, "ROOT", tmp_path)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    assert f"{tmp_path}/checkpoints/mscnn: holds no encoder" in failure(
        capsys, "--input", place / "source", "--root", tmp_path, "--representation", "mscnn"
    )
    shutil.copytree(place / "mscnn", tmp_path / "checkpoints" / "mscnn")
    convert(place, tmp_path, "mscnn", encoder=None, recipe=ROOT / "train_configs" / ecg.RECIPE)
    assert "--encoder checkpoints/mscnn" in read_card(tmp_path / "data" / "ecg").command


def cut(folder: Path) -> None:
    path = folder / "main.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change(folder: Path) -> None:
    path = folder / "main.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def note_hash(folder: Path) -> None:
    manifest = read_json(folder / "encoder.json")
    manifest["networks"]["main"]["sha256"] = sha256(folder / "main.safetensors")
    write_json(folder / "encoder.json", manifest)


def cut_and_note(folder: Path) -> None:
    cut(folder)
    note_hash(folder)


def widen_and_note(folder: Path) -> None:
    manifest = read_json(folder / "encoder.json")
    manifest["settings"]["options"]["width"] = 10
    write_json(folder / "encoder.json", manifest)


def drop(folder: Path) -> None:
    (folder / "main.safetensors").unlink()


def spoil_outputs(folder: Path) -> None:
    (folder / "all_data.npz").write_bytes(b"PK\x03\x04 no archive")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut, "main.safetensors: not the file that encoder.json describes; train the encoder again"),
        (change, "main.safetensors: not the file that encoder.json describes; train the encoder again"),
        (cut_and_note, "main.safetensors: not the weights of the mamba that encoder.json describes"),
        (widen_and_note, "main.safetensors: not the weights of the mamba that encoder.json describes"),
        (drop, "main.safetensors: no such file; make one with python -m vitalfactory.models.mamba train"),
        (spoil_outputs, "all_data.npz: not an encoder's outputs"),
    ],
)
def test_a_spoilt_encoder_is_refused(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    encoder = Path(shutil.copytree(place / "mamba", tmp_path / "encoder"))
    spoil(encoder)
    given = ["--input", place / "new", "--root", tmp_path, "--workers", 1, "--representation", "mamba"]
    assert words in failure(capsys, *given, "--encoder", encoder)
    assert not (tmp_path / "data" / "ecg").exists()


def test_another_recording_under_a_known_id_is_left_out(place: Path, tmp_path: Path) -> None:
    """And a record that cannot be used has the same reason in every representation."""
    source = Path(shutil.copytree(place / "source", tmp_path / "source"))
    write_record(source, KNOWN[4], make("A", np.random.default_rng(5), 10.0))
    write_record(source, KNOWN[5], np.zeros(3000))
    write_record(source, KNOWN[6], make("A", np.random.default_rng(5), 4.0))
    usual = {"noisy (~)": 4, "unknown label": 1, "in no fold file": 2, "flat": 1, "too short": 1}
    summary = convert(place, tmp_path, "mscnn", input=source)
    assert summary.excluded == {**usual, "not the recording that the encoder saw": 1}
    assert {row["id"] for row in rows_of(tmp_path)} == set(KNOWN) - set(KNOWN[4:7])
    assert convert(place, tmp_path, "rhythm", input=source, name="rhythm").excluded == usual
    new = Path(shutil.copytree(place / "new", tmp_path / "new"))
    write_record(new, NEW[0], np.zeros(3000))
    assert convert_new(place, tmp_path, input=new, name="new").excluded == {"flat": 1}


@pytest.mark.parametrize("representation", ["rhythm+mscnn", "raw+picture"])
def test_the_number_of_workers_changes_no_byte(place: Path, tmp_path: Path, representation: str) -> None:
    options = {"recipe": VISION} if "picture" in representation else {}
    for workers in (1, 2):
        convert(place, tmp_path / str(workers), representation, workers=workers, **options)
    first, second = (contents(tmp_path / str(workers)) for workers in (1, 2))
    assert first == second
    assert len(json.loads(first["data/ecg/train.jsonl"].splitlines()[0])) > 5


def test_the_same_recording_is_not_taught_and_tested_whatever_is_told_of_it(place: Path, tmp_path: Path) -> None:
    """A recording that stands under two names in two splits is left out, though its texts differ."""
    source = Path(shutil.copytree(place / "source", tmp_path / "source"))
    for ending in ("mat", "hea"):
        (source / f"A80000.{ending}").write_bytes(
            (source / f"{KNOWN[0]}.{ending}").read_bytes().replace(KNOWN[0].encode(), b"A80000")
        )
    reference = [line.split(",") for line in (source / "REFERENCE.csv").read_text().split()]
    write_reference(source, [*reference, ["A80000", "N"]])
    folds = write_folds(tmp_path / "cv", [KNOWN[::4], KNOWN[1::4], KNOWN[2::4], [*KNOWN[3::4], "A80000"]])
    for representation in ("rr", "mamba"):
        summary = convert(place, tmp_path, representation, input=source, folds=folds, name=representation)
        assert summary.excluded["same content as a row of another split"] == 1


def test_every_network_of_the_converter_is_an_architecture() -> None:
    for name in ecg.ENCODERS:
        assert find_architecture(name).name == name
        assert name in ecg.REPRESENTATIONS
        assert name in ecg.NETWORK_NAMES


def test_arguments_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="names a part twice"):
        ecg.convert(input=tmp_path / "none", representation="raw+raw", root=tmp_path)
