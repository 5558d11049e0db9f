"""eval/generate.py --sample: several answers a row, each drawn from a seed of its own; answers that were cut off."""

import argparse
import math
from collections import Counter

import pytest

from eval import generate
from tests.eval.conftest import Workplace
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import read_predictions
from vitalfactory.render import Renderer
from vitalfactory.scoring import generation
from vitalfactory.scoring.model import add_arguments, load, read_job

SAMPLE = ("--adapter", "none", "--limit", "3", "--max-new-tokens", "4", "--sample", "3", "--temperature", "0.9")


def test_samples_have_ids_of_their_own_and_leave_greedy_answers_alone(place: Workplace) -> None:
    greedy = ("--adapter", "none", "--limit", "3", "--max-new-tokens", "4")
    generate.main(place.arguments("sampled", *greedy))
    before = (place.root / "sampled" / "generations.jsonl").read_bytes()
    generate.main(place.arguments("sampled", *SAMPLE))
    rows = list(read_jsonl(place.root / "data" / "ecg" / "test.jsonl"))[:3]
    samples = read_predictions(place.root / "sampled" / "samples.jsonl")
    assert [sample.id for sample in samples] == [f"{row['id']}#{number}" for row in rows for number in (1, 2, 3)]
    assert [sample.label for sample in samples] == [row["label"] for row in rows for _ in range(3)]
    assert len({sample.text for sample in samples}) > 1
    assert (place.root / "sampled" / "generations.jsonl").read_bytes() == before
    decoding = read_json(place.root / "sampled" / "run.json")["decoding"]
    how = {"do_sample": True, "count": 3, "temperature": 0.9, "seed": 2026, "max_new_tokens": 4, "limit": 3}
    assert decoding["samples"] == how
    assert decoding["generations"]["do_sample"] is False


def test_neither_batch_nor_interruption_changes_what_is_drawn(place: Workplace) -> None:
    texts = {}
    for name, size in (("drawn1", "1"), ("drawn9", "9")):
        generate.main(place.arguments(name, *SAMPLE, "--batch-size", size))
        texts[name] = [sample.text for sample in read_predictions(place.root / name / "samples.jsonl")]
    assert texts["drawn1"] == texts["drawn9"]
    path = place.root / "drawn9" / "samples.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]) + b'{"id"')
    generate.main(place.arguments("drawn9", *SAMPLE, "--batch-size", "2"))
    assert path.read_bytes() == whole
    generate.main(place.arguments("drawn2027", *SAMPLE, "--seed", "2027"))
    assert path.read_bytes() != (place.root / "drawn2027" / "samples.jsonl").read_bytes()
    with pytest.raises(VitalFactoryError, match="its samples were made with other settings"):
        generate.main(place.arguments("drawn9", *SAMPLE, "--seed", "2027"))


def test_draws_follow_the_models_distribution() -> None:
    import torch

    scores = torch.tensor([2.0, 1.0, 0.0, -30.0])
    draws = [generation._Draws(generation.Sampling(1, 0.5, 2026), f"row{number}") for number in range(4000)]
    counts = Counter(int(draw(scores).argmax()) for draw in draws)
    wanted = (scores / 0.5).softmax(0).tolist()
    for token, share in enumerate(wanted):
        spread = 5 * math.sqrt(share * (1 - share) / len(draws)) + 1e-9
        assert counts[token] / len(draws) == pytest.approx(share, abs=spread)


def test_a_low_temperature_is_greedy(place: Workplace) -> None:
    cold = ("--adapter", "none", "--limit", "3", "--max-new-tokens", "4")
    generate.main(place.arguments("cold", *cold))
    generate.main(place.arguments("cold", *cold, "--sample", "1", "--temperature", "0.0001"))
    greedy, sampled = (read_predictions(place.root / "cold" / f"{name}.jsonl") for name in ("generations", "samples"))
    assert [row.text for row in sampled] == [row.text for row in greedy]


@pytest.mark.parametrize(
    ("more", "message"),
    [(("--sample", "0"), "at least 1 answer a row"), (("--sample", "2", "--temperature", "0"), "expected more than 0")],
)
def test_impossible_sampling_is_an_error(place: Workplace, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        generate.main(place.arguments("never", *more))


def test_an_answer_is_cut_where_no_token_ended_it(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    job = read_job(parser.parse_args(place.arguments("cut", "--adapter", "none")))
    model, tokenizer = load(job)
    renderer = Renderer(job.recipe, tokenizer, job.registry, "ecg_test")
    prompts = [renderer.render(row).prompt for row in job.rows("test", 2)]
    told = generation.decode_batch(model, renderer, prompts, [{}, {}], 1, [])
    assert [cut for _, cut in told] == [True, True]
    # The first token that comes out ends an answer from now on.
    monkeypatch.setattr(Renderer, "stop_ids", tokenizer.encode(told[0][0], add_special_tokens=False)[:1])
    assert generation.decode_batch(model, renderer, prompts[:1], [{}], 3, [])[0][1] is False
