"""Beats against a signal whose beats are known, and figures that stay finite whatever comes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals import ecg_synthetic
from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_rhythm import find_beats, rr_statistics, summarise

Floats = NDArray[np.float64]


def drawn(times: Floats, fs: float, seconds: float, *, p_wave: bool = True) -> Floats:
    """Draw P, Q, R, S and T at known places, independently of the package's own synthetic ECGs."""
    waves = [(-0.04, -0.1, 0.01), (0.0, 1.0, 0.012), (0.04, -0.2, 0.012), (0.27, 0.25, 0.04)]
    waves += [(-0.16, 0.12, 0.02)] if p_wave else []
    at = np.arange(int(seconds * fs)) / fs
    rng = np.random.default_rng(5)
    signal = rng.normal(0, 0.01, len(at)) + 0.1 * np.sin(2 * np.pi * 0.25 * at)
    for centre, height, width in waves:
        signal += (height * np.exp(-0.5 * ((at[:, None] - times - centre) / width) ** 2)).sum(axis=1)
    return signal


def sinus_times(seconds: float) -> Floats:
    beats = np.arange(int(seconds / 0.8))
    return np.asarray(0.5 + 0.8 * beats + 0.02 * np.sin(beats))


def fibrillation_times(seconds: float) -> Floats:
    gaps = np.random.default_rng(11).uniform(0.4, 1.1, int(seconds / 0.4))
    times = 0.5 + np.cumsum(gaps)
    return np.asarray(times[times < seconds - 0.5])


