"""Nights: which windows are scored, how sources are listed, and what a table of figures says."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.signals.psg import tone, write_hypnogram, write_pair, write_psg
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals import eeg
from vitalfactory.signals.edf import Annotation
from vitalfactory.signals.eeg import Cut, EdfNight, Epochs, LeftOut, cut

STAGE = {"W": "Sleep stage W", "1": "Sleep stage 1", "2": "Sleep stage 2", "3": "Sleep stage 3"}
STAGE |= {"4": "Sleep stage 4", "R": "Sleep stage R", "?": "Sleep stage ?", "M": "Movement time", "L": "Lights off"}
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "sleep_edf"


def night(*parts: tuple[str, float]) -> list[Annotation]:
    found, onset = [], 0.0
    for stage, seconds in parts:
        found.append(Annotation(onset, seconds, STAGE[stage]))
        onset += seconds
    return found


ALL = Cut(wake_margin=None)


@pytest.mark.parametrize(
    ("parts", "seconds", "how", "stages", "dropped"),
    [
        ([("W", 60), ("2", 90)], 150, ALL, "W W N2 N2 N2", {}),
        ([("3", 30), ("4", 30)], 60, ALL, "N3 N3", {}),
        ([("3", 30), ("4", 30)], 60, Cut(wake_margin=None, scoring="rk"), "N3 N4", {}),
        ([("W", 60), ("2", 90)], 100, ALL, "W W N2", {"past the end of the signal": 2}),
        ([("W", 30), ("?", 60), ("M", 30), ("R", 30)], 150, ALL, "W R", {"not scored": 2, "movement": 1}),
        ([("L", 10), ("1", 30)], 40, ALL, "N1", {}),
        ([("2", 45)], 45, ALL, "N2", {}),
        ([("1", 10), ("2", 30), ("R", 29)], 69, ALL, "N2", {}),
        ([("2", 45)], 45, Cut(15, 15, wake_margin=None), "N2 N2 N2", {}),
        ([("2", 30)], 30, Cut(15, 7.5, wake_margin=None), "N2 N2 N2", {}),
        ([("W", 180), ("1", 30), ("W", 120)], 330, Cut(wake_margin=1), "W W N1 W W", {"wake beyond the margin": 6}),
        ([("W", 120)], 120, Cut(wake_margin=0), "W W W W", {}),
        ([("W", 60), ("2", 30), ("W", 60)], 150, Cut(wake_margin=0), "N2", {"wake beyond the margin": 4}),
    ],
)
def test_windows(
    parts: list[tuple[str, float]], seconds: float, how: Cut, stages: str, dropped: dict[str, int]
) -> None:
    found = cut(night(*parts), seconds, how)
    assert " ".join(found.stage) == stages
    assert found.dropped == dropped
    assert len(found.start) == len(found)


@given(
    st.lists(st.tuples(st.sampled_from("W1234R?M"), st.integers(1, 20)), min_size=1, max_size=12),
    st.sampled_from([(30.0, 30.0), (15.0, 15.0), (15.0, 7.5)]),
    st.integers(0, 3600),
)
def test_windows_lie_in_their_annotation_and_the_signal(
    parts: list[tuple[str, int]], size: tuple[float, float], seconds: int
) -> None:
    annotations = night(*((stage, 30.0 * count) for stage, count in parts))
    if not any(stage in "W1234R" for stage, _ in parts):
        return
    found = cut(annotations, seconds, Cut(*size, wake_margin=None))
    total = sum(int((a.duration - size[0]) / size[1]) + 1 for a in annotations)
    assert len(found) + sum(found.dropped.values()) == total
    assert (np.diff(found.start) > 0).all()
    for start, stage in zip(found.start, found.stage, strict=True):
        inside = [a for a in annotations if a.onset <= start and start + size[0] <= a.onset + a.duration]
        assert [eeg.SCORED[a.text].replace("N4", "N3") for a in inside] == [stage]
        assert start + size[0] <= seconds


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ([Annotation(0, 60, STAGE["W"]), Annotation(30, 60, STAGE["2"])], "overlapping annotations"),
        ([Annotation(0, 60, "Sleep stage 7")], "unknown sleep stage"),
        ([Annotation(0, 60, STAGE["?"])], "no stage is scored"),
        ([], "no stage is scored"),
        ([Annotation(-30, 60, STAGE["W"])], "impossible annotation"),
        ([Annotation(0, float("inf"), STAGE["W"])], "impossible annotation"),
        ([Annotation(float("nan"), 60, STAGE["W"])], "impossible annotation"),
        ([Annotation(60, -30, STAGE["W"])], "impossible annotation"),
    ],
)
def test_hypnograms_that_cannot_be_used(annotations: list[Annotation], reason: str) -> None:
    with pytest.raises(UnusableRecord) as told:
        cut(annotations, 100, ALL)
    assert told.value.reason == reason


def test_pairs_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("a/SC4001", "a/SC4002", "b/ST7011"):
        write_pair(tmp_path / Path(name).parent, Path(name).name, [("W", 30)])
    (tmp_path / "a" / "SC4002E0-PSG.edf").rename(tmp_path / "a" / "mine-PSG.edf")
    write_psg(tmp_path / "c" / "SC4031E0-PSG.edf", {"EEG": (tone(10, 3), 100.0)})
    (tmp_path / "c" / "SC4001EC-Hypnogram.edf").write_bytes(b"of a night in another folder")
    found = {item.id: item for item in eeg.edf_folder(tmp_path)}
    assert isinstance(found["SC4001E0"], EdfNight)
    assert found["SC4001E0"].group == "SC400"
    assert found["SC4001E0"].hypnogram == tmp_path / "a" / "SC4001EC-Hypnogram.edf"
    assert isinstance(found["mine"], LeftOut)
    assert found["mine"].reason == "not named as in Sleep-EDF"
    assert isinstance(found["SC4031E0"], LeftOut)
    assert found["SC4031E0"].reason == "no hypnogram"
    assert "ST7011E0" not in {name for name, item in found.items() if isinstance(item, LeftOut)}


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_nights(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VitalFactoryError, match=r"no such folder|holds no \*-PSG.edf"):
        list(eeg.edf_folder(tmp_path / folder))


def test_a_hypnogram_of_another_night(tmp_path: Path) -> None:
    from datetime import date, time

    write_pair(tmp_path, "SC4001", [("W", 60)])
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", [("W", 60)], starts=(date(1989, 4, 25), time(16, 13)))
    (found,) = eeg.edf_folder(tmp_path)
    assert isinstance(found, EdfNight)
    with pytest.raises(UnusableRecord) as told:
        found.annotations()
    assert told.value.reason == "hypnogram of another night"


def test_an_endless_annotation_takes_no_memory() -> None:
    found = cut([Annotation(0, 1e13, STAGE["2"])], 100, ALL)
    assert found.stage == ("N2",) * 3
    assert found.dropped == {eeg.PAST_SIGNAL: int(1e13 / 30) - 3}


def write_csv_night(folder: Path, codes: str = "5=W 2=N2", rate: str = "100") -> Path:
    np.savetxt(folder / "night.csv", np.concatenate([tone(60, 10), tone(60, 2)]), fmt="%.4f")
    (folder / "stages.csv").write_text("Time,Stage\n0,5\n60,2\n", encoding="utf-8")
    table = folder / "nights.csv"
    lines = ["psg,hypnogram,subject,rate,codes", f"night.csv,stages.csv,s1,{rate},{codes}"]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def test_a_night_in_a_csv(tmp_path: Path) -> None:
    (found,) = eeg.listed_nights(write_csv_night(tmp_path))
    assert (found.id, found.group) == ("night", "s1")
    assert found.annotations() == [Annotation(0, 60, "Sleep stage W"), Annotation(60, 60, "Sleep stage N2")]
    assert cut(found.annotations(), found.open().seconds, ALL).stage == ("W", "W", "N2", "N2")
    assert len(found.open().read("EEG", 10, 20)) == 1000


@pytest.mark.parametrize("codes", ["", "5=W", "5=W 2=wake"])
def test_an_unknown_code_of_a_csv(tmp_path: Path, codes: str) -> None:
    (found,) = eeg.listed_nights(write_csv_night(tmp_path, codes=codes))
    with pytest.raises(UnusableRecord) as told:
        found.annotations()
    assert told.value.args[0] == "unknown sleep stage"


@pytest.mark.parametrize(
    ("stages", "signal", "reason"),
    [
        ("Time,Stage\n", "1\n2\n", "no stage is scored"),
        ("Time,Stage\n0\n", "1\n2\n", "unknown sleep stage"),
        ("Time,Stage\nnan,5\n", "1\n2\n", "impossible annotation"),
        ("Time,Stage\nearly,5\n", "1\n2\n", "unreadable"),
        ("Time\n0\n", "1\n2\n", "unreadable"),
        (None, "1\n2\n", "no such file"),
        ("Time,Stage\n0,5\n", "one\n", "unreadable"),
        ("Time,Stage\n0,5\n", None, "no such file"),
    ],
)
def test_a_night_in_a_csv_that_cannot_be_used(
    tmp_path: Path, stages: str | None, signal: str | None, reason: str
) -> None:
    (found,) = eeg.listed_nights(write_csv_night(tmp_path))
    for name, text in (("stages.csv", stages), ("night.csv", signal)):
        (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UnusableRecord) as told:
        cut(found.annotations(), found.open().seconds, ALL)
    assert told.value.reason == reason


def test_nights_of_one_name_are_told_apart_by_their_subjects(tmp_path: Path) -> None:
    table = tmp_path / "nights.csv"
    lines = ["psg,hypnogram,subject", "s1/n1.edf,h,s1", "s2/n1.edf,h,s2", "s1/n2-PSG.edf,h,s1"]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = list(eeg.listed_nights(table))
    assert [night.id for night in found] == ["s1_n1", "s2_n1", "n2"]
    assert all(isinstance(night, EdfNight) for night in found)


def test_noise_is_added_where_something_was_recorded(tmp_path: Path) -> None:
    signal = np.concatenate([tone(60, 10), np.zeros(6000)])
    (tmp_path / "night.csv").write_text("\n".join(f"{value:.4f}" for value in signal), encoding="utf-8")
    clean = eeg.CsvNight("n", "s", tmp_path / "night.csv", tmp_path / "stages.csv", "EEG", 100.0, {})
    noisy = eeg.NoisyNight("n_noise", clean, 5.0, 1).open().read("EEG")
    assert np.ptp(noisy[6000:]) == 0
    assert np.std(noisy[:6000] - signal[:6000]) == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psg,hypnogram\na,b\n", "lacks the column subject"),
        ("psg,hypnogram,subject\na.edf,,s\n", "nights.csv:2: psg, hypnogram or subject is empty"),
        ("psg,hypnogram,subject\n../a.edf,h.edf,s\n", "leads out of"),
        ("psg,hypnogram,subject\na.csv,h.csv,s\n", "needs its rate in hertz"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "nights.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=message):
        list(eeg.listed_nights(table))


ABOUT = {"channel_names": ["Fpz-Cz", "horizontal"], "feature_names": ["log_delta", "rel_delta"]}


def write_features(
    folder: Path, name: str = "03__1", *, labels: list[int] | None = None, about: object = ABOUT, first: float = 0.0
) -> Path:
    labels = [0, 1, -100, 4] if labels is None else labels
    features = np.arange(len(labels) * 4, dtype=np.float32).reshape(-1, 2, 2)
    features.flat[:1] = first
    onsets = 30.0 * np.arange(len(labels))
    np.savez(folder / f"{name}.npz", features=features, labels=np.asarray(labels), onsets_sec=onsets)
    if about is not None:
        (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_a_night_of_features(tmp_path: Path) -> None:
    (found,) = eeg.feature_folder(write_features(tmp_path))
    table = found.table()
    assert (found.id, found.group) == ("03__1", "03")
    assert table.epochs.stage == ("W", "N1", "R")
    assert table.epochs.dropped == {"not scored": 1}
    assert table.epochs.start.tolist() == [0, 30, 90]
    assert table.channels == ("Fpz-Cz", "EOG")
    assert table.values["EOG log_delta"].tolist() == [2, 6, 14]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": [0, 9]}, "unknown sleep stage"),
        ({"labels": [-100]}, "no stage is scored"),
        ({"about": {**ABOUT, "channel_names": ["one"]}}, "unreadable"),
        ({"about": ["nothing"]}, "unreadable"),
        ({"about": None}, "unreadable"),
        ({"labels": []}, "unreadable"),
        ({"labels": [0, 0.5]}, "unknown sleep stage"),
        ({"labels": ["W"]}, "unreadable"),
        ({"labels": [[0], [1]]}, "unreadable"),
        ({"first": float("nan")}, "not finite"),
    ],
)
def test_features_that_cannot_be_used(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    (found,) = eeg.feature_folder(write_features(tmp_path, **changes))  # type: ignore[arg-type]
    with pytest.raises(UnusableRecord) as told:
        found.table()
    assert told.value.reason == reason


@pytest.mark.parametrize("left", [0, 40, 300])
def test_features_that_are_cut_off(tmp_path: Path, left: int) -> None:
    path = write_features(tmp_path) / "03__1.npz"
    path.write_bytes(path.read_bytes()[:left])
    (found,) = eeg.feature_folder(tmp_path)
    with pytest.raises(UnusableRecord) as told:
        found.table()
    assert told.value.reason == "unreadable"


def test_features_with_pickled_code_are_refused(tmp_path: Path) -> None:
    write_features(tmp_path)
    np.savez(tmp_path / "03__1.npz", features=np.asarray([{}], dtype=object), labels=[0], onsets_sec=[0])
    (found,) = eeg.feature_folder(tmp_path)
    with pytest.raises(UnusableRecord) as told:
        found.table()
    assert told.value.reason == "unreadable"


def test_neighbours_are_known_by_time() -> None:
    epochs = Epochs(np.asarray([0.0, 30.0, 90.0, 120.0]), ("W",) * 4, {})
    assert eeg.neighbours(epochs, 30.0, (-1, 0, 1)).tolist() == [[-1, 0, 1], [0, 1, -1], [-1, 2, 3], [2, 3, -1]]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=50))
def test_deciles(values: list[float]) -> None:
    found = eeg.deciles(np.asarray(values))
    assert 0 <= found.min() <= found.max() <= 9
    for one, first in zip(values, found, strict=True):
        for other, second in zip(values, found, strict=True):
            assert (first <= second) if one <= other else True


def test_a_night_s_values_in_tenths() -> None:
    assert eeg.deciles(np.arange(100.0)).tolist() == [place // 10 for place in range(100)]
    assert np.median(eeg.standardise(np.arange(101.0))) == 0
    assert eeg.standardise(np.full(5, 3.0)).tolist() == [0] * 5


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real crops of Sleep-EDF")
def test_the_real_crops() -> None:
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    for folder in ("sleep-cassette", "sleep-telemetry"):
        for found in eeg.edf_folder(REAL / folder):
            assert isinstance(found, EdfNight)
            epochs = cut(found.annotations(), found.open().seconds, Cut(15, 15, "rk", None))
            for stage in epochs.stage:
                counts[stage] = counts.get(stage, 0) + 1
            for reason, count in epochs.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
    assert counts == {"W": 26, "N1": 2, "N2": 4, "N3": 40, "N4": 32, "R": 14}
    assert dropped == {"past the end of the signal": 5740}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real night in CSV")
def test_the_real_night_in_a_csv(tmp_path: Path) -> None:
    for name in ("segment_data.csv", "segment_stages.csv"):
        (tmp_path / name).symlink_to(REAL / "one_night_csv" / name)
    night = eeg.CsvNight(
        "n", "s", tmp_path / "segment_data.csv", tmp_path / "segment_stages.csv", "EEG", 100.0,
        dict(zip("54321", ("W", "R", "N1", "N2", "N3"), strict=True)),
    )  # fmt: skip
    epochs = cut(night.annotations(), night.open().seconds, ALL)
    counts = {stage: epochs.stage.count(stage) for stage in eeg.STAGES["aasm"]}
    assert counts == {"W": 2, "N1": 7, "N2": 95, "N3": 37, "R": 26}
