"""Ask: one recording, image, note or question to a served model, told exactly as the rows that it was tuned on.

The converter that wrote the dataset tells the recording, with the flags that the dataset's card names, into a folder
that is deleted; ``eval/generate.py`` and ``eval/score.py`` ask the endpoint. Nothing of it is kept or logged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, short_path, write_jsonl
from vitalfactory.studio import parts
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.jobs import python, shown
from vitalfactory.studio.look import picture_of, question_of
from vitalfactory.studio.part import Part
from vitalfactory.studio.parts import Updates
from vitalfactory.studio.state import Studio, flags_of
from vitalfactory.studio.tasks import KINDS
from vitalfactory.studio.words import Refusal, Words

PART = "ask"
ASKED = "asked"
"""The name of the dataset of one dropped recording."""
KEY = "OPENAI_API_KEY"
LONGEST_TEXT = 20_000
"""Characters of a note or a question."""
FIELDS = ("dataset", "recipe", "base_url", "model", "key", "dropped", "typed", "epoch")
MOST_ROWS = 32
"""Asked at once: more than there are findings."""


@dataclass(frozen=True)
class Asked:
    """What is asked, and whom.

    Attributes
    ----------
    recipe : Path
    card : Card
    base_url : str
    model : str
        The endpoint's name of it; empty where the recipe's will do.
    key : str
        Empty where the environment's will do.
    """

    recipe: Path
    card: Card
    base_url: str
    model: str
    key: str

    @property
    def environment(self) -> dict[str, str]:
        """What the scripts that ask find in their environment, which no command line shows."""
        return {KEY: self.key} if self.key else {}

    @property
    def where(self) -> list[str]:
        """The flags that name the endpoint."""
        return ["--base-url", self.base_url, *(["--served-model", self.model] if self.model else [])]


def check_address(given: str, started_with: str | None) -> str:
    """Check an endpoint's address.

    Parameters
    ----------
    given : str
    started_with : str or None
        The address that the studio was started with, which may be another machine's.

    Raises
    ------
    VitalFactoryError
        It is none, or another machine's that the studio was not started with.
    """
    address = given.strip().rstrip("/")
    try:
        parts_of_it = urlsplit(address)
        host = parts_of_it.hostname or ""
        known = parts_of_it.scheme in ("http", "https") and bool(host) and parts_of_it.port != 0
    except ValueError:
        known, host = False, ""
    if not known or parts_of_it.username or parts_of_it.query:
        raise Refusal("not_an_address")
    if address != (started_with or "").rstrip("/") and not _is_here(host):
        raise Refusal("another_machine", host=host)
    return address


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def telling(card: Card) -> list[str]:
    """Write the flags by which a dataset's rows were told."""
    flags = flags_of(card.command)
    return [word for flag in KINDS[card.task].telling if flag in flags for word in (flag, *flags[flag])]


def files_for(task: str, given: Sequence[str] | None) -> list[Path]:
    """Check what was dropped.

    Raises
    ------
    VitalFactoryError
        It is of another kind than the task takes, or several where one is taken.
    """
    files = [Path(name) for name in given or ()]
    endings = KINDS[task].endings
    for file in files:
        if file.suffix.lower() not in endings:
            raise Refusal("wrong_kind", name=file.name, endings=", ".join(endings))
        if not file.is_file():
            raise Refusal("drop_again")
    if task != "ecg" and len(files) > 1:
        raise Refusal("one_file")
    return files


def text_of(files: Sequence[Path], typed: str) -> str:
    """Read the note or the question, from a file where one was dropped.

    Raises
    ------
    VitalFactoryError
        There is none, or it is too long or no text.
    """
    try:
        text = files[0].read_text(encoding="utf-8") if files else typed
    except UnicodeDecodeError:
        raise Refusal("not_text", name=files[0].name) from None
    if not text.strip():
        raise Refusal("nothing_asked")
    if len(text) > LONGEST_TEXT:
        raise Refusal("too_long", length=len(text), longest=LONGEST_TEXT)
    return text


