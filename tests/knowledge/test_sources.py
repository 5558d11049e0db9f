"""Files of questions: what each form becomes, in which encoding, and how bad rows end."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import ROOT
from vitalfactory.knowledge.qa import QA, Dropped
from vitalfactory.knowledge.records import LONGEST_LINE, Record, read_records
from vitalfactory.knowledge.sources import read_qa, read_questions, turns_of

REAL = ROOT.parent / "shared" / "data" / "medqa"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not at {REAL}")
ROW = {"instruction": "肺炎的病因是什么？", "input": "", "output": "细菌感染。"}
ONE = QA("f-000001", "肺炎的病因是什么？", "细菌感染。")
TALK = {
    "instruction": " <user>: 有效吗？ <bot>: 有效。 <user>: 有副作用吗？",
    "output": "恶心。",
    "input": "",
    "id": 748,
}
TOLD = QA("f-000001", "有副作用吗？", "恶心。", history=("有效吗？", "有效。"), form="dialogue")
HEADER = "department,title,ask,answer\n"
LETTER = "心血管科,能吃党参吗？,我有高血压。,可以。\n"
READ = QA("f-000002", "能吃党参吗？", "可以。", context="我有高血压。", stratum="心血管科")


def read(path: Path, content: str | bytes) -> list[QA | Dropped]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(read_qa(path, "f"))


def line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


FORMS: list[tuple[str, str | bytes, list[QA]]] = [
    ("lines", line(ROW), [ONE]),
    (
        "lines with blank ones",
        "\n" + line(ROW) + "\n" + line(ROW),
        [ONE._replace(id="f-000002"), ONE._replace(id="f-000004")],
    ),
    ("list on one line", line([ROW]), [ONE]),
    ("list on many lines", json.dumps([ROW], indent=4), [ONE]),
    ("one object on many lines", json.dumps(ROW, indent=4), [ONE]),
    ("with a byte order mark", b"\xef\xbb\xbf" + line(ROW).encode(), [ONE]),
    ("GB18030 lines", line(ROW).encode("gb18030"), [ONE]),
    ("GB18030 list", json.dumps([ROW], ensure_ascii=False, indent=1).encode("gb18030"), [ONE]),
    ("two encodings", line(ROW).encode("gb18030") + line(ROW).encode(), [ONE, ONE._replace(id="f-000002")]),
    ("other names", line({"question": "肺炎的病因是什么？", "answer": "细菌感染。"}), [ONE]),
    ("context", line({**ROW, "input": "儿童"}), [ONE._replace(context="儿童")]),
    ("conversation", line([TALK]), [TOLD]),
    ("one turn", line({**TALK, "instruction": "<user>: 有副作用吗？"}), [TOLD._replace(history=())]),
    ("CSV", HEADER + LETTER, [READ]),
    ("CSV in GB18030", (HEADER + LETTER).encode("gb18030"), [READ]),
    (
        "CSV in two encodings",
        HEADER.encode() + LETTER.encode("gb18030") + LETTER.encode(),
        [READ, READ._replace(id="f-000003")],
    ),
    ("CSV with a title alone", HEADER + "心血管科,能吃党参吗？,无,可以。\n", [READ._replace(context="")]),
    (
        "CSV with a line end in a cell",
        HEADER + '心血管科,能吃党参吗？,"我有\n高血压。",可以。\n',
        [READ._replace(id="f-000003", context="我有\n高血压。")],
    ),
    ("control characters", b'{"instruction": "a\x01\tb", "output": "c"}\n', [QA("f-000001", "a\x01\tb", "c")]),
]


@pytest.mark.parametrize(("content", "expected"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_every_form_is_told_by_its_content(tmp_path: Path, content: str | bytes, expected: list[QA]) -> None:
    assert read(tmp_path / "named.anything", content) == expected


BAD: list[tuple[str | bytes, str]] = [
    (line({"instruction": "", "input": "", "output": "x"}), "no question"),
    (line({**ROW, "output": ["x"]}), "not text"),
    (line({**TALK, "instruction": "<user>: a <user>: b"}), "turns out of order"),
    (line({**TALK, "instruction": "<user>: a <bot>: b"}), "turns out of order"),
    (line({**TALK, "instruction": "hello <user>: a"}), "turns out of order"),
    (line({**TALK, "instruction": "<user>: a <bot>: <user>: b"}), "empty turn"),
    ("{not json\n", "not valid JSON"),
    ('{"a": 1}' + "[" * 100_000 + "\n", "not valid JSON"),
    ("{" + '"a":[' * 100_000 + "\n", "not valid JSON"),
    (b'{"instruction": "\xff\xff", "output": "x"}\n', "neither UTF-8 nor GB18030"),
    (HEADER + "心血管科,能吃党参吗？,可以。\n", "wrong number of cells"),
    (HEADER + '心血管科,"' + "x" * 140_000 + '",y,z\n', "not valid CSV"),
]


@pytest.mark.parametrize(("content", "reason"), BAD)
def test_a_bad_row_is_counted_and_the_next_one_is_read(tmp_path: Path, content: str | bytes, reason: str) -> None:
    whole = content if isinstance(content, bytes) else content.encode()
    good = LETTER if HEADER.encode() in whole else line(ROW)
    rows = read(tmp_path / "f", whole + good.encode())
    assert [row.reason for row in rows if isinstance(row, Dropped)] == [reason]
    assert isinstance(rows[-1], QA)


def test_a_line_of_fifty_megabytes_is_left_out_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "f"
    path.write_text(line({**ROW, "output": "长" * 17_000_000}) + line(ROW), encoding="utf-8")
    tracemalloc.start()
    rows = list(read_qa(path, "f"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [Dropped("f-000001", "line too long", f"over {LONGEST_LINE} bytes"), ONE._replace(id="f-000002")]
    assert peak < 8 * LONGEST_LINE


REFUSED: list[tuple[bytes, str]] = [
    (b"", "holds nothing"),
    (b"  \n", "holds nothing"),
    (b"[{}, ", r"f:1: not valid JSON \(Expecting value\)"),
    (b"[" * 100_000, "nested too deeply"),
    (b'[{"instruction":\n"\xff\xff"}]', "f:2: neither UTF-8 nor GB18030"),
    ("[]".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    (b"a picture, perhaps\n", "neither JSON nor CSV with the columns department, title, ask, answer"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_a_file_that_is_nothing_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        read(tmp_path / "f", content)
    with pytest.raises(VitalFactoryError, match="nowhere: no such file"):
        list(read_qa(tmp_path / "nowhere", "f"))


def test_lists_on_lines_of_their_own_are_records(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('["a", "b", "c"]\n["d", "e", "f"]\n7\n', encoding="utf-8")
    found = list(read_records(tmp_path / "f", "f"))
    assert found[:2] == [Record("f-000001", ["a", "b", "c"]), Record("f-000002", ["d", "e", "f"])]
    assert found[2:] == [Dropped("f-000003", "no JSON object", "found int")]


turn = st.text(min_size=1).filter(lambda text: text.strip() and "<user>" not in text and "<bot>" not in text)


@given(st.lists(st.tuples(turn, turn), max_size=4), turn)
def test_a_conversation_comes_apart_as_it_was_put_together(pairs: list[tuple[str, str]], last: str) -> None:
    text = "".join(f" <user>: {asked} <bot>: {told}" for asked, told in pairs) + f" <user>: {last}"
    expected = [part.strip() for pair in pairs for part in pair] + [last.strip()]
    assert list(turns_of(text)) == expected
    with pytest.raises(UnusableRecord):
        turns_of(f"{text} <bot>: x")


QUESTIONS: list[tuple[str, list[str]]] = [
    (line([{"question": "何谓哮喘？", "ICD-10": "J45"}]), ["何谓哮喘？"]),
    (line(ROW), ["肺炎的病因是什么？"]),
    (line(TALK), ["有效吗？", "有副作用吗？"]),
    (HEADER + LETTER, ["能吃党参吗？\n我有高血压。", "能吃党参吗？"]),
    ("Question,A,B\n何谓哮喘？,a,b\n", ["何谓哮喘？"]),
]


@pytest.mark.parametrize(("content", "expected"), QUESTIONS)
def test_an_evaluation_file_is_its_questions(tmp_path: Path, content: str, expected: list[str]) -> None:
    (tmp_path / "f").write_text(content, encoding="utf-8")
    assert list(read_questions(tmp_path / "f")) == expected


def test_an_evaluation_file_without_questions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(VitalFactoryError, match="holds no question"):
        list(read_questions(tmp_path / "f"))


@real
def test_the_real_instructions_are_all_read() -> None:
    rows = list(read_qa(REAL / "llama_data.json", "f"))
    assert len(rows) == 8658
    assert all(isinstance(row, QA) and row.form == "text" for row in rows)
    assert len(list(read_questions(REAL / "infer.json"))) == 5
    assert len(list(read_questions(REAL / "question.json"))) == 200


@real
def test_the_real_conversations_have_their_turns() -> None:
    rows = [row for row in read_qa(REAL / "liver_cancer.json", "f") if isinstance(row, QA)]
    turns = Counter(len(row.history) // 2 + 1 for row in rows)
    assert turns == {1: 292, 2: 285, 3: 272, 4: 126, 5: 22, 6: 3}
    assert len(rows) == 1000


@real
def test_the_real_letters_have_no_broken_character() -> None:
    path = REAL / "toyhom_neike_5000-6000.csv"
    rows = [row for row in read_qa(path, "f") if isinstance(row, QA)]
    assert len(rows) == 7644
    text = "".join(part for row in rows for part in (row.question, row.context, row.answer))
    assert not set(text) & {"\ufffd", *map(chr, range(0xE000, 0xF900))}
    assert rows[0].question == "高血压患者能吃党参吗？"
    assert sum(row.context == "" for row in rows) == 6
