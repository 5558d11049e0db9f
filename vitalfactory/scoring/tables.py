"""A run's figures as text: aligned columns for a terminal, and one line of the table of all runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitalfactory.predictions import named
from vitalfactory.scoring.intervals import Figure, tell, tell_value
from vitalfactory.scoring.metrics import record

MANIFEST_COLUMNS = ("date", "dataset", "model", "method", "recipe", "adapter")
SHAPE_COLUMNS = ("split", "answered", "rows", "groups")


def run_line(metrics: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Lay a run's figures out as one line of the table of runs.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    **more
        Further columns.
    """
    run = metrics["run"] if metrics["split"] == "test" else f"{metrics['run']} ({metrics['split']})"
    line = {"run": run, **{name: metrics["manifest"].get(name) for name in MANIFEST_COLUMNS}}
    line |= {name: metrics[name] for name in SHAPE_COLUMNS}
    for name, figure in metrics["figures"].items():
        line |= {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
    return {name: _shown(value) for name, value in (line | more).items()}


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def record_run(metrics: Mapping[str, Any], folder: Path, table: Path | None, **more: Any) -> None:
    """Put a run's line into the table of runs.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    folder : Path
        The run's.
    table : Path or None
        The CSV file of all runs; ``metrics.csv`` beside the run by default.
    **more
        Further columns.
    """
    record(table or folder.resolve().parent / "metrics.csv", run_line(metrics, **more))


def closing(metrics: Mapping[str, Any], folder: Path, synthetic: str) -> str:
    """Say in lines what ends the account of a run: its notes, that it is synthetic, and where its page is.

    Parameters
    ----------
    metrics : mapping
        The content of metrics.json.
    folder : Path
        The run's.
    synthetic : str
        What is said of synthetic data.
    """
    lines = [f"note: {note}" for note in metrics["notes"]]
    lines += [f"{synthetic[0].lower()}{synthetic[1:]}"] if metrics["manifest"].get("synthetic") else []
    lines.append(f"report: {folder / named('report.html', metrics['split'])}")
    return "\n".join(f"  {line}" for line in lines)


def table_of(
    figures: Mapping[str, Figure], titles: Mapping[str, str], majority: Mapping[str, Any] | None = None, sign: str = ""
) -> str:
    """Lay figures out in aligned columns, those of a constant answer beside them.

    Parameters
    ----------
    figures : mapping of str to Figure
        What is undefined is left out.
    titles : mapping of str to str
    majority : mapping, optional
        ``label`` and ``figures``.
    sign : str
        ``+`` where the figures are differences.
    """
    usual = majority["figures"] if majority else {}
    lines = [("figure", "value [95 % interval]", f"always {majority['label']}" if majority else "")]
    lines += [
        (titles[name], tell(figure, sign), tell_value(usual[name]["value"]) if name in usual else "")
        for name, figure in figures.items()
        if figure["value"] is not None
    ]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "\n".join(f"  {name:<{first}}  {value:<{second}}  {other}".rstrip() for name, value, other in lines)
