"""Train: what the recipe linter says, the command to start with, and the loss of a run from its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, short_path
from vitalfactory.recipes import dataset_names, read_recipe
from vitalfactory.studio import parts
from vitalfactory.studio.jobs import Outcome, python, shown
from vitalfactory.studio.part import Part
from vitalfactory.studio.parts import Updates
from vitalfactory.studio.state import Studio
from vitalfactory.studio.words import Refusal, Words

PART = "train"
LOG = "trainer_log.jsonl"
"""What LLaMA-Factory writes into a run's ``output_dir`` while it trains."""
LOOK_SECONDS = 3.0


def runs(studio: Studio) -> list[str]:
    """Name the folders of ``saves/`` with a log, the latest first."""
    saves = studio.root / "saves"
    found = sorted(saves.rglob(LOG), key=lambda log: -log.stat().st_mtime) if saves.is_dir() else []
    return [str(log.parent.relative_to(saves)) for log in found]


def log_of(studio: Studio, run: str | None) -> list[dict[str, Any]]:
    """Read a run's log; a line that is being written is left for the next time.

    Raises
    ------
    VitalFactoryError
        There is no such run.
    """
    if run not in runs(studio):
        raise Refusal("no_such", name=run)
    path = studio.root / "saves" / str(run) / LOG
    rows: list[dict[str, Any]] = []
    try:
        for row in read_jsonl(path):
            rows.append(row)
    except VitalFactoryError:
        if not rows:
            raise
    return rows


def loss_html(rows: Sequence[Mapping[str, Any]], words: Words) -> str:
    """Draw a run's loss, and say how far it is and when it will have ended."""
    from vitalfactory.studio.pictures import draw_loss

    trained = [(float(row["current_steps"]), float(row["loss"])) for row in rows if row.get("loss") is not None]
    held_out = {
        float(row["current_steps"]): float(row["eval_loss"]) for row in rows if row.get("eval_loss") is not None
    }
    if not rows or not trained:
        return parts.note(words.no_loss)
    last = rows[-1]
    told = words.run_told.format(
        step=last.get("current_steps", "?"),
        total=last.get("total_steps", "?"),
        percent=f"{float(last.get('percentage') or 0):.0f}",
        elapsed=last.get("elapsed_time", "?"),
        remaining=last.get("remaining_time", "?"),
        loss=f"{trained[-1][1]:.4f}",
    )
    steps, losses = zip(*trained, strict=True)
    return parts.note(told) + parts.picture(draw_loss(steps, losses, held_out, words), words.loss_of)


def verdict(outcome: Outcome, words: Words) -> str:
    """Show what the recipe linter prints as JSON."""
    summary = outcome.summary
    if summary is None or outcome.cancelled:
        return parts.ended(outcome, words)
    told = []
    for checked in summary["checked"]:
        name, problems = checked["dataset"], checked["problems"]
        told += [parts.problem(f"{name}: {line}", words) for line in problems]
        told += [] if problems else [parts.note(words.recipe_ok.format(dataset=name))]
        counts = [[split, rows] for split, rows in checked["rows"].items()]
        told += [parts.table([words.split, words.rows], counts, name)] if counts else []
        tokens = checked["tokens"]
        if tokens:
            whose = words.stand_in if tokens["stand_in"] else ""
            lengths = words.lengths.format(**{key: tokens[key] for key in ("median", "p95", "longest", "cutoff")})
            told.append(parts.note(f"{lengths} {whose}"))
        told.append(_cost(checked.get("cost"), words))
    return "".join(told)


def _cost(cost: Mapping[str, Any] | None, words: Words) -> str:
    """Show the estimate of what a run takes."""
    if not cost:
        return ""
    known = ("rows_a_step", "steps_an_epoch", "tokens_an_epoch")
    lines = [[getattr(words, name), f"{cost[name]:,}"] for name in known if cost[name] is not None]
    if cost["gibibytes"]:
        lines.append([words.memory, f"{sum(cost['gibibytes'].values()):.1f}"])
    return parts.table([words.figure, words.value], lines, words.estimate)


