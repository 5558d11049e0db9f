"""The plan of medical questions asks for what the scripts have, and its section tells what was measured."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import medqa
from benchmarks.medqa import RUNS, WHOLE, plan
from tests.knowledge.test_sources import REAL, real
from tests.scoring.questions import make_data, make_run
from tests.scoring.test_qa_script import rightly, wrongly
from tests.test_docs import help_of
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, write_jsonl
from vitalfactory.scoring.qa import HONEST, NO_DOCTOR
from vitalfactory.scoring.qa_safety import PROMPTS


def test_every_command_of_the_plan_exists() -> None:
    scripts: dict[str, set[str]] = {}
    for step in plan("results/medqa", Path("source"), WHOLE):
        words = list(step.command)
        if words[0] == "llamafactory-cli":
            assert (ROOT / words[2]).is_file()
            assert all(re.fullmatch(r"\w+=\S+", word) for word in words[3:])
        else:
            script = " ".join(words[: 3 if words[1] == "-m" else 2])
            scripts.setdefault(script, set()).update(word for word in words if word.startswith("--"))
    for script, flags in scripts.items():
        text = help_of(script.split())
        assert not {flag for flag in flags if flag not in text}, script


def test_each_run_is_judged_after_it_was_answered() -> None:
    lines = [step.line() for step in plan("results/medqa", Path("source"), WHOLE)]
    assert len(set(lines)) == len(lines)
    for name in (*RUNS, "unseen", "zh_before", "zh_after"):
        made = [place for place, line in enumerate(lines) if f"--out results/medqa/runs/{name}" in line]
        judged = lines.index(
            next(line for line in lines if line.startswith(f"python eval/qa.py results/medqa/runs/{name}"))
        )
        assert made
        assert max(made) < judged


def test_the_section_tells_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval import qa

    data = make_data(tmp_path / "data" / "medqa")
    make_data(tmp_path / "data" / "medqa_zh")
    answers = tmp_path / "safety.jsonl"
    write_jsonl(answers, [{"id": prompt.id, "answer": "Call 911."} for prompt in PROMPTS])
    runs = {name: wrongly if "before" in name else rightly for name in (*RUNS, "unseen", "zh_before", "zh_after")}
    for name, say in runs.items():
        qa.judge(
            make_run(tmp_path / "runs" / name, data, say, logprob=-2.0), safety=answers if name == "after" else None
        )
    monkeypatch.setattr(medqa, "FOLDER", tmp_path)
    monkeypatch.setattr(medqa, "counts", lambda _: ["| File |"])
    monkeypatch.setattr(medqa, "truncated", lambda *_: "counted")
    costs: dict[str, Any] = {"llamafactory-cli train x": medqa.Cost(60, 120), "python y": medqa.Cost(1, 1)}
    section = medqa._section(costs, tmp_path, None)
    for part in (
        "Entity F1",
        "| before |",
        "| after |",
        "Perplexity of the reference 1.649",
        "Fine-tuning took 2",
        "met",
    ):
        assert part in section, part
    assert HONEST in section
    assert NO_DOCTOR in section
    assert str(tmp_path) not in section
    assert read_card(data).source.name in section


@real
@pytest.mark.slow
def test_rows_that_the_first_project_cut() -> None:
    told = medqa.truncated(REAL, None)
    assert "of 8658 rows of llama_data.json" in told
    few, many = sorted(int(found) for found in re.findall(r"(\d+) with", told))
    assert 0 < few < many < 8658


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"llama_data.json: no such file; give --input"):
        medqa.main(["--input", str(tmp_path)])
