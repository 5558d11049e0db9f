"""The exact prompt of a row, from a process of its own: LLaMA-Factory takes some 15 seconds and 850 MB to import.

The process is started when the first prompt is asked for and stays until the studio ends. It is sent one JSON object a
line and answers each with one.

    python -m vitalfactory.studio.prompts
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, dumps
from vitalfactory.studio.words import Refusal

LONGEST_SECONDS = 180.0
"""For one prompt, LLaMA-Factory's import with it."""


@dataclass(frozen=True)
class Prompt:
    """A row as tokens.

    Attributes
    ----------
    prompt, answer : str
        What the tokens say; a token that stands many times over, as those of images do, is told once with its count.
    prompt_tokens, answer_tokens : int
        The answer begins after the prompt's tokens.
    cutoff : int
        The tokens that the recipe cuts a row at.
    tokenizer : str
        Whose tokens they are.
    stand_in : bool
        Whether that is another model's tokenizer, the recipe's own not being at hand.
    """

    prompt: str
    answer: str
    prompt_tokens: int
    answer_tokens: int
    cutoff: int
    tokenizer: str
    stand_in: bool


class Prompts:
    """The process that renders, from the studio's side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def render(self, recipe: Path, root: Path, dataset: str, row: Mapping[str, Any]) -> Prompt:
        """Render a row.

        Parameters
        ----------
        recipe : Path
        root : Path
            The folder of ``dataset_info.json``.
        dataset : str
            A registered name, with its split.
        row : mapping

        Returns
        -------
        Prompt

        Raises
        ------
        VitalFactoryError
            LLaMA-Factory refuses the row or the recipe, or takes too long.
        """
        asked = {"recipe": str(recipe), "root": str(root), "dataset": dataset, "row": dict(row)}
        with self._lock:
            answer = self._ask(dumps(asked))
        if "error" in answer:
            raise VitalFactoryError(str(answer["error"]))
        return Prompt(**answer)

    def _ask(self, line: str) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(LONGEST_SECONDS, process.kill)
        limit.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            limit.cancel()
        if not answer:
            self.close()
            raise Refusal("renderer_ended")
        found = json.loads(answer)
        assert isinstance(found, dict)
        return found

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vitalfactory.studio.prompts"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def render(recipe: Path, root: Path, dataset: str, row: Mapping[str, Any]) -> Prompt:
    """Render a row in this process; see :meth:`Prompts.render`."""
    from vitalfactory.dataset import registry
    from vitalfactory.dataset.check import tokenizer_for
    from vitalfactory.recipes import read_recipe
    from vitalfactory.render import Renderer

    arguments = read_recipe(recipe)
    arguments.setdefault("media_dir", str(root))
    model = str(arguments.get("model_name_or_path"))
    tokenizer, whose = tokenizer_for(model, str(arguments.get("template")))
    rendered = Renderer(arguments, tokenizer, registry.read(root), dataset).render(row)
    return Prompt(
        prompt=_say(tokenizer, rendered.prompt),
        answer=_say(tokenizer, rendered.answer),
        prompt_tokens=len(rendered.prompt),
        answer_tokens=len(rendered.answer),
        cutoff=int(arguments.get("cutoff_len", 2048)),
        tokenizer=whose,
        stand_in=whose != model,
    )


FEW = 8
"""Times that a token is written out one after the other."""


def _say(tokenizer: Any, tokens: list[int]) -> str:
    """Decode tokens; one that stands more than a few times over is told with its count."""
    said: list[str] = []
    few: list[int] = []
    for token, run in groupby(tokens):
        count = len(list(run))
        if count <= FEW:
            few += [token] * count
            continue
        said.append(tokenizer.decode(few))
        said.append(f"{tokenizer.decode([token])} × {count}")
        few = []
    return "".join([*said, tokenizer.decode(few)])


def _serve() -> None:
    """Answer until the other side goes; whatever a library prints goes elsewhere."""
    from dataclasses import asdict

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in sys.stdin:
        asked = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            try:
                where = (Path(asked["recipe"]), Path(asked["root"]))
                answer = asdict(render(*where, asked["dataset"], asked["row"]))
            except VitalFactoryError as error:
                answer = {"error": " ".join(str(error).split())}
            except Exception as error:
                answer = {"error": f"LLaMA-Factory could not render the row ({type(error).__name__})"}
        print(dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
