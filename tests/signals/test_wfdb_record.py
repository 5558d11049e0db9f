"""16-bit records read here are what the wfdb package reads, value for value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.wfdb_record import read_first_signal

SAMPLES = np.array([[0, 5], [-32767, 32767], [100, -100], [-32768, 1], [7, 7]], dtype="<i2")


def by_wfdb(stem: Path) -> tuple[Any, float]:
    import wfdb

    record = wfdb.rdrecord(str(stem), channels=[0])
    return record.p_signal[:, 0], float(record.fs)


def same_as_wfdb(folder: Path, header: str, offset: int = 0) -> None:
    (folder / "r.hea").write_text(header)
    (folder / "r.dat").write_bytes(b"\1" * offset + SAMPLES.tobytes())
    signal, fs = read_first_signal(folder / "r")
    expected, expected_fs = by_wfdb(folder / "r")
    np.testing.assert_array_equal(signal, expected)
    assert fs == expected_fs
    assert signal.dtype == np.float64


@pytest.mark.parametrize(
    "header",
    [
        "r 2 300 5\nr.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II\n",
        "r 1 360/73(1.5) 10 12:30:00 01/02/2003\nr.dat 16 200.5(-3)/mV 12 7 0 0 0 a lead\n",
        "# made by hand\nr 1 128.5 10\n\nr.dat 16 1e2(4)\n#  a remark\n",
        "r 1 300 10\nr.dat 16\n",
        "r 1 300 10\nr.dat 16 0/mV 16 12\n",
        "r 1 300 10\r\nr.dat 16+0 1000/mV 16 0 -127 0 0 ECG \r\n",
        "r 1 300\nr.dat 16 1000/mV\n",
        "r 2 300 5\nr.dat 16x1 1000/mV\nr.dat 16x1:0 500/mV\n",
    ],
    ids=["two signals", "counter and baseline", "comments", "bare", "no gain", "Challenge", "no length", "frames"],
)
def test_headers_of_every_make(tmp_path: Path, header: str) -> None:
    same_as_wfdb(tmp_path, header)


def test_an_offset(tmp_path: Path) -> None:
    same_as_wfdb(tmp_path, "r 2 300 5\nr.dat 16+24 1000/mV\nr.dat 16+24 1000/mV\n", offset=24)


@given(
    fs=st.floats(1, 5000).map(lambda value: round(value, 3)),
    gain=st.floats(0.001, 1e6).map(lambda value: round(value, 4)),
    baseline=st.integers(-40000, 40000),
    frames=st.integers(1, 10),
)
def test_any_gain_and_baseline(
    tmp_path_factory: pytest.TempPathFactory, fs: float, gain: float, baseline: int, frames: int
) -> None:
    header = f"r 1 {fs} {frames}\nr.dat 16 {gain}({baseline})/mV 16 0 0 0 0 ECG\n"
    same_as_wfdb(tmp_path_factory.mktemp("record"), header)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("uV", 1e-3), ("\N{MICRO SIGN}V", 1e-3), ("V", 1e3), (None, 1)]
)
def test_voltages_become_millivolts(tmp_path: Path, unit: str | None, factor: float) -> None:
    (tmp_path / "r.hea").write_text(f"r 1 300 10\nr.dat 16 2{'/' + unit if unit else ''} 16 0\n", encoding="utf-8")
    (tmp_path / "r.dat").write_bytes(SAMPLES.tobytes())
    signal, _ = read_first_signal(tmp_path / "r")
    np.testing.assert_allclose(signal, np.where(SAMPLES.ravel() == -32768, np.nan, SAMPLES.ravel() / 2 * factor))


def test_a_signal_that_is_no_voltage(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 300 10\nr.dat 16 2/bpm 16 0 0 0 0 RESP\n")
    (tmp_path / "r.dat").write_bytes(SAMPLES.tobytes())
    with pytest.raises(UnusableRecord) as error:
        read_first_signal(tmp_path / "r")
    assert error.value.reason == "not a voltage"


def test_real_records(real_ecg: Path) -> None:
    names = sorted(path.stem for path in real_ecg.glob("*.hea"))[::400]
    assert names
    for name in names:
        expected, fs = by_wfdb(real_ecg / name)
        signal, own = read_first_signal(real_ecg / name)
        np.testing.assert_array_equal(signal, expected)
        assert own == fs
