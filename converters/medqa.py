"""Medical questions and answers: files of them, or questions made of a knowledge graph -> an instruction dataset.

Reads instructions as JSON or JSON Lines, conversations marked <user>: and <bot>:, and letters to doctors as CSV (see
vitalfactory/knowledge/sources.py), and graphs of head, relation and tail as JSON, JSON Lines or CSV (see graph.py
there). A row that was made of a graph carries the facts that its answer stands on:

    instruction  What are the symptoms of asthma?
    output       cough, wheeze.
    triples      [["asthma", "symptom", "cough"], ["asthma", "symptom", "wheeze"]]

    python converters/medqa.py --input llama_data.json --evaluation infer.json question.json --language zh
    python converters/medqa.py --graph triples.csv entities.json --language zh
    python converters/medqa.py --synthetic 200
    python converters/medqa.py --synthetic 40 --split-by form
    python converters/medqa.py --graph triples.csv entities.json --language zh --rewritten labels.jsonl

The last takes answers that a teacher put into sentences (vitalfactory/knowledge/rewriting.py), as far as they still
name all that the answer named.

Where conversations are among the rows, every row has messages. What a model answers is no doctor's advice.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitalfactory.errors import VitalFactoryError, closest, run
from vitalfactory.files import ROOT, short_path
from vitalfactory.knowledge.quality import LONGEST

if TYPE_CHECKING:
    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.dataset.options import Options
    from vitalfactory.knowledge.qa import QA, Dropped

RECIPE = "medqa_smollm2_lora.yaml"
CHUNK = 512
"""Rows that a worker takes at a time: each takes it microseconds."""
WORKERS = 1
"""A row is told in less time than it takes to be sent to another process and back."""
SplitBy = Literal["entity", "form", "question"]


def task() -> Task:
    """Describe the questions and their answers."""
    from vitalfactory.card import Verdicts
    from vitalfactory.dataset.example import Task
    from vitalfactory.knowledge.questions import YES_NO

    questions = {
        "en": ("A medical question of its own in each row. What a model answers is no doctor's advice.",),
        "zh": ("每行一个医学问题。模型的回答不能代替医生的诊断和建议。",),
    }
    nothing: Mapping[str, Mapping[str, Any]] = {language: {} for language in questions}
    verdicts = {language: Verdicts(present=yes, absent=no) for language, (yes, no) in YES_NO.items()}
    open_set: dict[str, Any] = {"labels": (), "positive": None, "answers": nothing, "synonyms": nothing}
    return Task("medqa", "qa", questions=questions, verdicts=verdicts, **open_set)


@dataclass
class Found:
    """What the sources hold."""

    source: Source
    arguments: list[str]
    parts: list[str] = field(default_factory=list)
    rows: list[Iterator[QA | Dropped]] = field(default_factory=list)


@dataclass
class Rewritten:
    """Answers in the words of a teacher, and how many were taken."""

    texts: Mapping[str, str]
    models: Sequence[str]
    taken: int = 0
    kept: int = 0

    @classmethod
    def read(cls, path: Path) -> Rewritten:
        """Read the labels of ``converters/teacher.py``; questions without an answer are passed over."""
        from vitalfactory.files import read_jsonl

        rows = [row for row in read_jsonl(path) if row.get("state") == "answered"]
        texts = {str(row["id"]): row["output"].strip() for row in rows if isinstance(row.get("output"), str)}
        if not texts:
            raise VitalFactoryError(f"{path}: holds no answers; expected what converters/teacher.py writes for prompts")
        return cls(texts, sorted({str(row["model"]) for row in rows if row.get("model")}))

    def put(self, row: QA | Dropped) -> QA | Dropped:
        """Take the teacher's words for a row's answer where they name all that it names."""
        from vitalfactory.knowledge.qa import Dropped
        from vitalfactory.knowledge.rewriting import REWRITTEN
        from vitalfactory.scoring.qa_entities import Vocabulary

        text = self.texts.get(row.id)
        if not text or isinstance(row, Dropped) or not row.triples or row.kind not in REWRITTEN:
            return row
        names = Vocabulary({name for head, _, tail in row.triples for name in (head, tail)})
        if not names.named(row.answer) <= names.named(text):
            self.kept += 1
            return row
        self.taken += 1
        return row._replace(answer=text)

    @property
    def told(self) -> str:
        """Say how many answers were taken, for the card."""
        return f"{self.taken} answers rewritten, {self.kept} kept"


def convert(
    *,
    input: Sequence[Path] = (),
    graph: Sequence[Path] = (),
    synthetic: int | None = None,
    evaluation: Sequence[Path] = (),
    split_by: SplitBy = "entity",
    prompt_form: str | None = None,
    longest: int = LONGEST,
    keep_near: bool = False,
    model_written: str | None = None,
    rewritten: Path | None = None,
    **shared: Any,
) -> Summary:
    """Make a dataset of medical questions.

    Parameters
    ----------
    input : sequence of Path
        Files of questions and answers.
    graph : sequence of Path
        Files of one knowledge graph.
    synthetic : int, optional
        Make a graph of that many diseases instead.
    evaluation : sequence of Path
        Files whose questions must stand in no split, nor any that is nearly one of them.
    split_by : {'entity', 'form', 'question'}
        What no two splits share: the entity that is asked about, the form of the question, or the question alone. A
        row that was read from a file has no entity and is its own.
    prompt_form : str, optional
        Give each row its whole prompt, in the wording of an older model.
    longest : int
        Characters of a question with its turns, and of an answer; a row with more is left out.
    keep_near : bool
        Do not look for rows that are nearly the same as an earlier one.
    model_written : str, optional
        The model that wrote the answers, for the card.
    rewritten : Path, optional
        What ``converters/teacher.py`` made of answers: the same in sentences. An answer that leaves a name out is not
        taken; how many are, the card's representation tells.
    **shared
        Fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        A file is not there or cannot be read at all, or the arguments contradict one another; and see
        :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import Conversion, build
    from vitalfactory.dataset.options import Options

    defaults = {"name": "medqa", "recipe": ROOT / "train_configs" / RECIPE, "workers": WORKERS}
    options = Options(**{**defaults, **shared})
    _check(input, graph, synthetic, split_by, prompt_form, longest, options.recipe)
    found = _source(options.seed, options.language, input, graph, synthetic)
    wording = Rewritten.read(rewritten) if rewritten else None
    if wording:
        found.rows = [map(wording.put, rows) for rows in found.rows]
    rows, excluded = _sift(found, options.language, longest, evaluation, keep_near)
    talks = any(row.history or row.form == "dialogue" for row in rows)
    if talks and prompt_form:
        raise VitalFactoryError(f"--prompt-form {prompt_form}: is for questions of one turn; leave conversations out")
    arguments = [*found.arguments, "--split-by", split_by, "--longest", str(longest)]
    arguments += ["--evaluation", *map(short_path, evaluation)] if evaluation else []
    arguments += ["--prompt-form", prompt_form] if prompt_form else []
    arguments += ["--keep-near"] if keep_near else []
    arguments += ["--rewritten", short_path(rewritten)] if rewritten else []
    arguments += ["--model-written", model_written] if model_written else []
    writers = [*([model_written] if model_written else []), *(wording.models if wording and wording.taken else [])]
    parts = [*found.parts, *([wording.told] if wording else []), *([f"prompt {prompt_form}"] if prompt_form else [])]
    conversion = Conversion(
        task=task() if "graph" in found.parts else replace(task(), verdicts=None),
        source=found.source,
        representation="+".join(parts),
        make=partial(_examples, talks, prompt_form),
        arguments=arguments,
        packages=(),
        prepare=_mark_crossing if split_by == "entity" else None,
        model_written=", ".join(writers) or None,
        chunk=CHUNK,
        test_groups=_test_forms(rows, options) if split_by == "form" and options.folds is None else None,
    )
    return build(conversion, [_entry(row, split_by) for row in rows], excluded, options)


