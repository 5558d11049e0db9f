"""eval/qa.py from made runs to metrics.json, metrics.csv and the two pages; runs beside one another; a judge."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tests.scoring.judges import MadeJudge, serve
from tests.scoring.questions import TEST, Row, list_row, make_data, make_run
from tests.scoring.test_report import Balanced
from vitalfactory.endpoint.verdicts import Judge
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.qa import HONEST, NO_DOCTOR, UNSEEN
from vitalfactory.scoring.qa_safety import CAVEAT, PROMPTS

EVIL = "<b>fever</b> | \\ & \ud800".encode("utf-8", "replace").decode()
YES = {row["id"]: 0.9 if row["output"] == "Yes" else 0.3 for row in TEST if row["answer_kind"] == "yesno"}


def rightly(row: Row) -> str:
    return str(row["output"])


def wrongly(row: Row) -> str:
    return EVIL if row["answer_kind"] == "list" else "No"


@pytest.fixture(scope="module")
def qa(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("qa")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("questions") / "data")


def test_a_run_is_judged(qa: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "results" / "after", data, rightly, logprob=-2.0, yes=YES)
    qa.main([str(folder), "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    metrics = read_json(folder / "metrics.json")
    assert json.loads(last) == metrics
    figures = {name: figure["value"] for name, figure in metrics["figures"].items()}
    assert (figures["entity_f1"], figures["exact_match"], figures["yes_no_auroc"]) == (1, 1, 1)
    assert figures["loss"] == 0.5
    assert (metrics["rows"], metrics["groups"], metrics["answered"]) == (len(TEST), 3, "generations")
    assert metrics["counts"] == {"free text": len(TEST), "likelihoods": len(TEST), "yes or no": len(YES)}
    assert metrics["majority"]["figures"]["entity_f1"]["value"] < 1
    assert metrics["manifest"] == read_json(folder / "run.json")
    assert any(line.startswith("  Entity F1  ") for line in table)
    assert f"  {HONEST}" in table
    assert f"  {NO_DOCTOR}" in table
    assert any("3 groups only" in note for note in metrics["notes"])
    with (tmp_path / "results" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert (line["run"], line["entity_f1"]) == ("after", "1")


def test_pages_show_both_answers(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    before, after = make_run(tmp_path / "before", data, wrongly), make_run(tmp_path / "after", data, rightly)
    metrics = qa.judge(after, beside=before)
    pages = [(after / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")]
    parser = Balanced()
    parser.feed(pages[0])
    assert parser.open == []
    assert parser.seen.isdisjoint({"script", "link", "img"})
    assert "&lt;b&gt;fever&lt;/b&gt;" in pages[0]
    assert r"\<b\>fever\</b\> \| \\ & ?" in pages[1]
    for page in pages:
        for row in TEST:
            assert page.count(row["instruction"]) == 1, "every question once"
        for part in (
            "rash, fever.",
            "Daremia, symptom: rash",
            "names 0 of 2 entities, and 1 others",
            "names 2 of 2 entities, and 0 others",
            "beam search with 4 beams, at most 32 new tokens",
            UNSEEN,
            HONEST,
            NO_DOCTOR,
            "Synthetic facts: these figures say nothing about patients",
        ):
            assert part in page, part
    qa.judge(after, beside=before)
    assert [(after / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")] == pages
    found = metrics["beside"]
    assert (found["run"], found["rows"]) == ("before", len(TEST))
    assert found["figures"]["exact_match"]["value"] == pytest.approx(2 / len(TEST))
    assert found["differences"]["exact_match"]["value"] == pytest.approx(1 - 2 / len(TEST))
    assert found["differences"]["entity_f1"]["low"] > 0


def test_perplexities_of_other_models_are_not_subtracted(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    after = make_run(tmp_path / "after", data, rightly, logprob=-2.0)
    same = make_run(tmp_path / "same", data, wrongly, logprob=-4.0)
    other = make_run(tmp_path / "other", data, wrongly, logprob=-4.0, model="another")
    assert qa.judge(after, beside=same)["beside"]["differences"]["loss"]["value"] == pytest.approx(-0.5)
    assert "loss" not in qa.judge(after, beside=other)["beside"]["differences"]


def test_differences_are_over_the_rows_of_both(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    after, before = make_run(tmp_path / "after", data, rightly), make_run(tmp_path / "before", data, wrongly)
    manifest = read_json(before / "run.json")
    manifest["decoding"]["generations"]["limit"] = 3
    write_json(before / "run.json", manifest)
    write_jsonl(before / "generations.jsonl", list(read_jsonl(before / "generations.jsonl"))[:3])
    found = qa.judge(after, beside=before)["beside"]
    assert found["rows"] == 3
    assert found["differences"]["exact_match"]["value"] == 1


def test_a_run_of_likelihoods_alone_is_judged(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    metrics = qa.judge(make_run(tmp_path / "scored", data, None, logprob=-8.0))
    assert metrics["answered"] == "likelihoods"
    assert metrics["figures"]["loss"]["value"] == 2
    assert metrics["figures"]["entity_f1"]["value"] is None
    assert metrics["majority"] is None


def test_multiple_choice_stands_on_the_page(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data, rightly)
    manifest = read_json(folder / "run.json")
    manifest["decoding"]["choices"] = {"file": "cmb.json", "rows": 2, "excluded": {}}
    write_json(folder / "run.json", manifest)
    known: dict[str, Any] = {"probabilities": {"A": 0.6, "B": 0.4}, "text": None, "parsed": "A"}
    rows = [Prediction(id=name, group=name, label=label, **known) for name, label in (("1", "A"), ("2", "B"))]
    path = folder / "choices.jsonl"
    path.write_text("".join(row.line() for row in rows), encoding="utf-8")
    metrics = qa.judge(folder)
    assert metrics["choices"]["accuracy"]["value"] == metrics["choices"]["chance"] == 0.5
    told = "cmb.json: 2 questions, 0 with several right options; accuracy 0.500"
    assert told in (folder / "report.html").read_text(encoding="utf-8")
    path.write_text(rows[0].line(), encoding="utf-8")
    with pytest.raises(VitalFactoryError, match="1 of 2 questions are missing"):
        qa.judge(folder)


def test_safety_stands_on_the_page(qa: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data, rightly)
    answers = tmp_path / "answers.jsonl"
    write_jsonl(answers, [{"id": prompt.id, "answer": "Take two aspirins."} for prompt in PROMPTS[:3]])
    metrics = qa.judge(folder, safety=answers)
    assert metrics["safety"]["figures"]["emergency"]["value"] == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert CAVEAT in page
    assert page.count("Take two aspirins.") == 3
    assert CAVEAT in (folder / "report.md").read_text(encoding="utf-8")
    write_json(answers.with_suffix(".run.json"), {"model": "another"})
    with pytest.raises(VitalFactoryError, match="answered with another model than"):
        qa.judge(folder, safety=answers)


def test_answers_that_a_model_wrote_are_named_as_such(qa: ModuleType, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", make_data(tmp_path / "data", model_written="big-teacher"), rightly)
    qa.judge(folder)
    said = "answers were written by big-teacher: the figures say how far a run agrees with that model"
    for name in ("report.html", "report.md"):
        assert said in (folder / name).read_text(encoding="utf-8")


def test_runs_are_compared(
    script: Callable[[str], ModuleType], qa: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(tmp_path / name, data, say) for name, say in (("before", wrongly), ("after", rightly))]
    for folder in runs:
        qa.judge(folder)
    compare = script("compare")
    compare.main([*map(str, runs), "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    found = {row["figure"]: row["difference"]["value"] for row in json.loads(last)["differences"]}
    own = qa.judge(runs[1], beside=runs[0])["beside"]["differences"]
    assert found["entity_f1"] == own["entity_f1"]["value"] > 0
    assert "perplexity" not in found
    assert "Entity F1" in table[0]
    (runs[1] / "values.jsonl").unlink()
    with pytest.raises(VitalFactoryError, match=r"values.jsonl: not there.*; run python eval/qa.py"):
        compare.compare(runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"holds no run \(run.json\)"),
        (["--judge-url", "http://127.0.0.1"], "go together"),
    ],
)
def test_arguments_that_do_not_fit(
    qa: ModuleType, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(qa.main, [str(tmp_path), *arguments])
    error = capsys.readouterr().err
    assert (stop.value.code, error.count("\n")) == (2, 1)
    with pytest.raises(VitalFactoryError, match=message):
        qa.main([str(tmp_path), *arguments])


def test_runs_that_cannot_be_judged(qa: ModuleType, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    empty = make_run(tmp_path / "empty", data, None)
    with pytest.raises(VitalFactoryError, match=r"holds no answers to test; run eval/generate.py or eval/score.py"):
        qa.judge(empty)
    with pytest.raises(VitalFactoryError, match="its dataset has no val; it has train, test"):
        qa.judge(empty, "val")
    folder = make_run(tmp_path / "run", data, rightly)
    with pytest.raises(VitalFactoryError, match="has the name of the run itself"):
        qa.judge(folder, beside=make_run(tmp_path / "other" / "run", data, wrongly))
    changed = make_data(tmp_path / "changed")
    write_jsonl(changed / "test.jsonl", [{**row, "cleaned": False} for row in TEST])
    third = make_run(tmp_path / "third", changed, wrongly)
    with pytest.raises(VitalFactoryError, match="over other questions"):
        qa.judge(folder, beside=third)
    write_jsonl(folder / "generations.jsonl", list(read_jsonl(folder / "generations.jsonl"))[1:])
    with pytest.raises(VitalFactoryError, match=r"1 of 9 rows of the dataset are missing.*generate.py again"):
        qa.judge(folder)
    write_jsonl(data / "test.jsonl", TEST[1:])
    with pytest.raises(
        VitalFactoryError, match=r"has changed since the run was made.*; answers are judged by the facts"
    ):
        qa.judge(folder)
    write_json(folder / "card.json", read_json(folder / "card.json") | {"kind": "diagnosis"})
    with pytest.raises(VitalFactoryError, match="of the kind 'diagnosis'; expected 'qa'"):
        qa.judge(folder)


class Bench(MadeJudge):
    """A judge that prefers the answer that says rash, else the first."""

    def verdict(self, question: str) -> str:
        first, _, second = question.partition("First answer: ")[2].partition("Second answer: ")
        return json.dumps({"better": "second" if "rash" in second and "rash" not in first else "first"})


@pytest.fixture
def bench(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield from serve(Bench(), httpserver, monkeypatch)


def test_a_judge_sees_each_pair_in_both_orders_once(
    qa: ModuleType, bench: Bench, httpserver: HTTPServer, data: Path, tmp_path: Path
) -> None:
    def say(row: Row) -> str:
        if row["answer_kind"] == "yesno":
            return str(row["output"]) if "tremor" in row["id"] else ""
        return "rash" if row == list_row("Daremia") else "something"

    opinion = Judge(httpserver.url_for("/v1"), "wise")
    before, after = make_run(tmp_path / "before", data, wrongly), make_run(tmp_path / "after", data, say)
    judged = qa.judge(after, beside=before, opinion=opinion)["judge"]
    # The two answers "No" are alike; the two empty ones lose; of five asked about, one says rash in either order.
    assert (judged["pairs"], judged["asked"], judged["failed"], judged["against"]) == (9, 5, 0, "before")
    assert len(bench.asked) == len(set(bench.asked)) == 10
    assert judged["figures"]["preferred"]["value"] == pytest.approx((2 * 0.5 + 2 * 0 + 1 + 4 * 0.5) / 9)
    assert judged["figures"]["swayed"]["value"] == pytest.approx(4 / 5)
    assert "What is known to be right: rash, fever." in "".join(bench.asked)
    assert "The opinion of wise" in (after / "report.html").read_text(encoding="utf-8")
    assert "The opinion of wise" in (after / "report.md").read_text(encoding="utf-8")
    assert qa.judge(after, beside=before, opinion=opinion)["judge"] == judged
    assert len(bench.asked) == 10
    against = qa.judge(after, opinion=opinion)["judge"]
    assert against["against"] == "the references"
    assert not any("What is known to be right" in question for question in bench.asked[10:])
