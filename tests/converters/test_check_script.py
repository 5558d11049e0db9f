"""converters/check.py: what it shows, and how it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from converters import check as script
from converters import ecg
from vitalfactory import errors
from vitalfactory.files import ROOT, read_json, write_json

RECIPES = ROOT / "train_configs"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    ecg.convert(synthetic=40, root=folder, workers=1)
    return folder


def ran(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line; return its exit code and what it printed."""
    code: Any = 0
    try:
        errors.run(script.main, [str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_a_sound_dataset(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ran(capsys, "--recipe", RECIPES / "ecg_qwen7b_lora.yaml", "--root", root)
    assert (code, err) == (0, "")
    assert "ecg under ecg_qwen7b_lora.yaml\n" in out
    counts = {split: part["labels"] for split, part in read_json(root / "data" / "ecg" / "card.json")["splits"].items()}
    for split, labels in counts.items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [split])
        assert all(f"{label} {count}" in line for label, count in labels.items())
    assert "of 512 (" in out
    assert "tokens" in out
    bars = [line for line in out.splitlines() if line.rstrip().endswith("#")]
    assert sum(int(line.split()[1]) for line in bars) == 40
    assert "over the cutoff" not in out
    assert out.rstrip().endswith("ok")


def test_problems_are_all_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "short.yaml"
    text = (RECIPES / "ecg_qwen7b_lora.yaml").read_text(encoding="utf-8")
    recipe.write_text(text.replace("cutoff_len: 512", "cutoff_len: 100\nval_size: 0.1\nlora_rnk: 3"), encoding="utf-8")
    code, out, err = ran(capsys, "--recipe", recipe, "--root", root)
    assert (code, err) == (2, "")
    assert "over the cutoff" in out
    problems = [line for line in out.splitlines() if line.startswith("  problem: ")]
    assert len(problems) == 3
    for words in (
        "did you mean 'lora_rank'",
        "val_size: draws rows at random",
        "40 of 40 rows are longer than cutoff_len 100",
    ):
        assert any(words in problem for problem in problems)
    assert "ok" not in out.splitlines()[-1]


def test_several_recipes_and_one_answer(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    text = (RECIPES / "ecg_qwen7b_lora.yaml").read_text(encoding="utf-8")
    other.write_text(text.replace("dataset: ecg_train", "dataset: ecg_train,eeg_train"), encoding="utf-8")
    code, out, _ = ran(capsys, "--recipe", other, RECIPES / "ecg_qwen7b_lora.yaml", "--root", root, "--json")
    assert code == 2
    answer = json.loads(out.splitlines()[-1])
    assert answer["ok"] is False
    found = [(Path(part["recipe"]).name, part["dataset"], bool(part["problems"])) for part in answer["checked"]]
    expected = [("other.yaml", "ecg", False), ("other.yaml", "eeg", True), ("ecg_qwen7b_lora.yaml", "ecg", False)]
    assert found == expected
    assert answer["checked"][0]["rows"] == {"train": 32, "val": 4, "test": 4}
    assert answer["checked"][0]["tokens"]["cutoff"] == 512
    assert answer["checked"][1]["problems"][0].startswith("eeg: not registered in ")


@pytest.mark.parametrize("name", ["ecg", "ecg_test"])
def test_a_dataset_under_the_first_recipe_that_trains_on_it(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, out, _ = ran(capsys, "--dataset", name, "--root", root)
    assert code == 0
    assert f"{name} under ecg_qwen7b_lora.yaml" in out


def test_a_dataset_under_a_recipe_of_another(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("template: qwen\ndataset: other\nmodel_name_or_path: Qwen/Qwen2.5-7B-Instruct\n")
    code, out, _ = ran(capsys, "--dataset", "ecg", "--recipe", recipe, "--root", root)
    assert code == 0
    assert "of 2048 (" in out


def test_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "dataset_info.json", read_json(ROOT / "dataset_info.json"))
    recipe = RECIPES / "ecg_qwen7b_lora.yaml"
    code, out, _ = ran(capsys, "--recipe", recipe, "--root", tmp_path)
    assert code == 2
    assert "holds no dataset yet; run converters/ecg.py first" in out
    code, out, _ = ran(capsys, "--recipe", recipe, "--root", tmp_path, "--no-data")
    assert code == 0
    assert out.rstrip().endswith("ok")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --recipe YAML or --dataset NAME"),
        (["--recipe", "none.yaml"], "none.yaml: no such recipe"),
        (["--recipe", "empty.yaml"], "empty.yaml: names no dataset"),
        (["--dataset", "unheard_of"], "--dataset unheard_of: no recipe in .* trains on it; give --recipe YAML"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.yaml").write_text("template: qwen\n")
    code, out, err = ran(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(words, err)
