"""The signal as the networks take it: 120 samples a second, nothing of what they cannot show, no unit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_resampled import FS, resample
from vitalfactory.signals.ecg_synthetic import make

RATES = [100.0, 120.0, 128.0, 200.0, 250.0, 257.5, 300.0, 360.0, 500.0, 1000.0]
Floats = NDArray[np.float64]


def sine(hertz: float, fs: float, seconds: float = 20.0) -> Floats:
    return np.asarray(np.sin(2 * np.pi * hertz * np.arange(round(seconds * fs)) / fs))


def strength(signal: NDArray[np.float32], hertz: float) -> float:
    """Measure the amplitude at a frequency, the ends of the signal left out."""
    inner = signal[2 * FS : -2 * FS]
    return float(abs(2 * np.mean(inner * np.exp(-2j * np.pi * hertz * np.arange(len(inner)) / FS))))


@pytest.mark.parametrize("fs", RATES)
@pytest.mark.parametrize("seconds", [5.0, 9.7, 30.0])
def test_there_are_120_samples_a_second(fs: float, seconds: float) -> None:
    signal = sine(7, fs, seconds)
    shown = resample(Recording(signal, fs))
    assert shown.dtype == np.float32
    assert len(shown) == pytest.approx(FS * len(signal) / fs, abs=2)
    assert shown.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert shown.std(dtype=np.float64) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("fs", RATES)
def test_a_sine_keeps_its_frequency_and_its_place(fs: float) -> None:
    """Of 20 Hz, which a QRS complex holds, in the same phase as drawn at 120 Hz."""
    shown = resample(Recording(sine(20, fs), fs))
    spectrum = abs(np.fft.rfft(shown))
    assert np.fft.rfftfreq(len(shown), 1 / FS)[spectrum.argmax()] == pytest.approx(20, abs=0.1)
    drawn = sine(20, FS)
    count = min(len(shown), len(drawn)) - 2 * FS
    assert np.corrcoef(shown[FS:count], drawn[FS:count])[0, 1] > 0.999


@pytest.mark.parametrize(("hertz", "most_db"), [(100.0, -20.0), (75.0, -20.0), (130.0, -40.0)])
def test_what_is_over_60_hz_is_damped(hertz: float, most_db: float) -> None:
    shown = resample(Recording(sine(5, 300.0) + sine(hertz, 300.0), 300.0))
    alias = abs(hertz - FS) if hertz > FS / 2 else hertz
    assert 20 * np.log10(strength(shown, alias) / strength(shown, 5)) < most_db


@pytest.mark.parametrize("hertz", [1.0, 10.0, 40.0])
def test_what_an_ecg_holds_is_kept(hertz: float) -> None:
    shown = resample(Recording(sine(5, 300.0) + sine(hertz, 300.0), 300.0))
    assert abs(20 * np.log10(strength(shown, hertz) / strength(shown, 5))) < 1


@given(st.sampled_from(RATES), st.floats(-5, 5), st.floats(0.1, 5), st.sampled_from([-1, 1]), st.integers(0, 3))
def test_neither_offset_nor_unit_counts(fs: float, offset: float, scale: float, sign: int, seed: int) -> None:
    signal = np.random.default_rng(seed).normal(size=int(6 * fs)).cumsum() / fs
    shown = resample(Recording(signal, fs))
    changed = resample(Recording(sign * scale * signal + offset, fs))
    np.testing.assert_allclose(changed, sign * shown, atol=1e-4)


def test_an_offset_makes_no_step_at_the_ends() -> None:
    for fs in RATES:
        shown = resample(Recording(sine(5, fs) + 4, fs))
        assert abs(shown).max() < 2


@pytest.mark.parametrize(
    ("signal", "fs", "reason"),
    [
        (np.zeros(3000), 300.0, "flat"),
        (np.full(3000, 4.2), 300.0, "flat"),
        (sine(5, 300.0, 4.9), 300.0, "too short"),
        (np.zeros(0), 300.0, "too short"),
        (np.full(3000, np.nan), 300.0, "not finite"),
        (99 * sine(5, 300.0), 300.0, "out of range"),
        (sine(5, 99.0), 99.0, "sampling rate"),
        (sine(1, 100.0, 3601), 100.0, "too long"),
    ],
)
def test_unusable_records_are_told_by_their_reason(signal: Floats, fs: float, reason: str) -> None:
    with pytest.raises(UnusableRecord) as refused:
        resample(Recording(signal, fs))
    assert refused.value.reason == reason


def test_the_recording_is_left_as_it_was() -> None:
    signal = make("A", np.random.default_rng(1), 10.0)
    before = signal.copy()
    assert (resample(Recording(signal, 300.0)) == resample(Recording(signal, 300.0))).all()
    assert (signal == before).all()
