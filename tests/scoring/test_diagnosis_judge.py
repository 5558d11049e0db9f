"""What a judge is asked, how its verdicts are read, and the figures that come of them."""

import pytest
from pydantic import BaseModel

from vitalfactory.scoring.diagnosis import Answer
from vitalfactory.scoring.judge import Rating, Same, about_names, about_reason, figures_of, read_verdict, unmatched


def answer(gold: str, said: str, place: int = 0, reason: str | None = "fever", note: str | None = "Fever.") -> Answer:
    names = (frozenset(text.split()) for text in (gold, said))
    return Answer(f"n{place}", f"g{place}", *names, reason=reason, note=note)


@pytest.mark.parametrize(
    ("text", "form", "verdict"),
    [
        ('{"same": true}', Same, True),
        ('Yes: {"same": false}.', Same, False),
        ('```json\n{"rating": 4}\n```', Rating, 4),
        ('{"rating": 6}', Rating, None),
        ('{"rating": "4"}', Rating, None),
        ('{"rating": 4, "why": "x"}', Rating, None),
        ('{"same": 1}', Same, None),
        ('{"rating": 4}', Same, None),
        ("true", Same, None),
        ("} {", Same, None),
        ("", Rating, None),
    ],
)
def test_a_verdict_is_read(text: str, form: type[BaseModel], verdict: bool | int | None) -> None:
    if verdict is None:
        with pytest.raises(ValueError, match=r"JSON|should be|permitted|required"):
            read_verdict(text, form)
    else:
        assert read_verdict(text, form) is verdict


def test_only_names_without_a_match_are_asked_about() -> None:
    answers = [answer("a b", "a x"), answer("b", "x"), answer("c", "c"), answer("d", "")]
    assert unmatched(answers) == [("b", "x")]
    (message,) = about_names(("b", "x"))
    assert message["content"].endswith("First: b\nSecond: x")


def test_a_reason_is_asked_about_with_its_note() -> None:
    asked = about_reason(answer("a", "x y"))
    assert asked is not None
    assert asked[0]["content"].endswith("Note:\nFever.\n\nDiagnosis: x, y\nReason: fever")
    for silent in (
        answer("a", ""),
        answer("a", "a", reason=""),
        answer("a", "a", reason=None),
        answer("a", "a", note=None),
    ):
        assert about_reason(silent) is None


def test_a_name_is_matched_once() -> None:
    answers = [answer("a b", "x"), answer("a", "x y", 1), answer("a b", "x y", 2)]
    same = {("a", "x"): True, ("b", "x"): True, ("a", "y"): True, ("b", "y"): False}
    figures = figures_of(answers, same, {})
    # One of two in the first; one in the second; in the third b with x and a with y.
    assert figures["micro_f1"]["value"] == pytest.approx(2 * (1 + 1 + 2) / (5 + 5))
    assert figures["set_match"]["value"] == pytest.approx(1 / 3)
    assert figures_of(answers, {}, {})["micro_f1"]["value"] == 0


def test_ratings() -> None:
    rated, unrated, unreadable = answer("a", "a"), answer("a", "a", 1), answer("a", "", 2, reason="")
    assert figures_of([rated, unrated, unreadable], {}, {"n0": 4})["rating"]["value"] == pytest.approx((4 + 1) / 2)
    nothing = [answer("a", "a", reason=None), answer("a", "", 1, reason="", note=None)]
    assert figures_of(nothing, {}, {})["rating"]["value"] is None
