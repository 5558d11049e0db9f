"""Look: the rows of a dataset, what each was told of, and the exact prompt that a model is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from vitalfactory.card import SPLITS, Card
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.studio import parts
from vitalfactory.studio.part import Part
from vitalfactory.studio.parts import Updates
from vitalfactory.studio.prompts import Prompt
from vitalfactory.studio.rows import Rows, open_rows
from vitalfactory.studio.state import Studio, only
from vitalfactory.studio.words import Refusal, Words

PAGE = 10
SHORT = 90
"""Characters of a row in the list."""


def split_of(studio: Studio, dataset: str | None, split: str) -> Rows:
    """Open a split of a dataset."""
    folder, _ = studio.dataset(dataset)
    return open_rows(folder / f"{only(split, SPLITS)}.jsonl")


def line_of(number: int, row: Mapping[str, Any]) -> str:
    """Tell a row on one line: its number, its id, its label and how it begins."""
    label = row.get("label", ", ".join(row.get("labels") or ()))
    text = " ".join(str(row.get("input") or question_of(row)).split())
    told = " · ".join(part for part in (f"{number + 1}", str(row.get("id")), str(label or ""), text) if part)
    return told if len(told) <= SHORT else f"{told[: SHORT - 1]}…"


def question_of(row: Mapping[str, Any]) -> str:
    """Write what a row asks, its turns one under the other."""
    if "messages" in row:
        return "\n".join(str(message["content"]) for message in row["messages"][:-1])
    return "\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))


def answer_of(row: Mapping[str, Any]) -> str:
    """Write what a row answers."""
    return str(row["messages"][-1]["content"] if "messages" in row else row.get("output", ""))


def picture_of(row: Mapping[str, Any], folder: Path, card: Card, studio: Studio, words: Words) -> str:
    """Draw what a row was told of: its images, its recording or its epoch; a note and a question are their own."""
    if row.get("images"):
        return "".join(
            parts.picture(_image(name, folder, studio), f"{words.image_of} {row['id']}") for name in row["images"]
        )
    from vitalfactory.studio import pictures, source

    try:
        if card.task == "ecg":
            recording = source.find_ecg(row, folder, card, studio.folders)
            if recording is not None:
                return parts.picture(pictures.draw_ecg(recording, words), f"{words.ecg_of} {row['id']}")
        elif card.task == "eeg":
            epoch = source.find_epoch(row, studio.root, card, studio.folders)
            if epoch is not None:
                png = pictures.draw_epoch(epoch.traces, epoch.rate, epoch.start, words)
                return parts.picture(png, f"{words.epoch_of} {row['id']}")
        else:
            return ""
    except (UnusableRecord, VitalFactoryError, OSError) as error:
        return parts.problem(parts.told(error, words), words)
    return parts.note(words.not_at_hand)


def _image(name: str, folder: Path, studio: Studio) -> bytes:
    """Read a row's image, which must lie in its dataset's folder."""
    path = (studio.root / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Refusal("image_outside", name=name)
    return path.read_bytes()


def prompt_html(prompt: Prompt, words: Words) -> str:
    """Show a rendered prompt, where its answer is, and how long both are."""
    total = prompt.prompt_tokens + prompt.answer_tokens
    told = words.tokens_told.format(
        total=total,
        prompt=prompt.prompt_tokens,
        first=prompt.prompt_tokens + 1,
        answer=prompt.answer_tokens,
        cutoff=prompt.cutoff,
        whose=prompt.tokenizer,
    )
    stand_in = parts.note(words.stand_in) if prompt.stand_in else ""
    return (
        f"{parts.note(told)}{stand_in}"
        f'<section class="vf-block"><h4>{parts.escaped(words.prompt)}</h4><pre tabindex="0">'
        f"{parts.escaped(prompt.prompt)}<mark>{parts.escaped(prompt.answer)}</mark></pre></section>"
    )


class Look(Part):
    """The part on the page.

    Parameters
    ----------
    studio : Studio
    words : Words
    tab : gr.Tab
        Which it stands in.
    """

    part = "look"

    def __init__(self, studio: Studio, words: Words, tab: gr.Tab) -> None:
        super().__init__(studio, words)
        gr.Markdown(words.look_about)
        with gr.Row():
            self.dataset = gr.Dropdown([], value=None, label=words.dataset)
            self.split = gr.Radio(list(SPLITS), value=SPLITS[0], label=words.split)
            self.recipe = gr.Dropdown([], value=None, label=words.recipe, info=words.recipe_prompt)
        with gr.Row(elem_classes="vf-turn"):
            self.back = gr.Button(words.back)
            self.number = gr.Number(1, precision=0, minimum=1, label=words.page)
            self.on = gr.Button(words.forward)
        self.about = gr.HTML(elem_id="look-about")
        self.rows = gr.Radio([], label=words.rows, elem_id="look-rows", elem_classes="vf-list")
        self.status = gr.HTML(elem_id="look-status")
        self.picture = gr.HTML(elem_id="look-picture")
        self.text = gr.HTML(elem_id="look-row")
        self.prompt = gr.HTML(elem_id="look-prompt")
        self._connect(tab)

    def _connect(self, tab: gr.Tab) -> None:
        guard = parts.guarded(self.status, self.words)
        listed = [*self._cleared, self.rows, self.number, self.about]
        where = [self.dataset, self.split, self.number]
        tab.select(guard(self.refresh), self.dataset, [self.dataset, self.recipe, *listed], **parts.QUIET)
        self.dataset.input(guard(self.choose), where[:2], [self.recipe, *listed], **parts.QUIET)
        self.split.input(guard(self.turn), where, listed, **parts.QUIET)
        self.number.submit(guard(self.turn), where, listed, **parts.QUIET)
        self.back.click(guard(self.turn_back), where, listed, **parts.QUIET)
        self.on.click(guard(self.turn_on), where, listed, **parts.QUIET)
        chosen = [self.dataset, self.split, self.rows, self.recipe]
        for field in (self.rows, self.recipe):
            field.input(guard(self.show), chosen, list(self._cleared), trigger_mode="always_last", **parts.QUIET)

    @property
    def _cleared(self) -> Updates:
        return {self.status: "", self.picture: "", self.text: "", self.prompt: ""}

    def refresh(self, dataset: str | None) -> Updates:
        """Offer the datasets that there are now."""
        known = self.studio.datasets()
        if not known:
            return {self.status: parts.note(self.words.no_datasets)}
        value = dataset if dataset in known else known[0]
        offered: Updates = {self.dataset: gr.Dropdown(choices=known, value=value)}
        return offered if value == dataset else {**self.choose(value, SPLITS[0]), **offered}

    def choose(self, dataset: str, split: str) -> Updates:
        """Show the first page of a dataset."""
        recipe = gr.Dropdown(choices=list(self.studio.recipes()), value=self.studio.recipe_for(dataset))
        return {self.recipe: recipe, **self.turn(dataset, split, 1)}

    def turn(self, dataset: str, split: str, number: float | None) -> Updates:
        """Show a page, the nearest one there is."""
        found = split_of(self.studio, dataset, split)
        pages = max(1, -(-len(found) // PAGE))
        place = min(max(int(number or 1), 1), pages)
        start = (place - 1) * PAGE
        choices = [(line_of(start + at, row), start + at) for at, row in enumerate(found.page(start, PAGE))]
        told = self.words.page_of.format(page=place, pages=pages, rows=len(found))
        listed = {self.rows: gr.Radio(choices=choices, value=None), self.number: place, self.about: parts.note(told)}
        return {**self._cleared, **listed}

    def turn_back(self, dataset: str, split: str, number: float | None) -> Updates:
        """Show the page before."""
        return self.turn(dataset, split, (number or 1) - 1)

    def turn_on(self, dataset: str, split: str, number: float | None) -> Updates:
        """Show the next page."""
        return self.turn(dataset, split, (number or 1) + 1)

    def show(self, dataset: str, split: str, number: Any, recipe: str) -> Iterator[Updates]:
        """Show a row at once, then what it was told of, then its prompt."""
        if not isinstance(number, int):
            return
        folder, card = self.studio.dataset(dataset)
        found = split_of(self.studio, dataset, split).page(number, 1)
        if not found:
            raise Refusal("no_such_row", dataset=dataset, number=number + 1)
        row, words = found[0], self.words
        text = parts.block(words.asked, question_of(row)) + parts.block(words.answered, answer_of(row))
        yield {**self._cleared, self.text: text, self.prompt: parts.note(words.rendering)}
        yield {self.picture: picture_of(row, folder, card, self.studio, words)}
        try:
            with_recipe = self.studio.recipe(recipe)
            rendered = self.studio.prompts.render(with_recipe, self.studio.root, f"{dataset}_{split}", row)
        except VitalFactoryError as error:
            yield {self.prompt: parts.problem(parts.told(error, words), words)}
        else:
            yield {self.prompt: prompt_html(rendered, words)}
