"""score.py and generate.py on a tiny model: the same tokens as in training, resumed, and never mixed up."""

import json
from typing import Any

import pytest

from eval import generate, score
from tests.eval.conftest import Workplace
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import read_predictions
from vitalfactory.render import Renderer
from vitalfactory.scoring import model as scoring
from vitalfactory.scoring.model import load, read_job


def test_scores_every_row_in_the_order_of_the_dataset(place: Workplace) -> None:
    score.main(place.arguments("order", "--adapter", "none"))
    for split, name in (("test", "predictions.jsonl"), ("val", "predictions_val.jsonl")):
        rows = list(read_jsonl(place.root / "data" / "ecg" / f"{split}.jsonl"))
        answers = read_predictions(place.root / "order" / name)
        assert [(row["id"], row["group"], row["label"]) for row in rows] == [
            (answer.id, answer.group, answer.label) for answer in answers
        ]
        for answer in answers:
            assert answer.probabilities is not None
            assert sum(answer.probabilities.values()) == pytest.approx(1)
            assert answer.parsed == max(answer.probabilities, key=answer.probabilities.__getitem__)


def test_the_manifest_names_what_the_answers_depend_on(place: Workplace) -> None:
    score.main(place.arguments("manifest", "--split", "test"))
    manifest = read_json(place.root / "manifest" / "run.json")
    card = read_json(place.root / "data" / "ecg" / "card.json")
    assert manifest["adapter"] == str(place.adapter)
    assert manifest["adapter_sha256"]
    assert manifest["synthetic"] is True
    assert manifest["dataset_sha256"] == {name: part["sha256"] for name, part in card["splits"].items()}
    assert read_json(place.root / "manifest" / "card.json") == card


def test_a_run_that_was_cut_off_goes_on(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    score.main(place.arguments("resumed", "--split", "test"))
    path = place.root / "resumed" / "predictions.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:25])
    asked = []
    original = scoring.question_of
    monkeypatch.setattr(scoring, "question_of", lambda *given: asked.append(given[1]["id"]) or original(*given))
    score.main(place.arguments("resumed", "--split", "test"))
    assert asked == [json.loads(line)["id"] for line in lines[2:]]
    kept = [json.loads(answer.line()) | {"probabilities": None} for answer in read_predictions(path)]
    assert kept == [json.loads(line) | {"probabilities": None} for line in lines]
    again = [answer.probabilities for answer in read_predictions(path)]
    for line, probabilities in zip(lines, again, strict=True):
        assert probabilities == pytest.approx(json.loads(line)["probabilities"], abs=0.02)


def test_the_adapter_is_used_and_scored_as_written_out_by_hand(place: Workplace) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    score.main(place.arguments("adapted", "--split", "test"))
    score.main(place.arguments("plain", "--split", "test", "--adapter", "none"))
    adapted = read_predictions(place.root / "adapted" / "predictions.jsonl")
    plain = read_predictions(place.root / "plain" / "predictions.jsonl")
    assert [row.probabilities for row in adapted] != [row.probabilities for row in plain]

    base = AutoModelForCausalLM.from_pretrained(place.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, place.adapter).eval()
    row = next(read_jsonl(place.root / "data" / "ecg" / "test.jsonl"))
    text = f"<|im_start|>user\n{row['instruction']}\n{row['input']}<|im_end|>\n<|im_start|>assistant\n"
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    tokenizer = read_job_tokenizer(place)
    totals = []
    for answer in ("AF", "no AF"):
        prompt = tokenizer.encode(system + text, add_special_tokens=False)
        ids = torch.tensor([prompt + tokenizer.encode(answer + "<|im_end|>", add_special_tokens=False)])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].float().log_softmax(-1)
        totals.append(sum(logits[at, ids[0, at + 1]] for at in range(len(prompt) - 1, ids.shape[1] - 1)))
    expected = torch.stack(totals).softmax(0)[0].item()
    assert adapted[0].probabilities is not None
    assert adapted[0].probabilities["AF"] == pytest.approx(expected, abs=0.03)


def read_job_tokenizer(place: Workplace) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place.model)


def test_rows_are_rendered_as_in_training(place: Workplace) -> None:
    from llamafactory.data.processor import SupervisedDatasetProcessor
    from llamafactory.hparams import DataArguments

    job = _job(place, "render")
    tokenizer = read_job_tokenizer(place)
    renderer = Renderer(job.recipe, tokenizer, job.registry, "ecg_train")
    arguments = DataArguments(template=job.recipe["template"], cutoff_len=job.recipe["cutoff_len"])
    processor = SupervisedDatasetProcessor(renderer.template, tokenizer, None, arguments)
    for row in job.rows("train", 5):
        aligned = renderer._convert(dict(row))
        columns = {key: [value] for key, value in aligned.items()}
        trained = processor.preprocess_dataset(columns)
        rendered = renderer.render(row)
        assert trained["input_ids"][0] == rendered.prompt + rendered.answer
        assert trained["labels"][0] == [-100] * len(rendered.prompt) + rendered.answer


def _job(place: Workplace, out: str, *more: str) -> Any:
    import argparse

    from vitalfactory.scoring.model import add_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_job(parser.parse_args(place.arguments(out, *more)))


def test_generates_what_greedy_decoding_by_hand_gives(place: Workplace) -> None:
    import torch

    generate.main(place.arguments("words", "--max-new-tokens", "6", "--batch-size", "4"))
    answers = read_predictions(place.root / "words" / "generations.jsonl")
    rows = list(read_jsonl(place.root / "data" / "ecg" / "test.jsonl"))
    assert [answer.id for answer in answers] == [row["id"] for row in rows]
    assert all(answer.probabilities is None for answer in answers)

    job = _job(place, "words")
    model, tokenizer = load(job)
    renderer = Renderer(job.recipe, tokenizer, job.registry, "ecg_test")
    longest = max(rows, key=lambda row: len(renderer.render(row).prompt))
    ids = renderer.render(longest).prompt
    start = len(ids)
    for _ in range(6):
        with torch.inference_mode():
            ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] in renderer.stop_ids:
            break
    expected = tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert {answer.id: answer.text for answer in answers}[longest["id"]] == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--adapter", "nowhere"), "holds no adapter"),
        (("--limit", "-5"), "--limit -5: expected at least 1"),
        (("--batch-size", "0"), "--batch-size 0: expected at least 1"),
        (("--dataset", "egc"), "did you mean"),
        (("--recipe", "nowhere.yaml"), "no such recipe"),
        (("--root", "nowhere"), "no such file"),
    ],
)
def test_errors_are_one_line(
    place: Workplace, more: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(score.main, place.arguments("errors", *more))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_folder_holds_one_model(place: Workplace) -> None:
    score.main(place.arguments("one", "--split", "test", "--limit", "1"))
    with pytest.raises(VitalFactoryError, match="another adapter"):
        score.main(place.arguments("one", "--split", "test", "--limit", "1", "--adapter", "none"))
    with pytest.raises(VitalFactoryError, match="other settings"):
        score.main(place.arguments("one", "--split", "test", "--limit", "2"))
