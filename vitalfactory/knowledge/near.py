"""Texts that are nearly alike: MinHash over character n-grams, each candidate then held to its exact similarity.

The similarity of two texts is the Jaccard index of their sets of three characters (Broder 1997). Signatures are cut
into bands; texts that share a band are candidates. At a similarity of 0.8 a pair is found with a probability of 0.996.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SIMILARITY = 0.8
GRAM = 3
_BANDS, _ROWS = 14, 5
_NEIGHBOURS = 16
"""In a band that many texts share, each is compared with so many before it."""
_MARGIN = 0.2
"""How far a signature's estimate may lie under the similarity asked for; five rows in seventy are 0.06."""
_DRAW = np.random.default_rng(20260)
_FACTORS = _DRAW.integers(0, 1 << 63, _BANDS * _ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _DRAW.integers(0, 1 << 63, _BANDS * _ROWS, dtype=np.uint64)
_GRAM_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_BAND_FACTORS = _DRAW.integers(0, 1 << 63, _ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

Codes = NDArray[np.uint64]


def grams(text: str) -> Codes:
    """Hash a text's sets of three characters; a shorter text is one set.

    Returns
    -------
    ndarray of uint64
        Sorted, each once.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    codes = np.pad(codes, (0, max(0, GRAM - len(codes))))
    count = len(codes) - GRAM + 1
    mixed = sum((codes[place : place + count] * _GRAM_FACTORS[place] for place in range(GRAM)), np.uint64(0))
    mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed * _GRAM_FACTORS[0])


def similarity(first: str, second: str) -> float:
    """Compute the Jaccard index of two texts' sets of three characters."""
    one, two = grams(first), grams(second)
    common = len(np.intersect1d(one, two, assume_unique=True))
    return common / (len(one) + len(two) - common)


def near_duplicates(texts: Sequence[str], least: float = SIMILARITY) -> dict[int, int]:
    """Find texts that are nearly the same as an earlier one.

    Parameters
    ----------
    texts : sequence of str
    least : float
        The similarity from which two are nearly the same.

    Returns
    -------
    dict of int to int
        Place of a text to that of an earlier one, which is not itself in the dictionary.
    """
    signatures = _signatures(texts)
    found: dict[int, int] = {}
    for earlier, later in _candidates(signatures):
        if later in found or earlier in found or _estimate(signatures[earlier], signatures[later]) < least - _MARGIN:
            continue
        if similarity(texts[earlier], texts[later]) >= least:
            found[later] = earlier
    return found


def near_any(texts: Sequence[str], others: Sequence[str], least: float = SIMILARITY) -> dict[int, int]:
    """Find texts that are nearly the same as one of others.

    Parameters
    ----------
    texts, others : sequence of str
    least : float

    Returns
    -------
    dict of int to int
        Place of a text to the place of one of the others.
    """
    mine, theirs = _signatures(texts), _signatures(others)
    found: dict[int, int] = {}
    for own, other in _shared(mine, theirs):
        if own in found or _estimate(mine[own], theirs[other]) < least - _MARGIN:
            continue
        if similarity(texts[own], others[other]) >= least:
            found[own] = other
    return found


def _signatures(texts: Sequence[str]) -> Codes:
    """Compute MinHash signatures of shape (texts, bands x rows)."""
    signatures = np.empty((len(texts), _BANDS * _ROWS), dtype=np.uint64)
    for place, text in enumerate(texts):
        np.min(grams(text)[:, None] * _FACTORS + _OFFSETS, axis=0, out=signatures[place])
    return signatures


def _bands(signatures: Codes) -> Codes:
    """Hash each band of each signature: shape (texts, bands)."""
    parts = signatures.reshape(len(signatures), _BANDS, _ROWS)
    return np.asarray((parts * _BAND_FACTORS).sum(axis=2, dtype=np.uint64))


def _candidates(signatures: Codes) -> Iterator[tuple[int, int]]:
    """Pair texts that share a band, each with those shortly before it, ordered by the later one."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for band in _bands(signatures).T:
        order = np.argsort(band, kind="stable")
        for step in range(1, _NEIGHBOURS + 1):
            same = band[order[step:]] == band[order[:-step]]
            pairs.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    for later, earlier in np.unique(np.concatenate(pairs)[:, ::-1], axis=0).tolist():
        yield earlier, later


def _shared(mine: Codes, theirs: Codes) -> Iterator[tuple[int, int]]:
    """Pair texts with the others that share a band with them."""
    for own, other in zip(_bands(mine).T, _bands(theirs).T, strict=True):
        order = np.argsort(other, kind="stable")
        first, end = (np.searchsorted(other[order], own, side) for side in ("left", "right"))
        for place in np.flatnonzero(end > first).tolist():
            for match in order[first[place] : end[place]].tolist():
                yield place, match


def _estimate(one: Codes, other: Codes) -> float:
    return float((one == other).mean())
