"""Reading notes, finding their sections and a stated diagnosis, and telling a long note shortly."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notes.fixtures import BAD_ROWS, write_notes
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import write_text
from vitalfactory.notes.note import (
    CUT,
    BadNote,
    Note,
    find_diagnosis,
    find_sections,
    has_diagnosis,
    note_key,
    note_of,
    read_notes,
    shorten,
    strip_diagnosis,
)

CHINESE = (
    "患者男，54岁。主诉：咳嗽、发热3天。现病史：受凉后咳黄痰，为明确诊断收入院。既往史：高血压10年。个人史：吸烟。"
    "家族史：父亲患糖尿病。体格检查：T 38.9℃，右下肺湿啰音。辅助检查：胸片示右下肺实变影。"
    "初步诊断：1.肺炎 2.高血压。治疗经过：予抗感染。"
)
ENGLISH = """CC: cough
History of present illness: three days of fever and cough. Denies chest pain.
Past medical history: hypertension.
Medications: amlodipine 5 mg
Physical examination: T 38.9. Crackles at the right base.
Labs: WBC 15.2
Imaging: consolidation on chest X-ray.
Impression: pneumonia
Plan: antibiotics.
"""

STATED = [
    "诊断：肺炎",
    "咳嗽3天。诊断:肺炎。",
    "初步诊断：1.肺炎 2.高血压",
    "入院诊断 1.肺炎",
    "出院诊断\n肺炎",
    "【诊断】肺炎",
    "3、临床诊断：肺炎",
    "目前主要诊断：肺炎",
    "诊断结果：肺炎",
    "诊断依据：咳嗽、发热，胸片示实变影，符合肺炎",
    "外院诊断：肺炎，转入我院。",
    "西医诊断：肺炎；中医诊断：咳嗽",
    "初步印象：肺炎",
    "诊断：\n\n1. 肺炎",
    "诊断：不明，考虑肺炎",
    "Diagnosis: pneumonia",
    "Seen today. Final diagnosis: pneumonia",
    "DIAGNOSES\n1. Pneumonia",
    "**Impression:** pneumonia",
    "## Assessment and Plan\nPneumonia, start antibiotics",
    "Discharge diagnosis : pneumonia",
    "Dx: CAP",
    "A/P: pneumonia",
    "[Diagnosis] pneumonia",
]

NOT_STATED = [
    "",
    "咳嗽3天，诊断不明，收入院。",
    "为明确诊断入院。",
    "为明确诊断：行胸部CT。",
    "鉴别诊断：肺结核、肺癌",
    "诊断与鉴别诊断：需与肺结核鉴别",
    "诊断：",
    "诊断：待查",
    "入院诊断：不明。",
    "初步诊断：\n治疗：对症",
    "超声诊断：胆囊壁增厚",
    "既往诊断：高血压",
    "外院诊断为肺炎",
    "Diagnosis: unclear",
    "Diagnosis: pending.",
    "Impression:\nPlan: CT",
    "Differential diagnosis: tuberculosis",
    "DDx: tuberculosis",
    "Date of diagnosis: 2015",
    "My first impression of the ward was good.",
    "The diagnosis was discussed with the family.",
    "Plan: establish a diagnosis",
    "Vitamin A/PP: 5",
]

PIECES = [
    *(
        "主诉：",
        "现病史:",
        "【查体】",
        "辅助检查 ",
        "初步诊断：",
        "诊断",
        "诊断:",
        "鉴别诊断：",
        "待查",
        "肺炎",
        "咳嗽3天。",
        "血糖14.2，",
    ),
    *(
        "\n",
        " ",
        "。",
        ". ",
        "Chief complaint: ",
        "HPI: ",
        "Diagnosis: ",
        "Impression:\n",
        "Plan: ",
        "unclear",
        "T 38.9 ",
    ),
    *("fever. ", "1. ", "**", "为明确", "Date of ", "初步", "[", "]", "：", "😷", '"'),
]
notes = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=200)


def kinds(text: str) -> list[str]:
    return [section.kind for section in find_sections(text)]


def test_chinese_sections_in_one_line() -> None:
    expected = [
        "opening",
        "complaint",
        "illness",
        "past",
        "personal",
        "family",
        "exam",
        "tests",
        "diagnosis",
        "treatment",
    ]
    assert kinds(CHINESE) == expected
    [illness] = [one for one in find_sections(CHINESE) if one.kind == "illness"]
    assert CHINESE[illness.start : illness.body] == "现病史："
    assert CHINESE[illness.body : illness.end] == "受凉后咳黄痰，为明确诊断收入院。"


def test_english_sections_by_lines() -> None:
    assert kinds(ENGLISH) == [
        *("complaint", "illness", "past", "medications", "exam", "tests", "tests", "diagnosis", "treatment")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["opening"]),
        ("咳嗽3天，发热。", ["opening"]),
        ("chief complaint\ncough\n", ["complaint"]),
        ("1. 主诉：咳嗽\n2. 查体：无殊", ["complaint", "exam"]),
        ("* History: cough", ["illness"]),
        ("She gave a long history of cough.", ["opening"]),
        ("History of cough", ["opening"]),
        ("Prehistory: none", ["opening"]),
        ("既往史 无特殊", ["past"]),
        ("无既往史", ["opening"]),
    ],
)
def test_what_is_a_heading(text: str, expected: list[str]) -> None:
    assert kinds(text) == expected


@given(notes)
def test_sections_are_the_whole_note(text: str) -> None:
    assert "".join(text[one.start : one.end] for one in find_sections(text)) == text


@pytest.mark.parametrize("text", STATED)
def test_a_stated_diagnosis_is_found(text: str) -> None:
    assert has_diagnosis(text)
    assert "肺炎" not in strip_diagnosis(text)
    assert "pneumonia" not in strip_diagnosis(text).casefold()


@pytest.mark.parametrize("text", NOT_STATED)
def test_what_states_no_diagnosis(text: str) -> None:
    assert find_diagnosis(text) == []
    assert strip_diagnosis(text) == text


def test_only_the_section_is_cut() -> None:
    assert strip_diagnosis(CHINESE) == CHINESE.replace("初步诊断：1.肺炎 2.高血压。", "")
    assert strip_diagnosis(ENGLISH) == ENGLISH.replace("Impression: pneumonia\n", "")


@given(notes)
def test_nothing_is_stated_after_the_cut(text: str) -> None:
    rest = strip_diagnosis(text)
    assert not has_diagnosis(rest)
    letters = iter(text)
    assert all(letter in letters for letter in rest), "something was added or moved"


def test_a_note_that_fits_stays_as_it_is() -> None:
    assert shorten(CHINESE, len(CHINESE)) == CHINESE


def test_a_long_note_is_told_by_section() -> None:
    short = shorten(CHINESE, 90)
    assert short == (
        "患者男，54岁。主诉：咳嗽、发热3天。现病史：受凉后咳黄痰，为明确诊断收入院。"
        f"{CUT}体格检查：T 38.9℃，右下肺湿啰音。辅助检查：胸片示右下肺实变影。{CUT}"
    )


def test_the_last_section_is_cut_at_a_sentence() -> None:
    text = "Plan: rest. History: The cough began on Monday. The fever rose to 38.9 at night. Exam: clear."
    assert shorten(text, 60) == f"{CUT}History: The cough began on Monday.{CUT}"


def test_a_note_without_headings_keeps_its_beginning_and_end() -> None:
    text = "A man with cough. " + "He slept badly. " * 50 + "Fever rose. Crackles were heard."
    assert shorten(text, 100) == (f"A man with cough. He slept badly.{CUT}Fever rose. Crackles were heard.")


def test_a_number_is_never_cut_in_two() -> None:
    text = "glucose 14.25 " * 40
    for longest in range(20, 60):
        assert {part for part in shorten(text, longest).replace(CUT, " ").split() if part[0].isdigit()} <= {"14.25"}


@pytest.mark.parametrize(
    "text", ["咳嗽。" * 33_333, "诊断：肺炎" * 20_000, " " * 99_999 + "x"], ids=["plain", "headed", "blank"]
)
def test_a_very_long_note_is_handled(text: str) -> None:
    assert len(shorten(text, 1000)) <= 1000
    assert not has_diagnosis(strip_diagnosis(text))


@given(notes, st.integers(0, 120))
def test_never_longer_than_asked_for(text: str, longest: int) -> None:
    short = shorten(text, longest)
    assert len(short) <= longest
    assert shorten(short, longest) == short
    assert (short == text) == (len(text) <= longest)


@given(notes, st.integers(len(CUT) + 1, 120))
def test_every_part_of_a_short_note_stands_in_the_long_one(text: str, longest: int) -> None:
    at = 0
    for part in shorten(text, longest).split(CUT):
        at = text.find(part, at)
        assert at >= 0
        at += len(part)


def test_the_source_s_form_is_read(tmp_path: Path) -> None:
    pairs = write_notes(tmp_path / "notes.jsonl", 30)
    read = list(read_notes(tmp_path / "notes.jsonl"))
    assert read == [Note(str(row["id"]), row["feature_content"]) for row, _ in pairs]
    assert [has_diagnosis(note.text) for note in read if isinstance(note, Note)] == [case.stated for _, case in pairs]
    assert len({note.id for note in read}) == len(read) - 2
    assert len({note_key(note) for note in read if isinstance(note, Note)}) == len(read) - 1


def test_fixtures_hold_what_real_notes_hold(tmp_path: Path) -> None:
    rows = [row for row, _ in write_notes(tmp_path / "notes.jsonl")]
    texts = [row["feature_content"] for row in rows]
    for part in ('"', "\n", "{", "😷", "诊断:", "诊断："):
        assert 0 < sum(part in text for text in texts) < len(texts), part
    assert all(set(row) == {"id", "feature_content"} and isinstance(row["id"], int) for row in rows)
    assert len({row["id"] for row in rows}) == len(rows) - 2


def test_rows_without_a_note_are_told_by_reason(tmp_path: Path) -> None:
    rows = [(reason, row) for reason, rows in BAD_ROWS.items() for row in rows]
    lines = [json.dumps({"id": 1, "note": "cough"}), *(json.dumps(row) for _, row in rows)]
    write_text(tmp_path / "notes.jsonl", "\n".join(lines) + "\n")
    first, *bad = read_notes(tmp_path / "notes.jsonl")
    assert first == Note("1", "cough")
    assert [one.reason for one in bad if isinstance(one, BadNote)] == [reason for reason, _ in rows]
    assert [one.id for one in bad][:4] == ["row 2", "row 3", "row 4", "901"]
    assert not any("咳嗽" in one.detail for one in bad if isinstance(one, BadNote))


@pytest.mark.parametrize("field", ["feature_content", "note", "text"])
def test_a_note_has_three_names(field: str) -> None:
    assert note_of({"id": "a-1", field: "cough"}) == Note("a-1", "cough")


def test_a_field_that_is_null_is_not_there() -> None:
    assert note_of({"id": 0, "feature_content": None, "text": "cough"}) == Note("0", "cough")
    with pytest.raises(UnusableRecord, match="no note"):
        note_of({"id": 0, "feature_content": 7, "text": "cough"})


@pytest.mark.parametrize(("content", "fault"), [("{id: 1}\n", "not valid JSON"), ("[1]\n", "expected a JSON object")])
def test_what_is_not_json_stops_with_file_and_line(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "notes.jsonl"
    write_text(path, '{"id": 1, "text": "cough"}\n\n' + content)
    with pytest.raises(VitalFactoryError, match=fault) as error:
        list(read_notes(path))
    assert str(error.value).startswith(f"{path}:3: ")


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    write_text(tmp_path / "notes.jsonl", '{"id": 1, "text": "cough"}\nnot JSON\n')
    assert next(iter(read_notes(tmp_path / "notes.jsonl"))) == Note("1", "cough")


def test_a_key_depends_on_id_and_content_alone() -> None:
    assert note_key(Note("1", "咳嗽")) == "2c5403eaa86f9791"
    assert len({note_key(Note(*parts)) for parts in [("1", "23"), ("12", "3"), ("1", "2"), ("", "123")]}) == 4
