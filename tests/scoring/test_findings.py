"""The reader of findings: a table of sentences in English and Chinese, and what holds for every text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.cxr import ANSWERS, QUESTIONS, SENTENCES
from tests.scoring.conftest import make_card
from tests.scoring.xray_runs import findings_card
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.scoring.findings import FindingParser, State
from vitalfactory.scoring.generation import kind_of

PARSERS = {language: FindingParser.from_card(findings_card(language)) for language in ("en", "zh")}
STATES: dict[str, State] = {"+": "present", "-": "absent", "?": "uncertain"}

ENGLISH = [
    # What the model is trained to say
    ("no finding", "no finding+"),
    ("cardiomegaly, effusion", "cardiomegaly+ effusion+"),
    ("atelectasis, effusion, mass, pleural thickening", "atelectasis+ effusion+ mass+ pleural thickening+"),
    ("This chest X-ray shows no finding.", "no finding+"),
    ("This chest X-ray shows edema, mass and nodule.", "edema+ mass+ nodule+"),
    # Labels as data sets write them
    ("Cardiomegaly|Effusion", "cardiomegaly+ effusion+"),
    ("Pleural_Thickening", "pleural thickening+"),
    ("No_Finding", "no finding+"),
    ('["effusion", "mass"]', "effusion+ mass+"),
    ("**Findings:** Effusion, **Mass**", "effusion+ mass+"),
    ("- Effusion\n- Pleural-thickening\n- Nodules", "effusion+ pleural thickening+ nodule+"),
    ("1. Effusion\n2. Mass", "effusion+ mass+"),
    ("EFFUSION; MASS", "effusion+ mass+"),
    ("Effusion: yes\nMass: no\nNodule: absent\nEdema: negative", "effusion+ mass- nodule- edema-"),
    ("Effusion: 1, Mass: 0", "effusion+ mass-"),
    ("Effusion: 0.8", "effusion?"),
    ("Pneumothorax - no, effusion - present", "pneumothorax- effusion+"),
    ("Pneumothorax (-), effusion (+)", "pneumothorax- effusion+"),
    # Words of their own, plurals, synonyms
    ("massive cardiomegaly", "cardiomegaly+"),
    ("Mass effect on the trachea", ""),
    ("The massive opacity is unchanged", ""),
    ("nodular opacities", ""),
    ("mass-like opacity", ""),
    ("Bilateral pleural effusions", "effusion+"),
    ("Two masses and several pulmonary nodules.", "mass+ nodule+"),
    ("The heart is normal in size", ""),
    ("Enlarged heart", "cardiomegaly+"),
    ("An enlarged cardiac silhouette with pulmonary oedema", "cardiomegaly+ edema+"),
    ("Hiatal hernia.", "hernia+"),
    ("hiatal hernias, thickened pleura", "hernia+ pleural thickening+"),
    ("infiltrates in both lungs", "infiltration+"),
    ("Pericardial effusion", ""),
    ("Subcutaneous emphysema", ""),
    ("emphysematous changes and pulmonary fibrosis", "emphysema+ fibrosis+"),
    ("Pneumothoraces on both sides", "pneumothorax+"),
    # Denied
    ("no effusion", "effusion-"),
    ("No pleural effusion.", "effusion-"),
    ("no mass, nodule or effusion", "mass- nodule- effusion-"),
    ("No pneumothorax, pleural effusion, or consolidation.", "pneumothorax- effusion- consolidation-"),
    ("No focal airspace opacity, pleural effusion or pneumothorax.", "effusion- pneumothorax-"),
    ("without pneumothorax", "pneumothorax-"),
    ("Cardiomegaly without edema or effusion", "cardiomegaly+ edema- effusion-"),
    ("There is no evidence of pneumonia.", "pneumonia-"),
    ("There is no evidence that there is a mass", "mass-"),
    ("neither effusion nor pneumothorax", "effusion- pneumothorax-"),
    ("No mass nor nodule", "mass- nodule-"),
    ("This X-ray does not show effusion, mass or nodule.", "effusion- mass- nodule-"),
    ("The image doesn't show pneumonia", "pneumonia-"),
    ("Effusion is not seen", "effusion-"),
    ("A pleural effusion is not clearly seen.", "effusion-"),
    ("Effusion and pneumothorax are absent.", "effusion- pneumothorax-"),
    ("Effusion, pneumothorax and mass are not present", "effusion- pneumothorax- mass-"),
    ("Pneumonia has been excluded", "pneumonia-"),
    ("Pneumonia was ruled out.", "pneumonia-"),
    ("The effusion has resolved", "effusion-"),
    ("Resolved pneumothorax", "pneumothorax-"),
    ("Effusion is no longer seen.", "effusion-"),
    ("Negative for pneumothorax", "pneumothorax-"),
    ("The lungs are free of consolidation and masses", "consolidation- mass-"),
    ("absence of edema", "edema-"),
    ("No suspicious pulmonary nodule", "nodule-"),
    ("No definite consolidation", "consolidation-"),
    ("No findings of pneumonia", "pneumonia-"),
    ("No findings to suggest pneumonia, effusion or mass", "pneumonia- effusion- mass-"),
    ("no opacity consistent with pneumonia", "pneumonia-"),
    ("No consolidation to suggest pneumonia", "consolidation- pneumonia-"),
    ("no mass effect", ""),
    ("Effusion on the right is not seen", "effusion-"),
    ("Absent: mass, nodule", "mass- nodule-"),
    ("atelectasis rather than pneumonia", "atelectasis+ pneumonia-"),
    # Where a denial ends
    ("No pneumothorax, but a small effusion", "pneumothorax- effusion+"),
    ("No pneumothorax; effusion", "pneumothorax- effusion+"),
    ("No pneumothorax. Effusion.", "pneumothorax- effusion+"),
    ("No pneumothorax, effusion is present.", "pneumothorax- effusion+"),
    ("No pneumothorax, large left effusion", "pneumothorax- effusion+"),
    ("No pneumothorax is seen and there is cardiomegaly", "pneumothorax- cardiomegaly+"),
    ("There is no effusion; however, a mass is seen", "effusion- mass+"),
    ("Although no mass is seen, effusion is present", "mass- effusion+"),
    ("The heart is not enlarged, effusion is seen", "effusion+"),
    ("Effusion without mass, with atelectasis", "effusion+ mass- atelectasis+"),
    ("Cardiomegaly is seen and effusion is absent", "cardiomegaly+ effusion-"),
    ("No abnormality except cardiomegaly", "no finding- cardiomegaly+"),
    ("Other than cardiomegaly, no abnormality.", "no finding- cardiomegaly+"),
    ("no effusion and pneumothorax is seen", "effusion- pneumothorax?"),
    ("Left effusion. No right effusion.", "effusion+"),
    ("There is cardiomegaly and pneumothorax is not seen.", "cardiomegaly+ pneumothorax-"),
    ("There is effusion and pneumonia cannot be excluded", "effusion+ pneumonia?"),
    ("No effusion or pneumothorax is seen.", "effusion- pneumothorax-"),
    ("Effusion or pneumothorax is not seen", "effusion- pneumothorax-"),
    ("Effusion (small), mass (none)", "effusion+ mass-"),
    ("Atelectasis and effusion, no pneumothorax", "atelectasis+ effusion+ pneumothorax-"),
    # Denials of something else
    ("No change in the effusion", "effusion+"),
    ("No significant interval change in cardiomegaly.", "cardiomegaly+"),
    ("The effusion has not changed", "effusion+"),
    ("Effusion without significant change", "effusion+"),
    # Uncertain
    ("possible pneumonia", "pneumonia?"),
    ("Possible pneumonia, cardiomegaly", "pneumonia? cardiomegaly+"),
    ("effusion cannot be excluded", "effusion?"),
    ("An effusion can't be ruled out.", "effusion?"),
    ("Cannot exclude pneumonia or atelectasis", "pneumonia? atelectasis?"),
    ("pneumonia is not excluded", "pneumonia?"),
    ("Pneumonia is possible", "pneumonia?"),
    ("Effusion and atelectasis are suspected", "effusion? atelectasis?"),
    ("It may represent pneumonia, atelectasis or edema", "pneumonia? atelectasis? edema?"),
    ("There may be a small effusion", "effusion?"),
    ("There might be an effusion but no mass", "effusion? mass-"),
    ("It is possible that there is an effusion", "effusion?"),
    ("Suspicious for pneumonia", "pneumonia?"),
    ("Findings concerning for edema", "edema?"),
    ("probable atelectasis; likely effusion", "atelectasis? effusion?"),
    ("Pneumonia is unlikely", "pneumonia?"),
    ("pneumonia or atelectasis", "pneumonia? atelectasis?"),
    ("pneumonia vs. atelectasis", "pneumonia? atelectasis?"),
    ("Pneumonia?", "pneumonia?"),
    ("Effusion, ?pneumonia", "effusion+ pneumonia?"),
    ("Rule out pneumonia", "pneumonia?"),
    ("r/o pneumothorax", "pneumothorax?"),
    ("History of pneumonia", "pneumonia?"),
    ("I cannot tell whether there is an effusion.", "effusion?"),
    ("Pneumothorax: unclear", "pneumothorax?"),
    # Stated, in the words of a report
    ("Findings suggest pneumonia", "pneumonia+"),
    ("consistent with edema", "edema+"),
    ("Effusion is likely due to failure", "effusion+"),
    ("Cardiomegaly is seen, and a small effusion is noted", "cardiomegaly+ effusion+"),
    # None of them
    ("Normal chest X-ray.", "no finding+"),
    ("The chest radiograph is within normal limits", "no finding+"),
    ("No acute cardiopulmonary abnormality", "no finding+"),
    ("No abnormalities detected.", "no finding+"),
    ("The lungs and heart are normal", "no finding+"),
    ("None", "no finding+"),
    ("None of these.", "no finding+"),
    ("The chest X-ray does not show any of these findings.", "no finding+"),
    ("It shows none of the listed findings", "no finding+"),
    ("None of these, but a nodule", "no finding- nodule+"),
    (
        "The heart size is normal. The lungs are clear. There is no pneumothorax or effusion. No bony abnormality.",
        "pneumothorax- effusion-",
    ),
    ("No finding. No effusion.", "no finding+ effusion-"),
    ("No finding, effusion", "no finding- effusion+"),
    ("Heart size is normal. Effusion.", "effusion+"),
    ("Heart size is normal. No effusion.", "effusion-"),
    ("abnormal", ""),
    ("This is not a normal chest X-ray", "no finding-"),
    ("Probably normal", "no finding?"),
    ("No abnormality, possible nodule", "no finding- nodule?"),
    # Nothing at all
    ("", ""),
    ("I am not able to interpret medical images.", ""),
    ("Yes", ""),
    ("Does this chest X-ray show effusion?", ""),
    ("Does this chest X-ray show effusion? Mass.", "mass+"),
]
CHINESE = [
    ("未见异常", "no finding+"),
    ("肺不张、心脏增大", "atelectasis+ cardiomegaly+"),
    ("胸片可见肺水肿、肿块和结节。", "edema+ mass+ nodule+"),
    ("胸片未见异常。", "no finding+"),
    ("肺不张，心脏增大，胸腔积液", "atelectasis+ cardiomegaly+ effusion+"),
    ("气胸", "pneumothorax+"),
    ("未见气胸", "pneumothorax-"),
    ("无气胸", "pneumothorax-"),
    ("没有胸腔积液", "effusion-"),
    ("未见气胸、胸腔积液及肿块。", "pneumothorax- effusion- mass-"),
    ("未见明显气胸和胸腔积液征象", "pneumothorax- effusion-"),
    ("未见气胸，心影增大", "pneumothorax- cardiomegaly+"),
    ("未见气胸，可见胸腔积液", "pneumothorax- effusion+"),
    ("无气胸，有胸腔积液", "pneumothorax- effusion+"),
    ("无气胸，但有结节", "pneumothorax- nodule+"),
    ("未发现肺炎", "pneumonia-"),
    ("否认气胸", "pneumothorax-"),
    ("排除气胸", "pneumothorax-"),
    ("气胸已排除", "pneumothorax-"),
    ("气胸未见，结节可见", "pneumothorax- nodule+"),
    ("胸腔积液已吸收", "effusion-"),
    ("气胸：无；胸腔积液：有", "pneumothorax- effusion+"),
    ("气胸阴性", "pneumothorax-"),
    ("气胸（-）", "pneumothorax-"),
    ("没有证据显示肺炎", "pneumonia-"),
    ("并非肺炎", "pneumonia-"),
    ("心脏增大，不伴胸腔积液", "cardiomegaly+ effusion-"),
    ("心影增大伴胸腔积液", "cardiomegaly+ effusion+"),
    ("胸腔积液无明显变化", "effusion+"),
    ("肺炎可能", "pneumonia?"),
    ("可能为肺炎", "pneumonia?"),
    ("肺炎可能性大", "pneumonia?"),
    ("考虑肺炎", "pneumonia?"),
    ("疑似结节", "nodule?"),
    ("肺炎待排", "pneumonia?"),
    ("气胸不除外", "pneumothorax?"),
    ("不除外气胸", "pneumothorax?"),
    ("不能排除肺炎或肺不张", "pneumonia? atelectasis?"),
    ("肺炎不能排除", "pneumonia?"),
    ("无法排除少量胸腔积液", "effusion?"),
    ("可能提示肺水肿", "edema?"),
    ("肺炎或肺不张", "pneumonia? atelectasis?"),
    ("可能存在气胸，未见胸腔积液", "pneumothorax? effusion-"),
    ("右肺可见小结节影", "nodule+"),
    ("双肺浸润影，肺实变", "infiltration+ consolidation+"),
    ("皮下气肿", ""),
    ("肺气肿", "emphysema+"),
    ("食管裂孔疝", "hernia+"),
    ("胸膜肥厚，胸水", "pleural thickening+ effusion+"),
    ("心肺膈未见明显异常", "no finding+"),
    ("正常", "no finding+"),
    ("这张胸片正常。", "no finding+"),
    ("心影大小正常，未见胸腔积液", "effusion-"),
    ("没有上述任何表现", "no finding+"),
    ("以上都没有", "no finding+"),
    ("双肺未见明显异常", ""),
    ("建议复查排除胸腔积液", "effusion?"),
    ("患者有肺炎病史", "pneumonia?"),
    ("肺炎，不考虑气胸", "pneumonia+ pneumothorax-"),
    ("未见实变，心影不大，双侧肋膈角锐利，未见胸腔积液。", "consolidation- effusion-"),
    ("不正常", ""),
    ("无", "no finding+"),
    ("除心影增大外，未见其他异常。", "no finding- cardiomegaly+"),
    ("这张胸片是否提示气胸？", ""),
    ("这张胸片是否提示气胸？未见。", ""),
    ("无法判断", ""),
    ("有气胸，也有胸腔积液", "pneumothorax+ effusion+"),
    ("气胸？", "pneumothorax?"),
]
TABLE = [("en", *line) for line in ENGLISH] + [("zh", *line) for line in CHINESE]


def expected(told: str) -> dict[str, State]:
    found: dict[str, State] = {}
    for part in told.replace("+", "+|").replace("-", "-|").replace("?", "?|").split("|"):
        if name := part.strip():
            found[name[:-1]] = STATES[name[-1]]
    return found


@pytest.mark.parametrize(("language", "text", "told"), TABLE, ids=[f"{one}-{text[:50]}" for one, text, _ in TABLE])
def test_sentences(language: str, text: str, told: str) -> None:
    assert PARSERS[language].read(text) == expected(told)


def test_there_are_enough_sentences() -> None:
    assert len(TABLE) > 180
    assert len({text for _, text, _ in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("effusion, mass", ["effusion", "mass"]),
        ("mass, effusion, mass", ["effusion", "mass"]),
        ("no finding", ["no finding"]),
        ("No effusion, possible mass", []),
        ("I cannot read images.", None),
    ],
)
def test_an_uncertain_finding_is_not_said_to_be_there(text: str, parsed: list[str] | None) -> None:
    assert PARSERS["en"].parse(text) == parsed


def test_each_finding_denied_is_a_normal_image() -> None:
    listed = ", ".join(name for name in ANSWERS["en"] if name != "no finding")
    assert PARSERS["en"].parse(f"There is no {listed}.") == ["no finding"]
    assert PARSERS["en"].parse(f"There is no {listed.replace('hernia, ', '')}.") == []


@pytest.mark.parametrize(
    ("language", "text", "parsed"),
    [
        ("en", "effusion, mass", ["effusion"]),
        ("en", "effusion", None),
        ("en", "Effusion.", ["effusion"]),
        ("en", "Effusion. Pneumothorax", ["effusion"]),
        ("en", "effusion, mass, effusion, mass, eff", ["effusion", "mass"]),
        ("zh", "胸腔积液、气胸", ["effusion"]),
        ("zh", "气胸", None),
    ],
)
def test_the_last_item_of_an_answer_that_was_cut_is_not_read(
    language: str, text: str, parsed: list[str] | None
) -> None:
    assert PARSERS[language].parse(text, cut=True) == parsed


def test_a_repeated_question_says_nothing() -> None:
    for language, parser in PARSERS.items():
        card = findings_card(language, question=list(QUESTIONS["list"][language]))
        answer = {"en": "mass", "zh": "肿块"}[language]
        for question in card.question:
            assert FindingParser.from_card(card).parse(f"{question}\n{answer}") == ["mass"]
        assert parser.parse(answer) == ["mass"]


SETS = st.sets(st.sampled_from(sorted(set(ANSWERS["en"]) - {"no finding"})), min_size=1).map(sorted) | st.just(
    ["no finding"]
)


@given(st.sampled_from(["en", "zh"]), SETS)
def test_what_a_model_is_trained_to_say_is_read_back(language: str, findings: list[str]) -> None:
    names = [ANSWERS[language][finding] for finding in findings]
    parser = PARSERS[language]
    assert parser.parse(", ".join(names) if language == "en" else "、".join(names)) == findings
    assert parser.parse(SENTENCES[language](names)) == findings


WORDS = ["no", "not", "or", "and", "but", "with", "possible", "is seen", "absent", "cannot be excluded", "未见", "可能"]
NAMES = ["effusion", "mass", "气胸", "normal", "no finding"]
PIECES = st.sampled_from([*WORDS, *NAMES, *",.、?([\\\n\ud800"])


@given(st.sampled_from(["en", "zh"]), st.lists(PIECES, max_size=30).map(" ".join) | st.text(), st.booleans())
def test_any_text_is_read(language: str, text: str, cut: bool) -> None:
    parser = PARSERS[language]
    states, parsed = parser.read(text, cut=cut), parser.parse(text, cut=cut)
    assert set(states) <= set(parser.labels)
    assert (parsed is None) == (not states)
    if "no finding" in (parsed or ()):
        assert parsed == ["no finding"]
        assert {state for label, state in states.items() if label != "no finding"} <= {"absent"}


LOOPS = ["no effusion, ", "not ", "effusion or ", "a in the ", "未见", "effusion in the ", "? "]


@pytest.mark.parametrize("unit", LOOPS)
def test_a_model_caught_in_a_loop_is_read_in_time(unit: str) -> None:
    PARSERS["en"].read(unit * 2000)


def test_a_word_of_two_labels_is_an_error() -> None:
    card = findings_card(synonyms={"mass": ["spot"], "nodule": ["spots", "Spot"]})
    with pytest.raises(VitalFactoryError, match="the card calls both 'mass' and 'nodule' 'spot'"):
        FindingParser.from_card(card)


def test_other_kinds_are_refused() -> None:
    terms = {"answers": {"AF": "AF"}, "synonyms": {}}
    with pytest.raises(VitalFactoryError, match="of the kind 'classify'; expected 'multilabel'"):
        FindingParser.from_card(make_card(terms, None))


def test_a_card_without_a_label_of_normal_images() -> None:
    terms = {"answers": {"mass": "mass", "nodule": "nodule"}, "synonyms": {}}
    parser = FindingParser.from_card(make_card(terms, None, kind="multilabel"))
    assert parser.parse("none of these") is None
    assert parser.parse("no mass, no nodule") == []


@pytest.mark.parametrize(
    ("finding", "text", "parsed"),
    [
        ("mass", "Yes", ["mass"]),
        ("mass", "no.", []),
        ("mass", "Yes, there is a mass.", ["mass"]),
        ("mass", "No, there is no mass", []),
        ("mass", "No mass is seen.", []),
        ("mass", "There is a mass", ["mass"]),
        ("mass", "Yes, no mass.", None),
        ("mass", "Possible mass", None),
        ("mass", "Effusion", None),
        ("mass", "No finding", []),
        ("no finding", "No finding", ["no finding"]),
        ("no finding", "yes", ["no finding"]),
        ("mass", "I cannot say", None),
        ("mass", "", None),
    ],
)
def test_a_verdict_is_read_by_itself_or_by_the_finding_it_names(
    finding: str, text: str, parsed: list[str] | None
) -> None:
    card = findings_card(verdicts={"present": "yes", "absent": "no"})
    assert kind_of(card).reader(card)({"finding": finding}, text, False) == parsed


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("是", ["mass"]),
        ("否。", []),
        ("没有", []),
        ("是的，可见肿块", ["mass"]),
        ("未见肿块", []),
        ("可能有肿块", None),
    ],
)
def test_a_chinese_verdict_is_read(text: str, parsed: list[str] | None) -> None:
    card = findings_card("zh", verdicts={"present": "是", "absent": "否"})
    assert kind_of(card).reader(card)({"finding": "mass"}, text, False) == parsed


def test_a_list_is_read_whatever_the_row(ecg_card: Card) -> None:
    card = findings_card()
    assert kind_of(card).reader(card)({}, "effusion, mass", False) == ["effusion", "mass"]
    assert kind_of(card).reader(card)({}, "effusion, mass", True) == ["effusion"]
    assert kind_of(ecg_card).reader(ecg_card)({}, "AF", False) == "AF"
