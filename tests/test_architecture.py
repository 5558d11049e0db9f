"""The rooms and the direction of imports between them, as docs/architecture.md draws them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {"errors", "files", "card", "predictions", "recipes", "inference", "render", "download", "folds"}
LEAVES |= {"processor", "diagnosis"}
SCRIPTS = {"converters", "eval", "benchmarks", "tests"}
ALLOWED = {
    "signals": {"signals"},
    "notes": {"notes"},
    "knowledge": {"knowledge"},
    "endpoint": {"endpoint"},
    "teacher": {"teacher", "endpoint", "notes"},
    "serving": {"serving", "models.embedded", "dataset", "endpoint"},
    "models": {"models", "signals"},
    "dataset": {"dataset", "models.embedded"},
    "scoring": {"scoring"},
    "studio": {"studio", "signals", "dataset", "scoring"},
}
LEAF_ORDER = {
    "errors": set(),
    "files": {"errors"},
    "card": {"errors", "files"},
    "recipes": {"errors", "files"},
    "download": {"errors", "files"},
    "folds": {"errors", "files"},
    "processor": set(),
    "diagnosis": {"errors", "files"},
    "inference": {"errors", "recipes", "processor"},
    "predictions": {"errors", "files", "card", "processor"},
    "render": {"errors", "files", "recipes"},
}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, at its head or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    """Name the room of ``vitalfactory.<room>...``, down to the embedded model, which dataset may use."""
    parts = module.split(".")
    if parts[0] != "vitalfactory" or len(parts) < 2:
        return None
    return "models.embedded" if parts[1:3] == ["models", "embedded"] else parts[1]


LIBRARY = sorted((ROOT / "vitalfactory").rglob("*.py"))


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(ROOT)))
def test_library_imports_follow_the_design(file: Path) -> None:
    own = file.relative_to(ROOT / "vitalfactory").parts[0].removesuffix(".py")
    allowed = LEAF_ORDER[own] if own in LEAVES else ALLOWED.get(own, set()) | LEAVES
    for module in imports(file):
        assert module.split(".")[0] not in SCRIPTS, f"{file} imports the script {module}"
        used = room(module)
        assert used is None or used in allowed or used.split(".")[0] in allowed, f"{own} must not import {module}"


@pytest.mark.parametrize("folder", ["converters", "eval"])
def test_scripts_import_the_library_and_never_one_another(folder: str) -> None:
    files = sorted((ROOT / folder).glob("*.py"))
    assert files
    for file in files:
        assert not {module.split(".")[0] for module in imports(file)} & SCRIPTS, file


def test_every_room_has_its_rule() -> None:
    rooms = {path.name for path in (ROOT / "vitalfactory").iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(ALLOWED)
    assert {path.stem for path in (ROOT / "vitalfactory").glob("*.py")} - {"__init__"} == LEAVES


def test_functions_stay_short() -> None:
    for file in [*LIBRARY, *(ROOT / "converters").glob("*.py"), *(ROOT / "eval").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                body = [part for part in node.body if not isinstance(part, ast.Expr)]
                length = node.end_lineno - (body[0].lineno if body else node.lineno)
                assert length <= 60, f"{file.name}: {node.name} has {length} lines"
