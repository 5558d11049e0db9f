"""The head for findings on a tiny random Qwen2-VL: what learns, what is kept, and what is refused."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, lock, read_json, read_jsonl, write_json, write_text
from vitalfactory.models import findings_head, findings_head_training
from vitalfactory.models.findings_head import Recipe, Seen, read_head_recipe
from vitalfactory.models.findings_head_model import collate, make_model, masked_mean, read_manifest, read_model
from vitalfactory.models.findings_head_training import make_trainable, positive_weights, train, weighted_loss
from vitalfactory.predictions import read_predictions

SHIPPED = sorted((ROOT / "train_configs" / "head").glob("*.yaml"))
Make = Callable[..., Recipe]


@pytest.fixture(scope="session")
def make(chest: Path) -> Make:
    """Make a recipe that trains the tiny model in seconds, on 16 images."""
    usual: dict[str, Any] = {"model_name_or_path": str(chest / "tiny"), "dataset_dir": str(chest), "dataset": "cxr_few"}
    usual |= {"bf16": False, "head_width": 64, "lora_dropout": 0.0, "head_dropout": 0.0, "patience": 99}
    usual |= {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "warmup_ratio": 0.0}
    usual |= {"learning_rate": 8e-3, "lr_scheduler_type": "constant", "logging_steps": 1}
    return partial(Recipe, **usual)


@pytest.fixture(scope="session")
def trained(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = make(output_dir=str(tmp_path_factory.mktemp("head") / "saves"), max_steps=50, save_steps=50)
    train(recipe)
    return recipe


def history(recipe: Recipe, name: str) -> list[float]:
    log = read_json(recipe.out / "trainer_state.json")["log_history"]
    return [entry[name] for entry in log if name in entry]


def batch_of(seen: Seen, model: Any, count: int = 4) -> dict[str, Any]:
    rows = seen.findings.rows("train")[:count]
    truth = seen.findings.truth(rows).tolist()
    told = [{**seen.row(row), "truth": one} for row, one in zip(rows, truth, strict=True)]
    return collate(told, model.config.image_token_id)


def test_sixteen_images_are_learned_by_heart(trained: Recipe) -> None:
    losses = history(trained, "loss")
    assert len(list(read_jsonl(trained.root / "data" / "cxr_few" / "train.jsonl"))) == 16
    assert losses[0] > 0.5
    assert max(losses[-2:]) < 0.05
    manifest = read_manifest(trained.out)
    assert (manifest.steps, manifest.best_step) == (50, 50)
    assert manifest.val_loss == pytest.approx(history(trained, "eval_loss")[-1])
    assert (trained.out / "training_loss.png").stat().st_size > 5000
    assert not list(trained.out.glob("*.pt"))


def test_a_finished_head_is_not_trained_again(trained: Recipe) -> None:
    before = (trained.out / "adapter_model.safetensors").stat().st_mtime_ns
    assert train(trained) == read_manifest(trained.out)
    assert (trained.out / "adapter_model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("checkpointing", [False, True])
def test_lora_and_head_get_gradients_and_nothing_else(make: Make, checkpointing: bool) -> None:
    import torch

    recipe = make(output_dir="unused", gradient_checkpointing=checkpointing)
    seen = Seen(recipe)
    model = make_trainable(recipe, len(seen.findings.card.labels))
    model.train()
    assert model.get_base_model().is_gradient_checkpointing == checkpointing
    with torch.no_grad():  # LoRA begins with zeros in B, and then A has no gradient
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    batch = batch_of(seen, model)
    truth = batch.pop("labels")
    weighted_loss(torch.ones(truth.shape[1]), model(**batch), truth).backward()
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sum("lora_" in name for name in learned) == 2 * 7 * 2  # A and B of seven layers in two blocks
    assert sum(".head." in name for name in learned) == 4
    assert len(learned) == 32
    assert not any("visual" in name for name in learned)
    for name, parameter in model.named_parameters():
        if name in learned:
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32))
def test_the_mean_is_over_real_tokens(rows: int, tokens: int, seed: int) -> None:
    import torch

    random = np.random.default_rng(seed)
    hidden, lengths = random.normal(size=(rows, tokens, 3)), random.integers(1, tokens + 1, rows)
    mask = np.arange(tokens) < lengths[:, None]
    real = zip(hidden, lengths, strict=True)
    expected = [[row[:length, place].sum() / length for place in range(3)] for row, length in real]
    told = masked_mean(torch.tensor(hidden), torch.tensor(mask.astype(int)))
    assert told.numpy() == pytest.approx(np.asarray(expected), abs=1e-5)


WEIGHTS = [
    ("balanced", [3.0, 1 / 3, 1.0, 1.0]),
    ("log", [np.log(5), np.log(1 + 4 / 3), 1.0, 1.0]),
    ("none", [1.0, 1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize(("method", "expected"), WEIGHTS)
def test_weights_of_presence(method: str, expected: list[float]) -> None:
    truth = np.asarray([[1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=bool)
    assert positive_weights(truth, method) == pytest.approx(expected)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_the_loss_is_the_formula(seed: int, rows: int) -> None:
    import torch

    random = np.random.default_rng(seed)
    logits, truth = random.normal(size=(rows, 4)), random.random((rows, 4)) < 0.5
    weights = random.uniform(0.2, 9, 4)
    total = 0.0
    for row in range(rows):
        for label in range(4):
            p = 1 / (1 + np.exp(-logits[row, label]))
            total -= weights[label] * np.log(p) if truth[row, label] else np.log(1 - p)
    given = ({"logits": torch.tensor(logits)}, torch.tensor(truth.astype(float)))
    assert float(weighted_loss(torch.tensor(weights), *given)) == pytest.approx(total / (4 * rows))
    # Two batches of one step: the mean over both.
    assert float(weighted_loss(torch.tensor(weights), *given, num_items_in_batch=100)) == pytest.approx(total / 100)


def test_weights_are_of_training_rows_alone(trained: Recipe) -> None:
    rows = list(read_jsonl(trained.root / "data" / "cxr_few" / "train.jsonl"))
    for label, weight in read_manifest(trained.out).pos_weight.items():
        having = sum(label in row["labels"] for row in rows)
        assert weight == pytest.approx((len(rows) - having) / having if having else 1)


def test_accumulated_steps_are_those_of_a_larger_batch(make: Make, tmp_path: Path) -> None:
    losses = []
    for size, steps in ((8, 1), (2, 4)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        recipe = make(output_dir=str(tmp_path / str(size)), max_steps=2, save_steps=2, **sizes)
        train(recipe)
        losses.append([*history(recipe, "loss"), *history(recipe, "eval_loss")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def last_hidden(folder: Path, rows: list[dict[str, Any]], root: Path) -> list[Any]:
    """Show rows to transformers' own model, one after the other, by its own processor."""
    import torch
    from PIL import Image
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
    found = []
    for row in rows:
        question = row["messages"][0]["content"].replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
        prompt = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        image = Image.open(root / row["images"][0]).convert("RGB")
        given = processor(text=[prompt], images=[image], return_tensors="pt")
        with torch.inference_mode():
            found.append(model.model(**given).last_hidden_state[0])
    return found