@pytest.mark.parametrize("fs", [125.0, 250.0, 300.0, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("times", [sinus_times(20), fibrillation_times(20)], ids=["sinus", "fibrillation"])
def test_beats_stand_where_they_were_drawn(times: Floats, fs: float) -> None:
    beats = find_beats(Recording(drawn(times, fs, 20), fs))
    assert len(beats.peaks) == len(times)
    np.testing.assert_allclose(beats.peaks / fs, times, atol=0.012)
    np.testing.assert_allclose(beats.rr, 1000 * np.diff(times), atol=15)
    assert not beats.inverted


@pytest.mark.parametrize("fs", [250.0, 300.0, 500.0])
def test_an_inverted_lead_has_the_same_beats(fs: float) -> None:
    signal = drawn(fibrillation_times(20), fs, 20)
    upright, inverted = find_beats(Recording(signal, fs)), find_beats(Recording(-signal, fs))
    assert inverted.inverted
    np.testing.assert_array_equal(upright.peaks, inverted.peaks)
    np.testing.assert_allclose(upright.signal, inverted.signal)


def test_one_artefact_does_not_hide_the_beats() -> None:
    times = sinus_times(20)
    signal = drawn(times, 300, 20)
    signal[3000:3010] += 20
    beats = find_beats(Recording(signal, 300))
    found = [np.abs(beats.peaks / 300 - time).min() < 0.02 for time in times]
    assert sum(found) >= len(times) - 1


@pytest.mark.parametrize("label", ["N", "A", "O"])
def test_beats_of_the_synthetic_records(label: str) -> None:
    hit = made = found = 0
    for seed in range(25):
        rr, _, _ = ecg_synthetic.RHYTHMS[label](np.random.default_rng(seed), 20.0)
        times = 0.3 + np.concatenate(([0.0], np.cumsum(rr)))
        times = times[(times > 0.5) & (times < 19.5)]
        recording = Recording(ecg_synthetic.make(label, np.random.default_rng(seed), 20.0), ecg_synthetic.FS)
        peaks = find_beats(recording).peaks / ecg_synthetic.FS
        hit += sum(np.abs(peaks - time).min() < 0.05 for time in times)
        made += len(times)
        found += int(((peaks > 0.45) & (peaks < 19.55)).sum())
    assert hit / made > 0.95
    assert hit / found > 0.95


def test_synthetic_records_are_seeded_and_of_the_length_asked() -> None:
    for label in "NAO":
        one, two, other = (ecg_synthetic.make(label, np.random.default_rng(seed), 10.0) for seed in (3, 3, 4))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)
        assert one.shape == (3000,)
        assert np.isfinite(one).all()


def figures(times: Floats, *, p_wave: bool = True) -> dict[str, float]:
    return summarise(find_beats(Recording(drawn(times, 300, 30, p_wave=p_wave), 300)))


def test_fibrillation_is_irregular_and_sinus_is_not() -> None:
    sinus, fibrillation = figures(sinus_times(30)), figures(fibrillation_times(30), p_wave=False)
    assert sinus["heart_rate"] == pytest.approx(75, abs=1)
    assert sinus["irregular_share"] == 0
    assert fibrillation["irregular_share"] > 0.6
    for name in ("rr_cv", "rmssd", "pnn50", "sample_entropy", "shannon_entropy", "lorenz_cells", "change_median"):
        assert fibrillation[name] > sinus[name], name
    assert sinus["longest_regular_run"] == sinus["beats"] - 2
    assert sinus["longest_irregular_run"] == 0


def test_p_waves_are_seen() -> None:
    present, absent = figures(sinus_times(30)), figures(sinus_times(30), p_wave=False)
    assert present["p_match_share"] > 0.9 > 0.3 > absent["p_match_share"]
    assert present["p_amplitude"] > 2 * absent["p_amplitude"]
    assert present["p_jitter"] < 10 < absent["p_jitter"]
    assert present["pr_interval"] == pytest.approx(160, abs=20)


def test_fibrillatory_waves_are_seen() -> None:
    times = fibrillation_times(30)
    quiet = drawn(times, 300, 30, p_wave=False)
    waves = 0.08 * np.sin(2 * np.pi * 6 * np.arange(len(quiet)) / 300)
    without, having = (summarise(find_beats(Recording(signal, 300))) for signal in (quiet, quiet + waves))
    assert having["f_share"] > 0.8 > without["f_share"]
    assert having["f_peak_hz"] == pytest.approx(6, abs=0.4)


@pytest.mark.parametrize("beats", range(6, 12))
def test_few_beats_are_enough(beats: int) -> None:
    times = np.asarray(0.5 + 0.8 * np.arange(beats), dtype=np.float64)
    summary = summarise(find_beats(Recording(drawn(times, 300, times[-1] + 1), 300)))
    assert summary["beats"] == beats
    assert np.isfinite(list(summary.values())).all()


SHARES = ("irregular_share", "early_share", "late_share", "pnn50", "premature_pairs", "turning_points")
RR = st.lists(st.floats(150, 4000), min_size=5, max_size=80)


@given(RR)
def test_figures_of_any_rr_series_are_finite(rr: list[float]) -> None:
    summary = rr_statistics(np.array(rr))
    assert np.isfinite(list(summary.values())).all()
    assert all(0 <= summary[name] <= 1 for name in SHARES)
    assert summary["rr_min"] <= summary["rr_median"] <= summary["rr_max"]


@given(RR, st.floats(0.5, 2))
def test_shares_do_not_depend_on_the_rate(rr: list[float], factor: float) -> None:
    assume(np.std(rr) > 1)  # of intervals that are all the same, rounding decides some figures
    one, other = rr_statistics(np.array(rr)), rr_statistics(factor * np.array(rr))
    for name in ("rr_cv", "rmssd_share", "lag1", "rr_p05", "sd1_sd2"):
        assert one[name] == pytest.approx(other[name], abs=1e-6), name


NOISE: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "white": lambda rng, n: rng.normal(0, 1, n),
    "walk": lambda rng, n: np.clip(np.cumsum(rng.normal(0, 0.1, n)), -49, 49),
    "spikes": lambda rng, n: (rng.random(n) < 0.01) * rng.normal(0, 10, n) + rng.normal(0, 1e-4, n),
    "steps": lambda rng, n: np.repeat(rng.normal(0, 5, n // 50 + 1), 50)[:n],
    "sine": lambda rng, n: np.sin(np.arange(n) * rng.uniform(0.001, 1)),
    "saturated": lambda rng, n: np.clip(rng.normal(0, 100, n), -32, 32),
    "mostly flat": lambda rng, n: np.concatenate((np.zeros(n - n // 8), rng.normal(0, 1, n // 8))),
    "tiny": lambda rng, n: rng.normal(0, 1e-3, n),
}


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(NOISE)),
    st.integers(0, 2**32),
    st.floats(4, 40),
    st.sampled_from([100.0, 128.0, 250.0, 300.0, 1000.0]),
)
def test_noise_gives_finite_figures_or_a_reason(kind: str, seed: int, seconds: float, fs: float) -> None:
    signal = np.asarray(NOISE[kind](np.random.default_rng(seed), int(seconds * fs)), dtype=np.float64)
    try:
        summary = summarise(find_beats(Recording(signal, fs)))
    except UnusableRecord:
        return
    assert np.isfinite(list(summary.values())).all()
