"""Results: every judged run in a table, its report, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, short_path
from vitalfactory.scoring.intervals import tell
from vitalfactory.studio import parts
from vitalfactory.studio.jobs import python, shown
from vitalfactory.studio.part import Part
from vitalfactory.studio.parts import Updates
from vitalfactory.studio.state import Studio
from vitalfactory.studio.words import Refusal, Words

PART = "results"
METRICS, REPORT = "metrics.json", "report.html"
SHOWN = 4
"""Figures of a run in the table; its report has all."""
NEEDED = {"split": str, "rows": int, "figures": dict, "manifest": dict}


def runs(studio: Studio) -> dict[str, Path]:
    """Find the judged runs below ``results/``: name to folder."""
    results = studio.root / "results"
    found = sorted(file.parent for file in results.rglob(METRICS)) if results.is_dir() else []
    return {folder.relative_to(results).as_posix(): folder for folder in found if not folder.is_symlink()}


def folder_of(studio: Studio, run: str | None) -> Path:
    """Find a run's folder.

    Raises
    ------
    VitalFactoryError
        There is no such run.
    """
    known = runs(studio)
    if run not in known:
        raise Refusal("no_such", name=run)
    return known[run]


def report_of(studio: Studio, run: str) -> Path | None:
    """Find a run's report; None where it has none, or is no run."""
    folder = runs(studio).get(run)
    path = folder / REPORT if folder else None
    return path if path and path.is_file() and not path.is_symlink() else None


def line_of(name: str, folder: Path, words: Words) -> list[str]:
    """Tell a run on one line of the table."""
    try:
        metrics = read_json(folder / METRICS)
    except VitalFactoryError:
        metrics = None
    if not isinstance(metrics, dict) or not all(isinstance(metrics.get(name), kind) for name, kind in NEEDED.items()):
        return [name, "-", "-", "-", words.unreadable_run]
    manifest: Mapping[str, Any] = metrics["manifest"]
    figures = [f"{title} {tell(figure)}" for title, figure in _first(metrics["figures"])]
    about = Path(str(manifest.get("model", "-"))).name
    synthetic = f" ({words.synthetic})" if manifest.get("synthetic") else ""
    dataset = f"{manifest.get('dataset', '-')}{synthetic}"
    return [name, about, dataset, f"{metrics['split']}, {metrics['rows']}", "; ".join(figures)]


