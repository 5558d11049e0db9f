"""How many rows of each label stand in each split: as JSON, as CSV and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vitalfactory.card import Split
from vitalfactory.files import write_json, write_text

BEFORE = "train before balance"


def write(
    folder: Path, labels: Sequence[str], splits: Mapping[str, Split], unbalanced: Mapping[str, int] | None
) -> None:
    """Write ``statistics.json``, ``statistics.csv`` and ``statistics.png``.

    Parameters
    ----------
    folder : Path
        The dataset's.
    labels : sequence of str
        In the order in which they are shown.
    splits : mapping of str to Split
    unbalanced : mapping of str to int or None
        The training rows' labels before they were balanced, where they were.
    """
    before = {} if unbalanced is None else {BEFORE: unbalanced}
    found = {**before, **{name: part.labels for name, part in splits.items()}}
    counts = {name: {label: part.get(label, 0) for label in labels} for name, part in found.items()}
    write_json(folder / "statistics.json", counts)
    lines = [f"{name},{label},{count}" for name, part in counts.items() for label, count in part.items()]
    write_text(folder / "statistics.csv", "\n".join(["split,label,rows", *lines]) + "\n")
    _draw(folder / "statistics.png", counts)


def _draw(path: Path, counts: Mapping[str, Mapping[str, int]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(counts), 3), layout="constrained")
    for place, (name, part) in enumerate(counts.items(), 1):
        axes = figure.add_subplot(1, len(counts), place)
        axes.bar_label(axes.bar(list(part), list(part.values()), color="#0b6e99"), fontsize=8)
        axes.set_title(name)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
