"""EDF files are held against their own headers; voltages come in microvolts at their own rate."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.signals.psg import tone, write_hypnogram, write_psg
from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.edf import Annotation, open_edf, read_annotations

SIGNALS = {"EEG Fpz-Cz": (tone(60, 10), 100.0), "EMG submental": (3 + tone(60, 0.1, 1.0, 1.0), 1.0)}


@pytest.mark.parametrize("unit", ["uV", "UV", "uv", "mV", "MV", "mv", "V", "v"])
def test_a_channel_comes_in_microvolts(tmp_path: Path, unit: str) -> None:
    values = SIGNALS["EEG Fpz-Cz"][0]
    file = open_edf(write_psg(tmp_path / "a.edf", {"EEG Fpz-Cz": (values, 100.0)}, unit=unit))
    assert file.seconds == 60
    np.testing.assert_allclose(file.read("EEG Fpz-Cz"), values, atol=0.01)
    np.testing.assert_allclose(file.read("EEG Fpz-Cz", 10, 20), values[1000:2000], atol=0.01)


def test_every_channel_has_its_own_rate(tmp_path: Path) -> None:
    file = open_edf(write_psg(tmp_path / "a.edf", SIGNALS))
    assert {name: channel.rate for name, channel in file.channels.items()} == {"EEG Fpz-Cz": 100, "EMG submental": 1}
    assert len(file.read("EMG submental")) == 60
    np.testing.assert_allclose(file.read("EMG submental", 5, 8), SIGNALS["EMG submental"][0][5:8], atol=0.01)
    assert file.start == datetime(1989, 4, 24, 16, 13)


def test_a_subject_of_any_script(tmp_path: Path) -> None:
    """EDF allows ASCII alone; real files hold whatever the device wrote."""
    path = write_psg(tmp_path / "a.edf", SIGNALS)
    raw = bytearray(path.read_bytes())
    raw[8:88] = "X F X Müller_张伟".encode().ljust(80)
    path.write_bytes(raw)
    assert len(open_edf(path).read("EEG Fpz-Cz")) == 6000


def put(at: int, text: str) -> Callable[[bytearray], bytearray]:
    def change(raw: bytearray) -> bytearray:
        raw[at : at + len(text)] = text.encode("latin-1")
        return raw

    return change


RECORDS, RECORD_SECONDS, CHANNELS, HEAD = 236, 244, 252, 184
DIGITAL = 256 + 2 * (16 + 80 + 8 + 8 + 8)
SAMPLES = 256 + 2 * (16 + 80 + 8 + 8 + 8 + 8 + 8 + 80)
BROKEN = {
    "cut off in a record": (lambda raw: raw[: len(raw) - 300], "truncated"),
    "cut off in the header": (lambda raw: raw[:300], "truncated"),
    "empty": (lambda raw: raw[:0], "not an EDF file"),
    "a text": (lambda raw: bytearray(b"night,stage\n" * 60), "not an EDF file"),
    "a thousand signals": (put(CHANNELS, "1000"), "impossible EDF header"),
    "no signal": (put(CHANNELS, "0   "), "impossible EDF header"),
    "a huge number of records": (put(RECORDS, "99999999"), "truncated"),
    "a negative number of records": (put(RECORDS, "-7      "), "impossible EDF header"),
    "a record of no time": (put(RECORD_SECONDS, "nan     "), "impossible EDF header"),
    "a header of another size": (put(HEAD, "99999   "), "impossible EDF header"),
    "huge records": (put(SAMPLES, "99999999"), "truncated"),
    "records of less than nothing": (put(SAMPLES, "-5      "), "impossible EDF header"),
    "numbers without a range": (
        lambda raw: put(DIGITAL, "7       ")(put(DIGITAL + 16, "7       ")(raw)),
        "impossible EDF header",
    ),
    "no such day": (put(168, "99.99.99"), "impossible EDF header"),
    "a recording with gaps": (put(192, "EDF+D"), "interrupted recording (EDF+D)"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_files_are_told(tmp_path: Path, fault: str) -> None:
    change, reason = BROKEN[fault]
    path = write_psg(tmp_path / "a.edf", SIGNALS)
    path.write_bytes(change(bytearray(path.read_bytes())))
    with pytest.raises(UnusableRecord) as told:
        open_edf(path)
    assert told.value.reason == reason
    assert "a.edf" in told.value.detail


def test_a_recording_that_was_not_closed(tmp_path: Path) -> None:
    path = write_psg(tmp_path / "a.edf", SIGNALS)
    path.write_bytes(put(RECORDS, "-1      ")(bytearray(path.read_bytes())))
    assert open_edf(path).seconds == 60
    assert len(open_edf(path).read("EEG Fpz-Cz")) == 6000


def test_a_missing_channel_names_those_that_are_there(tmp_path: Path) -> None:
    file = open_edf(write_psg(tmp_path / "a.edf", SIGNALS))
    with pytest.raises(UnusableRecord) as told:
        file.read("EEG C3-A2")
    assert told.value.args == ("missing channel", "a.edf: no 'EEG C3-A2'; it has EEG Fpz-Cz, EMG submental")


def test_a_temperature_is_no_voltage(tmp_path: Path) -> None:
    file = open_edf(write_psg(tmp_path / "a.edf", {"Temp rectal": (37 + tone(10, 1, 0.1), 100.0)}, unit="DegC"))
    with pytest.raises(UnusableRecord) as told:
        file.read("Temp rectal")
    assert told.value.args == ("not a voltage", "a.edf: Temp rectal is in 'DegC'")


def test_annotations_come_in_order(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", [("W", 60), ("N1", 30), ("M", 30), ("?", 90)])
    assert read_annotations(path) == [
        Annotation(0, 60, "Sleep stage W"),
        Annotation(60, 30, "Sleep stage 1"),
        Annotation(90, 30, "Movement time"),
        Annotation(120, 90, "Sleep stage ?"),
    ]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnusableRecord, match="no such file"):
        open_edf(tmp_path / "none.edf")
