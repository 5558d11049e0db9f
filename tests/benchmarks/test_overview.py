"""The README's table of all tasks says what docs/results.md says, and names what is not measured."""

from pathlib import Path

import pytest

from benchmarks import overview
from benchmarks.publish import marks
from vitalfactory.errors import VitalFactoryError

TASK = overview.Task("Hearts", "hearts", "F1", baseline="boosted", before=True)
TABLE = """Some words.

| Run | Model | AUROC | F1 |
|---|---|---|---|
| majority class | always no | 0.5 | 0.0 |
| boosted | trees | 0.9 | 0.8 |
| after | a model | 0.7 | 0.6 |

| Run | Model | F1 |
|---|---|---|
| before | of another table | 0.1 |
"""


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "results.md"
    monkeypatch.setattr(overview, "RESULTS", page)
    monkeypatch.setattr(overview, "TASKS", (TASK,))
    return page


def write(page: Path, text: str) -> None:
    first, last = marks("hearts")
    page.write_text(f"{first}\n\n{text}\n\n{last}\n", encoding="utf-8")


def test_a_task_is_one_line(results: Path) -> None:
    write(results, TABLE)
    assert overview.overview().splitlines()[2:] == ["| Hearts | F1 | 0.0 | trees: 0.8 | not yet measured | 0.6 |"]


@pytest.mark.parametrize(
    "text",
    ["Not yet measured.", TABLE.replace("| boosted |", "| trees |"), TABLE.replace("| F1 |", "| Kappa |")],
    ids=["no table", "no baseline", "no such figure"],
)
def test_a_table_without_the_figure_is_refused(results: Path, text: str) -> None:
    write(results, text)
    with pytest.raises(VitalFactoryError, match=r"hearts: expected a table with 'F1'.*benchmarks.hearts"):
        overview.overview()
