"""The ledger: found again, recovered wherever a kill has cut it, held by one run alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.endpoint.asking import Answered
from vitalfactory.endpoint.ledger import Places, key_of, open_ledger
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl

VALUE = {"diseases": ["肺炎"], "reason": 'He says "hot"\n🙂'}


def answered(number: int, state: str = "answered") -> Answered:
    key = key_of("m", [{"role": "user", "content": f"note {number}"}], {}, "diagnosis")
    good = state == "answered"
    reason = None if good else "timeout"
    return Answered(key, state, json.dumps(VALUE), VALUE if good else None, False, reason, False, 1, 10, 5)  # type: ignore[arg-type]


def fill(path: Path, count: int) -> None:
    with open_ledger(path) as ledger:
        for number in range(count):
            ledger.add("m", answered(number))


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**40), max_size=3000))
def test_places_are_a_dictionary(known: dict[int, int]) -> None:
    places = Places()
    for number, place in known.items():
        places.set(f"{number:016x}ffff", 0)
        places.set(f"{number:016x}ffff", place)
    assert len(places) == len(known)
    assert all(places.get(f"{number:016x}") == place for number, place in known.items())
    absent = next(number for number in range(len(known) + 1) if number not in known)
    assert places.get(f"{absent:016x}") is None


def test_what_was_written_is_found_in_this_run_and_the_next(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    fill(path, 50)
    with open_ledger(path) as ledger:
        ledger.add("m", answered(50))
        for number in range(51):
            row = ledger.get(answered(number).key)
            assert row is not None
            assert (row["value"], row["model"]) == (VALUE, "m")
        assert ledger.get(answered(51).key) is None
        assert ledger.spent == {"m": {"calls": 51, "lost": 0, "prompt_tokens": 510, "completion_tokens": 255}}
        assert len(ledger) == 51


def test_the_last_line_of_a_key_counts_and_all_are_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    with open_ledger(path) as ledger:
        ledger.add("m", answered(0, "failed"))
        ledger.add("m", answered(0))
    with open_ledger(path) as ledger:
        row = ledger.get(answered(0).key)
        assert row is not None
        assert row["state"] == "answered"
        assert ledger.spent["m"]["calls"] == 2


def test_a_cut_anywhere_in_the_last_line_is_recovered(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    fill(whole, 3)
    content = whole.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(content)):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(content[:end])
        with open_ledger(path) as ledger:
            assert len(ledger) == 2
            ledger.add("m", answered(2))
        assert path.read_bytes() == content


def test_a_long_half_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    fill(path, 1)
    good = path.read_bytes()
    for rest in (b'{"key": "' + b"x" * 300_000, b"\0" * 70_000):
        path.write_bytes(good + rest)
        fill(path, 0)
        assert path.read_bytes() == good
    path.write_bytes(b"x" * 200_000)
    fill(path, 0)
    assert path.read_bytes() == b""


LINES = ["{", "[]", "{}", '{"key": "a", "model": "m"}', '{"key": "zz", "model": "m", "state": "answered"}']


@pytest.mark.parametrize("line", LINES)
def test_a_file_that_is_no_ledger_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "l.jsonl"
    fill(path, 1)
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")
    with pytest.raises(VitalFactoryError, match=r"l\.jsonl:2: "), open_ledger(path):
        pass


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    refused = pytest.raises(VitalFactoryError, match="another run holds this lock")
    with open_ledger(path), refused, open_ledger(path):
        pass


def test_what_is_written_is_there_for_a_reader_at_once(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    with open_ledger(path) as ledger:
        ledger.add("m", answered(0))
        assert len(list(read_jsonl(path))) == 1


def test_the_key_tells_apart_all_that_an_answer_depends_on() -> None:
    messages = [{"role": "user", "content": "咳嗽"}]
    keys = [
        key_of("m", messages, {"temperature": 0}, "diagnosis"),
        key_of("n", messages, {"temperature": 0}, "diagnosis"),
        key_of("m", [{"role": "system", "content": "咳嗽"}], {"temperature": 0}, "diagnosis"),
        key_of("m", messages, {"temperature": 1}, "diagnosis"),
        key_of("m", messages, {"temperature": 0}, "text"),
        key_of("m", messages, {"temperature": 0}, "diagnosis", 1),
    ]
    assert len(set(keys)) == len(keys)
    one, other = {"temperature": 0, "max_tokens": 5}, {"max_tokens": 5, "temperature": 0}
    assert key_of("m", messages, one, "text") == key_of("m", messages, other, "text")
