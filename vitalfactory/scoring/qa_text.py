"""What an answer is worth by its text: likeness to a reference, length, repetition, refusals, yes and no.

BLEU (Papineni et al. 2002) and chrF (Popovic 2015) are those of sacrebleu 2, of a whole set of answers: tokeniser
``13a``, for Chinese ``zh``, exponential smoothing; character n-grams up to 6, beta 2. They are computed here from
each answer's counts, so that a bootstrap over groups can weigh them. Their scale is 0 to 1.

A refusal is an answer that says that it will not or cannot answer, in either language. Advice to see a doctor is
none by itself. The phrases are a table; what is not in it is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vitalfactory.scoring.intervals import Floats, ratio
from vitalfactory.scoring.reasons import words_of

BLEU_ORDER, CHRF_ORDER, CHRF_BETA = 4, 6, 2
REPEATED_ORDER = 4

_WIDE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u4db5\u4e00-\u9fbb\uf900-\ufad9"
    "\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)
"""What sacrebleu's ``zh`` sets apart, dashes and quotation marks among it."""
_SPLITS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""Of mteval-v13a."""

_REFUSALS = re.compile(
    r"\bI(?: a|')?m (?:not able|unable) to\b"
    r"|\bI (?:can(?:no|')t|could not|will not|won't) "
    r"(?:answer|provide|give|help|assist|tell|say|offer|recommend|diagnose)\b"
    r"|\bI'm sorry,? but\b|\bI am sorry,? but\b|\bas an AI\b|\b(?:AI )?language model\b"
    r"|\bI (?:do not|don't) (?:know|have (?:enough|the|any) )|\bnot able to (?:answer|provide|give)\b"
    r"|(?:无法|不能|不便|没有办法|没办法)(?:直接|给您|为您|向您|给你|为你)?(?:回答|提供|给出|作答|解答|判断|诊断|推荐)"
    r"|作为(?:一[个名])?(?:AI|人工智能|大?语言模型)|我(?:不知道|不清楚|不确定)|(?:抱歉|对不起)[,，]",
    re.IGNORECASE,
)

_LEAD = r"\W*(?:(?:the )?answer(?: is)?\W+|答案?(?:是|为)?\W*|回答\W*)?"
_YES_NO = re.compile(
    rf"{_LEAD}(?:(?P<no>(?:no|nope|not|false|incorrect|wrong)\b|不是|不对|不属于|不包括|不能|没有|否|不|错)"
    r"|(?P<yes>(?:yes|yeah|yep|true|correct|right)\b|是(?!否|不是)|对(?!于)|属于|包括|可以|能|有(?!无|没有)))",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\W*yes\W+(?:or|and)\W+no\b|\W*是[或和与/、]否", re.IGNORECASE)


def normalise(text: str) -> str:
    """Bring an answer to the form in which two are the same: width, case, blanks, and marks around it."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .。!,;、:")


def is_refusal(text: str) -> bool:
    """Say whether an answer says that it will not or cannot answer."""
    return bool(_REFUSALS.search(text.replace("’", "'")))


def read_yes_no(text: str) -> bool | None:
    """Read a yes or a no off the beginning of an answer; None where it begins with neither."""
    text = unicodedata.normalize("NFKC", text)
    found = None if _BOTH.match(text) else _YES_NO.match(text)
    return None if found is None else found["yes"] is not None


def repetition(text: str, language: str) -> float:
    """Return the share of an answer's runs of four words that it has said before."""
    runs = _grams(words_of(text, language), REPEATED_ORDER)
    return 1 - len(runs) / runs.total() if runs else 0.0


def tokens_of(text: str, language: str) -> list[str]:
    """Cut a text as sacrebleu does for BLEU."""
    if language == "zh":
        line = _WIDE.sub(r" \1 ", text.strip())
    else:
        line = text.rstrip().replace("-\n", "").replace("\n", " ")
        for mark, said in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            line = line.replace(mark, said)
        line = f" {line} "
    for pattern, put in _SPLITS:
        line = pattern.sub(put, line)
    return line.split()


