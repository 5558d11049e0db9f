"""Prompts of older models, word for word: for those who go on with a model that was tuned on one of them.

A row then carries its whole prompt, so that the recipe's template must add nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

TEMPLATES = ("fewshot", "empty")
"""LLaMA-Factory's templates that add nothing before the answer; the first ends it with the model's end token, the
second with nothing, so that what is trained with it never learns to stop."""


class Prompt(NamedTuple):
    """A prompt's wording.

    Attributes
    ----------
    plain : str
        Around ``{question}``.
    with_context : str or None
        Around ``{question}`` and ``{context}``; without it the context follows the question in a line of its own.
    """

    plain: str
    with_context: str | None = None

    def put(self, question: str, context: str = "") -> str:
        """Write a row's prompt."""
        if not context or self.with_context is None:
            return self.plain.replace("{question}", f"{question}\n{context}" if context else question)
        before, _, rest = self.with_context.partition("{question}")
        between, _, after = rest.partition("{context}")
        return f"{before}{question}{between}{context}{after}"


PROMPTS: Mapping[str, Prompt] = {
    "med": Prompt("下面是一个问题，运用医学知识来正确回答提问.\n### 问题:\n{question}\n### 回答:\n"),
    "literature": Prompt(
        "以下是描述任务的说明，编写适当地回复完成请求的响应。\n\n ### 说明:\n{question}\n\n### 回复:\n"
    ),
    "alpaca": Prompt(
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\n{question}\n\n### Response:\n",
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\n{question}\n\n### Input:\n{context}"
        "\n\n### Response:\n",
    ),
}
"""Name to wording: ``med`` and ``literature`` are BenTsao's, ``alpaca`` is Stanford Alpaca's."""