def as_published(chest: Path, folder: Path) -> Path:
    """Write the tiny model under the names that the published weights have."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(chest / "tiny", folder)
    weights = load_file(folder / "model.safetensors")
    names = {
        name: name.replace("model.language_model.", "model.").replace("model.visual.", "visual.") for name in weights
    }
    save_file({names[name]: value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert any(name.startswith("visual.") for name in names.values())
    return folder


@pytest.mark.parametrize("published", [False, True], ids=["saved", "published"])
def test_the_base_is_qwen2_vl(make: Make, chest: Path, tmp_path: Path, published: bool) -> None:
    import torch

    folder = as_published(chest, tmp_path / "tiny") if published else chest / "tiny"
    recipe = make(output_dir="unused", model_name_or_path=str(folder))
    seen = Seen(recipe)
    model = make_model(recipe, len(seen.findings.card.labels)).eval()
    batch = batch_of(seen, model)
    del batch["labels"]
    with torch.inference_mode():
        logits = model(**batch)["logits"]
    head = model.get_base_model().head
    for hidden, told in zip(last_hidden(folder, seen.findings.rows("train")[:4], chest), logits, strict=True):
        with torch.inference_mode():
            assert told.numpy() == pytest.approx(head(hidden.mean(0)).numpy(), abs=1e-4)


class Killed(BaseException):
    """Stands for a process that ends."""


def test_a_killed_training_goes_on_to_the_same_head(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file
    from transformers import Trainer

    step = Trainer.training_step
    done = []

    def dies(self: Any, *given: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) == 4:
            raise Killed
        return step(self, *given, **named)

    known = {"max_steps": 5, "save_steps": 2, "lora_dropout": 0.1, "head_dropout": 0.1}
    whole, cut = (make(output_dir=str(tmp_path / name), **known) for name in ("whole", "cut"))
    train(whole)
    monkeypatch.setattr(Trainer, "training_step", dies)
    with pytest.raises(Killed):
        train(cut)
    assert not (cut.out / "findings_head.json").exists()
    monkeypatch.setattr(Trainer, "training_step", step)
    train(cut)
    assert history(cut, "loss") == pytest.approx(history(whole, "loss"))
    first, second = (load_file(recipe.out / "adapter_model.safetensors") for recipe in (whole, cut))
    assert first.keys() == second.keys()
    assert all(np.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_it_stops_when_validation_gets_worse(make: Make, tmp_path: Path) -> None:
    changed = {"learning_rate": 0.5, "patience": 1, "num_train_epochs": 20.0}
    made = train(make(output_dir=str(tmp_path / "saves"), **changed))
    assert made.steps < 40
    assert made.best_step < made.steps


def test_predict_gives_probabilities_without_the_weights(trained: Recipe, tmp_path: Path) -> None:
    import torch

    findings_head.predict(trained, "tiny.yaml", trained.out, tmp_path / "first")
    findings_head.predict(trained, "tiny.yaml", trained.out, tmp_path / "second")
    for name in ("predictions.jsonl", "predictions_val.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    manifest = read_manifest(trained.out)
    model = read_model(trained.out, trained, manifest)
    seen = Seen(trained)
    row = seen.findings.rows("test")[0]
    batch = collate([seen.row(row)], model.config.image_token_id)
    with torch.inference_mode():
        logits = model(**batch)["logits"][0].double().numpy()
    weights = np.asarray([manifest.pos_weight[label] for label in manifest.labels])
    odds = np.exp(logits) / weights
    said = read_predictions(tmp_path / "first" / "predictions.jsonl")[0]
    assert (said.id, said.group, said.label) == (row["id"], row["group"], row["labels"])
    assert said.probabilities == pytest.approx(dict(zip(manifest.labels, odds / (1 + odds), strict=True)), rel=1e-4)
    run_of = read_json(tmp_path / "first" / "run.json")
    assert (run_of["method"], run_of["recipe"]) == ("findings head", "tiny.yaml")
    assert run_of["adapter_sha256"] == manifest.adapter_sha256


def test_what_was_learned_is_loaded(trained: Recipe) -> None:
    """Training rows, which were learned by heart with the weights, are told right with them."""
    seen = Seen(trained)
    rows = seen.findings.rows("train")
    model = read_model(trained.out, trained, read_manifest(trained.out))
    told = list(findings_head._answer(model, seen, np.zeros(15), rows))
    assert ((np.asarray(told) > 0.5) == seen.findings.truth(rows)).mean() > 0.98


def test_the_command_line(trained: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.yaml"
    write_text(recipe, yaml.safe_dump(trained.model_dump(exclude={"per_device_eval_batch_size"})))
    findings_head.main(["train", str(recipe), "logging_steps=2"])
    assert "50 steps, best 50" in capsys.readouterr().out
    findings_head.main(["predict", str(recipe), "per_device_eval_batch_size=3", "--out", str(tmp_path / "run")])
    assert "rows answered now" in capsys.readouterr().out


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_read(path: Path) -> None:
    recipe = read_head_recipe(path)
    head = path.read_text(encoding="utf-8")
    assert recipe.output_dir == f"saves/{path.stem}"
    assert f"train train_configs/head/{path.name}" in head
    for word in ("Needs", "Batch", "Before", "Run", "After", "Result"):
        assert f"\n# {word} " in head


def test_there_are_shipped_recipes() -> None:
    assert SHIPPED


WRONG_RECIPES = [
    (["lora_rnak=8"], r"no such key 'lora_rnak', did you mean 'lora_rank'\?"),
    (["cutoff_len=512", "head_width=0"], "head_width: 0: .*greater than or equal to 1; no such key 'cutoff_len'"),
    (["quantization_bit=5"], "quantization_bit: 5: Input should be 4 or 8"),
    (["learning_rate=fast"], "learning_rate: fast: "),
    (["learning_rate"], "learning_rate: expected key=value"),
    (["seed=[1"], "the value is not valid YAML"),
    (["pos_weight=even"], "pos_weight: even: Input should be 'balanced', 'log' or 'none'"),
    (["report_to=wandb"], "report_to: wandb: "),
]


@pytest.mark.parametrize(("changes", "error"), WRONG_RECIPES)
def test_wrong_keys_and_values_are_named(changes: list[str], error: str) -> None:
    with pytest.raises(VitalFactoryError, match=error):
        read_head_recipe(SHIPPED[0], changes)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "r.yaml", "dataset: cxr\noutput_dir: saves/x\n")
    with pytest.raises(VitalFactoryError, match=r"r\.yaml: the key 'model_name_or_path' is missing"):
        read_head_recipe(tmp_path / "r.yaml")


def test_a_number_with_an_exponent_is_a_number() -> None:
    assert read_head_recipe(SHIPPED[0], ["learning_rate=5e-4"]).learning_rate == 5e-4


WRONG_JOBS = [
    ({"dataset": "cxr_fwe"}, r"cxr_fwe: not registered in .*, did you mean 'cxr_few'\?"),
    ({"dataset": "cxr_yesno"}, "its rows ask about one finding each"),
    ({"model_name_or_path": "checkpoints/none"}, "its tokenizer is not at hand"),
    ({"quantization_bit": 4}, "quantization_bit: 4: needs a GPU, and there is none here"),
    ({"bf16": True}, "this processor does not compute bfloat16; give bf16=false"),
    ({"report_to": "swanlab"}, "report_to: swanlab: the package is not installed; pip install swanlab"),
    ({"report_to": "tensorboard"}, "report_to: tensorboard: the package is not installed"),
    ({"lr_scheduler_type": "sideways"}, "transformers refuses the recipe: sideways is not a valid SchedulerType"),
    ({"learning_rate": 1e38, "max_steps": 4}, "the validation loss was never a number; give a smaller learning_rate"),
]


@pytest.mark.parametrize(("changes", "error"), WRONG_JOBS, ids=lambda value: str(value)[:40])
def test_what_cannot_be_trained(
    changes: dict[str, Any], error: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(findings_head_training, "computes_bfloat16", lambda: False)
    monkeypatch.setattr(findings_head_training.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VitalFactoryError, match=error):
        train(make(**{"output_dir": str(tmp_path / "saves"), **changes}))


def test_another_architecture_is_refused(make: Make, tmp_path: Path) -> None:
    recipe = make(output_dir="unused", model_name_or_path=str(tmp_path))
    with pytest.raises(VitalFactoryError, match="no model that transformers can load"):
        make_model(recipe, 15)
    write_json(tmp_path / "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    with pytest.raises(VitalFactoryError, match="a model of the type 'qwen2'; expected 'qwen2_vl'"):
        make_model(recipe, 15)


def test_another_head_is_left_alone(trained: Recipe) -> None:
    with pytest.raises(VitalFactoryError, match="holds a head of other learning_rate, seed; give another output_dir"):
        train(trained.model_copy(update={"learning_rate": 1e-4, "seed": 1}))
    with lock(trained.out / ".lock"), pytest.raises(VitalFactoryError, match="another run holds this lock"):
        train(trained)


def spoil(trained: Recipe, folder: Path) -> Path:
    folder.mkdir()
    for name in ("findings_head.json", "adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(trained.out / name, folder)
    return folder


def test_a_checkpoint_that_is_not_whole(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"holds no head for findings \(no findings_head\.json, adapter_con"):
        read_manifest(tmp_path)
    folder = spoil(trained, tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(VitalFactoryError, match=r"adapter_model\.bin: pickled, which can run code"):
        read_manifest(folder)
    folder = spoil(trained, tmp_path / "b")
    (folder / "adapter_model.safetensors").write_bytes(b"something else")
    with pytest.raises(VitalFactoryError, match=r"not the file that findings_head\.json describes"):
        read_manifest(folder)
    known = read_json(folder / "findings_head.json")
    write_json(folder / "findings_head.json", {**known, "labels": 3})
    with pytest.raises(VitalFactoryError, match=r"findings_head\.json: labels: Input should be a valid list"):
        read_manifest(folder)
    write_json(folder / "findings_head.json", {**known, "architecture": "llava"})
    with pytest.raises(VitalFactoryError, match="a head for 'llava'; expected 'qwen2_vl'"):
        read_manifest(folder)


def test_a_checkpoint_of_something_else(trained: Recipe, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    manifest = read_manifest(trained.out)
    with pytest.raises(VitalFactoryError, match="trained with lora_rank=12, head_width=64, which the recipe has other"):
        read_model(trained.out, trained.model_copy(update={"lora_rank": 4, "head_width": 16}), manifest)
    with pytest.raises(VitalFactoryError, match=r"trained with model_name_or_path=.*tiny, which"):
        read_model(trained.out, trained.model_copy(update={"model_name_or_path": "other"}), manifest)
    folder = spoil(trained, tmp_path / "folder")
    weights = load_file(folder / "adapter_model.safetensors")
    last = next(name for name in weights if name.endswith("head.3.weight"))
    for changed, reason in (
        ({**weights, last: weights[last][:4].contiguous()}, "size mismatch"),
        ({name: value for name, value in weights.items() if name != last}, ".*head.*3.*weight"),
        ({**weights, "base_model.model.more": weights[last].clone()}, ".*more"),
    ):
        save_file(changed, folder / "adapter_model.safetensors")
        with pytest.raises(VitalFactoryError, match=rf"not the weights of this head \(.*{reason}"):
            read_model(folder, trained, manifest)
    (folder / "adapter_model.safetensors").write_bytes(b"something else")
    with pytest.raises(VitalFactoryError, match="not the weights of this head"):
        read_model(folder, trained, manifest)


def test_other_labels_are_refused(trained: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = spoil(trained, tmp_path / "folder")
    known = read_json(folder / "findings_head.json")
    write_json(folder / "findings_head.json", {**known, "labels": known["labels"][::-1]})
    recipe = tmp_path / "tiny.yaml"
    write_text(recipe, yaml.safe_dump(trained.model_dump()))
    with pytest.raises(SystemExit, match="2"):
        run(findings_head.main, ["predict", str(recipe), "--adapter", str(folder), "--out", str(tmp_path / "run")])
    assert "cxr_few has other labels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_swanlab_is_told_without_a_network(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("swanlab", reason="SwanLab is not installed: pip install swanlab")
    recipe = make(output_dir=str(tmp_path / "saves"), max_steps=2, save_steps=2, report_to="swanlab")
    train(recipe)
    assert list((recipe.out / "swanlog").rglob("*.swanlab"))
