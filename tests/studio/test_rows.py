"""The index of a JSON Lines file gives the rows that reading the whole file gives, and reads no more than a page."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl
from vitalfactory.studio import rows as rows_module
from vitalfactory.studio.rows import open_rows

ROWS = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=40) | st.integers(), max_size=4), max_size=30)
BLANKS = st.sampled_from(["", " ", "\t  ", "\r"])


@given(rows=ROWS, blanks=st.lists(BLANKS, max_size=30), ended=st.booleans(), block=st.integers(1, 64), data=st.data())
def test_pages_are_the_rows_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, blanks: Any, ended: bool, block: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=data.draw(st.booleans())) for row in rows]
    for blank in blanks:
        lines.insert(data.draw(st.integers(0, len(lines))), blank)
    path.write_bytes(("\n".join(lines) + ("\n" if ended else "")).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "BLOCK", block)
        found = open_rows(path)
    assert len(found) == len(rows)
    start, count = data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, 5))
    assert found.page(start, count) == rows[start : start + count] == list(read_jsonl(path))[start : start + count]


def test_a_changed_file_is_indexed_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n')
    assert len(open_rows(path)) == 1
    path.write_text('{"id": 1}\n{"id": 2}\n')
    assert open_rows(path).page(1, 1) == [{"id": 2}]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no row\n", "not valid JSON"), (b"[1, 2]\n", "expected a JSON object"), (b'{"a": "\xff"}\n', "not UTF-8")],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n' + content)
    assert open_rows(path).page(0, 1) == [{"id": 1}]
    with pytest.raises(VitalFactoryError, match=f"row 2: {words}"):
        open_rows(path).page(1, 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no such file"):
        open_rows(tmp_path / "rows.jsonl")


def test_a_page_reads_a_page_and_the_index_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": number, "input": "x" * 300}) + "\n" for number in range(100_000)))
    found = open_rows(path)

    def none_more(_: Path) -> None:
        raise AssertionError("the file is read again")

    monkeypatch.setattr(rows_module, "_line_ends", none_more)
    assert open_rows(path) is found
    assert [row["id"] for row in found.page(99_995, 10)] == list(range(99_995, 100_000))
    assert found.starts.nbytes == 800_000
