"""What each of the page's five parts is made of, and how its running script is ended."""

from __future__ import annotations

from typing import ClassVar

import gradio as gr

from vitalfactory.studio.state import Studio
from vitalfactory.studio.words import Words


class Part:
    """A part of the page.

    Parameters
    ----------
    studio : Studio
    words : Words

    Attributes
    ----------
    part : str
        Whose script it is that runs.
    """

    part: ClassVar[str]

    def __init__(self, studio: Studio, words: Words) -> None:
        self.studio, self.words = studio, words

    def cancel(self, request: gr.Request) -> None:
        """End the script that runs."""
        self.studio.cancel(request.session_hash, self.part)
