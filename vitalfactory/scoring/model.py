"""A recipe's model and one split of its dataset, loaded by LLaMA-Factory for scoring."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, closest
from vitalfactory.files import ROOT, read_json, read_jsonl, sha256
from vitalfactory.inference import find_adapter, inference_arguments
from vitalfactory.recipes import dataset_names, read_recipe

if TYPE_CHECKING:
    from vitalfactory.card import Card, Verdicts
    from vitalfactory.predictions import Answered, Prediction
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.likelihood import Question

REGISTRY = "dataset_info.json"


@dataclass(frozen=True)
class Job:
    """What one scoring or generating command is about.

    Attributes
    ----------
    recipe : dict
        LLaMA-Factory's arguments, the command line's changes in them.
    recipe_name : str
    adapter : Path or None
        None scores the model as it was before training.
    folder : Path
        The dataset's folder.
    dataset : str
        The dataset's name, without a split.
    registry : dict
    card : Card
    out : Path
        The run's folder.
    endpoint : str or None
        Where the model is asked; None where it is loaded here.
    """

    recipe: dict[str, Any]
    recipe_name: str
    adapter: Path | None
    folder: Path
    dataset: str
    registry: dict[str, Any]
    card: Card
    out: Path
    endpoint: str | None = None

    @property
    def in_messages(self) -> bool:
        """Whether the dataset's rows are conversations (ShareGPT) and not instructions (Alpaca)."""
        return "messages" in self.registry[f"{self.dataset}_test"]["columns"]

    def rows(self, split: str, limit: int | None) -> list[dict[str, Any]]:
        """Read a split's rows, the first ``limit`` of them."""
        return list(read_jsonl(self.folder / f"{split}.jsonl"))[:limit]

    def open(self, answered: Answered, settings: dict[str, Any]) -> None:
        """Start the run's folder or go on with it; see :func:`vitalfactory.predictions.open_run`."""
        from vitalfactory.predictions import open_run

        open_run(self.out, self.manifest(), {answered: settings}, self.folder / "card.json")

    def manifest(self) -> dict[str, Any]:
        """Name what answers depend on: the model, its adapter and the dataset, with their hashes."""
        from vitalfactory.predictions import dataset_manifest

        return {**self.model_manifest(), **dataset_manifest(self.folder, self.card)}

    def model_manifest(self) -> dict[str, Any]:
        """Name the model and its adapter."""
        from vitalfactory.predictions import shown

        return {
            "model": str(self.recipe["model_name_or_path"]),
            "method": "language model",
            "endpoint": self.endpoint,
            "recipe": self.recipe_name,
            "template": self.recipe.get("template"),
            "adapter": shown(self.adapter) if self.adapter else None,
            "adapter_sha256": _adapter_hash(self.adapter) if self.adapter else None,
        }


