"""Puts measured figures into a document, between two marks that name what was measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, write_text
from vitalfactory.processor import hardware

RESULTS = ROOT / "docs" / "results.md"
"""Where all figures stand."""


def compare_table(runs: Sequence[Path], against: Path) -> str:
    """Make the table of some runs in Markdown, with ``eval/compare.py``."""
    command = [sys.executable, "eval/compare.py", *map(str, runs), "--against", str(against), "--markdown"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def measured_with(card: Card, run: Path) -> str:
    """Name what a run's figures were measured with: its data, versions, hardware and date.

    Parameters
    ----------
    card : Card
        Of the dataset.
    run : Path
        The run's folder.
    """
    manifest = read_json(run / "run.json")
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    return (
        f"Data: {card.source.name}, {card.source.version}; test.jsonl {card.splits['test'].sha256[:12]}. "
        f"Versions: {versions}. Hardware: {manifest['hardware']}. Date: {manifest['date']}."
    )


def marks(name: str) -> tuple[str, str]:
    """Return the lines between which a document shows a benchmark's figures."""
    return f"<!-- figures of {name} -->", f"<!-- end of {name} -->"


def publish(document: Path, name: str, text: str) -> None:
    """Replace the figures of one benchmark in a document.

    Parameters
    ----------
    document : Path
        A Markdown file that holds the two marks.
    name : str
        The benchmark.
    text : str
        What stands between the marks afterwards.

    Raises
    ------
    VitalFactoryError
        The marks are not there.
    """
    first, last = marks(name)
    before, found, rest = document.read_text(encoding="utf-8").partition(first)
    _, ended, after = rest.partition(last)
    if not found or not ended:
        raise VitalFactoryError(f"{document}: expected the lines {first!r} and {last!r} to write figures between")
    write_text(document, f"{before}{first}\n\n{text}\n\n{last}{after}")


def published(document: Path, name: str) -> str:
    """Read what :func:`publish` wrote."""
    first, last = marks(name)
    return document.read_text(encoding="utf-8").partition(first)[2].partition(last)[0].strip()


def publish_measured(name: str, table: Sequence[str], remark: str = "") -> None:
    """Put a table that was measured just now into docs/results.md, with its command, the hardware and the date.

    Parameters
    ----------
    name : str
        The benchmark.
    table : sequence of str
        Its lines.
    remark : str
        What a reader must know beside it.
    """
    about = f"Command: `python -m benchmarks.{name}`. Hardware: {hardware()}. Date: {datetime.now(UTC).date()}."
    parts = ("\n".join(table), remark, about)
    publish(RESULTS, name, "\n\n".join(part for part in parts if part))
