"""Answers in free text: how each kind of answer is read, and the model of this process that writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitalfactory import diagnosis
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction, gold_of
from vitalfactory.render import Renderer
from vitalfactory.scoring.findings import FindingParser, VerdictParser
from vitalfactory.scoring.parsing import Parser

TOO_LONG = "prompt too long"
MOST_DISEASES = 8
CHARACTERS_PER_TOKEN = {"zh": 0.5}
CHARACTERS_PER_TOKEN_ELSE = 1.5
"""Of a reason, by language: so few that it ends, with the names before it, within the longest answer as a rule."""
SCHEMA_TOKENS = 3
"""Times the longest answer: enough for one token a character of all that a schema allows, figures without end too."""

Row = dict[str, Any]
Parsed = str | list[str] | None
Reader = Callable[[Row, str, bool], Parsed]


@dataclass(frozen=True)
class Written:
    """What a model wrote to one row.

    Attributes
    ----------
    id : str
    text : str or None
        None where it wrote nothing that can be judged.
    cut : bool or None
        Whether the text ended at the longest answer allowed and not by itself.
    failure : str or None
        Why there is no text: a short phrase shared by all rows with the same fault.
    """

    id: str
    text: str | None
    cut: bool | None = None
    failure: str | None = None


Backend = Callable[[Sequence[Row]], Iterator[Written]]
"""Takes rows of a dataset and yields what was written to them, in any order."""


@dataclass(frozen=True)
class AnswerKind:
    """How one kind of answer is had, read and told.

    Attributes
    ----------
    longest : int
        The tokens that an answer may have, unless a user says otherwise.
    field : str
        The field of an output row with what was read.
    reader : callable
        Takes a dataset's card and returns what reads a text: (row, text, whether it was cut) -> what was read, or None.
    told : callable
        Takes a prediction and returns an output row's fields after its id.
    """

    longest: int
    field: str
    reader: Callable[[Card], Reader]
    told: Callable[[Prediction], Row]


def kind_of(card: Card) -> AnswerKind:
    """Find the kind of a dataset's answers.

    Raises
    ------
    VitalFactoryError
        No free text is read as answers of that kind.
    """
    if card.kind not in KINDS:
        raise VitalFactoryError(
            f"{card.name}: its answers are of the kind {card.kind!r}; expected one of {', '.join(KINDS)}"
        )
    return KINDS[card.kind]


def schema_of(card: Card, max_new_tokens: int) -> Row:
    """Write the JSON schema that a server is to keep answers to.

    Its limits, in characters, end an answer: one that is cut is not JSON, whatever kept it to the schema. So the server
    is given ``SCHEMA_TOKENS`` times ``max_new_tokens``, which an answer of the usual words never comes near.

    Parameters
    ----------
    card : Card
    max_new_tokens : int

    Raises
    ------
    VitalFactoryError
        The dataset's answers are not JSON.
    """
    if card.kind != "diagnosis":
        raise VitalFactoryError(f"--json-schema: answers of the kind {card.kind!r} are not JSON; leave it out")
    schema = diagnosis.Diagnosis.model_json_schema()
    longest = int(max_new_tokens * CHARACTERS_PER_TOKEN.get(card.language, CHARACTERS_PER_TOKEN_ELSE))
    diseases, reason = schema["properties"]["diseases"], schema["properties"]["reason"]
    diseases["maxItems"] = MOST_DISEASES
    diseases["items"]["maxLength"] = max(longest // MOST_DISEASES, 1)
    reason["maxLength"] = longest
    return schema


def _label_reader(card: Card) -> Reader:
    parser = Parser.from_card(card)
    return lambda _, text, cut: parser.parse(text, cut=cut)


def _label_told(prediction: Prediction) -> Row:
    if prediction.probabilities is not None:
        return {"label": prediction.parsed, "probabilities": prediction.probabilities}
    return {"label": prediction.parsed, "text": prediction.text}


def _diseases_reader(_: Card) -> Reader:
    return lambda row, text, cut: _diseases(text)


def _diseases(text: str) -> list[str] | None:
    """Read the diseases that an answer names, each once in its normal form."""
    found = diagnosis.read_answer(text).diagnosis
    names = map(diagnosis.normalise, found.diseases if found else ())
    return list(dict.fromkeys(name for name in names if name)) or None


def _diagnosis_told(prediction: Prediction) -> Row:
    found = diagnosis.read_answer(prediction.text or "").diagnosis
    if prediction.parsed is None or found is None:
        return {"diseases": None, "text": prediction.text}
    return found.model_dump()


def _findings_reader(card: Card) -> Reader:
    if card.verdicts is not None:
        verdicts = VerdictParser(card, card.verdicts)
        return lambda row, text, cut: verdicts.parse(text, row["finding"], cut=cut)
    findings = FindingParser.from_card(card)
    return lambda _, text, cut: findings.parse(text, cut=cut)


def _findings_told(prediction: Prediction) -> Row:
    return {"findings": prediction.parsed, "text": prediction.text}


def _answer_reader(_: Card) -> Reader:
    return lambda row, text, cut: text.strip() or None


def _answer_told(prediction: Prediction) -> Row:
    return {"answer": prediction.parsed}


KINDS: Mapping[str, AnswerKind] = {
    "classify": AnswerKind(16, "label", _label_reader, _label_told),
    "diagnosis": AnswerKind(256, "diseases", _diseases_reader, _diagnosis_told),
    "multilabel": AnswerKind(128, "findings", _findings_reader, _findings_told),
    "qa": AnswerKind(256, "answer", _answer_reader, _answer_told),
}
"""A card's kind to how its answers are had and read."""


