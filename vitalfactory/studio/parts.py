"""Pieces of the page that its five parts share: messages, tables, bars, pictures, and what becomes of an error."""

from __future__ import annotations

import base64
import functools
import html
import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.studio.jobs import Job, Outcome, Progress
from vitalfactory.studio.words import Refusal, Words

DEBUG = False
"""Whether the traceback of an error that was not foreseen goes to the terminal; it may hold what was dropped."""

Updates = dict[Any, Any]
"""Components to what they show from now on."""
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_name": False}
"""Of every event: the page says itself how far it is, and no event is offered to programs."""


def escaped(value: object) -> str:
    """Escape a value for HTML."""
    return html.escape(str(value), quote=True)


def note(text: str) -> str:
    """Say something in a line of its own."""
    return f'<p class="vf-note" role="status">{escaped(text)}</p>' if text else ""


def problem(text: str, words: Words) -> str:
    """Say what is wrong."""
    return f'<div class="vf-problem" role="alert"><b>{escaped(words.problem)}</b> <span>{escaped(text)}</span></div>'


def told(error: Exception, words: Words) -> str:
    """Say an error as a person should read it."""
    if isinstance(error, UnusableRecord):
        return f"{error.reason}: {error.detail}" if error.detail else error.reason
    if isinstance(error, Refusal):
        return error.say(words)
    if isinstance(error, VitalFactoryError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return words.unexpected.format(kind=type(error).__name__)


def guarded(status: Any, words: Words) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a handler say its errors in a component of the page.

    Parameters
    ----------
    status : gr.HTML
    words : Words

    Returns
    -------
    callable
        A decorator of handlers that return components to their values, or yield several of them one after another.
    """

    def failed(error: Exception) -> Updates:
        if DEBUG:
            traceback.print_exception(error)
        return {status: problem(told(error, words), words)}

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def once(*given: Any) -> Updates:
            try:
                updates: Updates = handler(*given)
            except Exception as error:
                return failed(error)
            return updates

        @functools.wraps(handler)
        def steps(*given: Any) -> Iterator[Updates]:
            try:
                yield from handler(*given)
            except Exception as error:
                yield failed(error)

        return steps if inspect.isgeneratorfunction(handler) else once

    return wrap


def command_box(label: str, name: str, lines: int = 2) -> Any:
    """Make a box for commands, with a button to copy them."""
    import gradio as gr

    look: dict[str, Any] = {"show_copy_button": True, "lines": lines, "elem_id": name, "elem_classes": "vf-code"}
    return gr.Textbox(label=label, interactive=False, **look)


def bar(progress: Progress, words: Words, what: str = "") -> str:
    """Draw how far a script is."""
    doing = " ".join(part for part in (progress.what or what or words.working, progress.count) if part)
    value = "" if progress.share is None else f' value="{progress.share:.2f}"'
    seconds = words.seconds.format(seconds=round(progress.seconds))
    return (
        f'<div class="vf-progress" role="status"><label>{escaped(doing)} · {escaped(seconds)}'
        f'<progress max="1"{value}></progress></label></div>'
    )


def ended(outcome: Outcome, words: Words) -> str:
    """Say how a script ended that wrote no result."""
    if outcome.cancelled:
        return note(words.cancelled)
    return problem(outcome.error or words.ended.format(code=outcome.code), words)


def running(job: Job, status: Any, words: Words, what: str = "") -> Iterator[Updates]:
    """Show a script's bar until it ends; it ends with whoever watches it."""
    try:
        for progress in job.watch():
            yield {status: bar(progress, words, what)}
    finally:
        job.cancel()


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """Lay a table out, which is scrolled where it is wider than the screen."""
    titles = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    named = f'<p class="vf-caption">{escaped(caption)}</p>' if caption else ""
    label = escaped(caption or ", ".join(head))
    return (
        f'{named}<div class="vf-wide" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def picture(png: bytes, about: str) -> str:
    """Show a picture, which is scrolled where it is wider than the screen."""
    data = base64.b64encode(png).decode()
    return (
        f'<div class="vf-wide" tabindex="0" role="region" aria-label="{escaped(about)}">'
        f'<img class="vf-picture" src="data:image/png;base64,{data}" alt="{escaped(about)}"></div>'
    )


def block(title: str, text: str) -> str:
    """Show a text as it is, line by line."""
    return f'<section class="vf-block"><h4>{escaped(title)}</h4><pre tabindex="0">{escaped(text)}</pre></section>'
