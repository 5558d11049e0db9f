"""What is read from free text: a label where the text plainly commits to one, else nothing."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring.conftest import CINC_TERMS, ECG_TERMS, STAGE_TERMS, make_card
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.scoring.parsing import Parser

PARSERS = {
    "en": Parser.from_card(make_card(ECG_TERMS["en"], "AF")),
    "zh": Parser.from_card(make_card(ECG_TERMS["zh"], "AF", "zh")),
    "stages": Parser.from_card(make_card(STAGE_TERMS, None)),
    "cinc": Parser.from_card(make_card(CINC_TERMS, None, scored=["N", "A", "O"])),
}

TEXTS: dict[str, dict[str | None, list[str]]] = {
    "en": {
        "AF": [
            "AF",
            "ＡＦ",
            "af.",
            "**AF**",
            "AF<|im_end|>",
            "AF\nAF\nAF",
            "Answer: AF.",
            "AF: yes",
            "AF (+)",
            "afib",
            "A-Fib",
            "Atrial fibrillation (AF).",
            "Yes",
            "Yes, AF",
            "Yes. The recording is irregularly irregular, which suggests AF.",
            "This ECG shows AF. The P waves are absent and the rhythm is irregular.",
            "Irregular, no P waves, AF",
            "AF with no P waves",
            "AF, not sinus rhythm",
            "Is this AF? Yes, it is AF.",
        ],
        "no AF": [
            "no AF",
            "No AF.",
            "no  af<|im_end|>",
            "No",
            "Answer: no",
            "The answer is No.",
            "not AF",
            "non-AF",
            "without AF",
            "absence of AF",
            "negative for AF",
            "AF(-)",
            "AF: no",
            "AF present: no",
            "AF is absent",
            "AF is not present.",
            "AF isn't seen",
            "AF was not detected in this recording",
            "AF has been ruled out",
            "ruled out AF",
            "doesn't show AF",
            "This ECG doesn’t show AF.",
            "No evidence of atrial fibrillation",
            "No obvious AF",
            "No, this ECG does not show AF",
            "This ECG does not show AF, no.",
            "No, this ECG does not show atrial fibrillation (AF).",
            "No, this ECG does not show atrial",
            "Does this ECG show atrial fibrillation? No.",
            "sinus rhythm",
            "Normal sinus rhythm, no AF",
            "No. It's sinus rhythm",
            "not AF but sinus rhythm",
            "sinus rhythm rather than AF",
            "Neither AF nor flutter",
            "no evidence of AF or flutter",
        ],
        None: [
            "",
            " \n",
            "asdf",
            "unclear",
            "AFTER",
            "staff",
            "NO AFTERLOAD",
            "AF?",
            "AF or no AF",
            "AF and no AF",
            "AF\nno AF",
            "AF and sinus rhythm",
            "AF (no)",
            "No, AF",
            "Yes, no AF",
            "Yes no AF",
            "yes and no",
            "possible AF",
            "AF likely",
            "unlikely AF",
            "AF or flutter",
            "AF vs. flutter",
            "AF, 80%",
            "AF: 0",
            "cannot exclude AF",
            "rule out AF",
            "AF cannot be ruled out",
            "AF. I don't know.",
            "I am not sure, AF",
            "not no AF",
            "not without AF",
            "There isn't no AF",
            "AF is not absent",
            "not sinus rhythm",
            "no sinus rhythm",
            "non-paroxysmal AF",
            "AF-like rhythm",
            "AF-free",
            "AF does not exist",
            "AF is, however, absent.",
            "There is no evidence, in this ECG, of AF",
            "No P waves and irregular RR suggest AF",
            "It is false that this is AF",
            "Not AF, sinus rhythm",
        ],
    },
    "zh": {
        "AF": [
            "有房颤",
            "是",
            "是的",
            "是的，有房颤。",
            "是房颤",
            "房颤：是",
            "心房纤颤",
            "答案：有房颤",
            "该心电图显示心房颤动。",
            "房颤，没有P波",
            "未见P波，房颤",
            "这段心电图是否显示心房颤动？是",
        ],
        "no AF": [
            "没有房颤",
            "没有房颤<|im_end|>",
            "No AF",
            "没有AF",
            "否",
            "没有。",
            "不",
            "无房颤",
            "并没有房颤",
            "并非房颤",
            "不是房颤",
            "未见心房颤动",
            "未见明显房颤",
            "没有发现房颤的证据",
            "该心电图未显示心房颤动。",
            "房颤：否",
            "房颤(-)",
            "房颤不存在",
            "房颤阴性",
            "房颤已排除",
            "排除房颤",
            "窦性心律",
            "是窦性心律",
            "不是房颤而是窦性心律",
            "没有房颤，窦性心律",
            "没有，未见房颤",
            "不，这不是房颤",
            "有没有房颤？没有。",
        ],
        None: [
            "可能是房颤",
            "疑似房颤",
            "考虑房颤",
            "房颤待排",
            "房颤可能性大",
            "不能排除房颤",
            "不排除房颤",
            "房颤不明",
            "无法判断",
            "有无房颤",
            "是否房颤",
            "是否",
            "不是没有房颤",
            "并不是没有房颤",
            "是，没有房颤",
            "有房颤和没有房颤",
            "非阵发性房颤",
        ],
    },
    "stages": {
        "W": ["W", "w", "stage W", "Answer: W", "awake", "W (wake)", "Wake (W)"],
        "N2": ["N2", "Stage: N2", "the epoch is N2", "N2, not N3", "not REM but N2", "NREM N2", "Yes, N2"],
        "N3": ["**N3**", "deep sleep", "This is not N2. It is N3."],
        "R": ["r", "The sleep stage is R.", "REM sleep"],
        None: [
            "5",
            "yes",
            "not N2",
            "non-REM",
            "N2: no",
            "N1/N2",
            "N2 or N3",
            "possibly N2",
            "No N1 or N2",
            "No N1, N2 or R",
            "N22",
            "AN2",
            "R wave",
        ],
    },
}
CASES = [(card, text, label) for card, labels in TEXTS.items() for label, texts in labels.items() for text in texts]


@pytest.mark.parametrize(("card", "text", "label"), CASES)
def test_text_is_read_as(card: str, text: str, label: str | None) -> None:
    assert PARSERS[card].parse(text) == label


SAID = [
    ("en", "AF", False, "AF", "parsed"),
    ("en", "No, sinus rhythm.", False, "no AF", "parsed"),
    ("en", "possible AF", False, None, "unclear"),
    ("en", "AF and no AF", False, None, "unclear"),
    ("en", "Is this AF?", False, None, "unclear"),
    ("en", "AF. I don't know.", False, None, "unclear"),
    ("en", "", False, None, "off topic"),
    ("en", "The heart rate is 74 beats a minute.", False, None, "off topic"),
    ("en", "No P waves are seen.", False, None, "off topic"),
    ("en", "I don't know.", False, None, "off topic"),
    ("zh", "可能是房颤", False, None, "unclear"),
    ("zh", "心率74次", False, None, "off topic"),
    ("stages", "N1/N2", False, None, "unclear"),
    ("stages", "The R wave is tall", False, None, "off topic"),
    ("cinc", "A", False, "A", "parsed"),
    ("cinc", "This is normal rhythm.", False, "N", "parsed"),
    ("cinc", "other rhythm", False, "O", "parsed"),
    ("cinc", "noise", False, "~", "parsed"),
    ("cinc", "no AF", False, None, "unclear"),
    ("cinc", "~", False, None, "off topic"),
    # Cut off: no label out of the unfinished sentence, and nothing at all out of its last word.
    ("en", "AF", True, None, "off topic"),
    ("en", "AF.", True, "AF", "parsed"),
    ("en", "no AF\n", True, "no AF", "parsed"),
    ("en", "The answer is AF", True, None, "off topic"),
    ("en", "AF is", True, None, "unclear"),
    ("en", "No, this ECG does not show atrial", True, None, "unclear"),
    ("en", "It shows AF. The rhythm is irreg", True, "AF", "parsed"),
    ("en", "It shows AF. But I am not sure whe", True, None, "unclear"),
    ("en", "The rate is 74 and the sta", True, None, "off topic"),
    ("zh", "有房颤。没有", True, "AF", "parsed"),
    ("zh", "该心电图显示心房颤动", True, None, "unclear"),
    ("stages", "N2", True, None, "off topic"),
    ("cinc", "a", True, None, "off topic"),
]


@pytest.mark.parametrize(("card", "text", "cut", "label", "said"), SAID)
def test_what_an_answer_comes_to(card: str, text: str, cut: bool, label: str | None, said: str) -> None:
    reading = PARSERS[card].read(text, cut=cut)
    assert (reading.label, reading.said) == (label, said)
    assert PARSERS[card].parse(text, cut=cut) == label


@pytest.mark.parametrize(("card", "text", "label"), CASES)
def test_off_topic_is_never_parsed(card: str, text: str, label: str | None) -> None:
    reading = PARSERS[card].read(text)
    assert (reading.said == "parsed") == (label is not None)
    assert reading.label == label


EXACT = [
    (name, answer, label)
    for name, terms in (("en", ECG_TERMS["en"]), ("zh", ECG_TERMS["zh"]), ("stages", STAGE_TERMS))
    for label, answer in terms["answers"].items()
]
AROUND = st.text(alphabet=" \t\n.,!:;*\"'`()。，！", max_size=6)


@settings(deadline=None)
@given(st.sampled_from(EXACT), AROUND, AROUND, st.lists(st.booleans(), min_size=8, max_size=8))
def test_every_answer_of_the_card_is_its_label(
    exact: tuple[str, str, str], left: str, right: str, up: list[bool]
) -> None:
    name, answer, label = exact
    letters = [letter.upper() if high else letter.lower() for letter, high in zip(answer, up, strict=False)]
    assert PARSERS[name].parse(left + "".join(letters) + right) == label


PIECES = st.sampled_from(
    ["AF", "no", "not", "N2", "W", "房颤", "没有", "见到", ",", ". ", "?", "yes", "or", "(", ")", "<|x|>", "\n", " "]
)


@settings(deadline=None)
@given(st.text() | st.lists(PIECES | st.text(alphabet=string.printable, max_size=4)).map("".join))
def test_no_text_raises_and_no_other_label_comes_out(text: str) -> None:
    for parser in PARSERS.values():
        for cut in (False, True):
            reading = parser.read(text, cut=cut)
            assert reading.label in {None, *parser.labels}
            assert (reading.label is None) == (reading.said != "parsed")


@settings(deadline=None)
@given(st.sampled_from(EXACT), st.text(alphabet="abc 房颤,", max_size=8), st.data())
def test_no_label_comes_out_of_a_cut_answer_of_one_sentence(
    exact: tuple[str, str, str], before: str, data: st.DataObject
) -> None:
    name, answer, _ = exact
    text = before + answer
    assert PARSERS[name].parse(text[: data.draw(st.integers(0, len(text)))], cut=True) is None


@pytest.mark.parametrize(
    "text", ["未" + "见到" * 3000 + "x房颤", "no " * 5000 + "AF", "is " * 5000 + "?AF", "(" * 9000]
)
def test_a_model_caught_in_a_loop_does_not_catch_the_parser(text: str) -> None:
    for parser in PARSERS.values():
        parser.parse(text)


def test_a_term_of_two_labels_is_an_error() -> None:
    with pytest.raises(VitalFactoryError, match="calls both 'AF' and 'no AF' 'Yes\\.'"):
        Parser({"AF": ["AF", "yes"], "no AF": ["no AF", "Yes."]})


def test_other_kinds_of_answers_are_an_error(ecg_card: Card) -> None:
    with pytest.raises(VitalFactoryError, match="needs 'classify'"):
        Parser.from_card(ecg_card.model_copy(update={"kind": "multilabel"}))
