"""Every command that the README, the docs and the recipes show is one that exists."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overview import overview
from benchmarks.publish import published
from vitalfactory.dataset.registry import read
from vitalfactory.errors import VitalFactoryError
from vitalfactory.recipes import dataset_names, read_recipe

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
RECIPES = sorted(ROOT.glob("train_configs/*.yaml"))
HEADS = sorted(ROOT.glob("train_configs/head/*.yaml"))
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
JUDGES = {f"eval/{name}.py" for name in ("classify", "diagnosis", "multilabel", "qa")}
COMMAND = re.compile(r"^(?:    |#[ A-Za-z]*?  +|\$ )\$? ?((?:make|python|llamafactory-cli) .+)$", re.MULTILINE)


def commands(file: Path) -> list[str]:
    """Commands in indented blocks and recipe heads; ``#`` starts a remark, ``--`` a command that another one runs."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split("  #")[0].strip() for line in COMMAND.findall(text)]
    return [part for line in lines for part in re.split(" && | -- ", line) if part != "source .venv/bin/activate"]


SHOWN = sorted({(file.relative_to(ROOT), line) for file in [*DOCUMENTS, *RECIPES, *HEADS] for line in commands(file)})


def help_of(words: list[str]) -> str:
    """Ask a script for its help, which every script answers without its heavy imports."""
    end = 2 if words[1] == "-m" else 1
    subcommand = [word for word in words[end + 1 : end + 2] if re.fullmatch("[a-z-]+[a-z]", word) and word[0] != "-"]
    done = subprocess.run(
        [sys.executable, *words[1 : end + 1], *subcommand, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_commands_to_check() -> None:
    assert len({line for _, line in SHOWN}) > 10


@pytest.mark.parametrize(("file", "line"), SHOWN, ids=lambda value: str(value).replace("/", "-"))
def test_shown_command_exists(file: Path, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert set(targets) <= MAKE_TARGETS
    elif words[0] == "llamafactory-cli":
        check_llamafactory(words)
    else:
        text = help_of(words)
        unknown = [word for word in words if word.startswith("--") and word not in text]
        assert not unknown, f"{file}: {line}: no such flags {unknown}"
        check_paths(words)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_runs_are_judged_before_they_are_compared(file: Path) -> None:
    judged = set()
    for words in map(shlex.split, commands(file)):
        if words[1:2] == ["eval/compare.py"]:
            runs = [word for word in words[2:] if word.startswith("results/")]
            assert set(runs) <= judged, f"{file.name}: {sorted(set(runs) - judged)} have no figures yet"
        elif len(words) > 2 and words[0] == "python" and words[1] in JUDGES:
            judged.add(words[2])


def check_llamafactory(words: list[str]) -> None:
    assert words[1] in ("train", "api", "chat", "export", "version")
    if words[1] == "train":
        assert (ROOT / words[2]).is_file()
        assert all("=" in word for word in words[3:])


def check_paths(words: list[str]) -> None:
    for word in words:
        if word.startswith("train_configs/") or (word.endswith(".py") and "/" in word):
            assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_opens_with_its_manual(recipe: Path) -> None:
    head = "\n".join(line for line in recipe.read_text(encoding="utf-8").split("\n### ")[0].splitlines())
    for word in ("Needs", "Batch", "Before", "Run", "After", "Result"):
        assert re.search(rf"^# {word} ", head, re.MULTILINE), f"the head of {recipe.name} lacks {word!r}"
    assert f"llamafactory-cli train train_configs/{recipe.name}" in head
    arguments = read_recipe(recipe)
    assert arguments["output_dir"] == f"saves/{recipe.stem}"
    assert all(name.rsplit("_", 1)[-1] in ("train", "val") for name in dataset_names(arguments))
    assert set(dataset_names(arguments)) <= set(read(ROOT)), "LLaMA-Factory would not know the dataset"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


NAMED = re.compile(r"`((?:converters|train_configs|eval|vitalfactory|benchmarks|docs|tests)/[^` ]*)`")
MODULE = re.compile(r"python -m ((?:vitalfactory|benchmarks)[a-z0-9_.]*)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_files_and_modules_that_are_named_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in NAMED.findall(text):
        if not re.search(r"[<>{}$]", name):
            assert list(ROOT.glob(name.rstrip("/"))), f"{document.name} names {name}"
    for module in MODULE.findall(text):
        assert importlib.util.find_spec(module.rstrip(".")), f"{document.name} names the module {module}"


def test_both_readmes_name_the_same_documents() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_zh.md"))
    links = [set(re.findall(r"\]\((docs/[a-z-]+\.md)", text)) for text in (english, chinese)]
    assert links[0] - links[1] <= {"docs/studio.md"}
    assert links[1] <= links[0]


ROWS = [
    (document, line)
    for document in DOCUMENTS
    for line in document.read_text(encoding="utf-8").splitlines()
    if re.fullmatch(r"\|.*train_configs/.*\.yaml\).*GB \|", line)
]


def test_tables_of_recipes_say_what_their_heads_say() -> None:
    assert len(ROWS) > 15
    for document, line in ROWS:
        heads = [
            (document.parent / target).read_text(encoding="utf-8").split("\n### ")[0]
            for target in re.findall(r"\]\(([^)]+)", line)
            if target.endswith(".yaml")
        ]
        needed = {found[1] for head in heads if (found := re.search(r"with (\d+) GB", head))}
        told = line.rpartition(" |")[0].rpartition("| ")[2].replace("4 x ", "")
        assert set(re.findall(r"\d+", told)) == needed, f"{document.name}: {line}"


def test_readme_shows_the_results() -> None:
    assert published(ROOT / "README.md", "overview") == overview(), "run python -m benchmarks.overview"


def test_the_new_dataset_of_the_docs_converts(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding-a-dataset.md").read_text(encoding="utf-8")
    script = tmp_path / "pulse.py"
    script.write_text(page.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    source = tmp_path / "rates.csv"
    rows = [f"r{number},p{number // 2},{50 + number}" for number in range(120)]
    source.write_text("\n".join(["record,patient,rate", *rows, "r-bad,p-bad,900", ""]), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pulse", script)
    assert spec is not None
    assert spec.loader is not None
    pulse = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pulse)
    summary = pulse.convert(input=source, root=tmp_path, workers=1)
    assert sum(part.rows for part in summary.splits.values()) == 120
    assert summary.excluded == {"out of range": 1}
    assert set(read(tmp_path)) == {"pulse_train", "pulse_val", "pulse_test"}
    with pytest.raises(VitalFactoryError, match="--language zh: the task 'pulse' is put in en"):
        pulse.convert(input=source, root=tmp_path, workers=1, language="zh")