def source_of(task: str, files: Sequence[Path], folder: Path) -> Path:
    """Lay a dropped recording out as a source, in a folder that is empty.

    Raises
    ------
    VitalFactoryError
        Nothing was dropped, or it is no recording.
    """
    from vitalfactory.signals import single

    if not files:
        raise Refusal("nothing_asked")
    folder.mkdir()
    if task == "ecg":
        return single.ecg_source(files, folder)
    return single.night_source(files[0], folder) if task == "eeg" else single.xray_source(files[0], folder)


def narrow(folder: Path, place: int) -> list[dict[str, Any]]:
    """Keep of the rows of a told recording those that are asked: one epoch, or all findings.

    Raises
    ------
    VitalFactoryError
        There is no such epoch.
    """
    path = folder / "test.jsonl"
    rows = list(read_jsonl(path))
    if "night" in rows[0]:
        if not 1 <= place <= len(rows):
            raise Refusal("no_epoch", place=place, count=len(rows))
        rows = rows[place - 1 : place]
    rows = rows[:MOST_ROWS]
    write_jsonl(path, rows)
    return rows


def probabilities_html(rows: Sequence[Mapping[str, Any]], words: Words) -> str:
    """Draw probabilities, one bar a label."""
    found = [(label, float(share)) for row in rows for label, share in (row.get("probabilities") or {}).items()]
    if not found:
        return parts.note(words.no_probabilities)
    lines = "".join(
        f'<tr><th scope="row">{parts.escaped(label)}</th><td><meter min="0" max="1" value="{share:.4f}" '
        f'aria-label="{parts.escaped(label)}"></meter></td><td>{share:.3f}</td></tr>'
        for label, share in found
    )
    return f'<table class="vf-bars"><caption>{parts.escaped(words.probabilities)}</caption>{lines}</table>'


def words_html(rows: Sequence[Mapping[str, Any]], words: Words) -> str:
    """Show what the model wrote, and what is read from it."""
    told = []
    for row in rows:
        text = row.get("text") or row.get("answer") or row.get("reason") or ""
        read = row.get("parsed", row.get("diseases", row.get("answer")))
        said = ", ".join(read) if isinstance(read, list) else read
        told.append(parts.block(words.its_words, str(text)) if text else "")
        if "failure" in row:
            told.append(parts.problem(str(row["failure"]), words))
        elif said != text:
            told.append(parts.note(f"{words.read_as}: {said if said else words.unread}"))
    return "".join(told)


def tell_command(asked: Asked, source: Path, root: Path) -> list[str]:
    """Write the command that tells one recording as those of a dataset were told."""
    full = python(f"converters/{asked.card.task}.py", "--input", str(source), *telling(asked.card))
    full += ["--recipe", short_path(asked.recipe), "--split", "0/0/100", "--workers", "1"]
    return [*full, "--name", ASKED, "--root", str(root), "--json"]


def asked_of(given: Mapping[str, Any], studio: Studio) -> Asked:
    """Check whom is asked and how.

    Raises
    ------
    VitalFactoryError
        The dataset, the recipe, the address or the key is none.
    """
    recipe = studio.recipe(given["recipe"])
    _, card = studio.dataset(given["dataset"])
    address = check_address(str(given["base_url"] or ""), studio.endpoint)
    key = str(given["key"] or "").strip()
    if not key.isascii() or not key.isprintable():
        raise Refusal("bad_key")
    return Asked(recipe, card, address, str(given["model"] or "").strip(), key)


@dataclass
class _Steps:
    """The scripts of one question, one after the other."""

    studio: Studio
    words: Words
    session: str | None
    command: Any
    status: Any

    def __post_init__(self) -> None:
        self._shown: list[str] = []

    def run(self, full: list[str], what: str, environment: Mapping[str, str] | None = None) -> Iterator[Updates]:
        """Run a script to its end.

        Raises
        ------
        VitalFactoryError
            It ended without a result.
        """
        self._shown.append(shown(full))
        yield {self.command: "\n".join(self._shown)}
        job = self.studio.start(self.session, PART, full, environment)
        yield from parts.running(job, self.status, self.words, what)
        outcome = job.end()
        if outcome.cancelled:
            raise Refusal("cancelled")
        if outcome.code:
            raise VitalFactoryError(outcome.error) if outcome.error else Refusal("ended", code=outcome.code)