def predict(card: Card, backend: Backend, rows: Sequence[Row], failures: dict[str, str]) -> Iterator[Prediction]:
    """Have rows answered and read the answers.

    Parameters
    ----------
    card : Card
    backend : callable
    rows : sequence of dict
        Rows with ``id`` and ``group``, and the true answer where there is one.
    failures : dict of str to str
        Filled with the ids of rows that got no answer, and why.

    Yields
    ------
    Prediction
        In any order.
    """
    from tqdm import tqdm

    read = kind_of(card).reader(card)
    by_id = {row["id"]: row for row in rows}
    for written in tqdm(backend(rows), desc="generating", total=len(rows), unit="row", disable=None):
        if written.text is None:
            failures[written.id] = written.failure or "no answer"
            continue
        row = by_id[written.id]
        text = written.text.encode("utf-8", "replace").decode("utf-8")  # an endpoint's may hold half of a character
        yield Prediction(
            id=written.id,
            group=row["group"],
            label=gold_of(row, card.kind),
            probabilities=None,
            text=text,
            parsed=read(row, text, bool(written.cut)),
            cut=written.cut,
        )


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


def decode(
    model: Any,
    renderer: Renderer,
    rows: Sequence[Row],
    batch_size: int,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    beams: int = 1,
) -> Iterator[Written]:
    """Have a model of this process answer rows, in batches of like length.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    renderer : Renderer
    rows : sequence of dict
        Rows of the renderer's dataset.
    batch_size : int
    max_new_tokens : int
        An answer ends here at the latest.
    sampling : Sampling, optional
        Draw answers, each row's by its id.
    beams : int
        Search with so many beams where nothing is drawn; one is greedy decoding.

    Yields
    ------
    Written
        Those to short prompts first.
    """
    prompts = sorted(((renderer.render(row).prompt, row) for row in rows), key=lambda pair: len(pair[0]))
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    fitting = [pair for pair in prompts if context is None or len(pair[0]) + max_new_tokens <= context]
    for start in range(0, len(fitting), batch_size):
        batch = fitting[start : start + batch_size]
        draws = [_Draws(sampling, row["id"]) for _, row in batch] if sampling else []
        pixels = [renderer.pixels(row) for _, row in batch]
        answers = decode_batch(model, renderer, [prompt for prompt, _ in batch], pixels, max_new_tokens, draws, beams)
        for (text, cut), (_, row) in zip(answers, batch, strict=True):
            yield Written(row["id"], text, cut)
    for _, row in prompts[len(fitting) :]:
        yield Written(row["id"], None, failure=TOO_LONG)


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


def decode_batch(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[list[int]],
    pixels: Sequence[Mapping[str, Any]],
    max_new_tokens: int,
    draws: Sequence[_Draws],
    beams: int = 1,
) -> list[tuple[str, bool]]:
    """Answer a batch: texts, and whether each ended at the longest answer allowed."""
    import torch
    from transformers import GenerationConfig

    from vitalfactory.scoring.likelihood import images_for, pad

    def sampled(_: Any, scores: Any) -> Any:
        return torch.stack([draw(row) for draw, row in zip(draws, scores, strict=True)])

    ids, mask = pad(prompts, model.device, left=True)
    # A configuration of its own: the model's may sample.
    searched = GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=max_new_tokens,
        eos_token_id=renderer.stop_ids,
        pad_token_id=renderer.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=searched,
            logits_processor=[sampled] if draws else [],
            **images_for(model, ids, pixels),
        )[:, ids.shape[1] :]
    texts = renderer.tokenizer.batch_decode(output, skip_special_tokens=True)
    cut = [not set(row) & set(renderer.stop_ids) for row in output.tolist()]
    return list(zip(texts, cut, strict=True))
