"""What every converter keeps to: found by what it defines, so that a new one is tested by being there."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitalfactory.card import SPLITS, Card, read_card
from vitalfactory.dataset import registry
from vitalfactory.dataset.build import Summary
from vitalfactory.dataset.example import Task, content_of, labels_of
from vitalfactory.files import ROOT, read_jsonl, sha256

MADE: dict[str, dict[str, Any]] = {
    "clinical": {"synthetic": 60},
    "cxr": {"synthetic": 60},
    "ecg": {"synthetic": 60},
    "eeg": {"synthetic": 6, "hours": 0.5, "events": False, "split": "40/30/30"},
    "medqa": {"synthetic": 12},
}
"""Arguments with which each converter makes its own source."""
OTHERS: dict[str, dict[str, dict[str, Any]]] = {
    "cxr": {
        "yesno": {"representation": "yesno", "synthetic": 24, "split": "40/30/30"},
        "report": {"representation": "report", "context": True},
        "repeat": {"repeat": "log", "quota": 5},
    },
    "ecg": {
        "wave": {"representation": "rr+wave"},
        "raw": {"representation": "raw"},
        "cinc": {"labels": "cinc"},
        "picture": {"representation": "picture", "recipe": ROOT / "train_configs" / "ecg_qwen2vl7b_lora.yaml"},
    },
    "eeg": {
        "numbers": {"representation": "numbers", "window": 7.5, "step": 7.5},
        "rk": {"stages": "rk", "window": 15.0, "step": 7.5},
        "picture": {"representation": "picture", "recipe": ROOT / "train_configs" / "eeg_qwen2vl_lora.yaml"},
    },
    "medqa": {
        "form": {"split_by": "form"},
        "question": {"split_by": "question"},
    },
}
"""What else a converter makes of it, and the arguments for that."""


def converters() -> list[str]:
    modules = [importlib.import_module(f"converters.{path.stem}") for path in (ROOT / "converters").glob("*.py")]
    return sorted(
        module.__name__.rpartition(".")[2]
        for module in modules
        if hasattr(module, "task") and hasattr(module, "convert")
    )


NAMES = converters()


def task_of(name: str) -> Task:
    make: Callable[[], Task] = importlib.import_module(f"converters.{name}").task
    return make()


CASES = [
    (name, language, other) for name in NAMES for language in ("en", "zh") for other in ("", *OTHERS.get(name, ()))
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Summary]:
    """Convert a made source with one converter in one language and one form."""
    name, language, other = request.param
    options = {**MADE[name], **OTHERS.get(name, {}).get(other, {})}
    root = tmp_path_factory.mktemp(name)
    convert = importlib.import_module(f"converters.{name}").convert
    return name, root, convert(**options, root=root, language=language, workers=1)


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in SPLITS}


def asked_and_answered(row: dict[str, Any]) -> tuple[str, str]:
    if "messages" not in row:
        return row["instruction"], row["output"]
    asked, answered = (message["content"] for message in row["messages"])
    return asked.replace("<image>", "").split("\n")[0], answered


def card_of(made: tuple[str, Path, Summary]) -> Card:
    return read_card(made[2].folder)


def test_every_converter_has_a_made_source() -> None:
    assert set(NAMES) == set(MADE)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_whole_in_every_language(name: str) -> None:
    task = task_of(name)
    assert task.name == name
    assert task.positive is None or task.positive in task.labels
    assert set(task.questions) == set(task.answers) == set(task.synonyms) == {"en", "zh"}
    for language, answers in task.answers.items():
        assert list(answers) == list(task.labels)
        assert task.questions[language]
        assert set(task.synonyms[language]) <= set(task.labels)
        words = [
            word for label, answer in answers.items() for word in (answer, *task.synonyms[language].get(label, ()))
        ]
        assert len(set(map(str.casefold, words))) == len(words), "one wording stands for two labels"


def test_rows_have_what_everything_after_them_needs(made: tuple[str, Path, Summary]) -> None:
    card = card_of(made)
    for rows in rows_of(made[2].folder).values():
        for row in rows:
            assert {"id", "group"} <= set(row)
            assert set(labels_of(row)) <= set(card.labels)
            if card.kind == "classify":
                asked, answered = asked_and_answered(row)
                assert answered == card.answers[row["label"]]
                assert asked in card.question
            if card.kind == "multilabel":
                assert says_its_labels(row, card)


def says_its_labels(row: dict[str, Any], card: Card) -> bool:
    """Whether the question is the card's, and the answer names the row's labels and no others."""
    asked, answered = asked_and_answered(row)
    if card.verdicts is None:
        named = [label for label, answer in card.answers.items() if answer in answered]
        return asked in card.question and named == row["labels"]
    finding = row["finding"]
    assert row["labels"] in ([], [finding])
    verdict = card.verdicts.present if row["labels"] else card.verdicts.absent
    return answered == verdict and asked in [wording.format(finding=card.answers[finding]) for wording in card.question]


def test_nothing_leaks(made: tuple[str, Path, Summary]) -> None:
    rows = rows_of(made[2].folder)
    ids = [row["id"] for part in rows.values() for row in part]
    assert len(set(ids)) == len(ids)
    for key in (lambda row: row["group"], content_of):
        parts = [{key(row) for row in part} for part in rows.values()]
        assert all(parts)
        assert sum(map(len, parts)) == len(set().union(*parts))


def test_the_card_describes_the_files(made: tuple[str, Path, Summary]) -> None:
    name, _, summary = made
    card = card_of(made)
    assert (card.name, card.task, card.kind) == (name, name, task_of(name).kind)
    assert dict(card.splits) == dict(summary.splits)
    for split, rows in rows_of(summary.folder).items():
        assert card.splits[split].rows == len(rows)
        assert card.splits[split].groups == len({row["group"] for row in rows})
        assert card.splits[split].sha256 == sha256(summary.folder / f"{split}.jsonl")
    assert card.source.name
    assert card.source.licence
    assert {"vitalfactory", "llamafactory"} <= set(card.versions)
    assert card.command.startswith(f"python converters/{name}.py ")


def test_the_readme_is_one_for_the_hub(made: tuple[str, Path, Summary]) -> None:
    text = (made[2].folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    head = yaml.safe_load(text.split("---\n")[1])
    assert {"license", "license_name", "language", "pretty_name", "tags", "configs"} <= set(head)
    assert [part["split"] for part in head["configs"][0]["data_files"]] == list(SPLITS)


def test_the_splits_are_registered_whole(made: tuple[str, Path, Summary]) -> None:
    name, root, _ = made
    registered = registry.read(root)
    assert list(registered) == [f"{name}_{split}" for split in SPLITS]
    for split, entry in zip(SPLITS, registered.values(), strict=True):
        assert entry["file_name"] == f"data/{name}/{split}.jsonl"
        assert entry["formatting"] in ("alpaca", "sharegpt")
        assert ("images" in entry["columns"]) == any("images" in row for row in rows_of(made[2].folder)[split])


def test_every_row_fits_the_recipe(made: tuple[str, Path, Summary]) -> None:
    tokens = made[2].tokens
    assert tokens.rows == sum(part.rows for part in made[2].splits.values())
    assert 0 < tokens.shortest <= tokens.longest <= tokens.cutoff


def test_the_registry_of_the_repository_has_every_default_dataset() -> None:
    registered = registry.read(ROOT)
    assert {f"{name}_{split}" for name in NAMES for split in SPLITS} <= set(registered)