def _grams(units: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(units[start:] for start in range(order)), strict=False))


def counts_of(said: str, reference: str, language: str) -> dict[str, float]:
    """Count what BLEU and chrF are computed from.

    Parameters
    ----------
    said, reference : str
    language : str

    Returns
    -------
    dict of str to float
        ``bleu_hits_1`` and so on: n-grams of the answer that the reference has as well; ``bleu_said_1``: all of the
        answer's; ``bleu_length`` and ``bleu_reference``: tokens; and for chrF ``chrf_hits_1``, ``chrf_said_1``,
        ``chrf_gold_1``.
    """
    ours, theirs = tokens_of(said, language), tokens_of(reference, language)
    counts: dict[str, float] = {"bleu_length": len(ours), "bleu_reference": len(theirs)}
    for order in range(1, BLEU_ORDER + 1):
        hits, had, _ = _overlap(ours, theirs, order)
        counts |= {f"bleu_hits_{order}": hits, f"bleu_said_{order}": had}
    letters, wanted = "".join(said.split()), "".join(reference.split())
    for order in range(1, CHRF_ORDER + 1):
        hits, had, gold = _overlap(letters, wanted, order)
        # As in sacrebleu, what is said beside a reference too short for the order counts for nothing.
        counts |= {f"chrf_hits_{order}": hits, f"chrf_said_{order}": had if gold else 0, f"chrf_gold_{order}": gold}
    return counts


def _overlap(said: Sequence[str], reference: Sequence[str], order: int) -> tuple[int, int, int]:
    ours, theirs = _grams(said, order), _grams(reference, order)
    return (ours & theirs).total(), ours.total(), theirs.total()


def bleu(sums: Mapping[str, Floats]) -> Floats:
    """Compute BLEU from counts added up over answers.

    Parameters
    ----------
    sums : mapping of str to array of float, shape (resamples,)
        By the names of :func:`counts_of`.

    Returns
    -------
    array of float, shape (resamples,)
        NaN where there are no answers.
    """
    logs, halved = np.zeros_like(sums["bleu_length"]), np.ones_like(sums["bleu_length"])
    any_hit = np.zeros_like(logs)
    for order in range(1, BLEU_ORDER + 1):
        hits, said = sums[f"bleu_hits_{order}"], sums[f"bleu_said_{order}"]
        halved = np.where((hits == 0) & (said > 0), 2 * halved, halved)
        precision = np.where(hits > 0, ratio(hits, said), ratio(np.ones_like(hits), halved * said))
        logs += np.log(np.where(said > 0, precision, 1)) / BLEU_ORDER
        any_hit = any_hit + hits
        logs = np.where(said > 0, logs, -np.inf)
    short = np.minimum(0, 1 - ratio(sums["bleu_reference"], sums["bleu_length"]))
    score = np.where(any_hit > 0, np.exp(logs + np.nan_to_num(short)), 0.0)
    known: Floats = np.where(sums["bleu_reference"] > 0, score, np.nan)
    return known


def chrf(sums: Mapping[str, Floats]) -> Floats:
    """Compute chrF from counts added up over answers; see :func:`bleu`."""
    precision = recall = orders = np.zeros_like(sums["chrf_hits_1"])
    for order in range(1, CHRF_ORDER + 1):
        hits, said, gold = (sums[f"chrf_{what}_{order}"] for what in ("hits", "said", "gold"))
        there = (said > 0) & (gold > 0)
        precision = precision + np.where(there, ratio(hits, said), 0)
        recall = recall + np.where(there, ratio(hits, gold), 0)
        orders = orders + there
    precision, recall = (np.nan_to_num(ratio(each, orders)) for each in (precision, recall))
    weight = CHRF_BETA**2
    score = np.nan_to_num(ratio((1 + weight) * precision * recall, weight * precision + recall))
    known: Floats = np.where(sums["chrf_gold_1"] > 0, score, np.nan)
    return known
