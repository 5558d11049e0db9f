"""Figures of epochs: tones lie in their bands, flat time is left out, a kept table is the computed one."""

from pathlib import Path

import numpy as np
import pytest

from tests.signals.psg import FS, HERTZ, tone, write_hypnogram, write_pair, write_psg
from vitalfactory.errors import UnusableRecord
from vitalfactory.signals import eeg_features
from vitalfactory.signals.edf import Channel
from vitalfactory.signals.eeg import Cut, EdfNight, Table, edf_folder
from vitalfactory.signals.eeg_features import BANDS, Montage, band_powers, cached_table, choose, read_montage, table

HOW = Cut(wake_margin=None)
STAGES = [("W", 60.0), ("N1", 30.0), ("N2", 60.0), ("N3", 60.0), ("R", 30.0)]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "sleep_edf"


def pair(folder: Path) -> EdfNight:
    write_pair(folder, "SC4001", STAGES)
    (found,) = edf_folder(folder)
    assert isinstance(found, EdfNight)
    return found


@pytest.mark.parametrize(("hertz", "band"), [(1, "delta"), (6, "theta"), (10, "alpha"), (14, "sigma"), (22, "beta")])
@pytest.mark.parametrize("seconds", [7.5, 30.0])
def test_a_tone_lies_in_its_band(hertz: float, band: str, seconds: float) -> None:
    found = band_powers(np.stack([tone(seconds, hertz, 20.0)]), FS)
    shares = {name: found[f"rel_{name}"][0] for name in BANDS}
    assert shares[band] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert found[f"log_{band}"][0] == pytest.approx(np.log10(20**2 / 2), abs=0.2)  # a median of noise


def test_figures_of_a_night(tmp_path: Path) -> None:
    found = table(pair(tmp_path), HOW, events=False)
    assert found.channels == ("Fpz-Cz", "Pz-Oz", "EOG")
    assert " ".join(found.epochs.stage) == "W W N1 N2 N2 N3 N3 R"
    shares = np.stack([found.values[f"Fpz-Cz rel_{band}"] for band in BANDS])
    expected = {
        stage: next(n for n, (low, high) in enumerate(BANDS.values()) if low <= hz < high)
        for stage, hz in HERTZ.items()
    }
    assert shares.argmax(axis=0).tolist() == [expected[stage] for stage in found.epochs.stage]
    assert found.values["EMG log_amplitude"] == pytest.approx(np.log10(3.5), abs=0.1)
    assert all(column.shape == (8,) and np.isfinite(column).all() for column in found.values.values())
    assert len(set(found.digest.tolist())) == 8


def test_another_rate_tells_the_same(tmp_path: Path) -> None:
    for name, fs in (("a", 100.0), ("b", 256.0)):
        write_psg(tmp_path / name / "SC4001E0-PSG.edf", {"EEG Fpz-Cz": (tone(60, 10, fs=fs), fs)})
        write_hypnogram(tmp_path / name / "SC4001EC-Hypnogram.edf", [("W", 60)])
    one, other = (
        table(night, HOW, events=False)
        for name in "ab"
        for night in edf_folder(tmp_path / name)
        if isinstance(night, EdfNight)
    )
    for band in ("log_alpha", "rel_alpha"):
        np.testing.assert_allclose(one.values[f"Fpz-Cz {band}"], other.values[f"Fpz-Cz {band}"], atol=0.02)


def test_flat_time_is_left_out(tmp_path: Path) -> None:
    signal = tone(120, 10)
    signal[3000:6000] = 0.0
    write_psg(tmp_path / "SC4001E0-PSG.edf", {"EEG Fpz-Cz": (signal, FS)})
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", [("W", 120)])
    (night,) = edf_folder(tmp_path)
    assert isinstance(night, EdfNight)
    found = table(night, HOW, events=False)
    assert found.epochs.start.tolist() == [0, 60, 90]
    assert found.epochs.dropped == {"flat signal": 1}


@pytest.mark.parametrize(
    ("signals", "wanted", "reason"),
    [
        ({"EEG Fpz-Cz": np.zeros(6000)}, None, "flat channel"),
        ({"EEG Fpz-Cz": tone(60, 10)}, ["C3"], "missing channel"),
        ({"EOG horizontal": tone(60, 10)}, None, "missing channel"),
        ({"EEG Fpz-Cz": tone(20, 10)}, None, "no window"),
    ],
)
def test_nights_that_cannot_be_used(
    tmp_path: Path, signals: dict[str, np.ndarray], wanted: list[str] | None, reason: str
) -> None:
    write_psg(tmp_path / "SC4001E0-PSG.edf", {name: (values, FS) for name, values in signals.items()})
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", [("W", 60)])
    (night,) = edf_folder(tmp_path)
    assert isinstance(night, EdfNight)
    with pytest.raises(UnusableRecord) as told:
        table(night, HOW, wanted, events=False)
    assert told.value.reason == reason


