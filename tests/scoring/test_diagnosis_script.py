"""eval/diagnosis.py from a made run, or from answers in a file, to metrics.json, metrics.csv and report.html."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tests.scoring.conftest import ROOT
from tests.scoring.judges import MadeJudge, serve
from tests.scoring.test_diagnosis import NAMES, diagnosis_card, make_notes, say
from tests.scoring.test_report import Balanced
from vitalfactory.endpoint.verdicts import Judge
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl, sha256, write_json, write_jsonl
from vitalfactory.notes.note import Note, note_key
from vitalfactory.predictions import dataset_manifest, open_run, predictions_file
from vitalfactory.scoring.taken import disagreement

ROWS = make_notes("test", 40)
NOTHING = "I am not sure <b>&."


@pytest.fixture
def diagnosis(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("diagnosis")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data" / "made")


def make_data(folder: Path, **changes: Any) -> Path:
    splits = {}
    for split in ("train", "val", "test"):
        rows = make_notes(split, 40)
        write_jsonl(folder / f"{split}.jsonl", rows)
        counts = {name: sum(name in row["labels"] for row in rows) for name in NAMES}
        splits[split] = {"rows": 40, "groups": 20, "labels": counts, "sha256": ""}
    write_json(folder / "card.json", diagnosis_card(splits=splits, **changes).model_dump())
    return folder


def make_texts() -> list[str]:
    """Answer rightly, with a name that is not gold's, or not readably, in turn."""
    wrong = json.dumps({"diseases": ["podagra"], "reason": "a swollen great toe, chills"})
    return [(row["output"], wrong, NOTHING)[place % 3] for place, row in enumerate(ROWS)]


def make_run(folder: Path, data: Path, answered: str = "generations") -> Path:
    manifest = {"model": "tiny <model>", "method": "language model", "recipe": None, "adapter": None}
    open_run(folder, manifest | dataset_manifest(data, diagnosis_card()), {answered: {}}, data / "card.json")
    texts = make_texts()
    rows = [
        say(row, text if answered == "generations" else None, ["gout"]) for row, text in zip(ROWS, texts, strict=True)
    ]
    path = predictions_file(folder, "test", answered)
    path.write_text("".join(row.line() for row in rows), encoding="utf-8")
    return folder


