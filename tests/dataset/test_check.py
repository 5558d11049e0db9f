"""The preflight finds each thing that would spoil a training run, and nothing in a sound dataset."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.dataset.test_example_and_card import CARD
from vitalfactory.card import SPLITS, Split
from vitalfactory.dataset import check, registry, rules
from vitalfactory.dataset.check import Request, find, inspect
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, sha256, write_json, write_jsonl, write_text

Rows = dict[str, list[dict[str, Any]]]
Change = Callable[[Path], None]


def alpaca(name: str, label: str, group: str | None = None, text: str | None = None) -> dict[str, Any]:
    answer = {"AF": "有房颤", "no AF": "没有房颤"}[label]
    told = f"RR {name}" if text is None else text
    row = {"id": name, "group": group or name, "instruction": "Does this ECG show atrial fibrillation?"}
    return {**row, "input": told, "output": answer, "label": label}


def sound() -> Rows:
    return {
        "train": [alpaca("t1", "AF"), alpaca("t2", "no AF", "p2"), alpaca("t3", "AF", "p2")],
        "val": [alpaca("v1", "no AF")],
        "test": [alpaca("x1", "AF"), alpaca("x2", "no AF")],
    }


def write(root: Path, rows: Rows) -> Request:
    """Write a dataset with its card, register it, and ask for its check under a recipe of 100 tokens."""
    folder = root / "data" / "ecg"
    for name in SPLITS:
        write_jsonl(folder / f"{name}.jsonl", rows[name])
    describe(folder)
    entries = registry.entries("ecg", rows["train"][0] if rows["train"] else alpaca("none", "AF"))
    registry.register(root, entries)
    write_recipe(root)
    return Request(str(folder), entries, str(root), str(root / "recipe.yaml"))


def describe(folder: Path) -> None:
    splits = {
        name: Split(rows=1, groups=1, labels={}, sha256=sha256(folder / f"{name}.jsonl")).model_dump()
        for name in SPLITS
    }
    write_json(folder / "card.json", {**CARD.model_dump(), "splits": splits})


def write_recipe(root: Path, **changes: object) -> None:
    recipe = {
        "model_name_or_path": "nobody/none",
        "stage": "sft",
        "dataset_dir": ".",
        "dataset": "ecg_train",
        "eval_dataset": "ecg_val",
        "template": "qwen",
        "cutoff_len": 100,
    }
    write_text(root / "recipe.yaml", yaml.safe_dump({**recipe, **changes}))


def test_a_sound_dataset(tmp_path: Path) -> None:
    report = inspect(write(tmp_path, sound()))
    assert report.problems == []
    assert report.rows == {"train": 3, "val": 1, "test": 2}
    assert report.labels == {"train": {"AF": 2, "no AF": 1}, "val": {"no AF": 1}, "test": {"AF": 1, "no AF": 1}}
    tokens = report.tokens
    assert tokens is not None
    assert tokens.stand_in
    assert tokens.rows == sum(tokens.histogram.values()) == 6
    assert tokens.shortest <= tokens.median <= tokens.p95 <= tokens.longest <= tokens.cutoff == 100
    assert "the recipe's own tokenizer not being at hand" in tokens.describe()
    assert json.loads(json.dumps(tokens.as_json()))["rows"] == 6


def test_empty_splits_are_allowed_where_the_recipe_does_not_name_them(tmp_path: Path) -> None:
    request = write(tmp_path, {**sound(), "val": [], "test": []})
    assert inspect(request).problems == ["ecg_val: the recipe names it, and it has no rows"]
    write_recipe(tmp_path, eval_dataset=None)
    assert inspect(request).problems == []


def rows_with(split: str, *more: dict[str, Any]) -> Rows:
    rows = sound()
    rows[split] += more
    return rows


def without(column: str) -> Rows:
    rows = sound()
    del rows["val"][0][column]
    return rows


LONG = alpaca("long", "AF", text="RR " + "80 " * 200)
BAD_ROWS: dict[str, tuple[Rows, str]] = {
    "group in two splits": (rows_with("test", alpaca("x3", "AF", "p2")), "groups that stand in more than one split"),
    "content in two splits": (
        rows_with("test", alpaca("x3", "AF", text="RR t1")),
        "same content in different splits.*t1=x3",
    ),
    "id twice in a split": (rows_with("train", alpaca("t1", "AF", text="other")), "ids that stand more than once: t1"),
    "id in two splits": (rows_with("val", alpaca("t1", "AF", text="other")), "ids that stand more than once: t1"),
    "no id": (without("id"), "ecg_val: 1 rows lack 'id'"),
    "no group": (without("group"), "ecg_val: 1 rows lack 'group': v1"),
    "no input": (without("input"), "ecg_val: 1 rows lack 'input': v1"),
    "no output": (without("output"), "ecg_val: 1 rows lack 'output': v1"),
    "another answer": (rows_with("val", {**alpaca("v2", "AF"), "output": "yes"}), "val: the output is not .* in v2"),
    "another label": (rows_with("val", {**alpaca("v2", "AF"), "label": "MI"}), "not in the card's vocabulary: MI"),
    "another of several labels": (rows_with("val", {**alpaca("v2", "AF"), "labels": ["AF", "MI"]}), "vocabulary: MI"),
    "a cut answer": (
        rows_with("test", LONG),
        r"1 of 7 rows are longer than cutoff_len 100 of recipe.yaml .*long \(\d+\)",
    ),
    "no row": ({"train": [], "val": [], "test": []}, "there is no row in any split"),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_bad_rows_are_found(tmp_path: Path, fault: str) -> None:
    rows, words = BAD_ROWS[fault]
    problems = inspect(write(tmp_path, rows)).problems
    assert re.search(words, "; ".join(problems))


def test_many_rows_with_one_fault_are_counted(tmp_path: Path) -> None:
    rows = rows_with("train", *(alpaca("t1", "AF", text=f"RR {number} {number}") for number in range(3)))
    rows["train"] += [alpaca(f"d{number}", "AF", text=f"other {number}") for number in range(5) for _ in range(2)]
    assert any("d0, d1, d2 and 3 more" in problem for problem in inspect(write(tmp_path, rows)).problems)


def test_the_cutoff_is_exact(tmp_path: Path) -> None:
    request = write(tmp_path, sound())
    tokens = inspect(request).tokens
    assert tokens is not None
    write_recipe(tmp_path, cutoff_len=tokens.longest)
    assert inspect(request).problems == []
    write_recipe(tmp_path, cutoff_len=tokens.longest - 1)
    assert any(f"raise cutoff_len to {tokens.longest}" in problem for problem in inspect(request).problems)


@pytest.mark.parametrize("template", ["qwen", "alpaca"])
def test_lengths_are_those_of_training(tmp_path: Path, template: str) -> None:
    """A template whose answers end in a token that is added after the answer counts that one, too."""
    from llamafactory.data.processor import SupervisedDatasetProcessor
    from llamafactory.hparams import DataArguments

    request = write(tmp_path, sound())
    write_recipe(tmp_path, template=template)
    tokens = inspect(request).tokens
    assert tokens is not None
    renderer = check._renderers({"model_name_or_path": "nobody/none", "template": template}, request.registered)[
        "ecg_val"
    ]
    processor = SupervisedDatasetProcessor(renderer.template, renderer.tokenizer, None, DataArguments(cutoff_len=500))
    row = next(read_jsonl(Path(request.folder) / "val.jsonl"))
    aligned = {key: [value] for key, value in renderer._convert(dict(row)).items()}
    trained = len(processor.preprocess_dataset(aligned)["input_ids"][0])
    assert tokens.shortest <= trained <= tokens.longest
    only = write(tmp_path, {"train": [row], "val": [], "test": []})
    write_recipe(tmp_path, template=template)
    found = inspect(only).tokens
    assert found is not None
    assert found.longest == trained


def append(name: str, text: str) -> Change:
    def change(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as stream:
            stream.write(text)

    return change


CHANGED_FILES: dict[str, tuple[Change, str]] = {
    "changed file": (
        append("train.jsonl", json.dumps(alpaca("t9", "AF")) + "\n"),
        "train.jsonl is not the file that card",
    ),
    "broken line": (append("val.jsonl", '{"id": \n'), "val.jsonl:2: not valid JSON"),
    "missing file": (lambda folder: (folder / "test.jsonl").unlink(), "test.jsonl: no such file"),
    "missing card": (lambda folder: (folder / "card.json").unlink(), "card.json: no such file"),
    "broken card": (append("card.json", "}"), "card.json:.*: not valid JSON"),
}


@pytest.mark.parametrize("fault", CHANGED_FILES)
def test_changed_files_are_found(tmp_path: Path, fault: str) -> None:
    change, words = CHANGED_FILES[fault]
    request = write(tmp_path, sound())
    change(Path(request.folder))
    assert re.search(words, "; ".join(check.inspect_all([request])[0].problems))


def test_entries_that_lack_a_column(tmp_path: Path) -> None:
    request = write(tmp_path, sound())
    del request.registered["ecg_val"]["columns"]["query"]
    assert any("ecg_val: columns lacks query" in problem for problem in inspect(request).problems)


def chat(name: str, *images: str) -> dict[str, Any]:
    turns = [("user", f"<image>{name}?" if images else f"{name}?"), ("assistant", "没有房颤")]
    messages = [{"role": role, "content": content} for role, content in turns]
    row = {"id": name, "group": name, "messages": messages, "label": "no AF"}
    return {**row, "images": list(images)} if images else row


def write_chats(root: Path, rows: Rows) -> Request:
    """Write a dataset of pictures, with a recipe whose template takes them."""
    request = write(root, rows)
    write_recipe(root, template="qwen2_vl")
    return request


def picture(root: Path, name: str, fault: str = "") -> str:
    path = root / "data" / "ecg" / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((96, 96), 50).save(path)
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "text":
        path.write_text("not an image")
    elif fault == "missing":
        path.unlink()
    elif fault == "bomb":
        header = content.index(b"IHDR") + 4
        path.write_bytes(content[:header] + b"\x7f\xff\xff\xff" * 2 + content[header + 8 :])
    return str(path.relative_to(root))


def chats(root: Path, name: str, fault: str) -> Rows:
    return {"train": [chat("t1", picture(root, "t1.png"))], "val": [chat("v1", picture(root, name, fault))], "test": []}


@pytest.mark.parametrize("name", ["v1.png", "v1.jpg"])
def test_sound_images(tmp_path: Path, name: str) -> None:
    assert inspect(write_chats(tmp_path, chats(tmp_path, name, ""))).problems == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [("v1.png", "cut"), ("v1.jpg", "cut"), ("v1.png", "text"), ("v1.png", "missing"), ("v1.png", "bomb")],
)
def test_images_that_cannot_be_read(tmp_path: Path, name: str, fault: str) -> None:
    problems = inspect(write_chats(tmp_path, chats(tmp_path, name, fault))).problems
    assert any("images that are missing or cannot be read" in problem and name in problem for problem in problems)


def test_images_that_the_registry_does_not_name(tmp_path: Path) -> None:
    request = write_chats(tmp_path, chats(tmp_path, "v1.png", ""))
    del request.registered["ecg_val"]["columns"]["images"]
    assert any("columns lacks images" in problem for problem in inspect(request).problems)


def test_images_of_a_dataset_that_is_not_in_its_place_yet(tmp_path: Path) -> None:
    request = write_chats(tmp_path, chats(tmp_path, "v1.png", ""))
    partial = Path(request.folder).rename(tmp_path / "data" / ".ecg.partial")
    report = inspect(replace(request, folder=str(partial)))
    assert report.problems == []
    assert report.tokens is not None
    assert report.tokens.longest > 9


def test_images_count_as_many_tokens_as_they_have(tmp_path: Path) -> None:
    tokens = []
    for size in ((56, 56), (560, 560)):
        Image.new("L", size, 5).save(tmp_path / "x.png")
        report = inspect(write_chats(tmp_path, {"train": [chat("t1", "x.png")], "val": [], "test": []}))
        assert report.tokens is not None
        tokens.append(report.tokens.longest)
    assert tokens[1] - tokens[0] == 20 * 20 - 2 * 2


@pytest.mark.parametrize("asked", ["AF?", "<image><image>AF?"])
def test_marks_that_are_not_as_many_as_the_images(tmp_path: Path, asked: str) -> None:
    rows = chats(tmp_path, "v1.png", "")
    rows["val"][0]["messages"][0]["content"] = asked
    problems = inspect(write_chats(tmp_path, rows)).problems
    assert "rows whose text has not one <image> for each of their images: v1" in problems


@pytest.mark.parametrize("name", ["../x.png", "data/ecg/../../../x.png", "/x.png"])
def test_images_outside_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    rows = {**chats(root, "v1.png", ""), "test": [chat("x1", name)]}
    Image.new("L", (56, 56)).save(tmp_path / "x.png")
    assert f"images that are missing or cannot be read: {name}" in inspect(write_chats(root, rows)).problems


def test_images_that_were_changed(tmp_path: Path) -> None:
    rows = chats(tmp_path, "v1.png", "")
    for part in rows.values():
        for row in part:
            row["image_sha256"] = [sha256(tmp_path / image) for image in row["images"]]
    request = write_chats(tmp_path, rows)
    assert inspect(request).problems == []
    picture(tmp_path, "v1.png")
    problems = inspect(request).problems
    assert problems == ["images that are not those of their rows; convert again: data/ecg/images/v1.png"]


def test_the_same_picture_under_two_names_in_two_splits(tmp_path: Path) -> None:
    rows = chats(tmp_path, "v1.png", "")
    (tmp_path / "data/ecg/images/v1.png").write_bytes((tmp_path / "data/ecg/images/t1.png").read_bytes())
    for part in rows.values():
        for row in part:
            row["image_sha256"] = [sha256(tmp_path / image) for image in row["images"]]
    assert any(
        "same content in different splits" in problem for problem in inspect(write_chats(tmp_path, rows)).problems
    )


def test_a_picture_s_answer_is_that_of_its_label(tmp_path: Path) -> None:
    rows = chats(tmp_path, "v1.png", "")
    rows["val"][0]["messages"][1]["content"] = "yes"
    assert "val: the output is not its label's answer in v1" in inspect(write_chats(tmp_path, rows)).problems


def test_a_template_that_takes_no_images(tmp_path: Path) -> None:
    problems = check.inspect_all([write(tmp_path, chats(tmp_path, "v1.png", ""))])[0].problems
    assert "does not support image input" in problems[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cutof_len": 5}, "has no argument 'cutof_len', did you mean 'cutoff_len'"),
        ({"val_size": 0.1}, "val_size: draws rows at random"),
        ({"template": "no_such_template"}, "LLaMA-Factory refuses ecg_train: .*no_such_template"),
    ],
)
def test_recipes_that_would_spoil_a_run(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    request = write(tmp_path, sound())
    write_recipe(tmp_path, **changes)
    assert re.search(words, "; ".join(check.inspect_all([request])[0].problems))


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_on_a_processor_without_it(able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "computes_bfloat16", lambda: able)
    request = write(tmp_path, sound())
    write_recipe(tmp_path, bf16=True, use_cpu=True)
    told = "bf16: is many times slower on this processor" in "; ".join(check.inspect(request).problems)
    assert told != able


@pytest.mark.parametrize("recipe", sorted((ROOT / "train_configs").glob("*.yaml")), ids=lambda recipe: recipe.stem)
def test_shipped_recipes_are_known_to_llamafactory(recipe: Path, tmp_path: Path) -> None:
    registered = registry.entries("ecg", alpaca("t1", "AF"))
    assert inspect(Request("", registered, str(tmp_path), str(recipe), "recipe")).problems == []


def test_a_missing_recipe_is_a_problem_of_its_dataset(tmp_path: Path) -> None:
    good = write(tmp_path, sound())
    bad = Request(good.folder, good.registered, good.root, str(tmp_path / "none.yaml"))
    reports = check.inspect_all([bad, good])
    assert "no such recipe" in reports[0].problems[0]
    assert reports[1].problems == []


def test_datasets_are_found(tmp_path: Path) -> None:
    request = write(tmp_path, sound())
    for name in ("ecg", "ecg_train", "ecg_test"):
        assert find(name, tmp_path) == (Path(request.folder), request.registered)


def change_registry(root: Path, **entries: object) -> None:
    write_json(root / "dataset_info.json", {**read_json(root / "dataset_info.json"), **entries})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("egc", "egc: not registered .*did you mean 'ecg'"),
        ("ecg_dev", "ecg_dev: not registered"),
        ("", "not registered"),
        ("mine", "does not have it as mine_train, mine_val, mine_test"),
        ("list_train", "does not have it as list_train"),
        ("two", "does not have it as two_train, two_val, two_test, the files of one folder"),
        ("new", r"holds no dataset yet; run converters/new\.py first"),
    ],
)
def test_datasets_that_are_not_there(tmp_path: Path, name: str, words: str) -> None:
    write(tmp_path, sound())
    change_registry(tmp_path, mine={"file_name": "mine.json"}, list_train=[1])
    change_registry(tmp_path, **{f"two_{split}": {"file_name": f"data/{split}/x.jsonl"} for split in SPLITS})
    change_registry(tmp_path, **registry.entries("new", alpaca("t1", "AF")))
    with pytest.raises(VitalFactoryError, match=words):
        find(name, tmp_path)


def test_a_registered_dataset_need_not_be_converted_for_its_recipe(tmp_path: Path) -> None:
    registry.register(tmp_path, registry.entries("new", alpaca("t1", "AF")))
    assert find("new", tmp_path, data=False)[0] == tmp_path / "data" / "new"


@pytest.mark.slow
@pytest.mark.subprocess_check
def test_the_check_in_a_process_of_its_own(tmp_path: Path) -> None:
    good = write(tmp_path / "good", sound())
    bad = write(tmp_path / "bad", rows_with("test", LONG))
    reports = check.check_all([good, bad])
    assert reports[0] == inspect(good)
    assert "would lose their end" in reports[1].problems[0]


@pytest.mark.subprocess_check
def test_a_check_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(VitalFactoryError, match="check failed: exit code 1"):
        check.check(write(tmp_path, sound()))
