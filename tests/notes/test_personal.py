"""What looks personal is found, and clinical numbers are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.notes.personal import find_personal, is_resident_id, scrub

ID = "110101199003074514"

PERSONAL = [
    ("phone", "手机13812345678", "13812345678"),
    ("phone", "电话：138-1234-5678。", "138-1234-5678"),
    ("phone", "１３８１２３４５６７８", "１３８１２３４５６７８"),
    ("phone", "+86 13812345678", "+86 13812345678"),
    ("phone", "联系电话 010-62345678", "010-62345678"),
    ("phone", "（0755）12345678", "（0755）12345678"),
    ("phone", "手机号：6234567890", "6234567890"),
    ("phone", "Tel: 555 123 4567", "555 123 4567"),
    ("phone", "call (415) 555-0134 at night", "(415) 555-0134"),
    ("phone", "reach her on +44 20 7946 0958", "+44 20 7946 0958"),
    ("id", f"身份证号：{ID}", ID),
    ("id", f"编码{ID}，", ID),
    ("id", "身份证110101900307451", "110101900307451"),
    ("id", "SSN 078-05-1120", "078-05-1120"),
    ("id", "passport no. E12345678", "E12345678"),
    ("record", "住院号：ZY00123456", "ZY00123456"),
    ("record", "病案号 0123456", "0123456"),
    ("record", "门诊号:20210305001，咳嗽", "20210305001"),
    ("record", "MRN 12345678 admitted", "12345678"),
    ("record", "Medical record number: A-10023", "A-10023"),
    ("record", "NHS number 943 476 5919", "943 476 5919"),
    ("email", "邮箱li.ming@example.com.cn。", "li.ming@example.com.cn"),
    ("name", "姓名：张三 性别：男", "张三"),
    ("name", "姓名：欧阳修文性别：男", "欧阳修文"),
    ("name", "姓 名：阿卜杜拉·买买提", "阿卜杜拉·买买提"),
    ("name", "患者张某某，因咳嗽入院", "张某某"),
    ("name", "李某，男，56岁", "李某"),
    ("name", "患者王建国，男，56岁", "王建国"),
    ("name", "患儿 陈小明（6岁）", "陈小明"),
    ("name", "主治医师：王五。", "王五"),
    ("name", "Name: Mary O'Neil\nAge: 45", "Mary O'Neil"),
    ("name", "Patient name: SMITH", "SMITH"),
    ("name", "Mr. John Smith came in", "John Smith"),
    ("name", "seen by Dr Lee today", "Lee"),
    ("name", "patient John Q. Smith, 45 years old", "John Q. Smith"),
    ("date", "出生日期：1960年3月5日", "1960年3月5日"),
    ("date", "DOB 03/05/1960", "03/05/1960"),
    ("date", "born on 5 March 1960", "5 March 1960"),
    ("address", "家庭住址：北京市海淀区中关村大街5号，咳嗽3天", "北京市海淀区中关村大街5号"),
    ("address", "Address: 12 Oak Street, Springfield, IL 62704\nCough", "12 Oak Street, Springfield, IL 62704"),
    ("address", "家住朝阳区幸福小区3号", "朝阳区幸福小区3号"),
]

CLINICAL = [
    "血压 120/80 mmHg，心率 88次/分，SpO2 97%",
    "BP 120/80 mmHg, HR 88/min, T 38.9 °C",
    "阿莫西林 0.5 g tid，胰岛素 10-12-8 U",
    "glucose 14.2 mmol/L, WBC 15.2 x10^9/L, ALT 13812 U/L",
    "2021年3月起咳嗽，2021年3月5日入院",
    "Admitted 03/05/2021, discharged 2021-03-12",
    "HPV DNA 1.38e12, CA19-9 1234567.8 U/mL",
    "D-二聚体 0.13812345678 mg/L",
    "患者高血压，男，56岁",
    "患者高热，3天未退",
    "患者男，54岁，黄疸",
    "患者于某医院就诊，在某院住院2周",
    "患者周身乏力，女性",
    "姓名：不详",
    "Name: unknown. Drug name: Aspirin",
    "Miss the last dose. Dr. prescribed rest. MS since 2015.",
    "Parkinson's disease, Murphy's sign, Mallory-Weiss tear",
    "电话随访3个月，手机使用时间长",
    "case 5 of the ward, patient number 3",
    "Patient Reports chest pain at 45 minutes",
    "病理检查：腺癌；门诊检查：血糖 14.2",
    "123456789012345678",
    "EF 62%, 6-MWD 410 m, PHQ-9 18",
    "visit 2 of 12, 20 mg x 30 tablets",
    "地址不详",
]


@pytest.mark.parametrize(("kind", "text", "detail"), PERSONAL, ids=[text for _, text, _ in PERSONAL])
def test_personal_details_are_found(kind: str, text: str, detail: str) -> None:
    found = find_personal(text)
    assert [one.kind for one in found] == [kind]
    assert text[found[0].start : found[0].end] == detail
    assert scrub(text) == text.replace(detail, f"[{kind}]")


@pytest.mark.parametrize("text", CLINICAL)
def test_clinical_text_is_left_alone(text: str) -> None:
    assert find_personal(text) == []
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("患者张某某，男，2021年3月5日入院", "患者[name]，男，[date]入院"),
        ("姓名：李四，2021年3月起咳嗽", "姓名：[name]，[date]起咳嗽"),
        ("Mr. John Smith, born 03/05/1960, seen on March 5, 2021", "Mr. [name], born [date], seen on [date]"),
        ("Mrs Ann Lee: 2021-03-05 BP 120/80", "Mrs [name]: [date] BP 120/80"),
        (f"姓名：张三；身份证：{ID}；电话：13812345678", "姓名：[name]；身份证：[id]；电话：[phone]"),
    ],
)
def test_a_date_beside_a_name_is_personal(text: str, clean: str) -> None:
    assert scrub(text) == clean
    assert find_personal(clean) == []


def test_details_that_overlap_are_one() -> None:
    assert scrub("住址：幸福路 13812345678 7楼，咳嗽") == "住址：[address]，咳嗽"
    assert scrub(f"住院号：{ID}") == "住院号：[record]"


@pytest.mark.parametrize(
    ("number", "holds"),
    [(ID, True), ("11010119900307451X", False), ("11010519491231002X", True), (ID[:-1] + "5", False)],
)
def test_the_check_digit_of_a_resident_id(number: str, holds: bool) -> None:
    assert is_resident_id(number) is holds
    assert bool(find_personal(f"号 {number} ")) is holds


PIECES = [text for _, text, _ in PERSONAL] + CLINICAL + ["，", "。", "\n", " ", ", "]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("\n".join) | st.text(max_size=100))
def test_what_is_found_stands_in_order_and_apart(text: str) -> None:
    end = 0
    for one in find_personal(text):
        assert end <= one.start < one.end <= len(text)
        end = one.end


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("\n".join))
def test_nothing_is_found_in_scrubbed_text(text: str) -> None:
    assert find_personal(scrub(text)) == []


def test_a_very_long_text_is_read() -> None:
    for text in ("1" * 100_000, "1 " * 50_000, "患者" * 50_000, "a@" * 50_000, "A. " * 33_000, "姓名：" * 33_000):
        assert all(one.end <= len(text) for one in find_personal(text))
