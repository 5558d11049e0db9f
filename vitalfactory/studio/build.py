"""Build: a source to a registered dataset, by the task's converter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from vitalfactory.files import short_path
from vitalfactory.studio import parts
from vitalfactory.studio.jobs import Outcome, python, shown
from vitalfactory.studio.part import Part
from vitalfactory.studio.parts import Updates
from vitalfactory.studio.state import Studio, only
from vitalfactory.studio.tasks import KINDS, TASKS
from vitalfactory.studio.words import Refusal, Words

PART = "build"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
TRIED = 50
"""Records of a trial."""
MOST_MADE = 10_000


@dataclass(frozen=True)
class Wish:
    """What is asked for on the page, as it was typed and chosen."""

    task: Any
    source: Any
    labels: Any
    made: Any
    form: Any
    language: Any
    recipe: Any
    name: Any
    limit: Any
    replace: Any


FIELDS = tuple(field.name for field in fields(Wish))


def command_of(wish: Wish, studio: Studio) -> list[str]:
    """Write the converter's command, ``--root`` and ``--json`` left out.

    Raises
    ------
    VitalFactoryError
        The source is outside the studio's folders, or a choice is none of those offered.
    """
    task = only(wish.task, TASKS)
    kind = KINDS[task]
    form = only(wish.form, kind.forms)
    command = python(f"converters/{task}.py", *_source(wish, kind.flags.get(form, "--input"), task, studio))
    command += ["--representation", form] if kind.told else []
    command += ["--language", only(wish.language, ("en", "zh"))]
    recipe = studio.recipe(str(wish.recipe))
    command += ["--recipe", short_path(recipe)]
    if wish.limit:
        command += ["--limit", str(_count("--limit", wish.limit))]
    return [*command, "--name", _name(wish.name)]


def _source(wish: Wish, flag: str, task: str, studio: Studio) -> list[str]:
    if wish.made:
        return ["--synthetic", str(_count("--synthetic", wish.made))]
    if not wish.source:
        raise Refusal("no_source")
    source = short_path(studio.folders.inside(str(wish.source)))
    if task != "clinical":
        return [flag, source]
    if not wish.labels:  # rows that carry their notes with their labels
        return ["--labels", source]
    return ["--input", source, "--labels", short_path(studio.folders.inside(str(wish.labels)))]


def _count(flag: str, value: Any) -> int:
    if not isinstance(value, int | float) or value != int(value) or not 1 <= value <= MOST_MADE * 100:
        raise Refusal("no_count", what=flag, value=value)
    return int(value)


def _name(value: Any) -> str:
    name = str(value or "").strip()
    if not NAME.fullmatch(name):
        raise Refusal("no_name")
    return name


def result(outcome: Outcome, words: Words) -> str:
    """Show the counts that a converter prints as JSON."""
    summary = outcome.summary
    if outcome.code or summary is None:
        return parts.ended(outcome, words)
    splits: Mapping[str, Mapping[str, Any]] = summary["splits"]
    rows = [
        [name, part["rows"], part["groups"], ", ".join(f"{label} {count}" for label, count in part["labels"].items())]
        for name, part in splits.items()
    ]
    head = [words.split, words.rows, words.groups, words.labels]
    told = [parts.table(head, rows, f"{words.counts}: {summary['dataset']}")]
    excluded = sorted(summary["excluded"].items())
    told.append(
        parts.table([words.reason, words.rows], excluded, words.left_out)
        if excluded
        else parts.note(words.nothing_left_out)
    )
    tokens = summary["tokens"]
    told.append(
        parts.note(
            words.built.format(
                seconds=summary["seconds"],
                longest=tokens["longest"],
                cutoff=tokens["cutoff"],
                whose=tokens["tokenizer"],
            )
        )
    )
    return "".join(told)


class Build(Part):
    """The part on the page.

    Parameters
    ----------
    studio : Studio
    words : Words
    """

    part = PART

    def __init__(self, studio: Studio, words: Words) -> None:
        super().__init__(studio, words)
        gr.Markdown(words.build_about)
        self._lay_out_source()
        self._lay_out_rows()
        with gr.Row():
            self.trial = gr.Button(words.trial.format(count=TRIED))
            self.go = gr.Button(words.build, variant="primary")
            self.stop = gr.Button(words.cancel, variant="stop")
        self.command = parts.command_box(words.command, "build-command")
        self.status = gr.HTML(elem_id="build-status")
        self._connect()

    def _lay_out_source(self) -> None:
        words, listed = self.words, self.studio.folders.listing()
        self.task = gr.Radio([(words.tasks[name], name) for name in TASKS], value=TASKS[0], label=words.task)
        free: dict[str, Any] = {"value": None, "allow_custom_value": True}
        with gr.Row():
            self.source = gr.Dropdown(listed, label=words.source, info=words.source_info, **free)
            self.made = gr.Number(0, precision=0, minimum=0, maximum=MOST_MADE, label=words.made, info=words.made_info)
        self.labels = gr.Dropdown(listed, label=words.label_file, info=words.label_file_info, visible=False, **free)

    def _lay_out_rows(self) -> None:
        words, kind = self.words, KINDS[TASKS[0]]
        with gr.Row():
            self.form = gr.Dropdown(list(kind.forms), value=kind.forms[0], label=words.form, info=words.form_info)
            self.language = gr.Radio([("English", "en"), ("中文", "zh")], value="en", label=words.rows_language)
            recipes = list(self.studio.recipes())
            self.recipe = gr.Dropdown(recipes, value=kind.recipe, label=words.recipe, info=words.recipe_info)
        with gr.Row():
            self.name = gr.Textbox(TASKS[0], label=words.name, info=words.name_info)
            self.limit = gr.Number(0, precision=0, minimum=0, label=words.limit, info=words.limit_info)
            self.replace = gr.Checkbox(False, label=words.replace)

    def _connect(self) -> None:
        guard = parts.guarded(self.status, self.words)
        given = {getattr(self, name) for name in FIELDS}
        outputs = [self.command, self.status]
        chosen = [self.form, self.recipe, self.source, self.labels, self.name, self.status]
        self.task.input(guard(self.choose), self.task, chosen, **parts.QUIET)
        formed = [self.recipe, self.name, self.status]
        self.form.input(guard(self.choose_form), [self.task, self.form], formed, **parts.QUIET)
        self.go.click(guard(self.build), given, outputs, **parts.QUIET)
        self.trial.click(guard(self.attempt), given, outputs, **parts.QUIET)
        self.stop.click(self.cancel, None, None, **parts.QUIET)

    def choose(self, task: str) -> Updates:
        """Offer what a task has."""
        kind = KINDS[only(task, TASKS)]
        listed = self.studio.folders.listing()
        return {
            self.form: gr.Dropdown(choices=list(kind.forms), value=kind.forms[0]),
            self.recipe: gr.Dropdown(choices=list(self.studio.recipes()), value=kind.recipe),
            self.source: gr.Dropdown(choices=listed, value=None),
            self.labels: gr.Dropdown(choices=listed, value=None, visible=task == "clinical"),
            self.name: task,
            self.status: "",
        }

    def choose_form(self, task: str, form: str) -> Updates:
        """Name the dataset as the recipes of that representation do."""
        kind = KINDS[only(task, TASKS)]
        name = task if form == kind.forms[0] else f"{task}_{form}"
        return {self.recipe: kind.recipe_for(form), self.name: name, self.status: ""}

    def _wish(self, given: Mapping[Any, Any]) -> Wish:
        return Wish(**{name: given[getattr(self, name)] for name in FIELDS})

    def build(self, given: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Write the dataset."""
        wish = self._wish(given)
        written = command_of(wish, self.studio)
        if (self.studio.root / "data" / written[-1]).exists() and not wish.replace:
            raise Refusal("exists", name=written[-1], box=self.words.replace)
        yield from self._run([*written, *self.studio.where, "--json"], request)

    def attempt(self, given: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Write a few rows into a folder that is deleted."""
        written = command_of(self._wish(given), self.studio)
        written += [] if "--limit" in written or "--synthetic" in written else ["--limit", str(TRIED)]
        with self.studio.workplace() as folder:
            yield from self._run([*written, "--root", str(folder), "--json"], request)

    def _run(self, full: list[str], request: gr.Request) -> Iterator[Updates]:
        yield {self.command: shown(full), self.status: parts.note(self.words.starting)}
        job = self.studio.start(request.session_hash, PART, full)
        yield from parts.running(job, self.status, self.words)
        yield {self.status: result(job.end(), self.words)}
