"""What models write is read where it can be, and names of diseases are told alike."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.diagnosis import Diagnosis, Reading, Synonyms, normalise, read_answer, read_synonyms, split_names
from vitalfactory.errors import VitalFactoryError

ANSWERS: list[tuple[str, str, list[str] | None, str]] = [
    ('{"diseases": ["flu"], "reason": "fever"}', "valid", ["flu"], "fever"),
    (' {"reason": "", "diseases": ["a", "b"]}\n', "valid", ["a", "b"], ""),
    ('{"diseases": "a, b；c、d", "reason": "r"}', "valid", ["a", "b", "c", "d"], "r"),
    ('{"diseases": ["flu"], "reason": "say \\"ah\\"\\n{}"}', "valid", ["flu"], 'say "ah"\n{}'),
    ('{"diseases": ["flu"], "reason": "say "ah" twice"}', "repaired", ["flu"], 'say "ah" twice'),
    ('```json\n{"diseases": ["flu"], "reason": "fever"}\n```', "repaired", ["flu"], "fever"),
    ('Here it is: {"diseases": ["flu"], "reason": "fever"}. Hope it helps!', "repaired", ["flu"], "fever"),
    ('{"diseases": ["flu", "otitis"], "reason": "fever and', "repaired", ["flu", "otitis"], "fever and"),
    ("{'diseases': ['flu'], 'reason': 'fever'}", "repaired", ["flu"], "fever"),
    ('{"diagnosis": "flu", "reasoning": ["fever", "cough"]}', "repaired", ["flu"], "fever; cough"),
    ('{"diseases": ["flu"], "reason": "fever", "confidence": 0.9}', "repaired", ["flu"], "fever"),
    ('{"diseases": ["flu"]}', "repaired", ["flu"], ""),
    ('[{"diseases": ["flu"], "reason": "fever"}]', "repaired", ["flu"], "fever"),
    ("Diseases: flu, otitis.\nReason: fever", "repaired", ["flu", "otitis"], "fever"),
    ("**Diagnosis:** flu\n**Reason:** fever", "repaired", ["flu"], "fever"),
    ("疾病：肺炎、糖尿病\n诊断依据：发热", "repaired", ["肺炎", "糖尿病"], "发热"),
    ('{"疾病": "肺炎", "依据": "发热"}', "repaired", ["肺炎"], "发热"),
    ('{"diseases": [], "reason": "nothing found"}', "unreadable", None, ""),
    ('{"diseases": [" "], "reason": "x"}', "unreadable", None, ""),
    ('{"diseases": null, "reason": "x"}', "unreadable", None, ""),
    ('{"diseases": [{"name": "flu"}], "reason": "x"}', "unreadable", None, ""),
    ("I cannot help with that.", "unreadable", None, ""),
    ("{", "unreadable", None, ""),
    ("", "unreadable", None, ""),
]


@pytest.mark.parametrize(("text", "how", "diseases", "reason"), ANSWERS)
def test_answers(text: str, how: str, diseases: list[str] | None, reason: str) -> None:
    read = read_answer(text)
    assert read.how == how
    assert (read.diagnosis.diseases if read.diagnosis else None) == diseases
    assert (read.diagnosis.reason if read.diagnosis else "") == reason
    assert (read.fault is None) == (how == "valid")


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    read = read_answer(text)
    assert (read.diagnosis is None) == (read.how == "unreadable")


def test_ten_thousand_hard_answers_come_back_as_they_went_in() -> None:
    random = Random(2026)
    letters = "aé肺\"'\\\n\r\t\u2028{}[]:,，：；「」“”‘’Ａａ１½ 　\u0000\u200d😷👩‍⚕️</s><|im_end|>"

    def text(longest: int) -> str:
        return "".join(random.choice(letters) for _ in range(random.randint(1, longest)))

    for _ in range(10_000):
        names = [f"x{text(12)}x" for _ in range(random.randint(1, 4))]
        made = Diagnosis(diseases=names, reason=text(60))
        assert made.diseases == names
        assert "\n" not in made.line()
        assert read_answer(made.line()) == Reading(made, "valid")
        assert json.loads(made.line()) == {"diseases": names, "reason": made.reason}


def test_the_fault_does_not_quote_the_answer() -> None:
    read = read_answer('{"diseases": "secret patient", "reason": 5}')
    assert read.fault is not None
    assert "reason" in read.fault
    assert "secret" not in read.fault


def test_no_schema_has_room_for_anything_else() -> None:
    schema = Diagnosis.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["diseases", "reason"]
    assert schema["properties"]["diseases"]["minItems"] == 1


NAMES = [
    ("Pneumonia", "pneumonia"),
    (" Type  2\tDiabetes. ", "type 2 diabetes"),
    ("２ 型 糖尿病。", "2型糖尿病"),
    ("“高血压”", "高血压"),
    ("COPD （慢阻肺）", "copd (慢阻肺)"),
    ("...", ""),
]


@pytest.mark.parametrize(("name", "plain"), NAMES)
def test_one_form_of_a_name(name: str, plain: str) -> None:
    assert normalise(name) == plain


@given(st.text())
def test_the_normal_form_is_its_own(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


def test_names_are_taken_apart() -> None:
    assert split_names(" a, b；c、,d\n") == ["a", "b", "c", "d"]


def test_synonyms(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text(
        "Myocardial infarction, MI, heart attack\n\n流感,流行性感冒\n", encoding="utf-8"
    )
    known = read_synonyms(tmp_path / "names.csv")
    assert known("Heart  Attack") == "myocardial infarction"
    assert known.say("mi.") == "Myocardial infarction"
    assert known("Angina") == "angina"
    assert known.set_of(["MI", "heart attack", "流行性感冒", "。"]) == {"myocardial infarction", "流感"}
    assert Synonyms().set_of(["A", "a."]) == {"a"}


def test_a_name_of_two_diseases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("Myocardial infarction,MI\nMitral insufficiency,mi\n", encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=r"names\.csv:2: 'mi' already stands for 'Myocardial infarction'"):
        read_synonyms(tmp_path / "names.csv")
