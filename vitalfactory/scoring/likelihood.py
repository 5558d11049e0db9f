"""The probability that a causal language model gives to each answer of a closed set, or to the one it should give.

The probability of an answer is that of its whole string with the token that ends it; in a closed set, divided by the
sum over all answers. Every prompt is computed once: what the prompts of a family begin with in common is computed once
for all of them, and the candidates stand behind their prompt in one pass, masked from each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 8192
"""Of answers in one batch, with their padding: each of them takes a number for every word of the vocabulary."""


@dataclass(frozen=True)
class Question:
    """One row to score.

    Attributes
    ----------
    id : str
    family : str
        Rows of one family begin alike, as those do that share the wording of their question.
    prompt : list of int
        Token ids.
    answers : list of list of int
        Token ids of each candidate up to the token that ends it.
    pixels : callable, optional
        Returns what the model is shown beside the tokens, where the row has images.
    """

    id: str
    family: str
    prompt: list[int]
    answers: list[list[int]]
    pixels: Callable[[], Mapping[str, Any]] | None = None


def until_stop(answer: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """Cut an answer after the first token that ends it; what follows is never generated."""
    for place, token in enumerate(answer):
        if token in stop_ids:
            return list(answer[: place + 1])
    return list(answer)


def score(model: Any, questions: Sequence[Question], batch_size: int) -> Iterator[tuple[str, list[float]]]:
    """Score every candidate of every question.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        A causal language model in evaluation mode.
    questions : sequence of Question
    batch_size : int
        Rows at a time.

    Yields
    ------
    id : str
    probabilities : list of float
        One for each candidate, adding up to 1; families one after another, short rows first.
    """
    for name, totals in log_likelihoods(model, questions, batch_size):
        yield name, totals.softmax(0).tolist()


def log_likelihoods(model: Any, questions: Sequence[Question], batch_size: int) -> Iterator[tuple[str, Any]]:
    """Add up the log-probabilities of the tokens of every candidate of every question.

    Parameters
    ----------
    model, questions, batch_size
        See :func:`score`.

    Yields
    ------
    id : str
    totals : Tensor of float, shape (candidates,)
        Natural logarithms; families one after another, short rows first.
    """
    import torch

    families: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if question.pixels is None:
            families[question.family].append(question)
    with torch.inference_mode():
        for family in families.values():
            family.sort(key=lambda question: len(question.prompt))
            shared = _common_start([question.prompt[:-1] for question in family])
            prefix = _Prefix(model, shared)
            for batch in _batches(family, batch_size):
                yield from zip((row.id for row in batch), _totals(prefix, batch), strict=True)
        for question in questions:
            if question.pixels is not None:
                yield question.id, _totals_of_images(model, question, question.pixels())


def _batches(family: Sequence[Question], batch_size: int) -> Iterator[list[Question]]:
    """Cut rows into batches, fewer rows where their answers are long."""
    batch: list[Question] = []
    longest = 0
    for question in family:
        wider = max(longest, _foretelling(question))
        if batch and (len(batch) == batch_size or wider * (len(batch) + 1) > MOST_TOKENS):
            yield batch
            batch, wider = [], _foretelling(question)
        batch.append(question)
        longest = wider
    if batch:
        yield batch


def _totals_of_images(model: Any, question: Question, pixels: Mapping[str, Any]) -> Any:
    """Show a row with its images to the model, once with each candidate."""
    rows = [question.prompt + answer for answer in question.answers]
    ids, mask = pad(rows, model.device, left=False)
    given = images_for(model, ids, [pixels] * len(rows))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **given).logits
    start = len(question.prompt)
    each = logits[:, start - 1 : -1].float().log_softmax(-1).gather(2, ids[:, start:, None])[..., 0]
    return (each * mask[:, start:]).sum(1)


def images_for(model: Any, ids: Any, pixels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collect what a model takes beside a batch of tokens.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    ids : Tensor of int, shape (rows, longest)
    pixels : sequence of mapping
        For each row, what :meth:`vitalfactory.render.Renderer.pixels` gave.

    Returns
    -------
    dict of str to Tensor
        Empty for rows without images.
    """
    import torch

    joined = {name: torch.cat([row[name] for row in pixels]).to(model.device) for name in pixels[0]}
    if joined:  # transformers places a picture's tokens in two dimensions where they are marked
        joined["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    return joined


def _common_start(rows: Sequence[list[int]]) -> list[int]:
    # All rows begin alike as far as the smallest and the largest of them do.
    first, last = min(rows), max(rows)
    same = (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(same, min(len(first), len(last)))]


class _Prefix:
    """The cache of the tokens that all rows of a family begin with."""

    def __init__(self, model: Any, tokens: Sequence[int]) -> None:
        import torch
        from transformers import DynamicCache

        self.model = model
        self.tokens = list(tokens)
        self.cache = DynamicCache(config=model.config)
        if self.tokens:
            ids = torch.tensor([self.tokens], device=model.device)
            model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    def repeated(self, rows: int) -> Any:
        """Copy the cache for a batch."""
        import copy

        cache = copy.deepcopy(self.cache)
        if self.tokens:
            cache.batch_repeat_interleave(rows)
        return cache


def _totals(prefix: _Prefix, batch: Sequence[Question]) -> list[Any]:
    """Read each prompt and all its candidates behind it in one pass."""
    start, device = len(prefix.tokens), prefix.model.device
    laid = [_lay_out(question, start) for question in batch]
    ids, real = pad([tokens for tokens, _, _ in laid], device, left=True)
    positions, _ = pad([places for _, places, _ in laid], device, left=True)
    owners, _ = pad([numbers for _, _, numbers in laid], device, left=True)
    logits = prefix.model(
        input_ids=ids,
        attention_mask=_mask(start, real, owners, prefix.model.dtype),
        position_ids=positions,
        past_key_values=prefix.repeated(len(batch)),
        use_cache=True,
        logits_to_keep=max(map(_foretelling, batch)),
    ).logits
    return [_of_answers(row, question) for row, question in zip(logits, batch, strict=True)]


def _lay_out(question: Question, start: int) -> tuple[list[int], list[int], list[int]]:
    """Put the candidates behind the prompt: tokens, their positions, and whose they are (0 is the prompt's).

    The last token of a candidate is foretold and never read.
    """
    end = len(question.prompt)
    tokens, places = question.prompt[start:], list(range(start, end))
    numbers = [0] * len(tokens)
    for number, answer in enumerate(question.answers, 1):
        tokens = tokens + answer[:-1]
        places += range(end, end + len(answer) - 1)
        numbers += [number] * (len(answer) - 1)
    return tokens, places, numbers


def _mask(start: int, real: Any, owners: Any, dtype: Any) -> Any:
    """Let every token see what stands before it in the prompt and in its own candidate, and no other candidate."""
    import torch

    own = (owners[:, None, :] == 0) | (owners[:, None, :] == owners[:, :, None])
    seen = (own & (real[:, None, :] == 1)).tril()
    seen = torch.nn.functional.pad(seen, (start, 0), value=True)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _foretelling(question: Question) -> int:
    """Count the tokens behind which a token of a candidate is foretold: the prompt's last and those read after it."""
    return 1 + sum(len(answer) - 1 for answer in question.answers)


def _of_answers(logits: Any, question: Question) -> Any:
    """Add up the log-probabilities of each candidate's tokens, one row at a time: long answers take much memory."""
    import torch

    told = logits[-_foretelling(question) :].float().log_softmax(-1)
    totals, read = [], 1
    for answer in question.answers:
        behind = [0, *range(read, read + len(answer) - 1)]
        totals.append(told[behind, answer].sum())
        read += len(answer) - 1
    return torch.stack(totals)


def pad(rows: Sequence[Sequence[int]], device: Any, *, left: bool) -> tuple[Any, Any]:
    """Stack rows of tokens.

    Parameters
    ----------
    rows : sequence of sequence of int
    device : torch.device
    left : bool
        Pad before the tokens, or after them.

    Returns
    -------
    ids : Tensor of int, shape (rows, longest)
    mask : Tensor of int, shape (rows, longest)
        1 where a token is real.
    """
    import torch

    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[place, where] = torch.tensor(row, dtype=torch.long)
        mask[place, where] = 1
    return ids.to(device), mask.to(device)
