"""A model's answers in free text, decoded greedily and parsed to labels.

    python eval/generate.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2

Writes generations.jsonl (test) beside the run's predictions. A run that was cut off goes on where it
stopped; an answer that no label can be read from is kept with its text and counts as wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import run

if TYPE_CHECKING:
    from vitalfactory.predictions import Prediction
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import Job


def generate(job: Job, splits: Sequence[str], limit: int | None, batch_size: int, max_new_tokens: int) -> None:
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
    """
    from vitalfactory.predictions import answer_rows
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load

    job.open("generations", {"do_sample": False, "max_new_tokens": max_new_tokens, "limit": limit})
    model, tokenizer = load(job)
    for split in splits:
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

        def answer(rows: Sequence[dict[str, Any]], renderer: Renderer = renderer) -> Iterator[Prediction]:
            return _answer(job, model, renderer, rows, batch_size, max_new_tokens)

        print(answer_rows(job.out, split, "generations", job.rows(split, limit), answer))


def _answer(
    job: Job,
    model: Any,
    renderer: Renderer,
    rows: Sequence[dict[str, Any]],
    batch_size: int,
    max_new_tokens: int,
) -> Iterator[Prediction]:
    from tqdm import tqdm

    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.parsing import Parser

    parser = Parser.from_card(job.card)
    prompts = sorted(((renderer.render(row).prompt, row) for row in rows), key=lambda pair: len(pair[0]))
    with tqdm(desc="generating", total=len(rows), unit="row", disable=None) as bar:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            texts = _decode(model, renderer, [prompt for prompt, _ in batch], max_new_tokens)
            for text, (_, row) in zip(texts, batch, strict=True):
                yield Prediction(
                    id=row["id"],
                    group=row["group"],
                    label=row["label"],
                    probabilities=None,
                    text=text,
                    parsed=parser.parse(text),
                )
            bar.update(len(batch))


def _decode(model: Any, renderer: Renderer, prompts: Sequence[list[int]], max_new_tokens: int) -> list[str]:
    import torch
    from transformers import GenerationConfig

    from vitalfactory.scoring.likelihood import pad

    ids, mask = pad(prompts, model.device, left=True)
    # A configuration of its own: the model's may sample.
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=renderer.stop_ids,
        pad_token_id=renderer.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
    texts: list[str] = renderer.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return texts


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, read_job

    parser = argparse.ArgumentParser(prog="python eval/generate.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.set_defaults(split=["test"])
    parser.add_argument("--max-new-tokens", type=int, default=16, metavar="N", help="longest answer (default: 16)")
    arguments = parser.parse_args(argv)
    generate(read_job(arguments), arguments.split, arguments.limit, arguments.batch_size, arguments.max_new_tokens)


if __name__ == "__main__":
    run(main)
