"""A model's answers in free text, decoded greedily or sampled, and parsed to labels.

    python eval/generate.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2
    python eval/generate.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2 --sample 5

Writes generations.jsonl (test) beside the run's predictions, or samples.jsonl with several answers a row. A run
that was cut off goes on where it stopped; an answer that no label can be read from is kept with its text and
counts as wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.predictions import Answered, Prediction
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import Job


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled: from all tokens, at a temperature.

    Attributes
    ----------
    count : int
        Answers a row.
    temperature : float
    seed : int
        With the row's id and the answer's number, the seed of each answer: neither the batch nor an interruption
        changes its random numbers.
    """

    count: int
    temperature: float
    seed: int


def generate(
    job: Job,
    splits: Sequence[str],
    limit: int | None,
    batch_size: int,
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> None:
    """Answer splits of a job's dataset into its run folder.

    Parameters
    ----------
    job : Job
    splits : sequence of str
    limit : int or None
        The first rows of each split only.
    batch_size : int
    max_new_tokens : int
        An answer ends here at the latest.
    sampling : Sampling, optional
        Sample several answers a row into a file of their own; greedy decoding by default.
    """
    from vitalfactory.predictions import answer_rows
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load

    answered: Answered = "samples" if sampling else "generations"
    how = {"do_sample": True, **asdict(sampling)} if sampling else {"do_sample": False}
    job.open(answered, {**how, "max_new_tokens": max_new_tokens, "limit": limit})
    model, tokenizer = load(job)
    for split in splits:
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

        def answer(rows: Sequence[dict[str, Any]], renderer: Renderer = renderer) -> Iterator[Prediction]:
            return _answer(job, model, renderer, rows, batch_size, max_new_tokens, sampling)

        rows = job.rows(split, limit)
        if sampling:
            rows = [{**row, "id": f"{row['id']}#{place + 1}"} for row in rows for place in range(sampling.count)]
        print(answer_rows(job.out, split, answered, rows, answer))


def _answer(
    job: Job,
    model: Any,
    renderer: Renderer,
    rows: Sequence[dict[str, Any]],
    batch_size: int,
    max_new_tokens: int,
    sampling: Sampling | None,
) -> Iterator[Prediction]:
    from tqdm import tqdm

    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.parsing import Parser

    parser = Parser.from_card(job.card)
    prompts = sorted(((renderer.render(row).prompt, row) for row in rows), key=lambda pair: len(pair[0]))
    with tqdm(desc="generating", total=len(rows), unit="row", disable=None) as bar:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            draws = [_Draws(sampling, row["id"]) for _, row in batch] if sampling else []
            pixels = [renderer.pixels(row) for _, row in batch]
            answers = _decode(model, renderer, [prompt for prompt, _ in batch], pixels, max_new_tokens, draws)
            for (text, cut), (_, row) in zip(answers, batch, strict=True):
                yield Prediction(
                    id=row["id"],
                    group=row["group"],
                    label=row["label"],
                    probabilities=None,
                    text=text,
                    parsed=parser.parse(text, cut=cut),
                    cut=cut,
                )
            bar.update(len(batch))


class _Draws:
    """One answer's own random numbers."""

    def __init__(self, sampling: Sampling, name: str) -> None:
        import hashlib

        import torch

        digest = hashlib.blake2b(f"{sampling.seed}\x1f{name}".encode(), digest_size=8).digest()
        self.random = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
        self.temperature = sampling.temperature

    def __call__(self, scores: Any) -> Any:
        """Add noise under which the highest score is a sample (Gumbel-max; Maddison et al. 2014)."""
        import torch

        drawn = torch.empty(scores.shape).exponential_(generator=self.random).clamp_(min=1e-30)
        return scores.float() / self.temperature - drawn.log().to(scores.device)


def _decode(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[list[int]],
    pixels: Sequence[Mapping[str, Any]],
    max_new_tokens: int,
    draws: Sequence[_Draws],
) -> list[tuple[str, bool]]:
    """Answer a batch: texts, and whether each ended at the longest answer allowed."""
    import torch
    from transformers import GenerationConfig

    from vitalfactory.scoring.likelihood import images_for, pad

    def sampled(_: Any, scores: Any) -> Any:
        return torch.stack([draw(row) for draw, row in zip(draws, scores, strict=True)])

    ids, mask = pad(prompts, model.device, left=True)
    # A configuration of its own: the model's may sample.
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=renderer.stop_ids,
        pad_token_id=renderer.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=greedy,
            logits_processor=[sampled] if draws else [],
            **images_for(model, ids, pixels),
        )[:, ids.shape[1] :]
    texts = renderer.tokenizer.batch_decode(output, skip_special_tokens=True)
    cut = [not set(row) & set(renderer.stop_ids) for row in output.tolist()]
    return list(zip(texts, cut, strict=True))


def _sampling(arguments: argparse.Namespace) -> Sampling | None:
    if arguments.sample is None:
        return None
    if arguments.sample < 1:
        raise VitalFactoryError(f"--sample {arguments.sample}: expected at least 1 answer a row")
    if arguments.temperature <= 0:
        raise VitalFactoryError(
            f"--temperature {arguments.temperature}: expected more than 0; leave --sample out for greedy decoding"
        )
    return Sampling(arguments.sample, arguments.temperature, arguments.seed)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, read_job

    parser = argparse.ArgumentParser(prog="python eval/generate.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.set_defaults(split=["test"])
    parser.add_argument("--max-new-tokens", type=int, default=16, metavar="N", help="longest answer (default: 16)")
    parser.add_argument("--sample", type=int, metavar="N", help="sample N answers a row into samples.jsonl instead")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of --sample (default: 1.0)")
    parser.add_argument("--seed", type=int, default=2026, help="of --sample (default: 2026)")
    arguments = parser.parse_args(argv)
    sampling = _sampling(arguments)
    generate(
        read_job(arguments), arguments.split, arguments.limit, arguments.batch_size, arguments.max_new_tokens, sampling
    )


if __name__ == "__main__":
    run(main)