class Ask(Part):
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
        gr.Markdown(words.ask_about)
        self._lay_out_model()
        self._lay_out_question()
        with gr.Row():
            self.go = gr.Button(words.ask, variant="primary")
            self.stop = gr.Button(words.cancel, variant="stop")
            self.wipe = gr.Button(words.forget)
        self.command = parts.command_box(words.commands, "ask-command", lines=3)
        self.status = gr.HTML(elem_id="ask-status")
        self.picture = gr.HTML(elem_id="ask-picture")
        self.question = gr.HTML(elem_id="ask-question")
        self.chances = gr.HTML(elem_id="ask-probabilities")
        self.said = gr.HTML(elem_id="ask-words")
        self._connect(tab)

    def _lay_out_model(self) -> None:
        words = self.words
        with gr.Row():
            self.dataset = gr.Dropdown([], value=None, label=words.tuned_on, info=words.tuned_on_info)
            self.recipe = gr.Dropdown([], value=None, label=words.tuned_with, info=words.tuned_with_info)
        with gr.Row():
            address, such_as = self.studio.endpoint or "", "http://127.0.0.1:8080/v1"
            self.base_url = gr.Textbox(address, label=words.endpoint, info=words.endpoint_info, placeholder=such_as)
            self.model = gr.Textbox("", label=words.served_model, info=words.served_model_info)
            self.key = gr.Textbox("", type="password", label=words.key, info=words.key_info)

    def _lay_out_question(self) -> None:
        words = self.words
        endings = sorted({ending for kind in KINDS.values() for ending in kind.endings})
        limit = words.largest.format(megabytes=self.studio.largest_mb)
        gr.Markdown(words.drop_about)
        self.dropped = gr.File(
            label=f"{words.drop} ({limit})",
            file_count="multiple",
            file_types=list(endings),
            type="filepath",
            height=150,
            elem_id="ask-drop",
        )
        self.typed = gr.Textbox("", label=words.typed, lines=4, max_length=LONGEST_TEXT)
        self.epoch = gr.Number(1, precision=0, minimum=1, label=words.epoch, info=words.epoch_info)

    def _connect(self, tab: gr.Tab) -> None:
        guard = parts.guarded(self.status, self.words)
        chosen = [self.recipe, self.typed, self.epoch, self.status]
        tab.select(guard(self.refresh), self.dataset, [self.dataset, *chosen], **parts.QUIET)
        self.dataset.input(guard(self.choose), self.dataset, chosen, **parts.QUIET)
        shown_here = [*self._cleared, self.status]
        self.go.click(guard(self.ask), {getattr(self, name) for name in FIELDS}, shown_here, **parts.QUIET)
        self.stop.click(self.cancel, None, None, **parts.QUIET)
        emptied = [*shown_here, self.dropped, self.typed, self.key]
        self.dropped.upload(self.keep, self.dropped, [self.status], **parts.QUIET)
        self.dropped.clear(self.forget, None, emptied, **parts.QUIET)
        self.wipe.click(self.forget, None, emptied, **parts.QUIET)

    @property
    def _cleared(self) -> Updates:
        return {self.command: "", self.picture: "", self.question: "", self.chances: "", self.said: ""}

    def refresh(self, dataset: str | None) -> Updates:
        """Offer the datasets that there are now."""
        known = self.studio.datasets()
        if not known:
            return {self.status: parts.note(self.words.no_datasets)}
        value = dataset if dataset in known else known[0]
        offered: Updates = {self.dataset: gr.Dropdown(choices=known, value=value)}
        return offered if value == dataset else {**offered, **self.choose(value)}

    def choose(self, dataset: str) -> Updates:
        """Offer the recipe that trains on a dataset, and the fields of its task."""
        recipe = gr.Dropdown(choices=list(self.studio.recipes()), value=self.studio.recipe_for(dataset))
        task = self.studio.dataset(dataset)[1].task
        typed, epoch = gr.Textbox(visible=not KINDS[task].telling), gr.Number(visible=task == "eeg")
        return {self.recipe: recipe, self.typed: typed, self.epoch: epoch, self.status: ""}

    def ask(self, given: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Ask what was dropped or typed."""
        answers = {name: given[getattr(self, name)] for name in FIELDS}
        yield {**self._cleared, self.status: parts.note(self.words.starting)}
        asked = asked_of(answers, self.studio)
        files = files_for(asked.card.task, answers["dropped"])
        steps = _Steps(self.studio, self.words, request.session_hash, self.command, self.status)
        with self.studio.workplace() as folder:
            if KINDS[asked.card.task].telling:
                yield from self._ask_recording(asked, files, int(answers["epoch"] or 0), folder, steps)
            else:
                yield from self._ask_text(asked, text_of(files, str(answers["typed"] or "")), folder, steps)
        yield {self.status: parts.note(self.words.done)}

    def _ask_recording(
        self, asked: Asked, files: Sequence[Path], place: int, folder: Path, steps: _Steps
    ) -> Iterator[Updates]:
        source, root = source_of(asked.card.task, files, folder / "source"), folder / "root"
        root.mkdir()
        yield from steps.run(tell_command(asked, source, root), self.words.telling)
        rows = narrow(root / "data" / ASKED, place)
        yield self._shown(rows, root, folder)
        where = ["--recipe", short_path(asked.recipe), "--dataset", ASKED, "--root", str(root), *asked.where]
        where += ["--split", "test", "--out", str(folder / "run")]
        yield from steps.run(python("eval/generate.py", *where), self.words.asking, asked.environment)
        yield {self.said: words_html(list(read_jsonl(folder / "run" / "generations.jsonl")), self.words)}
        if asked.card.kind == "classify" or asked.card.verdicts is not None:
            yield from self._weigh(python("eval/score.py", *where), asked, folder, steps)

    def _weigh(self, full: list[str], asked: Asked, folder: Path, steps: _Steps) -> Iterator[Updates]:
        """Ask for probabilities, which not every endpoint tells: the words stay on the page without them."""
        try:
            yield from steps.run(full, self.words.weighing, asked.environment)
        except VitalFactoryError as error:
            said = parts.told(error, self.words)
            yield {self.chances: parts.note(self.words.no_probabilities) + parts.problem(said, self.words)}
        else:
            found = list(read_jsonl(folder / "run" / "predictions.jsonl"))
            yield {self.chances: probabilities_html(found, self.words)}

    def _shown(self, rows: Sequence[Mapping[str, Any]], root: Path, folder: Path) -> Updates:
        """Show what is asked, drawn from the source that the converter was given."""
        own = replace(self.studio, root=root, folders=Folders.of([folder]))
        data, card = own.dataset(ASKED)
        drawn = picture_of(rows[0], data, card, own, self.words)
        text = parts.block(self.words.asked, "\n".join(map(question_of, rows)))
        return {self.picture: drawn, self.question: text}

    def _ask_text(self, asked: Asked, content: str, folder: Path, steps: _Steps) -> Iterator[Updates]:
        field = "feature_content" if asked.card.kind == "diagnosis" else "question"
        write_jsonl(folder / "asked.jsonl", [{"id": ASKED, field: content}])
        yield {self.question: parts.block(self.words.asked, content)}
        full = python("eval/generate.py", "--recipe", short_path(asked.recipe), "--dataset", asked.card.name)
        full += [*self.studio.where, *asked.where, "--input", str(folder / "asked.jsonl")]
        full += ["--out", str(folder / "answers.jsonl")]
        yield from steps.run(full, self.words.asking, asked.environment)
        yield {self.said: words_html(list(read_jsonl(folder / "answers.jsonl")), self.words)}

    def keep(self, files: Sequence[str] | None, request: gr.Request) -> Updates:
        """Remember what was dropped, so that it can be deleted."""
        self.studio.keep(request.session_hash, files or ())
        names = ", ".join(Path(name).name for name in files or ())
        return {self.status: parts.note(self.words.dropped.format(names=names))}

    def forget(self, request: gr.Request) -> Updates:
        """Delete what was dropped, and clear the page."""
        self.studio.forget(request.session_hash)
        emptied: Updates = {self.dropped: None, self.typed: "", self.key: ""}
        return {**self._cleared, **emptied, self.status: parts.note(self.words.forgotten)}
