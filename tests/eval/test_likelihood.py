"""Likelihoods with shared caches and padding are those of one candidate at a time."""

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_qwen2
from vitalfactory.scoring.likelihood import Question, pad, score, until_stop

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    folder: Path = make_qwen2(tmp_path_factory.mktemp("model"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def naive(model: Any, question: Question) -> list[float]:
    """One whole forward pass for every candidate, without a cache."""
    totals = []
    for answer in question.answers:
        ids = torch.tensor([question.prompt + answer])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].log_softmax(-1)
        places = range(len(question.prompt) - 1, ids.shape[1] - 1)
        totals.append(sum(logits[place, ids[0, place + 1]] for place in places))
    return [float(value) for value in torch.stack(totals).softmax(0)]


QUESTIONS = [
    Question("short", "a", [1, 50, 51, 60], [[7, 2], [8, 9, 2]]),
    Question("long", "a", [1, 50, 51, 60, 61, 62, 63, 64, 65], [[7, 2], [8, 9, 2]]),
    Question("same as short", "a", [1, 50, 51, 60], [[7, 2], [8, 9, 2]]),
    Question("alone", "b", [1, 90, 91], [[7, 2], [8, 9, 2], [10, 11, 12, 13, 2]]),
    Question("one token each", "c", [1, 90, 91, 92], [[7], [8]]),
    Question("nothing shared", "d", [5, 6], [[7, 2], [8, 2]]),
    Question("nothing shared either", "d", [30, 31, 32], [[7, 2], [8, 2]]),
]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_scores_equal_the_naive_computation(model: Any, batch_size: int) -> None:
    scored = dict(score(model, QUESTIONS, batch_size))
    assert set(scored) == {question.id for question in QUESTIONS}
    for question in QUESTIONS:
        assert scored[question.id] == pytest.approx(naive(model, question), abs=2e-5), question.id
        assert sum(scored[question.id]) == pytest.approx(1)


def test_no_questions_give_no_scores(model: Any) -> None:
    assert list(score(model, [], 4)) == []


@pytest.mark.parametrize(
    ("answer", "kept"),
    [([7, 2, 30], [7, 2]), ([7, 8], [7, 8]), ([2], [2]), ([7, 2, 2], [7, 2])],
)
def test_an_answer_ends_at_its_first_stop(answer: list[int], kept: list[int]) -> None:
    assert until_stop(answer, [2]) == kept


def test_padding_is_masked() -> None:
    ids, mask = pad([[5, 6], [7]], torch.device("cpu"), left=True)
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]