def _test_forms(rows: Iterable[QA], options: Options) -> set[str]:
    """Draw the share of test from the forms of every kind of question, and at least one of each."""
    from vitalfactory.dataset.example import digest
    from vitalfactory.dataset.split import parse_shares

    share = parse_shares(options.split)[2]
    kinds: dict[str, set[str]] = {}
    for row in rows:
        kinds.setdefault(row.form.partition("-")[0], set()).add(row.form)
    drawn = {kind: sorted(forms, key=lambda form: digest("test", options.seed, form)) for kind, forms in kinds.items()}
    return {form for forms in drawn.values() for form in forms[: max(1, round(len(forms) * share / 100))]}


def _check(
    files: Sequence[Path],
    graph: Sequence[Path],
    synthetic: int | None,
    split_by: str,
    prompt_form: str | None,
    longest: int,
    recipe: Path,
) -> None:
    from vitalfactory.knowledge.prompts import PROMPTS, TEMPLATES
    from vitalfactory.recipes import read_recipe

    if synthetic is None and not files and not graph:
        raise VitalFactoryError("no source; give --input FILE ..., --graph FILE ..., or make one (--synthetic 200)")
    if synthetic is not None and (files or graph):
        raise VitalFactoryError("give --synthetic, or --input and --graph")
    if split_by == "form" and files:
        raise VitalFactoryError("--split-by form: is for questions made of a graph; leave --input out")
    if longest < 1:
        raise VitalFactoryError(f"--longest {longest}: expected at least 1 character")
    if prompt_form is None:
        return
    if prompt_form not in PROMPTS:
        near = closest(prompt_form, list(PROMPTS))
        raise VitalFactoryError(f"--prompt-form {prompt_form}: expected one of {', '.join(PROMPTS)}{near}")
    template = read_recipe(recipe).get("template")
    if template not in TEMPLATES:
        raise VitalFactoryError(
            f"--prompt-form {prompt_form}: {recipe.name} has template: {template}, which would put the prompt into "
            f"another; give --recipe a copy of it with template: {TEMPLATES[0]} (or {TEMPLATES[1]}, whose answers "
            "have no end token)"
        )


