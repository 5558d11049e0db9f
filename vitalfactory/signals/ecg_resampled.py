"""An ECG as the networks take it: 60 Hz low-pass, 120 Hz, zero mean, unit variance.

Source: the preprocessing of Fan et al. 2018 (MS-CNN, IEEE J. Biomed. Health Inform. 22(6)): a low-pass FIR
filter, then from 300 to 150 and to 120 Hz.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_rhythm import check_usable

FS = 120
FS_IN = 300
CUTOFF_HZ = 60.0
TAPS = 101
DEVIATION_MV = 1e-6
"""A signal that varies less is left at zero, not blown up."""

Floats32 = NDArray[np.float32]


@cache
def _low_pass() -> NDArray[np.float64]:
    from scipy.signal import firwin

    return np.asarray(firwin(TAPS, CUTOFF_HZ, fs=FS_IN))


def resample(recording: Recording) -> Floats32:
    """Filter, downsample and standardise a record.

    Parameters
    ----------
    recording : Recording
        At any rate that :mod:`vitalfactory.signals.ecg_rhythm` takes; one that is not at 300 Hz is brought
        to it first.

    Returns
    -------
    ndarray of float32, shape (about 120 times the seconds,)
        Standard deviations from the record's mean, at 120 Hz.

    Raises
    ------
    UnusableRecord
        The record is too short, too long, flat, out of range or not finite.
    """
    from scipy.signal import resample_poly

    check_usable(recording)
    signal = recording.signal - recording.signal.mean()  # so that no filter makes a step at the ends
    if recording.fs != FS_IN:
        ratio = Fraction(FS_IN / recording.fs).limit_denominator(1000)
        signal = resample_poly(signal, ratio.numerator, ratio.denominator)
    filtered = np.convolve(signal, _low_pass(), mode="same")
    low = resample_poly(filtered[::2], 4, 5)
    return np.asarray((low - low.mean()) / max(float(low.std()), DEVIATION_MV), dtype=np.float32)