@pytest.mark.parametrize("rate", [FS, 1.0])
def test_a_flat_channel_beside_the_eeg_is_left_out(tmp_path: Path, rate: float) -> None:
    flat = {"EOG horizontal": (np.zeros(6000), FS), "EMG submental": (np.zeros(int(60 * rate)), rate)}
    write_psg(tmp_path / "SC4001E0-PSG.edf", {"EEG Fpz-Cz": (tone(60, 10), FS), **flat})
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", [("W", 60)])
    (night,) = edf_folder(tmp_path)
    assert isinstance(night, EdfNight)
    found = table(night, HOW, events=False)
    assert {name.split()[0] for name in found.values} == {"Fpz-Cz"}
    assert list(read_montage(night, found.epochs, HOW, None)) == ["Fpz-Cz"]


def test_channels_are_chosen_by_their_kind() -> None:
    channels = {name: Channel("uV", 100.0) for name in ("EEG A", "EOG", "EEG B", "EEG C", "EMG chin")}
    assert choose(channels, None) == Montage(("EEG A", "EEG B"), "EOG", "EMG chin")
    assert choose(channels, ["EEG C"]).eeg == ("EEG C",)
    assert eeg_features.short("EEG A") == "A"
    assert eeg_features.short("C3-M2") == "C3-M2"


def spindle(seconds: float) -> np.ndarray:
    """Background with a burst of 13 Hz of one second every ten, and a slow wave beside each."""
    rng = np.random.default_rng(3)
    at = np.arange(round(seconds * FS)) / FS
    signal = np.convolve(rng.normal(0, 8, len(at)), np.ones(4) / 4, "same")
    for start in np.arange(5, seconds - 5, 10):
        burst = np.exp(-0.5 * ((at - start) / 0.3) ** 2)
        signal += 40 * burst * np.sin(2 * np.pi * 13 * at)
        wave = np.exp(-0.5 * ((at - start - 3) / 0.35) ** 2)
        signal -= 120 * wave * np.cos(2 * np.pi * 0.9 * (at - start - 3))
    return signal


@pytest.mark.slow
def test_spindles_and_slow_waves_are_counted(tmp_path: Path) -> None:
    write_psg(tmp_path / "SC4001E0-PSG.edf", {"EEG Fpz-Cz": (spindle(300), FS)})
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", [("N2", 300)])
    (night,) = edf_folder(tmp_path)
    assert isinstance(night, EdfNight)
    found = table(night, HOW).values
    assert 24 <= found["Fpz-Cz spindles"].sum() <= 33
    assert 20 <= found["Fpz-Cz slow_waves"].sum() <= 40


def same(one: Table, other: Table) -> bool:
    return (
        one.epochs.stage == other.epochs.stage
        and one.epochs.dropped == other.epochs.dropped
        and (one.epochs.start == other.epochs.start).all()
        and (one.digest == other.digest).all()
        and list(one.values) == list(other.values)
        and all((one.values[name] == other.values[name]).all() for name in one.values)
    )


def test_a_kept_table_is_the_computed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night, kept = pair(tmp_path / "nights"), tmp_path / "kept"
    first = cached_table(night, HOW, None, kept, events=False)
    (path,) = kept.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(eeg_features, "table", None)
        assert same(cached_table(night, HOW, None, kept, events=False), first)
    path.write_bytes(path.read_bytes()[:100])
    assert same(cached_table(night, HOW, None, kept, events=False), first)
    cached_table(night, Cut(15, 15, wake_margin=None), None, kept, events=False)
    assert len(list(kept.iterdir())) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real crops of Sleep-EDF")
def test_deep_sleep_has_the_most_delta_in_every_real_pair() -> None:
    compared = 0
    for folder in ("sleep-cassette", "sleep-telemetry"):
        for night in edf_folder(REAL / folder):
            assert isinstance(night, EdfNight)
            found = table(night, Cut(15, 15, "aasm", None), events=False)
            stage, delta = np.asarray(found.epochs.stage), found.values["Fpz-Cz log_delta"]
            means = {name: delta[stage == name].mean() for name in set(found.epochs.stage)}
            for other in {"W", "R", "N2"} & set(means) if "N3" in means else ():
                assert means["N3"] > means[other], (night.id, means)
                compared += 1
    assert compared > 0
