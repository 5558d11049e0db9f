"""A card whose memory is full in the middle of a run: one line of advice, and what was answered stays."""

from typing import Any

import pytest

from eval import generate, score
from tests.eval.conftest import Workplace
from vitalfactory import errors
from vitalfactory.files import read_jsonl
from vitalfactory.predictions import read_predictions
from vitalfactory.scoring import model as scoring

SCRIPTS = {"predictions": score, "generations": generate}


@pytest.mark.parametrize("answered", SCRIPTS)
def test_rows_so_far_are_kept_and_the_same_command_goes_on(
    place: Workplace, answered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    script, load = SCRIPTS[answered], scoring.load
    argv = place.arguments(f"memory_{answered}", "--split", "test", "--batch-size", "1")
    argv += ["--max-new-tokens", "2"] if script is generate else []
    path = place.root / f"memory_{answered}" / f"{answered}.jsonl"
    rows = [row["id"] for row in read_jsonl(place.root / "data" / "ecg" / "test.jsonl")]
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def load_small(job: Any) -> tuple[Any, Any]:
        model, tokenizer = load(job)
        model.register_forward_pre_hook(fail)
        return model, tokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "load", load_small)
        with pytest.raises(SystemExit) as stop:
            errors.run(script.main, argv)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "the card has too little memory (CUDA out of memory)" in lines[0]
    assert "smaller --batch-size" in lines[0]
    first = [answer.id for answer in read_predictions(path)]
    assert 0 < len(first) < len(rows)

    written: list[str] = []
    rendered = scoring.question_of
    monkeypatch.setattr(scoring, "question_of", lambda *given: written.append(given[1]["id"]) or rendered(*given))
    before = {answer.id: answer for answer in read_predictions(path)}
    errors.run(script.main, argv)
    after = read_predictions(path)
    assert [answer.id for answer in after] == rows
    assert {answer.id: answer for answer in after if answer.id in before} == before
    assert script is generate or written == [row for row in rows if row not in before]
    assert f"{len(rows) - len(before)} of {len(rows)} rows answered now" in capsys.readouterr().out
