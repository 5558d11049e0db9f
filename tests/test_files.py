"""Files that survive what happens to files: half-written lines, kills, two writers, strange text."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory import files
from vitalfactory.errors import VitalFactoryError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.lists(st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.booleans(), st.none())), max_size=5)


@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        files.write_jsonl(path, rows)
        assert list(files.read_jsonl(path)) == rows
        assert files.recover_jsonl(path) == rows


@given(ROWS, st.data())
def test_whole_rows_before_a_cut_are_recovered(rows: list[dict[str, object]], data: st.DataObject) -> None:
    content = "".join(files.dumps(row) + "\n" for row in rows).encode()
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert files.recover_jsonl(path) == rows[:whole]
        assert path.read_bytes() == content[: content[:cut].rfind(b"\n") + 1]


def test_nothing_to_recover(tmp_path: Path) -> None:
    assert files.recover_jsonl(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: not valid JSON"),
        (b'{"a": 1}\n\n[1]\n', ":3: expected a JSON object, found list"),
        (b'{"a": "\xff"}\n', ":1: not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VitalFactoryError, match=words):
        list(files.read_jsonl(path))


@pytest.mark.parametrize(
    ("content", "words"), [(b"{\n,", ":2: not valid JSON"), (b'"\xff"', "not UTF-8"), (None, "no such file")]
)
def test_bad_json_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VitalFactoryError, match=words):
        files.read_json(path)


@pytest.mark.parametrize(
    "content", [b"a,b\r\n\r\n 1 ,\xc3\xa4\r\n", b"\xef\xbb\xbfa,b\n1,\xc3\xa4", b"a,b\n,\n1,\xc3\xa4\n"]
)
def test_csv_of_every_make(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert [cells for _, cells in files.read_csv(path)] == [["a", "b"], ["1", "ä"]]
    assert [number for number, _ in files.read_csv(path)] == [1, content.count(b"\n", 0, -1) + 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a\n\xff\n", "not UTF-8"), (b'"' + b"x" * 200_000, "not valid CSV"), (None, "no such file")],
)
def test_bad_csv_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VitalFactoryError, match=words):
        list(files.read_csv(path))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "new \ud800")
    assert files.read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    files.write_json(path, 1)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    files.write_json(path, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_jsonl(tmp_path / "rows.jsonl", [{"value": float("nan")}])
    assert not list(tmp_path.iterdir())


def test_a_lock_is_held_by_one_and_freed_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "sub" / ".lock"
    code = "import sys, time\nfrom pathlib import Path\nfrom vitalfactory.files import lock\n"
    hold = f"{code}with lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(VitalFactoryError, match="another run holds this lock"), files.lock(path, wait=False):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.lock(path, wait=False):
        pass


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_dumps_keeps_letters() -> None:
    assert files.dumps({"a": "房颤"}) == '{"a": "房颤"}'
    assert json.loads(files.dumps({"a": "\u2028"})) == {"a": "\u2028"}