def _source(seed: int, language: str, files: Sequence[Path], graphs: Sequence[Path], synthetic: int | None) -> Found:
    from vitalfactory.card import Source
    from vitalfactory.files import sha256
    from vitalfactory.knowledge.graph import read_graph
    from vitalfactory.knowledge.questions import make_questions
    from vitalfactory.knowledge.synthetic import make_graph

    if synthetic is not None:
        made = Source(name="synthetic graph", version=f"seed {seed}", licence="Apache-2.0", synthetic=True)
        questions = make_questions(make_graph(synthetic, seed, language), language, seed)
        return Found(made, ["--synthetic", str(synthetic)], ["graph"], [questions])
    for path in (*files, *graphs):
        if not path.is_file():
            raise VitalFactoryError(f"{path}: no such file")
    version = ", ".join(f"{path.name} {sha256(path)[:12]}" for path in (*files, *graphs))
    source = Source(name="medical questions", version=version, licence="the owner's", synthetic=False)
    found = Found(source, [])
    if graphs:
        graph, dropped = read_graph(graphs)
        found.arguments += ["--graph", *map(short_path, graphs)]
        found.parts.append("graph")
        found.rows += [iter(dropped), make_questions(graph, language, seed)]
    if files:
        found.arguments += ["--input", *map(short_path, files)]
        found.parts.append("text")
        found.rows += _files(files)
    return found


def _files(files: Sequence[Path]) -> Iterator[Iterator[QA | Dropped]]:
    """Read each file; where two have one name, their ids say which is which."""
    from vitalfactory.knowledge.sources import read_qa

    stems = Counter(path.stem for path in files)
    for number, path in enumerate(files, 1):
        yield read_qa(path, f"text-{path.stem}" if stems[path.stem] == 1 else f"text-{path.stem}-{number}")


