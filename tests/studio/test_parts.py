"""Commands are built from what is allowed alone; verdicts, losses and runs are shown; errors are said on the page."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import write_json, write_jsonl
from vitalfactory.studio import build, parts, results, train
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.jobs import Outcome, Progress
from vitalfactory.studio.prompts import Prompts
from vitalfactory.studio.state import Studio
from vitalfactory.studio.words import CHINESE, ENGLISH, Refusal

WISH: dict[str, Any] = {
    "task": "ecg",
    "source": "ecg",
    "labels": None,
    "made": 0,
    "form": "rhythm",
    "language": "en",
    "recipe": "ecg_qwen7b_lora.yaml",
    "name": "ecg",
    "limit": 0,
    "replace": False,
}


@pytest.fixture
def own(sources: Path, tmp_path: Path) -> Studio:
    """Make a studio whose root is empty."""
    return Studio(tmp_path, Folders.of([sources]), tmp_path, Prompts())


@pytest.mark.parametrize(
    ("wish", "source"),
    [
        ({}, ["--input", "{sources}/ecg", "--representation", "rhythm"]),
        ({"form": "picture"}, ["--input", "{sources}/ecg", "--representation", "picture"]),
        ({"made": 40}, ["--synthetic", "40", "--representation", "rhythm"]),
        ({"task": "clinical", "form": "notes", "source": "clinical/notes.jsonl"}, ["--labels", "{notes}"]),
        (
            {"task": "clinical", "form": "notes", "source": "clinical/notes.jsonl", "labels": "clinical/notes.jsonl"},
            ["--input", "{notes}", "--labels", "{notes}"],
        ),
        ({"task": "medqa", "form": "graph", "source": "medqa"}, ["--graph", "{sources}/medqa"]),
    ],
)
def test_a_command_names_its_source(own: Studio, sources: Path, wish: dict[str, Any], source: list[str]) -> None:
    written = build.command_of(build.Wish(**{**WISH, **wish}), own)
    notes = sources / "clinical" / "notes.jsonl"
    expected = [word.format(sources=sources, notes=notes) for word in source]
    assert written[: 2 + len(expected)] == ["python", f"converters/{wish.get('task', 'ecg')}.py", *expected]
    assert written[-2:] == ["--name", "ecg"]
    assert "train_configs/ecg_qwen7b_lora.yaml" in written


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"source": None}, "no source is chosen"),
        ({"source": "/etc"}, "not in"),
        ({"source": "../../etc"}, "without"),
        ({"task": "ekg"}, "not one of ecg"),
        ({"task": "../ecg"}, "not one of ecg"),
        ({"form": "emotion"}, "not one of rhythm"),
        ({"form": "rhythm --root /"}, "not one of rhythm"),
        ({"language": "fr"}, "not one of en, zh"),
        ({"recipe": "../../etc/passwd"}, "none of that name"),
        ({"recipe": None}, "none of that name"),
        ({"name": ""}, "the dataset's name"),
        ({"name": "../ecg"}, "the dataset's name"),
        ({"name": "--debug"}, "the dataset's name"),
        ({"name": "ecg studio"}, "the dataset's name"),
        ({"made": -3}, "expected a whole number"),
        ({"made": 2.5}, "expected a whole number"),
        ({"limit": -1}, "expected a whole number"),
    ],
)
def test_what_is_not_offered_is_refused(own: Studio, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        build.command_of(build.Wish(**{**WISH, **wish}), own)


def ended(text: str = "", code: int = 0, error: str | None = None, *, cancelled: bool = False) -> Outcome:
    return Outcome(code, text, error, cancelled)


def test_counts_are_shown_with_what_was_left_out() -> None:
    split = {"rows": 30, "groups": 28, "labels": {"AF": 9, "no AF": 21}, "sha256": ""}
    tokens = {"longest": 127, "cutoff": 512, "tokenizer": "SmolLM2"}
    summary = {"dataset": "ecg", "splits": {"train": split}, "excluded": {"noisy (~)": 4}, "seconds": 1.5}
    html = build.result(ended(json.dumps({**summary, "tokens": tokens})), ENGLISH)
    for told in ("<td>30</td>", "AF 9, no AF 21", "noisy (~)", "<td>4</td>", "127 of 512 tokens (SmolLM2)"):
        assert told in html
    assert "没有未采用" in build.result(ended(json.dumps({**summary, "excluded": {}, "tokens": tokens})), CHINESE)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (ended(code=2, error="<b>: no such folder"), "&lt;b&gt;: no such folder"),
        (ended(code=-9), "exit code -9"),
        (ended(code=1), "exit code 1"),
        (ended("no JSON"), "exit code 0"),
        (ended(code=130, cancelled=True), "Nothing half-written"),
    ],
)
def test_an_end_without_counts_is_said(outcome: Outcome, told: str) -> None:
    assert told in build.result(outcome, ENGLISH)
    assert told in train.verdict(outcome, ENGLISH)


def test_a_verdict_names_problems_counts_and_costs() -> None:
    cost = {
        "rows_a_step": 16,
        "steps_an_epoch": 20,
        "tokens_an_epoch": 3872,
        "gibibytes": {"weights": 4.0, "rest": 2.5},
    }
    tokens = {"median": 120, "p95": 125, "longest": 127, "cutoff": 512, "stand_in": True}
    one = {"dataset": "ecg", "problems": ["cutoff_len < 600"], "rows": {"train": 32}, "tokens": tokens, "cost": cost}
    other = {"dataset": "eeg", "problems": [], "rows": {}, "tokens": None, "cost": None}
    html = train.verdict(ended(json.dumps({"ok": False, "checked": [one, other]}), 2), ENGLISH)
    for told in ("ecg: cutoff_len &lt; 600", "eeg: nothing is wrong", "<td>32</td>", "median 120", "3,872", "6.5"):
        assert told in html


def log(folder: Path, *rows: dict[str, Any], tail: str = "") -> None:
    write_jsonl(folder / "trainer_log.jsonl", rows)
    with (folder / "trainer_log.jsonl").open("a") as stream:
        stream.write(tail)


def test_a_loss_is_drawn_while_its_log_is_being_written(own: Studio, tmp_path: Path) -> None:
    step = {"total_steps": 40, "percentage": 25.0, "elapsed_time": "0:01:00", "remaining_time": "0:03:00"}
    rows = [{"current_steps": place, "loss": 2.0 / place, **step} for place in (5, 10)]
    log(tmp_path / "saves" / "ecg", *rows, {"current_steps": 10, "eval_loss": 0.3, **step}, tail='{"current_st')
    assert train.runs(own) == ["ecg"]
    html = train.loss_html(train.log_of(own, "ecg"), ENGLISH)
    assert "Step 10 of 40 (25 %), loss 0.2000; 0:01:00 so far, 0:03:00 to go." in html
    assert "data:image/png" in html


def test_a_log_without_a_loss_and_one_that_is_not_there(own: Studio, tmp_path: Path) -> None:
    assert train.runs(own) == []
    log(tmp_path / "saves" / "ecg", {"current_steps": 1, "total_steps": 4})
    assert "no loss yet" in train.loss_html(train.log_of(own, "ecg"), ENGLISH)
    for name in ("../ecg", "eeg", None):
        with pytest.raises(Refusal, match="none of that name"):
            train.log_of(own, name)
    (tmp_path / "saves" / "ecg" / "trainer_log.jsonl").write_text("no log\n")
    with pytest.raises(VitalFactoryError, match="not valid JSON"):
        train.log_of(own, "ecg")


def run(folder: Path, **changes: Any) -> None:
    figures = {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95}, "f1": {"value": None, "low": None, "high": None}}
    manifest = {"model": "checkpoints/<SmolLM2>", "dataset": "ecg", "synthetic": True}
    known = {"run": folder.name, "split": "test", "rows": 40, "figures": figures, "manifest": manifest}
    write_json(folder / "metrics.json", {**known, **changes})


def test_runs_are_listed_at_any_depth_and_broken_ones_are_said(own: Studio, tmp_path: Path) -> None:
    run(tmp_path / "results" / "ecg")
    run(tmp_path / "results" / "study" / "runs" / "cnn", figures=[])
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "metrics.json").write_text("{")
    write_json(tmp_path / "results" / "old" / "metrics.json", {"run": "old"})
    known = results.runs(own)
    assert list(known) == ["broken", "ecg", "old", "study/runs/cnn"]
    line = results.line_of("ecg", known["ecg"], ENGLISH)
    assert line == ["ecg", "<SmolLM2>", "ecg (synthetic)", "test, 40", "AUROC 0.900 [0.800, 0.950]; F1 -"]
    for name in ("broken", "old", "study/runs/cnn"):
        assert results.line_of(name, known[name], ENGLISH)[-1] == "its metrics.json cannot be read"


def test_a_report_is_that_of_a_run_and_nothing_else(own: Studio, tmp_path: Path) -> None:
    run(tmp_path / "results" / "a b")
    run(tmp_path / "results" / "linked")
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "results" / "linked" / "report.html").symlink_to(tmp_path / "secret.html")
    (tmp_path / "results" / "a b" / "report.html").write_text("<p>report</p>")
    assert results.report_of(own, "a b") == tmp_path / "results" / "a b" / "report.html"
    for name in ("linked", "..", "../results/a b", "a b/", "nothing", ""):
        assert results.report_of(own, name) is None
    html = results.frame(own, "a b", ENGLISH)
    assert 'src="/reports/a%20b" sandbox=""' in html
    assert "has no report.html" in results.frame(own, "linked", ENGLISH)


@pytest.mark.parametrize(
    ("error", "english"),
    [
        (Refusal("no_source"), "no source is chosen"),
        (VitalFactoryError("two\nlines <b>"), "two lines &lt;b&gt;"),
        (UnusableRecord("too short", "2 s"), "too short: 2 s"),
        (FileNotFoundError(2, "No such file", "/x"), "/x: No such file"),
        (KeyError("the text of a patient"), "not foreseen (KeyError)"),
    ],
)
def test_an_error_is_said_on_the_page(error: Exception, english: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = object()

    def fail() -> None:
        raise error

    def fail_later() -> Any:
        yield {status: "first"}
        raise error

    (said,) = parts.guarded(status, ENGLISH)(fail)().values()
    assert english in said
    steps = list(parts.guarded(status, ENGLISH)(fail_later)())
    assert steps == [{status: "first"}, {status: said}]
    assert "patient" not in said
    assert capfd.readouterr() == ("", "")
    assert "未能完成" in next(iter(parts.guarded(status, CHINESE)(fail)().values()))


def test_a_bar_says_what_is_done() -> None:
    html = parts.bar(Progress(12.4, "reading <ecg>", 0.5, "20/40"), ENGLISH)
    assert "reading &lt;ecg&gt; 20/40 · 12 s" in html
    assert 'value="0.50"' in html
    assert "value" not in parts.bar(Progress(1.0), CHINESE)


def test_what_is_dropped_goes_with_its_page(own: Studio, tmp_path: Path) -> None:
    files = [tmp_path / name / "a.mat" for name in ("one", "two")]
    outside = tmp_path.parent / "kept" / "b.mat"
    for file in (*files, outside):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    own.keep("first", [str(files[0]), str(outside)])
    own.keep("second", [str(files[1])])
    own.leave("first")
    assert [file.exists() for file in (*files, outside)] == [False, True, True]
    own.leave("second")
    assert not files[1].exists()


def test_an_upload_that_no_page_has_claimed_is_deleted(own: Studio, tmp_path: Path) -> None:
    files = [tmp_path / "uploads" / name / "a.mat" for name in ("claimed", "old", "new")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    for file in files[:2]:
        os.utime(file, (1.0, 1.0))
    own.keep("first", [str(files[0])])
    own.sweep()
    assert [file.exists() for file in files] == [True, False, True]


def test_two_runs_stand_side_by_side() -> None:
    one, other = {"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.9, "low": 0.8, "high": 0.95}
    runs = [
        {"run": "rule", "figures": {"auroc": one, "kappa": one}},
        {"run": "<b>", "figures": {"auroc": other, "kappa": other}},
    ]
    apart = {"figure": "auroc", "difference": {"value": 0.4, "low": 0.2, "high": 0.5}, "excludes_0": True}
    test = {"only_run": 7, "only_against": 2, "p": 0.18}
    html = results.compared_html({"runs": runs, "differences": [apart], "mcnemar": [test]}, "Synthetic data", ENGLISH)
    auroc = ["AUROC", "0.500 [0.400, 0.600]", "0.900 [0.800, 0.950]", "+0.400 [+0.200, +0.500] *"]
    assert "".join(f"<td>{cell}</td>" for cell in auroc) in html
    assert "<td>2</td><td>7</td><td>McNemar p = 0.180</td>" in html
    assert "0.950]</td><td>-</td>" in html
    assert '<th scope="col">&lt;b&gt;</th>' in html
    assert "Synthetic data" in html
