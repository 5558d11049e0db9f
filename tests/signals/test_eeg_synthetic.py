"""Synthetic nights: the stages' course, what each stage shows, and the files as other readers see them."""

import datetime
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt, welch

from vitalfactory.errors import VitalFactoryError
from vitalfactory.signals import eeg_synthetic
from vitalfactory.signals.eeg_synthetic import (
    CHANNELS,
    CHIN,
    EYES,
    FRONTAL,
    OCCIPITAL,
    RANGES,
    Subject,
    draw_subject,
    make_night,
    make_stages,
    night_name,
    write_night,
    write_nights,
)

Signals = dict[str, NDArray[np.float32]]
Powers = list[dict[str, dict[str, NDArray[np.float64]]]]

HOURS = 1.0
EPOCHS = 120
SAMPLES = 3000
BANDS = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 12), "sigma": (12, 16), "beta": (16, 30)}
STAGE_NAMES = "W123R"
EVERY_STAGE = [stage for stage in "W1234R" for _ in range(5)] * 4
DESCRIPTIONS = {"Movement time": "M", **{f"Sleep stage {stage}": stage for stage in "W1234R?"}}
START = datetime.datetime(1989, 4, 24, 22, 13)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spectra(signal: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power spectrum of every epoch, the median over its windows so that an artefact does not count."""
    epochs = signal.reshape(-1, SAMPLES).astype(np.float64)
    hertz, power = welch(epochs, 100.0, nperseg=400, average="median")
    return hertz, power


def band_powers(signal: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Logarithm of the power in every band, of every epoch."""
    hertz, power = spectra(signal)
    return {band: np.log(power[:, (hertz >= low) & (hertz < high)].sum(axis=1)) for band, (low, high) in BANDS.items()}


def of_stage(values: NDArray[np.float64], stages: list[str], stage: str) -> float:
    """Mean over the epochs of a stage; N3 stands for 3 and 4."""
    return float(values[np.isin(stages, list("34") if stage == "N3" else [stage])].mean())


@pytest.fixture(scope="module")
def nights() -> list[Signals]:
    """The same stages by eight sleepers."""
    return [make_night(EVERY_STAGE, draw_subject(rng(8, k)), rng(9, k)) for k in range(8)]


@pytest.fixture(scope="module")
def powers(nights: list[Signals]) -> Powers:
    """Of every night, channel and band: the logarithm of each epoch's power."""
    return [{channel: band_powers(night[channel]) for channel in CHANNELS if channel != CHIN} for night in nights]


@pytest.fixture(scope="module")
def average() -> Signals:
    return make_night(EVERY_STAGE, Subject(), rng(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three written nights: both of the first subject and one of the second."""
    folder = tmp_path_factory.mktemp("nights") / "sleep-cassette"
    write_nights(folder, 3, seed=5, hours=HOURS)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_stages(path: Path) -> list[str]:
    """One stage for every epoch, as MNE reads the annotations."""
    read = mne.read_annotations(path)
    edges = [*read.onset, read.onset[-1] + read.duration[-1]]
    np.testing.assert_allclose(np.diff(edges), read.duration)
    assert edges[0] == 0
    assert all(a != b for a, b in pairwise(read.description))
    epochs = np.repeat(read.description, (read.duration // 30).astype(int))
    return [DESCRIPTIONS[text] for text in epochs]


@given(seed=st.integers(0, 2**32), epochs=st.integers(1, 1500))
@settings(max_examples=30, deadline=None)
def test_a_stage_for_every_epoch(seed: int, epochs: int) -> None:
    stages = make_stages(rng(seed), epochs * 30 / 3600)
    assert len(stages) == epochs
    assert set(stages) <= set("W1234RM")
    assert stages == make_stages(rng(seed), epochs * 30 / 3600)


@pytest.mark.parametrize(("hours", "longest_lead"), [(1.0, 0.2), (8.0, 2.5), (20.0, 14.0)])
def test_wake_before_and_after_sleep(hours: float, longest_lead: float) -> None:
    for seed in range(10):
        night = "".join(make_stages(rng(seed), hours))
        sleep = night.strip("W")
        assert night.startswith("W")
        assert night.endswith("W")
        assert 0 < night.index(sleep) / 120 < longest_lead
        assert sleep[0] == "1"


@pytest.fixture(scope="module")
def hypnograms() -> list[str]:
    """What lies between the first and the last epoch of sleep, of many nights."""
    return ["".join(make_stages(rng(1, k), 8.0)).strip("W") for k in range(120)]


@pytest.mark.parametrize(
    ("stages", "low", "high"),
    [("1", 0.05, 0.15), ("2", 0.40, 0.60), ("34", 0.10, 0.27), ("R", 0.13, 0.28)],
    ids=["N1", "N2", "N3", "REM"],
)
def test_shares_of_sleep(hypnograms: list[str], stages: str, low: float, high: float) -> None:
    shares = [sum(map(night.count, stages)) / sum(map(night.count, "1234R")) for night in hypnograms]
    assert low < np.mean(shares) < high
    assert np.std(shares) > 0.15 * np.mean(shares)


@pytest.mark.parametrize(("stages", "early"), [("34", True), ("R", False)], ids=["deep sleep early", "REM late"])
def test_the_night_changes(hypnograms: list[str], stages: str, early: bool) -> None:
    first = sum(sum(map(night[: len(night) // 3].count, stages)) for night in hypnograms)
    last = sum(sum(map(night[-(len(night) // 3) :].count, stages)) for night in hypnograms)
    assert (first > 1.5 * last) if early else (last > 1.5 * first)


def test_stages_last(hypnograms: list[str]) -> None:
    """A real night changes its stage some 100 to 250 times, and wakes; movement time is rare."""
    changes = [sum(a != b for a, b in pairwise(night)) for night in hypnograms]
    assert 90 < np.mean(changes) < 260
    awake = [night.count("W") / len(night) for night in hypnograms]
    assert 0.03 < np.mean(awake) < 0.15
    moving = sum(night.count("M") for night in hypnograms) / sum(map(len, hypnograms))
    assert 0.0005 < moving < 0.004


def test_a_night_without_an_epoch() -> None:
    with pytest.raises(VitalFactoryError, match="at least one epoch of 30 seconds"):
        make_stages(rng(1), 0)


@pytest.mark.parametrize("stages", [["W"], ["2", "?", "M"], ["R"] * 7], ids=["one epoch", "odd marks", "seven epochs"])
def test_signals_of_any_length(stages: list[str]) -> None:
    night = make_night(stages, draw_subject(rng(2)), rng(3))
    assert tuple(night) == CHANNELS
    for channel, signal in night.items():
        assert signal.dtype == np.float32
        assert signal.shape == (len(stages) * (30 if channel == CHIN else SAMPLES),)
        assert np.isfinite(signal).all()
        assert np.abs(signal).max() <= RANGES[channel]
        assert signal.std() > 0


def test_the_same_seed_gives_the_same_night(average: Signals) -> None:
    again = make_night(EVERY_STAGE, Subject(), rng(3))
    other = make_night(EVERY_STAGE, Subject(), rng(4))
    assert draw_subject(rng(3)) == draw_subject(rng(3)) != draw_subject(rng(4))
    for channel in CHANNELS:
        np.testing.assert_array_equal(again[channel], average[channel])
        assert abs(np.corrcoef(other[channel], average[channel])[0, 1]) < (0.9 if channel == CHIN else 0.2)


@pytest.mark.parametrize(
    ("channel", "band", "order"),
    [
        (OCCIPITAL, "delta", ("N3", "2", "W")),
        (FRONTAL, "delta", ("4", "3", "2", "1")),
        (FRONTAL, "delta", ("2", "R")),
        (FRONTAL, "theta", ("2", "R")),
        (OCCIPITAL, "alpha", ("W", "1", "2")),
        (OCCIPITAL, "alpha", ("W", "R")),
        (FRONTAL, "sigma", ("2", "1", "R")),
        (OCCIPITAL, "sigma", ("2", "1", "R")),
        (FRONTAL, "beta", ("W", "1", "2")),
        (OCCIPITAL, "beta", ("W", "R", "N3")),
        (EYES, "delta", ("W", "1", "2")),
        (EYES, "delta", ("N3", "2")),
        (EYES, "theta", ("W", "2")),
    ],
)
def test_band_powers_of_the_stages(powers: Powers, channel: str, band: str, order: tuple[str, ...]) -> None:
    """The order of the stages' means is that of 76 real nights of Sleep-EDF."""
    means = [np.mean([of_stage(night[channel][band], EVERY_STAGE, stage) for night in powers]) for stage in order]
    assert all(more > less for more, less in pairwise(means)), dict(zip(order, means, strict=True))


@pytest.mark.parametrize(("more", "less"), [("W", "1"), ("W", "2"), ("1", "R"), ("N3", "R")])
def test_the_chin_is_tense_in_wake_and_limp_in_rem(nights: list[Signals], more: str, less: str) -> None:
    tones = [night[CHIN].reshape(-1, 30).astype(np.float64).mean(axis=1) for night in nights]
    ratios = [of_stage(tone, EVERY_STAGE, more) / of_stage(tone, EVERY_STAGE, less) for tone in tones]
    assert np.mean(ratios) > 1.1


def slow_share(signal: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of every epoch with waves of 0.5 to 2 Hz above 75 microvolts from peak to peak."""
    slow = sosfiltfilt(butter(3, (0.4, 2.5), "bandpass", fs=100, output="sos"), signal.astype(np.float64))
    return np.asarray((np.ptp(slow.reshape(-1, 15, 200), axis=2) > 75).mean(axis=1))


@pytest.mark.parametrize(
    ("stage", "low", "high"), [("2", 0.0, 0.2), ("3", 0.2, 0.5), ("4", 0.5, 1.0), ("R", 0.0, 0.1), ("1", 0.0, 0.15)]
)
def test_slow_waves_by_the_rules_of_rechtschaffen_and_kales(
    average: Signals, stage: str, low: float, high: float
) -> None:
    shares = slow_share(average[FRONTAL])
    assert low <= of_stage(shares, EVERY_STAGE, stage) <= high
    assert np.std(shares[np.isin(EVERY_STAGE, ["3", "4"])]) > 0.1


def test_rapid_eye_movements_and_blinks(nights: list[Signals]) -> None:
    """Steps within 50 ms: many in wake and REM sleep, few in stages 2 to 4."""
    steps = [np.abs(night[EYES][5:] - night[EYES][:-5]) > 60 for night in nights]
    padded = [np.append(step, [False] * 5).reshape(-1, SAMPLES).mean(axis=1) for step in steps]
    often = {stage: np.mean([of_stage(step, EVERY_STAGE, stage) for step in padded]) for stage in "W2R"}
    assert often["W"] > often["R"] > 3 * often["2"]


def test_blinks_show_in_front(average: Signals) -> None:
    wake = slice(0, 20 * SAMPLES)
    front, back = (np.percentile(average[channel][wake], 99.5) for channel in (FRONTAL, OCCIPITAL))
    assert front > 1.5 * back


def test_neighbours_blend() -> None:
    """Epochs beside a transition show in part what lies behind it."""
    stages = (["R"] * 5 + ["4"] * 5) * 20
    slow = slow_share(make_night(stages, Subject(), rng(6))[FRONTAL]).reshape(-1, 10)
    assert slow[:, [0, 4]].mean() > slow[:, 1:4].mean() + 0.03
    assert slow[:, [5, 9]].mean() < slow[:, 6:9].mean() - 0.03


def test_movement_time_moves() -> None:
    stages = (["2"] * 8 + ["M"]) * 8
    night = make_night(stages, Subject(), rng(7))
    tone = night[CHIN].reshape(-1, 30).astype(np.float64).mean(axis=1)
    assert of_stage(tone, stages, "M") > 1.5 * of_stage(tone, stages, "2")
    size = night[FRONTAL].reshape(-1, SAMPLES).astype(np.float64).std(axis=1)
    assert of_stage(size, stages, "M") > 1.5 * of_stage(size, stages, "2")


@pytest.mark.parametrize(
    ("change", "channel", "stage", "band"),
    [
        ({"attenuation": 2.0}, FRONTAL, "1", "theta"),
        ({"delta": 2.0}, FRONTAL, "4", "delta"),
        ({"theta": 2.5}, OCCIPITAL, "R", "theta"),
        ({"alpha": 2.0}, OCCIPITAL, "W", "alpha"),
        ({"beta": 2.0}, FRONTAL, "W", "beta"),
        ({"spindle": 2.0}, FRONTAL, "2", "sigma"),
        ({"spindles_per_minute": 12.0}, FRONTAL, "2", "sigma"),
        ({"eyes": 2.0}, EYES, "W", "delta"),
        ({"corner_hertz": 3.5}, FRONTAL, "1", "beta"),
        ({"habits": ((0.0, 0.0, 0.0, 0.0, 0.0, 0.7), *Subject().habits[1:])}, FRONTAL, "R", "delta"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_a_sleeper_keeps(change: dict[str, float], channel: str, stage: str, band: str) -> None:
    stages = [stage] * 20
    usual, changed = (
        band_powers(make_night(stages, subject, rng(12))[channel])[band].mean()
        for subject in (Subject(), replace(Subject(), **change))
    )
    assert changed > usual + 0.25


@pytest.mark.parametrize(
    ("field", "hertz", "channel", "stage", "low", "high"),
    [
        ("alpha_hertz", 8.6, OCCIPITAL, "W", 7, 12.5),
        ("alpha_hertz", 11.0, OCCIPITAL, "W", 7, 12.5),
        ("spindle_hertz", 12.2, FRONTAL, "2", 10.5, 16.5),
        ("spindle_hertz", 14.4, FRONTAL, "2", 10.5, 16.5),
    ],
)
def test_peaks_lie_where_the_sleeper_has_them(
    field: str, hertz: float, channel: str, stage: str, low: float, high: float
) -> None:
    subject = replace(Subject(), alpha=2.0, spindle=2.0, **{field: hertz})
    at, power = spectra(make_night([stage] * 40, subject, rng(13))[channel])
    inside = (at >= low) & (at <= high)
    flat = power[:, inside].mean(axis=0) * at[inside] ** 2  # without the background's fall
    assert at[inside][flat.argmax()] == pytest.approx(hertz, abs=0.75)


def test_muscle_tone_is_the_sleepers_own() -> None:
    usual, strong = (make_night(["W"] * 10, Subject(muscle=muscle), rng(14))[CHIN].mean() for muscle in (1.0, 2.0))
    assert strong > 1.4 * usual


def test_stages_are_neither_given_away_nor_lost(powers: Powers) -> None:
    """Linear discriminants of single epochs do fairly on unseen sleepers; stage 1 is harder than W, 2 and N3."""
    labels = np.array([STAGE_NAMES.index("3" if stage == "4" else stage) for stage in EVERY_STAGE])
    tables = [np.stack([power for bands in night.values() for power in bands.values()], axis=1) for night in powers]
    features = [(table - table.mean(axis=0)) / table.std(axis=0) for table in tables]
    known, truth = np.concatenate(features[:5]), np.tile(labels, 5)
    means = np.stack([known[truth == k].mean(axis=0) for k in range(5)])
    inverse = np.linalg.pinv(np.cov((known - means[truth]).T))
    away = np.concatenate(features[5:])[:, None, :] - means
    said, truth = np.einsum("nkf,fg,nkg->nk", away, inverse, away).argmin(axis=1), np.tile(labels, 3)
    hits = np.array([((said == k) & (truth == k)).sum() for k in range(5)])
    scores = 2 * hits / (np.bincount(said, minlength=5) + np.bincount(truth))
    assert 0.5 < scores.mean() < 0.85
    assert 0.2 < scores[STAGE_NAMES.index("1")] < min(scores[STAGE_NAMES.index(stage)] for stage in "W23")


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "SC4001"), (1, "SC4002"), (2, "SC4011"), (199, "SC4992"), (200, "SC40A1"), (203, "SC40B2"), (2591, "SC4ZZ2")],
)
def test_names(number: int, name: str) -> None:
    assert night_name(number) == name


def test_names_are_unique_and_pair_up() -> None:
    names = [night_name(number) for number in range(2592)]
    assert len(set(names)) == 2592
    assert all(first[:5] == second[:5] for first, second in zip(names[::2], names[1::2], strict=True))
    assert len({name[:5] for name in names}) == 1296


def test_more_nights_than_names(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="2593 nights: names go as far as 2592"):
        write_nights(tmp_path / "none", 2593, seed=1)
    assert not (tmp_path / "none").exists()


def test_files_of_the_nights(folder: Path) -> None:
    assert sorted(contents(folder)) == sorted(
        f"SC40{night}{end}" for night in ("01", "02", "11") for end in ("E0-PSG.edf", "EC-Hypnogram.edf")
    )


def test_mne_reads_the_signals_in_microvolts(folder: Path) -> None:
    with mne.io.read_raw_edf(folder / "SC4001E0-PSG.edf", preload=True, verbose="error") as raw:
        assert tuple(raw.ch_names) == CHANNELS
        assert raw.info["sfreq"] == 100.0
        assert raw.n_times == EPOCHS * SAMPLES
        assert set(raw._orig_units.values()) == {"µV"}
        deviations = raw.get_data().std(axis=1) * 1e6
    for deviation, low, high in zip(deviations, (8, 5, 8, 0.2), (60, 40, 120, 3), strict=True):
        assert low < deviation < high


def test_the_header_is_that_of_the_sc_set(folder: Path) -> None:
    psg = edfio.read_edf(folder / "SC4002E0-PSG.edf")
    hypnogram = edfio.read_edf(folder / "SC4002EC-Hypnogram.edf")
    assert [signal.sampling_frequency for signal in psg.signals] == [100.0, 100.0, 100.0, 1.0]
    assert {signal.physical_dimension for signal in psg.signals} == {"uV"}
    assert psg.data_record_duration == 30
    assert psg.reserved == ""
    assert hypnogram.reserved == "EDF+C"
    assert hypnogram.num_signals == 0
    assert (psg.startdate, psg.starttime) == (hypnogram.startdate, hypnogram.starttime)
    assert psg.starttime.hour >= 21


def test_the_two_nights_of_a_subject_differ_and_follow_each_other(folder: Path) -> None:
    first, second = (edfio.read_edf(folder / f"SC400{night}E0-PSG.edf") for night in (1, 2))
    assert second.startdate - first.startdate == datetime.timedelta(days=1)
    assert read_stages(folder / "SC4001EC-Hypnogram.edf") != read_stages(folder / "SC4002EC-Hypnogram.edf")


def test_subjects_pair_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects: list[Subject] = []
    usual = eeg_synthetic.make_night

    def noted(stages: list[str], subject: Subject, chance: np.random.Generator) -> Signals:
        subjects.append(subject)
        return usual(stages, subject, chance)

    monkeypatch.setattr(eeg_synthetic, "make_night", noted)
    write_nights(tmp_path, 4, seed=2, hours=0.05)
    assert subjects[0] == subjects[1] != subjects[2] == subjects[3]


def test_a_written_night_comes_back(tmp_path: Path) -> None:
    stages = ["W", "W", "1", "2", "2", "M", "3", "4", "R", "?"]
    night = make_night(stages, Subject(), rng(18))
    psg, hypnogram = write_night(tmp_path / "made", "SC4381", stages, night, START)
    assert (psg.name, hypnogram.name) == ("SC4381E0-PSG.edf", "SC4381EC-Hypnogram.edf")
    assert read_stages(hypnogram) == stages
    read = edfio.read_edf(psg)
    assert datetime.datetime.combine(read.startdate, read.starttime) == START
    for channel in CHANNELS:
        step = 2 * RANGES[channel] / 4094
        np.testing.assert_allclose(read.get_signal(channel).data, night[channel], atol=0.51 * step)


@given(stages=st.lists(st.sampled_from("W1234RM?"), min_size=1, max_size=200))
@settings(max_examples=25, deadline=None)
def test_any_stages_come_back_from_the_hypnogram(tmp_path_factory: pytest.TempPathFactory, stages: list[str]) -> None:
    seconds = 30 * len(stages)
    night = {channel: np.zeros(int(seconds * rate), np.float32) for channel, rate in eeg_synthetic.RATES.items()}
    _, hypnogram = write_night(tmp_path_factory.getbasetemp(), "SC4991", stages, night, START)
    assert read_stages(hypnogram) == stages


def test_the_first_nights_are_the_same_for_every_count(folder: Path, tmp_path: Path) -> None:
    write_nights(tmp_path, 1, seed=5, hours=HOURS)
    whole = contents(folder)
    assert contents(tmp_path) == {name: whole[name] for name in ("SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf")}


def test_another_seed_gives_other_nights(folder: Path, tmp_path: Path) -> None:
    write_nights(tmp_path, 1, seed=6, hours=HOURS)
    whole = contents(folder)
    assert all(content != whole[name] for name, content in contents(tmp_path).items())


def test_complete_nights_are_left_alone_and_others_mended(tmp_path: Path) -> None:
    write_nights(tmp_path, 2, seed=1, hours=0.1)
    before = contents(tmp_path)
    kept, lost = tmp_path / "SC4001E0-PSG.edf", tmp_path / "SC4002EC-Hypnogram.edf"
    kept.write_bytes(b"someone's own")
    lost.unlink()
    write_nights(tmp_path, 2, seed=1, hours=0.1)
    assert contents(tmp_path) == {**before, kept.name: b"someone's own"}


@pytest.mark.parametrize("fails_at", [1, 2], ids=["signals", "hypnogram"])
def test_a_write_cut_off_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    write_nights(tmp_path / "whole", 1, seed=1, hours=0.1)
    usual, calls = edfio.Edf.write, []

    def cut_off(edf: edfio.Edf, target: object) -> None:
        calls.append(target)
        if len(calls) == fails_at:
            target.write(b"0       X")  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        usual(edf, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(edfio.Edf, "write", cut_off)
        with pytest.raises(OSError, match="No space left"):
            write_nights(tmp_path / "cut", 1, seed=1, hours=0.1)
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "cut") == {name: whole[name] for name in sorted(whole)[: fails_at - 1]}
    write_nights(tmp_path / "cut", 1, seed=1, hours=0.1)
    assert contents(tmp_path / "cut") == whole


def test_a_signal_beyond_the_recorders_range_is_refused(tmp_path: Path) -> None:
    night = make_night(["2"], Subject(), rng(1))
    night[FRONTAL][5] = 300.0
    with pytest.raises(ValueError, match="range"):
        write_night(tmp_path, "SC4001", ["2"], night, START)
    assert not list(tmp_path.iterdir())