def _first(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    whole = [(name, figure) for name, figure in figures.items() if isinstance(figure, dict) and "value" in figure]
    return [(_title(name), figure) for name, figure in whole[:SHOWN]]


def _title(name: str) -> str:
    from vitalfactory.scoring.metrics import FIGURES

    return FIGURES.get(name, name.replace("_", " "))


def compared_html(summary: Mapping[str, Any], text: str, words: Words) -> str:
    """Lay two runs out side by side, a figure a line, with what else the script says below.

    Parameters
    ----------
    summary : mapping
        What ``eval/compare.py --json`` prints of two runs.
    text : str
        What it writes for people.
    words : Words
    """
    first, second = summary["runs"]
    minus = {row["figure"]: row for row in summary["differences"]}
    lines = []
    for name, figure in first["figures"].items():
        apart = minus.get(name)
        told = f"{tell(apart['difference'], '+')}{' *' if apart['excludes_0'] else ''}" if apart else "-"
        lines.append([_title(name), tell(figure), tell(second["figures"][name]), told])
    test = summary["mcnemar"][0]
    p = "< 0.001" if test["p"] < 0.001 else f"= {test['p']:.3f}"
    lines.append([words.only_right, test["only_against"], test["only_run"], f"McNemar p {p}"])
    head = [words.figure, first["run"], second["run"], words.difference]
    return parts.table(head, lines, words.side_by_side) + parts.block(words.as_written, text)


def frame(studio: Studio, run: str, words: Words) -> str:
    """Show a report in a frame that may run no script and reach nothing."""
    if report_of(studio, run) is None:
        return parts.note(words.no_report.format(run=run))
    address = f"/reports/{quote(run, safe='')}"
    title = f"{words.report} {run}"
    return (
        f'<figure class="vf-report"><figcaption><a href="{address}" target="_blank" rel="noopener">'
        f"{parts.escaped(title)} ↗</a></figcaption>"
        f'<iframe src="{address}" sandbox="" title="{parts.escaped(title)}"></iframe></figure>'
    )


class Results(Part):
    """The part on the page.

    Parameters
    ----------
    studio : Studio
    words : Words
    tab : gr.Tab
        Which it stands in.
    """

    part = PART

    def __init__(self, studio: Studio, words: Words, tab: gr.Tab) -> None:
        super().__init__(studio, words)
        gr.Markdown(words.results_about)
        self.listed = gr.HTML(elem_id="results-table")
        with gr.Row():
            self.first = gr.Dropdown([], value=None, label=words.first_run)
            self.second = gr.Dropdown([], value=None, label=words.second_run)
        with gr.Row():
            self.reports = gr.Button(words.show_reports)
            self.go = gr.Button(words.compare, variant="primary")
            self.stop = gr.Button(words.cancel, variant="stop")
        self.command = parts.command_box(words.command, "results-command")
        self.status = gr.HTML(elem_id="results-status")
        self.compared = gr.HTML(elem_id="results-compared")
        self.frames = gr.HTML(elem_id="results-reports")
        self._connect(tab)

    def _connect(self, tab: gr.Tab) -> None:
        guard = parts.guarded(self.status, self.words)
        two = [self.first, self.second]
        tab.select(guard(self.refresh), two, [self.listed, *two, self.status], **parts.QUIET)
        self.reports.click(guard(self.show), two, [self.frames, self.status], **parts.QUIET)
        self.go.click(guard(self.compare), two, [self.command, self.status, self.compared], **parts.QUIET)
        self.stop.click(self.cancel, None, None, **parts.QUIET)

    def refresh(self, first: str | None, second: str | None) -> Updates:
        """List the runs that there are now."""
        words, known = self.words, runs(self.studio)
        names = list(known)
        head = [words.run, words.model, words.dataset, words.split_rows, words.figures]
        lines = [line_of(name, folder, words) for name, folder in known.items()]
        told = parts.table(head, lines, words.intervals) if lines else parts.note(words.no_results)
        first = first if first in known else next(iter(names), None)
        second = second if second in known else next(iter(names[1:]), None)
        chosen = {
            self.first: gr.Dropdown(choices=names, value=first),
            self.second: gr.Dropdown(choices=names, value=second),
        }
        return {self.listed: told, self.status: "", **chosen}

    def show(self, first: str | None, second: str | None) -> Updates:
        """Show the reports of one run or two."""
        wanted = [str(name) for name in dict.fromkeys((first, second)) if name]
        if not wanted:
            raise Refusal("choose_run")
        for name in wanted:
            folder_of(self.studio, name)
        inside = "".join(frame(self.studio, name, self.words) for name in wanted)
        return {self.frames: f'<div class="vf-pair">{inside}</div>', self.status: ""}

    def compare(self, first: str | None, second: str | None, request: gr.Request) -> Iterator[Updates]:
        """Compare two runs."""
        if not first or not second or first == second:
            raise Refusal("choose_two")
        full = python(
            "eval/compare.py", *(short_path(folder_of(self.studio, name)) for name in (first, second)), "--json"
        )
        yield {self.command: shown(full), self.status: parts.note(self.words.starting), self.compared: ""}
        job = self.studio.start(request.session_hash, PART, full)
        yield from parts.running(job, self.status, self.words, self.words.comparing)
        outcome = job.end()
        summary = outcome.summary
        if outcome.code or summary is None:
            yield {self.status: parts.ended(outcome, self.words)}
        else:
            text = outcome.text.strip().rpartition("\n")[0]  # the last line is the same as JSON
            yield {self.status: "", self.compared: compared_html(summary, text, self.words)}
