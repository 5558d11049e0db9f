"""Synthetic cases: reproducible, readable, and hard for whoever counts words."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import chain

import pytest

from vitalfactory.diagnosis import normalise, split_names
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import dumps
from vitalfactory.notes.note import find_sections, has_diagnosis, strip_diagnosis
from vitalfactory.notes.personal import find_personal
from vitalfactory.notes.synthetic import LATER, Case, make_cases
from vitalfactory.notes.synthetic_tables import DISEASES, FINDINGS, LANGUAGES

CASES = {language: make_cases(600, 7, language) for language in LANGUAGES}
both = pytest.mark.parametrize("language", LANGUAGES)


def digest(cases: Sequence[Case]) -> str:
    told = [[case.id, case.text, case.diseases, case.reason, case.stated] for case in cases]
    return hashlib.sha256(dumps(told).encode("utf-8")).hexdigest()[:16]


def topic(key: str) -> str:
    return FINDINGS[key].about or key


def by_disease(case: Case, language: str) -> dict[str, str]:
    """Take a reason apart into each disease's findings."""
    if len(case.diseases) == 1:
        return {case.diseases[0]: case.reason}
    semicolon, colon = ("; ", ": ") if language == "en" else ("；", "：")
    parts = case.reason.split(semicolon)
    assert len(parts) == len(case.diseases)
    return dict(part.split(colon, 1) for part in parts)  # type: ignore[misc]


@pytest.mark.parametrize(("language", "expected"), [("en", "fe7c30dea09b1e61"), ("zh", "7e44787374b35280")])
def test_the_same_arguments_give_the_same_bytes(language: str, expected: str) -> None:
    assert digest(make_cases(40, 2026, language, stated=0.2)) == expected
    assert digest(make_cases(40, 2027, language, stated=0.2)) != expected


def test_a_language_without_words_is_refused() -> None:
    with pytest.raises(VitalFactoryError, match="'fr'; expected one of en, zh"):
        make_cases(1, 1, "fr")


def test_both_languages_tell_the_same_patients() -> None:
    names = {disease.names["en"]: disease.names["zh"] for disease in DISEASES}
    for english, chinese in zip(CASES["en"], CASES["zh"], strict=True):
        assert english.id == chinese.id
        assert tuple(names[name] for name in english.diseases) == chinese.diseases
        assert english.reason.count(",") == chinese.reason.count("、")
        assert re.search(r"(\d+)-year-old", english.text)[1] == re.search(r"(\d+)岁", chinese.text)[1]  # type: ignore[index]


@both
def test_every_disease_occurs_and_most_cases_have_one(language: str) -> None:
    sizes = Counter(len(case.diseases) for case in CASES[language])
    assert set(sizes) == {1, 2, 3}
    assert sizes[1] > 2 * sizes[2] > 4 * sizes[3]
    assert {name for case in CASES[language] for name in case.diseases} == {one.names[language] for one in DISEASES}
    assert len({case.id for case in CASES[language]}) == 600
    assert len({case.text for case in CASES[language]}) == 600


@both
def test_a_reason_is_told_in_the_note_s_own_words(language: str) -> None:
    for case in CASES[language]:
        text = case.text.casefold()
        for told in by_disease(case, language).values():
            facts = split_names(told.removesuffix(".").removesuffix("。"))
            assert len(facts) >= 2
            assert all(fact.casefold() in text for fact in facts), case


@both
def test_a_key_finding_names_its_disease_and_no_other(language: str) -> None:
    owners = {
        word: disease.names[language]
        for disease in DISEASES
        for key in disease.keys
        for word in FINDINGS[key].wordings[language]
    }
    comma = ", " if language == "en" else "、"
    for case in CASES[language]:
        for name, told in by_disease(case, language).items():
            said = {owner for fact in told.split(comma) for word, owner in owners.items() if fact.startswith(word)}
            assert said, f"no key finding of {name} in {case}"
            assert said <= {name} | same_topic(name, language), case


@cache
def same_topic(name: str, language: str) -> set[str]:
    """Name the diseases whose keys are the same measurement: TSH is low in one and high in the other."""
    topics = {topic(key) for one in DISEASES if one.names[language] == name for key in one.keys}
    return {one.names[language] for one in DISEASES if topics & {topic(key) for key in one.keys}}


@both
def test_a_measurement_is_abnormal_only_where_its_disease_is(language: str) -> None:
    checked: Counter[bool] = Counter()
    for disease in DISEASES:
        for key in disease.keys:
            finding = FINDINGS[key]
            if finding.kind not in ("vital", "value") or finding.about:
                continue
            names = "|".join(map(re.escape, finding.wordings[language]))
            value = re.compile(rf"(?:{names}) ?(\d+(?:\.\d+)?)", re.IGNORECASE)
            for case in CASES[language]:
                for match in value.finditer(case.text):
                    low, high = finding.present
                    abnormal = low <= float(match[1]) <= high
                    assert abnormal == (disease.names[language] in case.diseases), (case, match)
                    checked[abnormal] += 1
    assert min(checked[True], checked[False]) > 50


