"""A plan of commands goes on where it stopped, starts anew when it changes, and names the log of a failure."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import steps as steps_module
from benchmarks.ecg import RUNS, plan
from benchmarks.publish import publish, published
from benchmarks.steps import Step, run_steps
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json


def appends(file: Path, text: str) -> Step:
    code = f"open({str(file)!r}, 'a').write({text!r}); print('said ' + {text!r})"
    return Step(f"write {text}", ("python", "-c", code), shows=True)


def test_steps_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out"
    steps = [appends(file, "a"), appends(file, "b")]
    first = run_steps(steps, tmp_path / "plan")
    assert list(first) == [step.line() for step in steps]
    assert run_steps(steps, tmp_path / "plan") == first
    assert file.read_text() == "ab"
    shown = capsys.readouterr().out
    assert shown.count("said a") == 2
    assert shown.count("done before") == 2


def test_a_failed_step_is_named_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out"
    fails = Step(
        "fail", ("python", "-c", f"import sys; sys.exit(0 if open({str(file)!r}).read() == 'ax' else 'not yet')")
    )
    steps = [appends(file, "a"), fails]
    with pytest.raises(VitalFactoryError, match=r"fail: exit code 1; .*02\.log"):
        run_steps(steps, tmp_path / "plan")
    assert "not yet" in capsys.readouterr().err
    file.write_text("ax")
    run_steps(steps, tmp_path / "plan")
    assert file.read_text() == "ax"


@pytest.mark.parametrize("how", ["fails", "is killed"])
def test_a_step_s_cost_is_that_of_all_attempts(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plan that is killed, no more is forgotten than what lies between two notes."""
    monkeypatch.setattr(steps_module, "NOTE_SECONDS", 0.1)
    flag = tmp_path / "flag"
    end = "sys.exit(1)" if how == "fails" else "time.sleep(600)"
    code = (
        "import os, sys, time\nwhile time.process_time() < 1: pass\n"
        f"if not os.path.exists({str(flag)!r}):\n    open({str(flag)!r}, 'w').close()\n    {end}"
    )
    steps = [Step("work for a second", ("python", "-c", code))]
    if how == "fails":
        with pytest.raises(VitalFactoryError):
            run_steps(steps, tmp_path / "plan")
    else:
        run = "\n".join(
            [
                "from benchmarks import steps",
                "steps.NOTE_SECONDS = 0.1",
                f"work = steps.Step('work', ('python', '-c', {code!r}))",
                f"steps.run_steps([work], steps.Path({str(tmp_path / 'plan')!r}))",
            ]
        )
        with subprocess.Popen([sys.executable, "-c", run], cwd=ROOT, start_new_session=True) as process:
            while not flag.exists():
                time.sleep(0.05)
            time.sleep(1.5)
            os.killpg(process.pid, signal.SIGKILL)
    first = read_json(tmp_path / "plan" / "plan.json")["attempts"][steps[0].line()]
    (cost,) = run_steps(steps, tmp_path / "plan").values()
    assert first["core_seconds"] > 0.8
    assert cost.core_seconds > first["core_seconds"] + 0.8
    assert cost.seconds > first["seconds"] + 0.8
    assert read_json(tmp_path / "plan" / "plan.json")["attempts"] == {}


def test_another_plan_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "out"
    run_steps([appends(file, "a")], tmp_path / "plan")
    (tmp_path / "plan" / "left over").touch()
    run_steps([appends(file, "b")], tmp_path / "plan")
    assert not (tmp_path / "plan" / "left over").exists()
    run_steps([appends(file, "b")], tmp_path / "plan", fresh=True)
    assert file.read_text() == "abb"


def test_another_recipe_starts_anew(tmp_path: Path) -> None:
    file, recipe = tmp_path / "out", tmp_path / "recipe.yaml"
    recipe.write_text("a: 1")
    code = f"import sys; open({str(file)!r}, 'a').write(open(sys.argv[1]).read())"
    steps = [Step("read the recipe", ("python", "-c", code, str(recipe)))]
    run_steps(steps, tmp_path / "plan")
    run_steps(steps, tmp_path / "plan")
    recipe.write_text("# what it is for\na: 1  # as before")
    run_steps(steps, tmp_path / "plan")
    recipe.write_text("a: 2")
    run_steps(steps, tmp_path / "plan")
    assert file.read_text() == "a: 1a: 2"


def test_the_ecg_plan_keeps_to_its_folder(tmp_path: Path) -> None:
    steps = plan(tmp_path, ["--synthetic", "10"])
    lines = [step.line() for step in steps]
    assert len(set(lines)) == len(lines)
    written = [line for line in lines if "models.embedded" not in line]
    assert all(str(tmp_path) in line for line in written)
    assert sum("eval/classify.py" in line for line in lines) == len(RUNS)


def test_figures_are_published_between_their_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    text = "above\n<!-- figures of x -->\nold\n<!-- end of x -->\nbelow\n"
    document.write_text(text, encoding="utf-8")
    publish(document, "x", "| new |")
    assert published(document, "x") == "| new |"
    publish(document, "x", "| newer |")
    content = document.read_text(encoding="utf-8")
    assert content.startswith("above\n")
    assert content.endswith("below\n")
    assert "new |" not in content
    with pytest.raises(VitalFactoryError, match="figures of y"):
        publish(document, "y", "")
