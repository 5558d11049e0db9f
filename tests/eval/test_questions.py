"""Medical questions through a real tiny model: answers, likelihoods, yes or no, multiple choice, and the page."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from converters import medqa
from eval import generate, qa, score
from tests.eval.conftest import Workplace
from tests.eval.test_generate_endpoint import Served
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.models import retrieval
from vitalfactory.predictions import read_predictions
from vitalfactory.render import Renderer
from vitalfactory.scoring.model import add_arguments, load, read_job

FEW = ("--limit", "12", "--adapter", "none", "--dataset", "medqa")
SCORED = (*FEW, "--split", "test")
EXAM = [
    {"question": "Which lowers glucose?", "option": {"A": "insulin", "B": "iron"}, "answer": "A"},
    {"question": "Which are drugs?", "option": {"A": "insulin", "B": "iron", "C": "water"}, "answer": "AB"},
    {"question": "No options?"},
]


@pytest.fixture(scope="session")
def asked(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Make a dataset of questions for the same model."""
    root = tmp_path_factory.mktemp("asked")
    medqa.convert(synthetic=8, split="50/25/25", root=root, recipe=place.recipe, workers=1)
    return replace(place, root=root)


@pytest.fixture(scope="session")
def talks(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Make a dataset of conversations."""
    root = tmp_path_factory.mktemp("talks")
    rows = [
        {
            "instruction": f"<user>: Is drug {number} safe? <bot>: Yes. <user>: For children?",
            "output": f"From {number}.",
        }
        for number in range(12)
    ]
    write_jsonl(root / "talks.jsonl", rows)
    options: dict[str, Any] = {"root": root, "recipe": place.recipe, "workers": 1, "split": "50/25/25"}
    medqa.convert(input=[root / "talks.jsonl"], keep_near=True, **options)
    return replace(place, root=root)


@pytest.fixture(scope="session")
def said(asked: Workplace) -> Workplace:
    """Have the model answer and score the first rows, and questions of multiple choice."""
    write_json(asked.root / "exam.json", EXAM)
    generate.main(asked.arguments("run", *FEW, "--max-new-tokens", "4", "--beams", "3", "--batch-size", "5"))
    score.main(asked.arguments("run", *SCORED, "--choices", str(asked.root / "exam.json")))
    return asked


@pytest.fixture(scope="session")
def loaded(asked: Workplace) -> tuple[Any, Any, Renderer, list[dict[str, Any]]]:
    """Load the same model by hand: itself, its tokenizer, and the rows with what renders them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    job = read_job(parser.parse_args(asked.arguments("job", *FEW)))
    model, tokenizer = load(job)
    return model, tokenizer, Renderer(job.recipe, tokenizer, job.registry, "medqa_test"), job.rows("test", 12)


def test_a_run_from_dataset_to_page(said: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    retrieval.main(["--dataset", "medqa", "--root", str(said.root), "--out", str(said.root / "nearest")])
    qa.main([str(said.root / "nearest"), "--beside", str(said.root / "run")])
    metrics = qa.judge(said.root / "run")
    rows = list(read_jsonl(said.root / "data" / "medqa" / "test.jsonl"))[:12]
    yes_no = [row["id"] for row in rows if row["answer_kind"] == "yesno"]
    assert metrics["counts"] == {"free text": 12, "likelihoods": 12, "yes or no": len(yes_no)}
    assert all(metrics["figures"][name]["value"] is not None for name in ("entity_f1", "perplexity", "bleu", "cut"))
    assert metrics["choices"]["rows"] == 2
    assert metrics["choices"]["excluded"] == {"fewer than two options": 1}
    assert "likelihoods (test): the first 12 of" in " ".join(metrics["notes"])
    page = (said.root / "nearest" / "report.md").read_text(encoding="utf-8")
    texts = {row.id: row.text for row in read_predictions(said.root / "run" / "generations.jsonl")}
    assert "beam search with 3 beams, at most 4 new tokens" in page
    assert sum(f"\n- run: {(text or '').strip()[:2]}" in page for text in texts.values()) > 3
    decided = read_predictions(said.root / "run" / "predictions.jsonl")
    assert [row.id for row in decided] == yes_no
    assert all(row.probabilities and sum(row.probabilities.values()) == pytest.approx(1) for row in decided)
    assert {tuple(row.probabilities or ()) for row in decided} == {("Yes", "No")}


def test_nothing_is_scored_twice(
    said: Workplace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitalfactory.scoring import model

    monkeypatch.setattr(model, "load", lambda _: pytest.fail("the model is loaded for nothing"))
    score.main(said.arguments("run", *SCORED, "--choices", str(said.root / "exam.json")))
    assert capsys.readouterr().out.count(", 0 of ") == 3


def test_likelihoods_are_those_of_the_reference_alone(said: Workplace, loaded: tuple[Any, ...]) -> None:
    import torch

    model, tokenizer, renderer, rows = loaded
    found = {row.id: row for row in read_predictions(said.root / "run" / "likelihoods.jsonl")}
    assert list(found) == [row["id"] for row in rows]
    for row in rows:
        prompt, answer = renderer.render(row).prompt, tokenizer.encode(row["output"] + "<|im_end|>")
        ids = torch.tensor([prompt + answer])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].float().log_softmax(-1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        total = sum(float(logits[place, ids[0, place + 1]]) for place in places)
        assert (found[row["id"]].tokens, found[row["id"]].label) == (len(answer), row["output"])
        assert found[row["id"]].logprob == pytest.approx(total, rel=2e-2)


def test_beams_are_those_of_transformers(said: Workplace, loaded: tuple[Any, ...]) -> None:
    import torch

    model, tokenizer, renderer, rows = loaded
    how = read_json(said.root / "run" / "run.json")["decoding"]["generations"]
    assert how == {"do_sample": False, "max_new_tokens": 4, "num_beams": 3, "limit": 12}
    texts = {row.id: row.text for row in read_predictions(said.root / "run" / "generations.jsonl")}
    differ = 0
    for row in rows[:4]:
        ids = torch.tensor([renderer.render(row).prompt])
        more = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "eos_token_id": renderer.stop_ids}
        with torch.inference_mode():
            beams, greedy = (
                model.generate(input_ids=ids, do_sample=False, num_beams=count, **more)[0, ids.shape[1] :]
                for count in (3, 1)
            )
        assert texts[row["id"]] == tokenizer.decode(beams, skip_special_tokens=True)
        differ += beams.tolist() != greedy.tolist()
    assert differ


def test_a_question_of_a_users_own_is_answered(asked: Workplace, talks: Workplace, tmp_path: Path) -> None:
    source = tmp_path / "questions.jsonl"
    rows = [
        {"id": 1, "question": "What helps against a cough?"},
        {"id": "b", "instruction": "What is it?", "input": ""},
        {"id": 2, "question": " "},
    ]
    write_jsonl(source, rows)
    for workplace, second in ((asked, None), (talks, "no messages")):
        out = tmp_path / f"{workplace.root.name}.jsonl"
        arguments = workplace.arguments("", *FEW[2:], "--input", str(source), "--max-new-tokens", "3")
        generate.main([*arguments, "--out", str(out)])
        first, other, last = read_jsonl(out)
        assert set(first) == {"id", "answer"}
        assert (first["id"], bool(first["answer"])) == (1, True)
        assert other.get("failure") == second
        assert last == {"id": 2, "answer": None, "text": None, "failure": "no question"}


def test_an_endpoint_answers_questions(asked: Workplace, httpserver: HTTPServer) -> None:
    served = Served(httpserver, lambda text: f" You asked: {text} ")
    generate.main(asked.arguments("served", "--dataset", "medqa", "--limit", "5", "--base-url", served.url))
    rows = list(read_jsonl(asked.root / "data" / "medqa" / "test.jsonl"))[:5]
    said = read_predictions(asked.root / "served" / "generations.jsonl")
    assert [(row.id, row.label) for row in said] == [(row["id"], row["output"]) for row in rows]
    assert [row.parsed for row in said] == [f"You asked: {row['instruction']}" for row in rows]
    assert {body["max_tokens"] for body in served.asked} == {256}


def test_conversations_are_scored_by_their_last_answer(talks: Workplace) -> None:
    assert read_card(talks.root / "data" / "medqa").verdicts is None
    write_json(talks.root / "exam.json", EXAM)
    more = ("--split", "test", "--choices", str(talks.root / "exam.json"))
    score.main(talks.arguments("run", *FEW[2:], *more))
    generate.main(talks.arguments("run", *FEW[2:], "--max-new-tokens", "2"))
    metrics = qa.judge(talks.root / "run")
    assert metrics["counts"]["likelihoods"] == metrics["rows"] == 3
    assert metrics["choices"]["rows"] == 2
    assert "Is drug" in (talks.root / "run" / "report.md").read_text(encoding="utf-8")


def test_what_does_not_go_together_is_refused(place: Workplace, asked: Workplace, tmp_path: Path) -> None:
    for more, message in (
        (("--beams", "2", "--sample", "2"), "--beams does not go with --sample"),
        (("--beams", "2", "--base-url", "http://127.0.0.1:1"), "--beams does not go with --base-url"),
        (("--beams", "0"), "--beams 0: expected at least 1"),
    ):
        with pytest.raises(VitalFactoryError, match=message):
            generate.main(asked.arguments("never", *FEW[4:], *more))
    with pytest.raises(VitalFactoryError, match="--choices: is for medical questions"):
        score.main(place.arguments("never", "--adapter", "none", "--choices", str(tmp_path / "exam.json")))
    (tmp_path / "exam.json").write_text(json.dumps(EXAM[2:]), encoding="utf-8")
    with pytest.raises(VitalFactoryError, match="no question of multiple choice"):
        score.main(asked.arguments("never", *FEW, "--choices", str(tmp_path / "exam.json")))
    assert not (asked.root / "never").exists()