def test_a_run_is_judged(diagnosis: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "results" / "one", data)
    diagnosis.main([str(folder), "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    metrics = read_json(folder / "metrics.json")
    assert json.loads(last) == metrics
    assert (metrics["run"], metrics["answered"], metrics["rows"], metrics["groups"]) == ("one", "generations", 30, 20)
    assert metrics["read"] == {"valid": 20, "repaired": 0, "unreadable": 10}
    assert metrics["figures"]["set_match"]["value"] == pytest.approx(1 / 3)
    assert metrics["apart"]["all notes"]["rows"] == 40
    assert metrics["majority"]["label"] in NAMES
    assert metrics["manifest"] == read_json(folder / "run.json")
    assert (metrics["notes"], metrics["judge"], metrics["synonyms"]) == ([], None, None)
    assert any(line.startswith("  Micro F1 over diseases  ") for line in table)
    assert "do not state their diagnosis (10 others stand apart)" in table[0]
    assert table[-2].strip() == "synthetic notes: these figures say nothing about patients"
    with (tmp_path / "results" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert float(line["micro_f1_low"]) <= float(line["micro_f1"]) <= float(line["micro_f1_high"])


def test_the_page_stands_alone(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data)
    diagnosis.judge(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen.isdisjoint({"script", "link", "img"})
    for part in (
        "tiny &lt;model&gt;",
        "Synthetic notes: these figures say nothing about patients",
        "10 could not be read",
        "Notes that state their diagnosis",
        "I am not sure &lt;b&gt;&amp;.",
        "no diagnosis could be read",
        "Not a medical device",
    ):
        assert part in page
    diagnosis.judge(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_a_baseline_without_texts_is_judged(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    metrics = diagnosis.judge(make_run(tmp_path / "run", data, "predictions"))
    assert metrics["answered"] == "predictions"
    assert metrics["figures"]["json_valid"]["value"] is metrics["figures"]["rouge_1"]["value"] is None
    assert metrics["figures"]["micro_f1"]["value"] > 0


def test_synonyms_make_names_alike(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data)
    before = diagnosis.judge(folder)["figures"]["micro_f1"]["value"]
    table = tmp_path / "synonyms.csv"
    table.write_text("gout,podagra,gouty arthritis\n", encoding="utf-8")
    metrics = diagnosis.judge(folder, synonyms=table)
    assert metrics["figures"]["micro_f1"]["value"] > before
    assert metrics["synonyms"] == {"file": "synonyms.csv", "sha256": sha256(table)}


def test_labels_of_a_teacher_are_named_as_such(
    diagnosis: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", make_data(tmp_path / "made", model_written="big-teacher"))
    diagnosis.main([str(folder)])
    said = "the gold labels were written by big-teacher: the figures say how far a run agrees with that model"
    assert said in capsys.readouterr().out
    assert said in (folder / "report.html").read_text(encoding="utf-8")


def answers_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell the gold answers in the form of the first project, ids as the source has them."""
    told = [json.loads(row["output"]) for row in rows]
    return [
        {"id": row["id"], "diseases": ", ".join(answer["diseases"]), "reason": answer["reason"]}
        for row, answer in zip(rows, told, strict=True)
    ]


def test_answers_in_the_first_projects_form(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    answers = answers_of(ROWS)
    answers[0] |= {"diseases": "", "reason": "the raw text of an answer that could not be read"}
    answers[1] |= {"diseases": None, "reason": "\ud800", "calls": 3}
    told = [*reversed(answers), {"id": "another", "diseases": "gout"}, answers[5]]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, told)), encoding="utf-8")
    folder = tmp_path / "mine"
    diagnosis.main([str(folder), "--data", str(data), "--answers", str(tmp_path / "answers.jsonl")])
    metrics = read_json(folder / "metrics.json")
    assert metrics["figures"]["parse_rate"]["value"] == metrics["figures"]["set_match"]["value"] == 28 / 30
    assert metrics["figures"]["json_valid"]["value"] is None
    assert metrics["figures"]["micro_precision"]["value"] == 1
    assert metrics["manifest"]["decoding"]["generations"]["fields"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3:], r"3 of 40 notes of .*test.jsonl have no answer, first 'test000'"),
        (lambda rows: [*rows, {**rows[7], "reason": "?"}], r"answers.jsonl:41: id 'test007' is answered twice"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    message: str,
    diagnosis: ModuleType,
    data: Path,
    tmp_path: Path,
) -> None:
    write_jsonl(tmp_path / "answers.jsonl", change(answers_of(ROWS)))
    with pytest.raises(VitalFactoryError, match=message):
        diagnosis.main([str(tmp_path / "x"), "--data", str(data), "--answers", str(tmp_path / "answers.jsonl")])
    assert not (tmp_path / "x").exists()


def test_a_repeated_id_is_told_apart_by_its_note(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    rows = [{**row, "id": f"7-{note_key(Note('7', row['input']))}", "group": "7"} for row in ROWS]
    write_jsonl(data / "test.jsonl", rows)
    answers = [
        {**answer, "id": 7, "feature_content": row["input"]} for row, answer in zip(rows, answers_of(ROWS), strict=True)
    ]
    write_jsonl(tmp_path / "answers.jsonl", answers)
    found = list(diagnosis.from_fields(tmp_path / "answers.jsonl", data, "test"))
    assert [row["id"] for row, _ in found] == [row["id"] for row in rows]
    assert all(json.loads(text)["reason"] == json.loads(row["output"])["reason"] for row, text in found)


def generated() -> list[dict[str, str]]:
    return [
        {"prompt": f"user\n{row['instruction']}\n{row['input']}\n", "predict": text, "label": row["output"]}
        for row, text in zip(ROWS, make_texts(), strict=True)
    ]


def test_generated_predictions_become_a_run(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "generated_predictions.jsonl"
    write_jsonl(file, generated())
    diagnosis.main([str(tmp_path / "taken"), "--data", str(data), "--generated-predictions", str(file)])
    own = diagnosis.judge(make_run(tmp_path / "run", data))
    assert read_json(tmp_path / "taken" / "metrics.json")["figures"] == own["figures"]


def test_generated_predictions_of_other_rows_are_refused(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "generated_predictions.jsonl"
    write_jsonl(file, [*generated()[1:], generated()[0]])
    with pytest.raises(VitalFactoryError, match="jsonl:1: its label is not the row's output") as refused:
        diagnosis.main([str(tmp_path / "x"), "--data", str(data), "--generated-predictions", str(file)])
    assert "mmol" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--answers", "a.jsonl"], "--data DIR goes with --answers"),
        (["--data", "d"], "--data DIR goes with --answers"),
        (["--data", "d", "--answers", "a", "--generated-predictions", "b"], "not both"),
        (["--judge-url", "http://127.0.0.1"], "go together"),
        ([], r"holds no run \(run.json\)"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: list[str], message: str, diagnosis: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(diagnosis.main, [str(tmp_path), *arguments])
    error = capsys.readouterr().err
    assert (stopped.value.code, error.count("\n")) == (2, 1)
    with pytest.raises(VitalFactoryError, match=message):
        diagnosis.main([str(tmp_path), *arguments])


def test_runs_of_other_kinds_and_other_rows_are_refused(diagnosis: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data)
    path = folder / "generations.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-2]), encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=r"2 of 40 rows of the dataset are missing.*generate.py again"):
        diagnosis.judge(folder)
    rows = list(read_jsonl(path))
    write_jsonl(path, [{**row, "label": ["gout"]} for row in rows] + [json.loads(line) for line in lines[-2:]])
    with pytest.raises(VitalFactoryError, match=r"has the label \['gout'\]; the dataset has"):
        diagnosis.judge(folder)
    write_json(folder / "card.json", read_json(folder / "card.json") | {"kind": "qa"})
    with pytest.raises(VitalFactoryError, match="of the kind 'qa'; expected 'diagnosis'"):
        diagnosis.judge(folder)


class Bench(MadeJudge):
    """A judge that holds podagra for gout and rates alike."""

    broken = False

    def verdict(self, question: str) -> str:
        if self.broken and "podagra" in question:
            return "no verdict"
        if "Second:" in question:
            return f'Well, {{"same": {json.dumps("First: gout" in question)}}}'
        return '{"rating": 4}'


@pytest.fixture
def bench(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield from serve(Bench(), httpserver, monkeypatch)


def test_a_judge_is_asked_once(
    diagnosis: ModuleType,
    bench: Bench,
    httpserver: HTTPServer,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_run(tmp_path / "run", data)
    plain = diagnosis.judge(folder)
    arguments = [str(folder), "--judge-url", httpserver.url_for("/v1"), "--judge-model", "wise"]
    diagnosis.main(arguments)
    metrics = read_json(folder / "metrics.json")
    judged = metrics["judge"]
    assert metrics["figures"] == plain["figures"]
    assert (judged["model"], judged["pairs"], judged["same"], judged["failed"]) == ("wise", 3, 1, 0)
    assert judged["figures"]["micro_f1"]["value"] > plain["figures"]["micro_f1"]["value"]
    assert judged["figures"]["rating"]["value"] == pytest.approx((20 * 4 + 10 * 1) / 30)
    assert len(bench.asked) == len(set(bench.asked)) == judged["pairs"] + judged["reasons"]
    assert not any("Case" in question for question in bench.asked if "Second:" in question)
    assert "the opinion of wise, no ground truth" in capsys.readouterr().out
    assert "The opinion of wise" in (folder / "report.html").read_text(encoding="utf-8")
    diagnosis.main(arguments)
    assert len(bench.asked) == judged["pairs"] + judged["reasons"]
    assert read_json(folder / "metrics.json") == metrics


def test_a_judge_without_a_verdict_is_asked_again_next_time(
    diagnosis: ModuleType, bench: Bench, httpserver: HTTPServer, data: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", data)
    opinion = Judge(httpserver.url_for("/v1"), "wise")
    bench.broken = True
    first = diagnosis.judge(folder, opinion=opinion)["judge"]
    assert (first["same"], first["failed"] > 0) == (0, True)
    assert {row["failure"] for row in read_jsonl(folder / "judged.jsonl")} == {None, "wrong answer"}
    with (folder / "judged.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"key": "half a li')
    bench.broken = False
    second = diagnosis.judge(folder, opinion=opinion)["judge"]
    assert (second["same"], second["failed"]) == (1, 0)


def test_runs_are_compared(
    diagnosis: ModuleType, script: Callable[[str], ModuleType], data: Path, tmp_path: Path
) -> None:
    compare = script("compare")
    one = make_run(tmp_path / "one", data)
    other = make_run(tmp_path / "other", data, "predictions")
    metrics = {folder: diagnosis.judge(folder) for folder in (one, other)}
    compared = compare.compare([one, other])
    found = {row["figure"]: row["difference"] for row in compared["differences"]}
    assert set(found) == {"micro_f1", "macro_f1", "set_match"}
    for name, difference in found.items():
        ours, theirs = (metrics[folder]["figures"][name]["value"] for folder in (one, other))
        assert difference["value"] == pytest.approx(theirs - ours)
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert "Micro F1 over diseases" in compared["text"]
    (test,) = compared["mcnemar"]
    assert test["only_against"] - test["only_run"] == round(-30 * found["set_match"]["value"])
    table = tmp_path / "synonyms.csv"
    table.write_text("gout,podagra\n", encoding="utf-8")
    diagnosis.judge(other, synonyms=table)
    with pytest.raises(VitalFactoryError, match="judged with other synonyms"):
        compare.compare([one, other])


def test_help_imports_nothing_heavy() -> None:
    loaded = [sys.executable, "-X", "importtime", str(ROOT / "eval" / "diagnosis.py"), "--help"]
    imports = subprocess.run(loaded, check=True, capture_output=True, text=True).stderr
    assert "numpy" not in imports
    assert "pydantic" not in imports


def test_turns_of_a_conversation_are_joined_too() -> None:
    row = {"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "gout"}]}
    assert disagreement({"prompt": "x What  is it?", "predict": "", "label": "gout"}, row) is None
