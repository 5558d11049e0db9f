"""The averaged beat against beats that were drawn, and numbers that stay in their range whatever comes."""

import numpy as np
import pytest

from tests.signals.test_ecg_rhythm import NOISE, drawn, fibrillation_times, sinus_times
from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_rhythm import Beats, find_beats
from vitalfactory.signals.ecg_wave import FIGURES, MOST, TIMES_MS, average_beat, describe_wave


def beats_of(fs: float = 300.0, *, p_wave: bool = True, sign: int = 1) -> Beats:
    times = sinus_times(20) if p_wave else fibrillation_times(20)
    return find_beats(Recording(sign * drawn(times, fs, 20, p_wave=p_wave), fs))


@pytest.mark.parametrize("fs", [100.0, 125.0, 300.0, 500.0, 1000.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_waves_stand_where_they_were_drawn(fs: float, sign: int) -> None:
    beat = dict(zip(TIMES_MS, average_beat(beats_of(fs, sign=sign)), strict=True))
    assert max(range(-280, -59, 20), key=lambda time: beat[time]) == -160
    assert beat[-160] == pytest.approx(12, abs=4)
    assert beat[280] == pytest.approx(25, abs=5)
    assert beat[-280] == pytest.approx(0, abs=3)
    assert beat[40] < -8


def test_without_p_waves_the_beat_is_flat_before_the_qrs() -> None:
    beat = average_beat(beats_of(p_wave=False))
    assert np.abs(beat[: TIMES_MS.index(-80)]).max() < 4


def test_the_unit_does_not_matter() -> None:
    beats = beats_of()
    tall = Beats(3 * beats.signal, beats.fs, beats.peaks, beats.inverted)
    np.testing.assert_allclose(average_beat(beats), average_beat(tall))


def test_one_odd_beat_does_not_show() -> None:
    beats = beats_of()
    spoilt = beats.signal.copy()
    spoilt[beats.peaks[5] - 80 : beats.peaks[5] - 20] += 2
    np.testing.assert_allclose(average_beat(beats), average_beat(Beats(spoilt, 300, beats.peaks, False)), atol=2)


def test_few_whole_beats_are_enough() -> None:
    beats = beats_of()
    first, last = beats.peaks[0] - 30, beats.peaks[1] + 30
    short = Beats(beats.signal[first:last], 300, beats.peaks[:2] - first, False)
    assert np.isfinite(average_beat(short)).all()


def test_what_goes_into_a_text() -> None:
    points, figures = describe_wave(beats_of())
    assert len(points) == len(TIMES_MS) == 22
    assert list(figures) == list(FIGURES)
    assert figures["pr_interval"] == pytest.approx(160, abs=20)


@pytest.mark.parametrize("kind", sorted(NOISE))
@pytest.mark.parametrize("fs", [100.0, 300.0])
def test_noise_gives_numbers_in_their_range_or_a_reason(kind: str, fs: float) -> None:
    for seed in range(5):
        signal = np.asarray(NOISE[kind](np.random.default_rng(seed), int(12 * fs)), dtype=np.float64)
        try:
            points, figures = describe_wave(find_beats(Recording(signal, fs)))
        except UnusableRecord:
            continue
        assert all(-MOST <= point <= MOST for point in points)
        assert np.isfinite(list(figures.values())).all()
