"""Answers made of facts, given to a larger model to be put into sentences.

    python -m vitalfactory.knowledge.rewriting data/medqa/train.jsonl prompts.jsonl --language zh
    python converters/teacher.py --input prompts.jsonl --out labels.jsonl --base-url URL --model NAME
    python converters/medqa.py --graph triples.csv --language zh --rewritten labels.jsonl

The last command is that of the dataset, with the labels beside. Training rows alone are rewritten: what is judged
stays as the facts say it. Answers of yes or no, and those of files, are left as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_jsonl, write_jsonl

ASK = {
    "en": (
        "Put the answer to the question into one or two plain sentences. Keep every name in it exactly as it is "
        "written, add no fact and leave none out. Write the sentences alone."
    ),
    "zh": (
        "请把下面问题的答案改写成一两句通顺的话。答案里的每个名称都要原样保留，"
        "不要添加或遗漏任何事实。只写改写后的句子。"
    ),
}
ASKED = {"en": "Question: {question}\nAnswer: {answer}", "zh": "问题：{question}\n答案：{answer}"}
REWRITTEN = ("list", "compare")
"""Kinds of answers that are put into sentences."""


def prompt_of(row: dict[str, Any], language: str) -> dict[str, str] | None:
    """Ask for a row's answer in sentences; None where it is left as it is.

    Parameters
    ----------
    row : dict
        A row of a dataset of questions.
    language : {'en', 'zh'}
    """
    if not row.get("triples") or row.get("answer_kind") not in REWRITTEN:
        return None
    if "messages" in row:
        *_, question, answer = (str(turn["content"]) for turn in row["messages"])
    else:
        question, answer = row["instruction"], row["output"]
    asked = ASKED[language].format(question=question, answer=answer)
    return {"id": row["id"], "instruction": ASK[language], "input": asked}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vitalfactory.knowledge.rewriting",
        description="Write prompts that ask for answers in sentences.",
    )
    parser.add_argument("rows", type=Path, help="the train.jsonl of a dataset of questions")
    parser.add_argument("out", type=Path, help="the file to write, for converters/teacher.py --input")
    parser.add_argument("--language", choices=tuple(ASK), default="en", help="of the dataset (default: en)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    prompts = list(filter(None, (prompt_of(row, arguments.language) for row in read_jsonl(arguments.rows))))
    if not prompts:
        raise VitalFactoryError(
            f"{arguments.rows}: no answer made of facts; expected rows of converters/medqa.py --graph"
        )
    write_jsonl(arguments.out, prompts)
    print(f"{arguments.out}: {len(prompts)} prompts")


if __name__ == "__main__":
    run(main)