def _adapter_hash(adapter: Path) -> str | None:
    weights = adapter / "adapter_model.safetensors"
    return sha256(weights) if weights.is_file() else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that score.py, generate.py and wordings.py share."""
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="the recipe that the model is trained with")
    add("--adapter", help="folder of the adapter, or 'none' for the model before training (default: the recipe's)")
    add("--model", help="another model_name_or_path than the recipe's")
    add("--dataset", help="another dataset than the recipe's")
    add("--split", nargs="+", choices=("train", "val", "test"), default=["val", "test"], help="(default: %(default)s)")
    add("--limit", type=int, metavar="N", help="the first N rows of each split only")
    add("--batch-size", type=int, default=16, metavar="N", help="rows at a time (default: 16)")
    add("--root", type=Path, default=ROOT, help="folder of data/ and dataset_info.json (default: the repository)")
    add("--out", type=Path, required=True, help="the run's folder, such as results/ecg_smollm2")
    add("--debug", action="store_true", help="show the traceback of an error")


def read_job(arguments: argparse.Namespace) -> Job:
    """Check a command's arguments before anything is loaded.

    Raises
    ------
    VitalFactoryError
        A number is out of range, or the recipe, the adapter or the dataset is not there.
    """
    from vitalfactory.card import read_card

    check_counts({"--limit": arguments.limit, "--batch-size": arguments.batch_size})
    recipe = read_recipe(arguments.recipe)
    if arguments.model:
        recipe["model_name_or_path"] = arguments.model
    names = dataset_names(recipe)
    name = arguments.dataset or (names[0].rsplit("_", 1)[0] if names else None)
    if name is None:
        raise VitalFactoryError(f"{arguments.recipe}: names no dataset; give --dataset NAME")
    registry = read_json(arguments.root / REGISTRY)
    if f"{name}_test" not in registry:
        near = closest(name, sorted({full.rpartition("_")[0] for full in registry}))
        raise VitalFactoryError(f"{name}: not registered in {arguments.root / REGISTRY}{near}")
    recipe.setdefault("media_dir", str(arguments.root.resolve()))
    folder = arguments.root / "data" / name
    adapter = find_adapter(arguments.adapter, recipe)
    return Job(recipe, arguments.recipe.name, adapter, folder, name, registry, read_card(folder), arguments.out)


def load(job: Job) -> tuple[Any, Any]:
    """Load the model and its tokenizer as ``llamafactory-cli`` does.

    Parameters
    ----------
    job : Job

    Returns
    -------
    model : PreTrainedModel or PeftModel
        In evaluation mode, the adapter merged where LLaMA-Factory merges it.
    tokenizer : PreTrainedTokenizerBase

    Raises
    ------
    VitalFactoryError
        LLaMA-Factory refuses the recipe, or the model is not at hand.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_model, load_tokenizer

    arguments = inference_arguments(job.recipe, job.adapter)
    try:
        model_arguments, _, finetuning_arguments, _ = get_infer_args(arguments)
        tokenizer = load_tokenizer(model_arguments)["tokenizer"]
        model = load_model(tokenizer, model_arguments, finetuning_arguments)
    except (OSError, ValueError) as error:
        raise VitalFactoryError(f"{job.recipe_name}: LLaMA-Factory cannot load the model: {error}") from None
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    return model, tokenizer


def _contiguous(_: Any, inputs: tuple[Any]) -> tuple[Any]:
    """Copy the last hidden states together: from a slice, PyTorch copies the output layer once for every row."""
    return (inputs[0].contiguous(),)


def check_closed(job: Job) -> None:
    """Check that a job's dataset has one label a row.

    Raises
    ------
    VitalFactoryError
        Its answers are of another kind.
    """
    if job.card.kind != "classify":
        raise VitalFactoryError(f"{job.dataset}: its answers are of the kind {job.card.kind!r}; expected 'classify'")


def verdicts_of(job: Job) -> Verdicts:
    """Return how rows are answered that ask about one finding each.

    Raises
    ------
    VitalFactoryError
        A row of the job's dataset names any number of findings.
    """
    if job.card.verdicts is None:
        raise VitalFactoryError(
            f"{job.dataset}: a row names any number of findings, so that none has a probability of its own; convert "
            "with --representation yesno, which asks about one finding a row"
        )
    return job.card.verdicts


def score_rows(
    model: Any, renderer: Renderer, rows: Sequence[dict[str, Any]], answers: Mapping[str, str], batch_size: int
) -> Iterator[Prediction]:
    """Score every answer of a closed set for each row.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    renderer : Renderer
    rows : sequence of dict
        Rows of the renderer's dataset.
    answers : mapping of str to str
        The output string of each label, in the order of the card's labels.
    batch_size : int

    Yields
    ------
    Prediction
        With the probability of each label; ``parsed`` is the most probable one.
    """
    for row, probabilities in _scored(model, renderer, rows, answers, batch_size):
        yield labelled(row, probabilities)