def _sift(
    found: Found, language: str, longest: int, evaluation: Sequence[Path], keep_near: bool
) -> tuple[list[QA], list[Excluded]]:
    from vitalfactory.dataset.example import Excluded
    from vitalfactory.knowledge.quality import sift
    from vitalfactory.knowledge.sources import read_questions

    questions = [question for path in evaluation for question in read_questions(path)]
    rows = chain.from_iterable(found.rows)
    kept, dropped = sift(rows, language=language, longest=longest, evaluation=questions, near=not keep_near)
    return kept, [Excluded(*item) for item in dropped]


def _entry(row: QA, split_by: SplitBy) -> Entry:
    from vitalfactory.dataset.example import Entry

    if split_by == "form":
        return Entry(row.id, row.form, row.form.partition("-")[0], row)
    entity = row.entities[0] if row.entities and split_by == "entity" else row.id
    return Entry(row.id, entity, row.stratum, row)


def _mark_crossing(entries: Sequence[Entry], splits: Mapping[str, str]) -> list[Entry]:
    """Take the row away from every entry that names entities of two splits."""
    return [
        replace(entry, record=None)
        if any(splits.get(name) != splits[entry.group] for name in entry.record.entities)
        else entry
        for entry in entries
    ]


def _examples(talks: bool, prompt_form: str | None, entry: Entry) -> list[Example | Excluded]:
    from vitalfactory.dataset.example import Example, Excluded

    row: QA | None = entry.record
    if row is None:
        return [Excluded(entry.id, "over entities of two splits")]
    told = _messages(row) if talks else _alpaca(row, prompt_form)
    about = {"triples": [list(triple) for triple in row.triples], "form": row.form, "answer_kind": row.kind}
    return [Example(entry.id, entry.group, None, {**told, **about, "cleaned": row.cleaned})]


def _alpaca(row: QA, prompt_form: str | None) -> dict[str, str]:
    from vitalfactory.knowledge.prompts import PROMPTS

    if prompt_form is None:
        return {"instruction": row.question, "input": row.context, "output": row.answer}
    return {"instruction": PROMPTS[prompt_form].put(row.question, row.context), "input": "", "output": row.answer}


def _messages(row: QA) -> dict[str, list[dict[str, str]]]:
    turns = (*row.history, row.asked[-1], row.answer)
    roles = ("user", "assistant") * (len(turns) // 2)
    return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.dataset.options import add_arguments, shared

    parser = argparse.ArgumentParser(prog="python converters/medqa.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add(
        "--input", type=Path, nargs="+", default=[], metavar="FILE", help="questions and answers: JSON, JSON Lines, CSV"
    )
    add("--graph", type=Path, nargs="+", default=[], metavar="FILE", help="a graph to make questions of, in all files")
    add("--synthetic", type=int, metavar="N", help="make a graph of N invented diseases instead")
    help_evaluation = "files whose questions, and what is nearly one of them, must not be in the dataset"
    add("--evaluation", type=Path, nargs="+", default=[], metavar="FILE", help=help_evaluation)
    help_split = "what no two splits share (default: %(default)s)"
    add("--split-by", choices=("entity", "form", "question"), default="entity", help=help_split)
    help_prompt = "rows with their whole prompt, in an older model's wording: med, literature or alpaca"
    add("--prompt-form", metavar="NAME", help=help_prompt)
    help_longest = "characters of a question with its turns, and of an answer (default: %(default)s)"
    add("--longest", type=int, default=LONGEST, metavar="N", help=help_longest)
    add("--keep-near", action="store_true", help="do not look for rows that are nearly the same as an earlier one")
    add("--model-written", metavar="NAME", help="the model that wrote the answers, for the card")
    add("--rewritten", type=Path, metavar="FILE", help="answers that converters/teacher.py put into sentences")
    add_arguments(parser, name="medqa", recipe=RECIPE, workers=WORKERS)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    names = (
        *("input", "graph", "synthetic", "evaluation", "split_by", "prompt_form", "longest", "keep_near"),
        *("model_written", "rewritten"),
    )
    own = {name: getattr(arguments, name) for name in names}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
