"""The registry: entries go in, and every other byte stays."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.dataset import registry
from vitalfactory.errors import VitalFactoryError

ALPACA_ROW = {"id": "a", "instruction": "?", "input": "x", "output": "y"}
ENTRIES = registry.entries("ecg", ALPACA_ROW)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BLANK = st.text(" \t\r\n", max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw the text of a JSON object with any content, indentation, spacing and escapes."""
    names = st.text() | st.sampled_from([*ENTRIES, "identity", '"', "{", "}"])
    value = draw(st.dictionaries(names, JSON, max_size=4))
    text = json.dumps(
        value,
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")])),
    )
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return draw(BLANK) + text.encode("utf-8", "replace").decode() + draw(BLANK)


def shared_bytes(old: bytes, new: bytes) -> int:
    """Count the bytes at both ends that two files have in common."""
    before = common(old, new)
    return before + common(old[before:][::-1], new[before:][::-1])


def common(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@given(documents())
def test_other_entries_keep_every_byte(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = root / registry.FILE_NAME
        path.write_bytes(text.encode())
        old = json.loads(text)
        registry.register(root, ENTRIES)
        written = path.read_bytes()
        assert json.loads(written) == {**old, **ENTRIES}
        assert list(json.loads(written))[: len(old)] == list(old)
        if old and not set(old) & set(ENTRIES):
            assert shared_bytes(text.encode(), written) == len(text.encode())
        registry.register(root, ENTRIES)
        assert path.read_bytes() == written


@given(documents(), st.sampled_from(sorted(ENTRIES)))
def test_a_changed_entry_changes_alone(text: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = root / registry.FILE_NAME
        path.write_bytes(text.encode())
        registry.register(root, {name: {"file_name": "old"}})
        before = path.read_bytes()
        registry.register(root, {name: {"file_name": "new"}})
        assert path.read_bytes() == before.replace(b'"file_name": "old"', b'"file_name": "new"')


OWN = '{\n    "mine": {"file_name": "mine.json",\n  "tags" : {}},   "zwei": {"hf_hub_url":"a/b"}\n}'


def test_the_own_entries_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / registry.FILE_NAME
    path.write_text(OWN)
    path.chmod(0o640)
    registry.register(tmp_path, ENTRIES)
    assert path.read_text().startswith(OWN.removesuffix("\n}") + ',\n  "ecg_train": {\n')
    assert path.read_text().endswith("\n  }\n}")
    assert set(registry.read(tmp_path)) == {"mine", "zwei", *ENTRIES}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_file_looks_as_if_written_at_once(tmp_path: Path) -> None:
    assert registry.read(tmp_path) == {}
    registry.register(tmp_path, ENTRIES)
    assert (tmp_path / registry.FILE_NAME).read_text() == json.dumps(ENTRIES, indent=2) + "\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n}', ":2: not valid JSON"),
        (b"", ":1: not valid JSON"),
        (b'{"a": {}', "not valid JSON"),
        (b"[]", "expected a JSON object of datasets, found list"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": "ü"}'.encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
    ],
)
def test_a_broken_file_is_refused_and_left(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / registry.FILE_NAME
    path.write_bytes(content)
    with pytest.raises(VitalFactoryError, match=words):
        registry.register(tmp_path, ENTRIES)
    assert path.read_bytes() == content
    with pytest.raises(VitalFactoryError, match=words):
        registry.read(tmp_path)


def test_processes_at_once_all_land(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom vitalfactory.dataset import registry\nsys.stdin.readline()\n"
        "for number in range(15):\n"
        "    registry.register(Path(sys.argv[1]), {f'{sys.argv[2]}{number}': {'file_name': 'x'}})\n"
    )
    names = "abc"
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, text=True) for name in names]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert set(registry.read(tmp_path)) == {f"{name}{number}" for name in names for number in range(15)}


@pytest.mark.parametrize(
    ("row", "formatting", "columns"),
    [
        (ALPACA_ROW, "alpaca", {"prompt": "instruction", "query": "input", "response": "output"}),
        ({"messages": []}, "sharegpt", {"messages": "messages"}),
        ({"messages": [], "images": []}, "sharegpt", {"messages": "messages", "images": "images"}),
    ],
)
def test_entries_are_whole(row: dict[str, Any], formatting: str, columns: dict[str, str]) -> None:
    found = registry.entries("x-1", row)
    assert list(found) == ["x-1_train", "x-1_val", "x-1_test"]
    for entry in found.values():
        assert entry["formatting"] == formatting
        assert entry["columns"] == columns
        assert ("tags" in entry) == (formatting == "sharegpt")
    assert found["x-1_val"]["file_name"] == "data/x-1/val.jsonl"
