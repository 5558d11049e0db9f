"""The weighted loss: which tokens weigh what, the formula, and LLaMA-Factory's own training with it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, write_json, write_jsonl, write_text
from vitalfactory.models import weighted_sft
from vitalfactory.models.weighted_sft import WeightedLoss, read_weights, spans, train
from vitalfactory.recipes import changed, read_recipe
from vitalfactory.render import load_tokenizer
from vitalfactory.signals.cxr import weigh

RECIPE = ROOT / "train_configs" / "cxr_qwen2vl7b_lora.yaml"
NAMES = {"mass": 3.0, "pleural thickening": 2.0, "no finding": 1.0, "肺炎": 4.0, "胸膜增厚": 2.0}
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer(chest: Path) -> Any:
    return load_tokenizer(str(chest / "tiny"))


@pytest.fixture(scope="module")
def loss(tokenizer: Any) -> WeightedLoss:
    return WeightedLoss(tokenizer, NAMES)


ANSWERS = [
    ("mass", {"mass": 3.0}),
    ("mass, pleural thickening", {"mass": 3.0, ",": 1.0, " pleural thickening": 2.0}),
    ("This chest X-ray shows mass and pleural thickening.", {" shows": 1.0, " mass": 3.0, " and": 1.0, ".": 1.0}),
    ("no finding", {"no finding": 1.0}),
    ("edema", {"edema": 1.0}),
    ("肺炎、胸膜增厚", {"肺炎": 4.0, "胸膜增厚": 2.0}),
    ("胸片可见肺炎。", {"胸片可见": 1.0, "肺炎": 4.0, "。": 1.0}),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
def test_tokens_of_names_have_their_weight(
    answer: str, expected: dict[str, float], tokenizer: Any, loss: WeightedLoss
) -> None:
    ids = tokenizer(answer + END)["input_ids"]
    weights = loss.weights(ids)
    assert len(weights) == len(ids)
    assert weights[-1] == 1.0  # the end
    text = tokenizer.decode(ids)
    for part, weight in expected.items():
        start = text.index(part)
        own = [
            weights[place]
            for place, (first, last) in enumerate(spans(tokenizer, ids))
            if first < start + len(part) and start < last
        ]
        assert own
        assert set(own) == {weight}, part


@given(st.text(alphabet="ab é肺炎、胸𝄞\n", max_size=12))
def test_spans_cover_the_text(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    found = list(spans(tokenizer, ids))
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert decoded == text
    assert len(found) == len(ids)
    assert {place for start, end in found for place in range(start, end)} == set(range(len(text)))
    assert all(start <= end for start, end in found)


def by_hand(logits: np.ndarray, labels: np.ndarray, weights: dict[int, float]) -> tuple[float, int]:
    """Add up the weighted cross entropy of the learned tokens, each told by the logits before it."""
    total, count = 0.0, 0
    for row in range(len(labels)):
        for place in range(1, labels.shape[1]):
            if (token := int(labels[row, place])) != -100:
                told = logits[row, place - 1]
                total += weights.get(token, 1.0) * (math.log(np.exp(told).sum()) - told[token])
                count += 1
    return total, count


class Letters:
    """A tokenizer of letters: the token 0 is a, 1 is b, and so on."""

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(chr(97 + token) for token in ids)


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(2, 6))
def test_the_loss_is_the_formula(seed: int, rows: int, tokens: int) -> None:
    import torch

    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, tokens, 4))
    labels = np.where(random.random((rows, tokens)) < 0.4, -100, random.integers(0, 4, (rows, tokens)))
    labels[0, 1] = 2
    total, count = by_hand(logits, labels, {2: 5.0, 3: 0.5})
    weighted = WeightedLoss(Letters(), {"c": 5.0, "d": 0.5})
    given = (torch.tensor(logits), torch.tensor(labels))
    assert float(weighted(*given)) == pytest.approx(total / count, rel=1e-5)
    assert float(weighted(*given, num_items_in_batch=50, vocab_size=4)) == pytest.approx(total / 50, rel=1e-5)


def test_without_weights_it_is_the_loss_of_transformers() -> None:
    import torch
    from transformers.loss.loss_utils import ForCausalLMLoss

    torch.manual_seed(1)
    logits, labels = torch.randn(3, 7, 5), torch.randint(0, 5, (3, 7))
    labels[1, :4] = -100
    plain = WeightedLoss(Letters(), {"a": 1.0})
    for count in (None, 40):
        expected = ForCausalLMLoss(logits, labels, vocab_size=5, num_items_in_batch=count)
        assert float(plain(logits, labels, num_items_in_batch=count)) == pytest.approx(float(expected))


def tiny(chest: Path, out: Path, **changes: Any) -> dict[str, Any]:
    given = {"dataset": "cxr_few_train", "eval_dataset": "cxr_few_val", "dataset_dir": str(chest), "use_cpu": True}
    given |= {"model_name_or_path": str(chest / "tiny"), "media_dir": str(chest), "output_dir": str(out), "bf16": False}
    given |= {"max_steps": 2, "preprocessing_num_workers": 1, "dataloader_num_workers": 0, "logging_steps": 1}
    return {**read_recipe(RECIPE), **given, "per_device_eval_batch_size": 99, **changes}


@pytest.mark.parametrize("method", ["double", "log"])
def test_weights_come_from_the_training_rows(method: str, chest: Path, tmp_path: Path) -> None:
    rows = {row["id"]: row["labels"] for row in read_jsonl(chest / "data" / "cxr_few" / "train.jsonl")}
    weights = read_weights(tiny(chest, tmp_path), method)
    assert weights == weigh(rows, method)
    having = sum("effusion" in labels for labels in rows.values())
    assert weights["effusion"] == {"double": 2.0, "log": max(1, math.log(1 + 16 / having))}[method]
    assert list(weights) == read_json(chest / "data" / "cxr_few" / "card.json")["labels"]


def loss_of_val(chest: Path, adapter: Path, weights: dict[str, float]) -> float:
    """Compute the weighted loss of the validation rows with transformers alone, one row at a time."""
    import torch
    from peft import PeftModel
    from PIL import Image
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    processor = AutoProcessor.from_pretrained(chest / "tiny")
    base = Qwen2VLForConditionalGeneration.from_pretrained(chest / "tiny")
    model = PeftModel.from_pretrained(base, adapter).eval()
    total, count = 0.0, 0
    for row in read_jsonl(chest / "data" / "cxr_few" / "val.jsonl"):
        question, answer = (message["content"] for message in row["messages"])
        question = question.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
        prompt = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        image = Image.open(chest / row["images"][0]).convert("RGB")
        given = processor(text=[f"{prompt}{answer}<|im_end|>\n"], images=[image], return_tensors="pt")
        with torch.inference_mode():
            each = model(**given).logits[0].float().log_softmax(-1)
        ids = given["input_ids"][0].tolist()
        own = processor.tokenizer(f"{answer}<|im_end|>\n")["input_ids"]
        start, told = len(ids) - len(own), ""
        for place in range(start, len(ids)):
            told = processor.tokenizer.decode(ids[start : place + 1])
            names = [name for name in weights if is_inside(name, answer, len(told))]
            total -= (weights[names[0]] if names else 1.0) * float(each[place - 1, ids[place]])
            count += 1
    return total / count


def is_inside(name: str, answer: str, end: int) -> bool:
    """Tell whether a token that ends at a place of an answer belongs to a name in it."""
    parts = answer.split(", ")
    ends = np.cumsum([len(part) + 2 for part in parts]) - 2
    return any(part == name and last - len(part) < end <= last for part, last in zip(parts, ends, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # LLaMA-Factory's own
def test_llamafactory_trains_with_it(chest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    write_text(recipe, yaml.safe_dump(tiny(chest, tmp_path / "saves")))
    weighted_sft.main([str(recipe), "seed=7", "--weights", "log"])
    weights = read_weights(tiny(chest, tmp_path), "log")
    assert f"effusion             {weights['effusion']:.2f}" in capsys.readouterr().out
    assert read_json(tmp_path / "saves" / "trainer_state.json")["global_step"] == 2
    measured = read_json(tmp_path / "saves" / "eval_results.json")["eval_loss"]
    assert measured == pytest.approx(loss_of_val(chest, tmp_path / "saves", weights), rel=1e-3)
    assert measured != pytest.approx(loss_of_val(chest, tmp_path / "saves", {}), rel=0.01)


WRONG = [
    ({"stage": "pt"}, "expected sft and true"),
    ({"do_train": False}, "expected sft and true"),
    ({"enable_liger_kernel": True}, "enable_liger_kernel: with it the loss is computed elsewhere"),
    ({"label_smoothing_factor": 0.1}, "a smoothed loss is not weighed"),
    ({"dataset": None}, "dataset: none: expected one, such as cxr_train"),
    ({"dataset": "cxr_train,cxr_few_train"}, "dataset: cxr_train, cxr_few_train: expected one"),
    ({"dataset": "cxr_fwe_train"}, r"not registered in .*, did you mean 'cxr_few_train'\?"),
    ({"dataset": "cxr_yesno_train"}, "its answers name no findings; convert chest X-rays as list or report"),
]


@pytest.mark.parametrize(("changes", "error"), WRONG, ids=lambda value: str(value)[:40])
def test_what_cannot_be_weighed(changes: dict[str, Any], error: str, chest: Path, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=error):
        train(tiny(chest, tmp_path, **changes), "log")


def test_repeated_rows_are_not_weighed_again(chest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cxr_few"
    folder.mkdir(parents=True)
    (folder / "card.json").write_bytes((chest / "data" / "cxr_few" / "card.json").read_bytes())
    rows = list(read_jsonl(chest / "data" / "cxr_few" / "train.jsonl"))
    write_jsonl(folder / "train.jsonl", [*rows, {**rows[0], "id": f"{rows[0]['id']}+1"}])
    write_json(tmp_path / "dataset_info.json", read_json(chest / "dataset_info.json"))
    with pytest.raises(VitalFactoryError, match=r"train\.jsonl: has rows more than once.*convert without --repeat"):
        read_weights(tiny(chest, tmp_path, dataset_dir=str(tmp_path)), "log")


def test_a_model_with_a_loss_of_its_own_is_refused(tokenizer: Any) -> None:
    class Model:
        loss_function = None

    callback = weighted_sft._callback(NAMES)
    model = Model()
    callback.on_train_begin(None, None, None, model=model, processing_class=tokenizer)
    assert isinstance(model.loss_function, WeightedLoss)
    with pytest.raises(VitalFactoryError, match="computes its loss by itself"):
        callback.on_step_end(None, None, None)
    model.loss_function.used = 1
    callback.on_step_end(None, None, None)


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("a=5e-5", "a", 5e-5),
        ("a=-1.5E3", "a", -1500.0),
        ("a=7", "a", 7),
        ("a=true", "a", True),
        ("a=null", "a", None),
        ("a=x=y", "a", "x=y"),
        ("a=5e-5x", "a", "5e-5x"),
        ("a=", "a", None),
        ("b=[1, 2]", "b", [1, 2]),
    ],
)
def test_changes_of_a_recipe(change: str, key: str, value: object) -> None:
    assert changed({"a": 1}, [change]) == {"a": 1, key: value}