def score_findings(
    model: Any, renderer: Renderer, rows: Sequence[dict[str, Any]], answers: Mapping[str, str], batch_size: int
) -> Iterator[Prediction]:
    """Score the two verdicts on the finding that each row asks about.

    Parameters
    ----------
    model, renderer, batch_size
        See :func:`score_rows`.
    rows : sequence of dict
        Rows of the renderer's dataset, each with its ``finding``.
    answers : mapping of str to str
        The output strings under ``present`` and ``absent``.

    Yields
    ------
    Prediction
        With the probability that the finding is present; ``parsed`` holds it from one half on, and else is empty.
    """
    for row, probabilities in _scored(model, renderer, rows, answers, batch_size):
        yield found(row, probabilities)


def labelled(row: Mapping[str, Any], probabilities: dict[str, float]) -> Prediction:
    """Make a prediction out of a row and the probability of each label; see :func:`score_rows`."""
    from vitalfactory.predictions import Prediction

    best = max(probabilities, key=lambda label: probabilities[label])
    known = {"id": row["id"], "group": row["group"], "label": row["label"]}
    return Prediction(**known, probabilities=probabilities, text=None, parsed=best)


def found(row: Mapping[str, Any], probabilities: Mapping[str, float]) -> Prediction:
    """Make a prediction out of a row and the probabilities of both verdicts; see :func:`score_findings`."""
    from vitalfactory.predictions import Prediction

    finding, present = row["finding"], probabilities["present"]
    known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
    said = [finding] if present >= 0.5 else []
    return Prediction(**known, probabilities={finding: present}, text=None, parsed=said)


def _scored(
    model: Any, renderer: Renderer, rows: Sequence[dict[str, Any]], answers: Mapping[str, str], batch_size: int
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Yield rows with the probability of each answer, which add up to 1."""
    from tqdm import tqdm

    from vitalfactory.scoring import likelihood

    by_id = {row["id"]: row for row in rows}
    scored = likelihood.score(model, [question_of(renderer, row, answers) for row in rows], batch_size)
    for name, values in tqdm(scored, desc="scoring", total=len(rows), unit="row", disable=None):
        yield by_id[name], dict(zip(answers, values, strict=True))


def question_of(renderer: Renderer, row: dict[str, Any], answers: Mapping[str, str]) -> Question:
    """Render a row with each of its possible answers; rows of one wording are one family.

    A row without an input has its whole question in the instruction, which is its own and no wording.
    """
    from vitalfactory.scoring.likelihood import Question, until_stop

    rendered = [renderer.render(row, answer) for answer in answers.values()]
    tokens = [until_stop(candidate.answer, renderer.stop_ids) for candidate in rendered]
    pixels = partial(renderer.pixels, row) if row.get("images") else None
    wording = str(row.get("instruction", "")) if row.get("input") else ""
    return Question(row["id"], wording, rendered[0].prompt, tokens, pixels)


def score_references(
    model: Any, renderer: Renderer, rows: Sequence[dict[str, Any]], batch_size: int
) -> Iterator[Prediction]:
    """Score the reference answer of each row.

    Parameters
    ----------
    model, renderer, batch_size
        See :func:`score_rows`.
    rows : sequence of dict
        Rows of the renderer's dataset, which is one of questions.

    Yields
    ------
    Prediction
        With the log-probability of the answer and its tokens, the one that ends it among them.
    """
    from tqdm import tqdm

    from vitalfactory.predictions import Prediction, gold_of
    from vitalfactory.scoring import likelihood

    by_id = {row["id"]: row for row in rows}
    questions = [question_of(renderer, row, {"": str(gold_of(row, "qa"))}) for row in rows]
    tokens = {question.id: len(question.answers[0]) for question in questions}
    scored = likelihood.log_likelihoods(model, questions, batch_size)
    for name, totals in tqdm(scored, desc="scoring references", total=len(rows), unit="row", disable=None):
        known: dict[str, Any] = {"id": name, "group": by_id[name]["group"], "label": gold_of(by_id[name], "qa")}
        known |= {"logprob": float(totals[0]), "tokens": tokens[name]}
        yield Prediction(**known, probabilities=None, text=None, parsed=None)