def train_command(recipe: Path, studio: Studio) -> list[str]:
    """Write the command that trains with a recipe."""
    other = [f"dataset_dir={studio.root}"] if studio.where else []
    return ["llamafactory-cli", "train", short_path(recipe), *other]


class Train(Part):
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
        gr.Markdown(words.train_about)
        recipes = list(studio.recipes())
        self.recipe = gr.Dropdown(recipes, value=recipes[0] if recipes else None, label=words.recipe)
        with gr.Row():
            self.check = gr.Button(words.check, variant="primary")
            self.stop = gr.Button(words.cancel, variant="stop")
        self.command = parts.command_box(words.command, "train-command")
        self.status = gr.HTML(elem_id="train-status")
        self.start = parts.command_box(words.train_command, "train-start")
        gr.Markdown(f"### {words.running_jobs}")
        self.run = gr.Dropdown([], value=None, label=words.run, info=words.run_info)
        self.loss = gr.HTML(elem_id="train-loss")
        self.clock = gr.Timer(LOOK_SECONDS, active=False)
        self._connect(tab)

    def _connect(self, tab: gr.Tab) -> None:
        guard, loss_guard = (parts.guarded(place, self.words) for place in (self.status, self.loss))
        chosen = [self.start, self.command, self.status]
        self.recipe.input(guard(self.choose), self.recipe, chosen, **parts.QUIET)
        self.check.click(guard(self.lint), self.recipe, chosen, **parts.QUIET)
        self.stop.click(self.cancel, None, None, **parts.QUIET)
        tab.select(guard(self.offer), self.recipe, [self.recipe, self.start], **parts.QUIET)
        tab.select(loss_guard(self.refresh), self.run, [self.run, self.loss, self.clock], **parts.QUIET)
        self.run.input(loss_guard(self.look), self.run, self.loss, **parts.QUIET)
        self.clock.tick(loss_guard(self.look), self.run, self.loss, **parts.QUIET)

    def offer(self, recipe: str | None) -> Updates:
        """Offer the recipes that there are now."""
        known = list(self.studio.recipes())
        value = recipe if recipe in known else known[0]
        command = shown(train_command(self.studio.recipe(value), self.studio))
        return {self.recipe: gr.Dropdown(choices=known, value=value), self.start: command}

    def choose(self, recipe: str) -> Updates:
        """Write the command that trains with a recipe."""
        command = shown(train_command(self.studio.recipe(recipe), self.studio))
        return {self.start: command, self.command: "", self.status: ""}

    def lint(self, recipe: str, request: gr.Request) -> Iterator[Updates]:
        """Check a recipe and the dataset that it trains on, as far as that has been written."""
        found, words = self.studio.recipe(recipe), self.words
        names = {name.rpartition("_")[0] for name in dataset_names(read_recipe(found))}
        unwritten = [] if names <= set(self.studio.datasets()) else ["--no-data"]
        full = python("converters/check.py", "--recipe", short_path(found), *unwritten, *self.studio.where, "--json")
        yield {self.command: shown(full), self.status: parts.note(words.starting)}
        job = self.studio.start(request.session_hash, PART, full)
        yield from parts.running(job, self.status, words, words.checking)
        outcome = job.end()
        missing = parts.note(words.no_data_yet) if unwritten and not outcome.cancelled else ""
        yield {self.status: missing + verdict(outcome, words)}

    def refresh(self, run: str | None) -> Updates:
        """Offer the runs that there are now, and begin to watch one."""
        known = runs(self.studio)
        watched: Updates = {self.clock: gr.Timer(active=bool(known))}
        if not known:
            none = gr.Dropdown(choices=[], value=None)
            return {**watched, self.run: none, self.loss: parts.note(self.words.no_runs_yet)}
        value = run if run in known else known[0]
        return {**watched, **self.look(value), self.run: gr.Dropdown(choices=known, value=value)}

    def look(self, run: str | None) -> Updates:
        """Draw a run's loss as it is now."""
        return {self.loss: loss_html(log_of(self.studio, run), self.words) if run else gr.skip()}