@both
def test_words_stand_in_notes_with_and_without_the_disease(language: str) -> None:
    """A key finding's wording is mostly no proof: many notes have it denied."""
    denied = 0
    for disease in DISEASES:
        wordings = [word.casefold() for key in disease.keys for word in FINDINGS[key].wordings[language]]
        notes = [case for case in CASES[language] if any(word in case.text.casefold() for word in wordings)]
        denied += sum(disease.names[language] not in case.diseases for case in notes) > len(notes) / 3
    assert denied > len(DISEASES) / 2


@both
def test_notes_end_in_their_diagnosis_where_asked_for(language: str) -> None:
    cases = make_cases(300, 7, language, stated=1 / 6)
    plain = make_cases(300, 7, language)
    assert 30 < sum(case.stated for case in cases) < 70
    for case, without in zip(cases, plain, strict=True):
        assert has_diagnosis(case.text) == case.stated
        assert strip_diagnosis(case.text).rstrip("\n") == without.text
        assert all(name in case.text for name in case.diseases) or not case.stated
        assert not without.stated


@both
def test_no_name_of_the_answer_stands_in_a_note(language: str) -> None:
    for case in CASES[language]:
        assert not has_diagnosis(case.text)
        assert not any(name in case.text.casefold() for name in case.diseases), case
        assert find_personal(case.text) == []


@both
def test_notes_differ_in_form(language: str) -> None:
    texts = [case.text for case in CASES[language]]
    quote, heading = ('"', "complaint") if language == "en" else ("“", "complaint")
    for holds in (
        lambda text: quote in text,
        lambda text: "\n" in text,
        lambda text: any(one.kind == heading for one in find_sections(text)),
        lambda text: "(+)" in text or "（+）" in text,
    ):
        share = sum(map(holds, texts)) / len(texts)
        assert 0.05 < share < 0.95


@both
def test_later_cases_use_wordings_that_no_earlier_one_has(language: str) -> None:
    cases = CASES[language]
    cut = round(LATER * len(cases))
    last = [finding.wordings[language][-1].casefold() for finding in FINDINGS.values()]
    others = " ".join(word.casefold() for one in FINDINGS.values() for word in one.wordings[language][:-1])
    new = [word for word in last if word not in others]
    assert len(new) > 0.9 * len(last)
    assert not [word for word in new for case in cases[:cut] if word in case.text.casefold()]
    assert sum(any(word in case.text.casefold() for word in new) for case in cases[cut:]) > 0.5 * (len(cases) - cut)


def test_tables_agree_with_themselves() -> None:
    keys = [key for disease in DISEASES for key in disease.keys]
    others = set(chain.from_iterable(disease.others for disease in DISEASES))
    assert 30 <= len(DISEASES) <= 40
    assert len(keys) == len(set(keys))
    assert not others & set(keys)
    assert others | set(keys) == set(FINDINGS)
    for language in LANGUAGES:
        names = [disease.names[language] for disease in DISEASES]
        assert len(set(names)) == len(names)
        assert [normalise(name) for name in names] == names


@both
def test_a_wording_is_of_one_finding(language: str) -> None:
    seen: dict[str, str] = {}
    for key, finding in FINDINGS.items():
        assert len(set(finding.wordings[language])) == 3, key
        for word in finding.wordings[language]:
            assert seen.setdefault(word.casefold(), topic(key)) == topic(key), word
            assert not re.search(r"[,;，、；。]", word), "a reason is taken apart there"
            assert re.search(r"[\u4e00-\u9fff]", word) is None or language == "zh", word


@pytest.mark.slow
@both
def test_counting_words_is_not_enough(language: str) -> None:
    score = tfidf_micro_f1(make_cases(1500, 2026, language), language)
    assert 0.6 < score < 0.9


def tfidf_micro_f1(cases: Sequence[Case], language: str) -> float:
    """Train TF-IDF + one-vs-rest logistic regression on 1,000 cases, choose its threshold on 200, score the rest."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    cases = [cases[place] for place in np.random.default_rng(0).permutation(len(cases))]
    analyzer, longest = ("word", 2) if language == "en" else ("char", 3)
    vectors = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, longest), sublinear_tf=True, min_df=2)
    train = vectors.fit_transform(case.text for case in cases[:1000])
    gold = MultiLabelBinarizer().fit_transform([case.diseases for case in cases])
    model = OneVsRestClassifier(LogisticRegression(C=10, solver="liblinear")).fit(train, gold[:1000])
    scores = model.predict_proba(vectors.transform(case.text for case in cases[1000:]))

    def micro(threshold: float, rows: slice) -> float:
        said = scores[rows] >= threshold
        said[np.arange(len(said)), scores[rows].argmax(1)] = True
        return float(f1_score(gold[1000:][rows], said, average="micro"))

    best = max(np.linspace(0.05, 0.5, 10), key=lambda threshold: micro(threshold, slice(0, 200)))
    return micro(best, slice(200, None))
