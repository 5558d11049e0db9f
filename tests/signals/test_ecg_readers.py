"""What the ECG readers take, and the reason they give for each thing they do not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.signals.cinc import FS, header_text, mat_bytes, write_record, write_reference
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals import ecg
from vitalfactory.signals.ecg_rhythm import find_beats

HUGE = 1_000_000_000_000
ROWS = [("A00001", "N"), ("A00002", "A")]


def listed(folder: Path) -> list[tuple[str, str, str]]:
    return [(record.id, record.group, record.label) for record in ecg.read_folder(folder)]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("head", ["", "record,label", "Record,Label", "data_source,class", "\ufeffrecord,label"])
def test_reference_of_every_make(tmp_path: Path, head: str, end: str) -> None:
    write_reference(tmp_path, ROWS, head, end)
    assert listed(tmp_path) == [("A00001", "A00001", "N"), ("A00002", "A00002", "A")]


def test_reference_with_a_byte_order_mark_and_no_head(tmp_path: Path) -> None:
    (tmp_path / "REFERENCE.csv").write_text("\ufeffA00001,N\n\n A00002 , A \n", encoding="utf-8")
    assert listed(tmp_path) == [("A00001", "A00001", "N"), ("A00002", "A00002", "A")]


def test_reference_lists_records_that_are_missing(tmp_path: Path) -> None:
    write_reference(tmp_path, ROWS)
    for record in ecg.cinc2017(tmp_path):
        with pytest.raises(UnusableRecord) as error:
            record.read()
        assert error.value.reason == "no such record"


@pytest.mark.parametrize(
    ("content", "words"), [(b"A00001,N\nA00002\n", r"REFERENCE.csv:2: expected"), (b"A,N\n\xff,N\n", "not UTF-8")]
)
def test_a_bad_reference_is_an_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "REFERENCE.csv").write_bytes(content)
    with pytest.raises(VitalFactoryError, match=words):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("record,label,patient\na,AF,p1\nb,no AF,p1\n", [("a", "p1", "AF"), ("b", "p1", "no AF")]),
        ("patient,record,label,more\r\n,a,AF,x\r\n", [("a", "a", "AF")]),
        ("\ufeffrecord,label\n a , AF \n\n", [("a", "a", "AF")]),
        ("record,label,patient\na,AF\n", [("a", "a", "AF")]),
        ("record,label\n", []),
    ],
    ids=["patients", "order and CRLF", "byte order mark", "short line", "none"],
)
def test_labels_file(tmp_path: Path, text: str, expected: list[tuple[str, str, str]]) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8", newline="")
    assert listed(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column label, record"),
        ("record,class\na,AF\n", "lacks the column label"),
        ("record,label\na,AF\nb,\n", "labels.csv:3: a record or its label is empty"),
        ("record,label\n,AF\n", "labels.csv:2: a record or its label is empty"),
    ],
)
def test_a_bad_labels_file_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=words):
        listed(tmp_path)


def test_a_folder_that_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"holds neither REFERENCE\.csv"):
        ecg.read_folder(tmp_path)
    with pytest.raises(VitalFactoryError, match="no such folder"):
        ecg.read_folder(tmp_path / "none")


def test_a_record_is_read_in_millivolts(tmp_path: Path) -> None:
    signal = np.sin(np.arange(3000) / 20)
    write_record(tmp_path, "A1", signal, 250)
    recording = ecg.WfdbRecord("A1", "A1", "N", tmp_path).read()
    assert recording.fs == 250
    assert recording.signal.dtype == np.float64
    np.testing.assert_allclose(recording.signal, signal, atol=0.0005)


def test_the_first_signal_of_a_record_in_a_subfolder(tmp_path: Path) -> None:
    import wfdb

    both = np.stack([np.linspace(-1, 1, 2000), np.ones(2000)], axis=1)
    (tmp_path / "p1").mkdir()
    wfdb.wrsamp("r1", 500, ["mV", "mV"], ["I", "II"], both, fmt=["16", "16"], write_dir=str(tmp_path / "p1"))
    recording = ecg.WfdbRecord("p1/r1", "p1", "N", tmp_path).read()
    np.testing.assert_allclose(recording.signal, both[:, 0], atol=0.001)


def test_an_unlinked_signal_file_of_compressed_samples(tmp_path: Path) -> None:
    """FLAC holds many samples a byte; the check of sizes must let it pass."""
    import wfdb

    flat = np.zeros((60_000, 1), dtype=np.int64)
    flat[::300] = 1000
    wfdb.wrsamp(
        "r1", 300, ["mV"], ["I"], d_signal=flat, fmt=["516"], adc_gain=[1000.0], baseline=[0], write_dir=str(tmp_path)
    )
    assert ecg.WfdbRecord("r1", "r1", "N", tmp_path).read().signal.max() == 1


def plain(folder: Path, length: int = 3000) -> None:
    write_record(folder, "A1", np.sin(np.arange(length) / 20))


def rewrite(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plain(folder)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def cut(name: str, length: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plain(folder)
        (folder / name).write_bytes((folder / name).read_bytes()[:length])

    return change


def removed(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plain(folder)
        (folder / name).unlink()

    return change


SAMPLES = np.zeros(3000, dtype=np.int16)
UNREADABLE = {
    "truncated signal": cut("A1.mat", 2000),
    "truncated inside the MAT header": cut("A1.mat", 10),
    "empty MAT": cut("A1.mat", 0),
    "MAT claims 10^9 columns": rewrite("A1.mat", mat_bytes(SAMPLES, columns=2**31 - 1)),
    "MAT claims 10^18 values": rewrite("A1.mat", mat_bytes(SAMPLES, rows=2**31 - 1, columns=2**31 - 1)),
    "MAT of no columns": rewrite("A1.mat", mat_bytes(SAMPLES, columns=0)),
    "MAT of negative size": rewrite("A1.mat", mat_bytes(SAMPLES, columns=-3000)),
    "MAT of doubles": rewrite("A1.mat", mat_bytes(SAMPLES, kind=0)),
    "MAT v5": rewrite("A1.mat", b"MATLAB 5.0 MAT-file".ljust(6024, b"\0")),
    "header claims 10^12 samples": rewrite("A1.hea", header_text("A1", HUGE)),
    "header claims more than the MAT": rewrite("A1.hea", header_text("A1", 3001)),
    "header claims 10^12 samples a frame": rewrite(
        "A1.hea", f"A1 1 300 3000\nA1.mat 16x{HUGE}+24 1000/mV 16 0 0 0 0 ECG\n"
    ),
    "header claims a skew of 10^12": rewrite("A1.hea", f"A1 1 300 3000\nA1.mat 16:{HUGE}+24 1000/mV 16 0 0 0 0 ECG\n"),
    "header names 10^6 signals": rewrite("A1.hea", "A1 1000000 300 3000\nA1.mat 16+24 1000/mV 16 0 0 0 0 ECG\n"),
    "header of several segments": rewrite("A1.hea", f"A1/2 1 300 {HUGE}\nA2 {HUGE}\nA3 3000\n"),
    "header of no signal": rewrite("A1.hea", "A1 0 300 3000\n"),
    "header of noise": rewrite("A1.hea", bytes(range(256))),
    "empty header": rewrite("A1.hea", ""),
    "missing signal": removed("A1.mat"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_unreadable_records(tmp_path: Path, fault: str) -> None:
    UNREADABLE[fault](tmp_path)
    with pytest.raises(UnusableRecord) as error:
        ecg.WfdbRecord("A1", "A1", "N", tmp_path).read()
    assert error.value.reason == "unreadable"
    assert error.value.detail


@pytest.mark.parametrize(
    "name", ["../A1", "/etc/passwd", "deep/../../A1", "..", "a/..", "a//b", "", "a b", "a\0b", "a;b"]
)
def test_names_that_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    plain(tmp_path)
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(UnusableRecord) as error:
        ecg.WfdbRecord(name, name, "N", inside).read()
    assert error.value.reason == "outside the folder"


@pytest.mark.parametrize("signal", ["../A1.mat", "/etc/passwd"])
def test_a_header_whose_signal_lies_outside(tmp_path: Path, signal: str) -> None:
    plain(tmp_path)
    plain(tmp_path / "inside")
    (tmp_path / "inside" / "A1.hea").write_text(f"A1 1 300 3000\n{signal} 16+24 1000/mV 16 0 0 0 0 ECG\n")
    with pytest.raises(UnusableRecord) as error:
        ecg.WfdbRecord("A1", "A1", "N", tmp_path / "inside").read()
    assert error.value.reason in ("outside the folder", "unreadable")


def test_a_missing_header(tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / "A1.hea").unlink()
    with pytest.raises(UnusableRecord) as error:
        ecg.WfdbRecord("A1", "A1", "N", tmp_path).read()
    assert error.value.reason == "no such record"


def with_value(value: float) -> np.ndarray:
    signal = np.sin(np.arange(3000) / 20)
    signal[17] = value
    return signal


@pytest.mark.parametrize(
    ("signal", "fs", "reason"),
    [
        (np.zeros(3000), 300.0, "flat"),
        (np.full(3000, 0.7), 300.0, "flat"),
        (with_value(np.nan), 300.0, "not finite"),
        (with_value(np.inf), 300.0, "not finite"),
        (with_value(51.0), 300.0, "out of range"),
        (np.sin(np.arange(1499) / 20), 300.0, "too short"),
        (np.zeros(0), 300.0, "too short"),
        (np.zeros(100 * 3601), 100.0, "too long"),
        (np.zeros(3000), 0.0, "sampling rate"),
        (np.zeros(3000), -300.0, "sampling rate"),
        (np.zeros(3000), float("nan"), "sampling rate"),
        (np.zeros(3000), 99.0, "sampling rate"),
        (np.zeros(3000), 1e9, "sampling rate"),
        (np.linspace(0, 1, 3000), 300.0, "too few beats"),
    ],
)
def test_recordings_without_a_rhythm(signal: np.ndarray, fs: float, reason: str) -> None:
    with pytest.raises(UnusableRecord) as error:
        find_beats(ecg.Recording(signal, fs))
    assert error.value.reason == reason


def test_synthetic_records_are_the_same_whatever_their_number() -> None:
    few, many = list(ecg.synthetic(12, 7)), list(ecg.synthetic(50, 7))
    assert few == many[:12]
    assert [record.id for record in few[:2]] == ["S00001", "S00002"]
    assert "".join(record.label for record in few[:10]) == "NAONANOANO"
    first, again = few[3].read(), many[3].read()
    assert first.fs == FS
    np.testing.assert_array_equal(first.signal, again.signal)
    assert not np.array_equal(first.signal, next(iter(ecg.synthetic(1, 8))).read().signal)
