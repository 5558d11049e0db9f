"""What models say when nothing constrains them: how many answers, which, and how many of them are answers at all.

    python eval/free_text.py results/ecg_smollm2_before results/ecg_smollm2

Reads generations.jsonl of each run, and beside it predictions.jsonl and samples.jsonl where they are there. Prints
the runs side by side and writes free_text.json into each; for another split than test, free_text_val.json.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.intervals import Floats
    from vitalfactory.scoring.parsing import Parser, Reading

TOP = 10
SHOWN = 60
"""Letters of an answer in the table."""
SHARES = {
    "parse_rate": "Parsed",
    "unclear_rate": "Unclear: names a label, commits to none",
    "off_topic_rate": "Off topic: names no label",
    "cut_rate": "Cut off at the longest answer",
    "agrees_with_most_probable": "Says the most probable answer",
    "samples_parse_rate": "Samples: parsed",
    "samples_agree": "Samples of a row: pairs that say one label",
    "samples_same_text": "Samples of a row: pairs of one text",
}
"""Every share's name in free_text.json, and in the table."""
SYNTHETIC = "Synthetic recordings: these figures say nothing about patients."


def study(folder: Path, split: str = "test") -> dict[str, Any]:
    """Describe a run's answers in free text and write free_text.json.

    Parameters
    ----------
    folder : Path
        The run.
    split : str

    Returns
    -------
    dict
        ``run``, ``split``, ``rows``, ``groups``, ``distinct``, ``most_frequent`` (text, count and share),
        ``figures`` (the names of ``SHARES``, each with its interval; None where a run has no such answers),
        ``samples_per_row``, ``longest_answer`` in tokens, ``synthetic``.

    Raises
    ------
    VitalFactoryError
        The run has no answers in free text, or they do not belong to its card.
    """
    from vitalfactory.card import read_card
    from vitalfactory.files import read_json, write_json
    from vitalfactory.predictions import named
    from vitalfactory.scoring.parsing import Parser

    manifest = read_json(folder / "run.json")
    card = read_card(folder / "card.json")
    parser = Parser.from_card(card)
    rows = _rows(folder, split, "generations")
    if rows is None:
        raise VitalFactoryError(f"{folder}: holds no answers in free text to {split}; run eval/generate.py first")
    scored, samples = _rows(folder, split, "predictions"), _rows(folder, split, "samples")
    counts = Counter((row.text or "").strip() for row in rows)
    found = {
        "run": folder.resolve().name,
        "split": split,
        "rows": len(rows),
        "groups": len({row.group for row in rows}),
        "distinct": len(counts),
        "most_frequent": [
            {"text": text, "count": count, "share": count / len(rows)} for text, count in counts.most_common(TOP)
        ],
        "figures": _figures(rows, scored, samples, parser),
        "samples_per_row": manifest.get("decoding", {}).get("samples", {}).get("count") if samples else None,
        "longest_answer": manifest.get("decoding", {}).get("generations", {}).get("max_new_tokens"),
        "synthetic": bool(manifest.get("synthetic")),
    }
    write_json(folder / named("free_text.json", split), found)
    return found


def _rows(folder: Path, split: str, answered: Any) -> list[Prediction] | None:
    """Read and check one of a run's files; None where it is not there."""
    from vitalfactory.card import read_card
    from vitalfactory.predictions import predictions_file, read_predictions
    from vitalfactory.scoring.metrics import check

    path = predictions_file(folder, split, answered)
    if not path.is_file():
        return None
    rows = read_predictions(path)
    check(rows, read_card(folder / "card.json"), str(path))
    return rows


def _figures(
    rows: Sequence[Prediction],
    scored: Sequence[Prediction] | None,
    samples: Sequence[Prediction] | None,
    parser: Parser,
) -> dict[str, Any]:
    """Compute the shares with intervals over groups, those of the samples over the rows that were sampled."""
    from vitalfactory.scoring.intervals import Figure

    readings = [_read(parser, row) for row in rows]
    best = {row.id: row.parsed for row in scored or []}
    shares: dict[str, list[float | None]] = {
        name: [float(reading.said == said) for reading in readings]
        for name, said in (("parse_rate", "parsed"), ("unclear_rate", "unclear"), ("off_topic_rate", "off topic"))
    }
    shares["cut_rate"] = [None if row.cut is None else float(row.cut) for row in rows]
    shares["agrees_with_most_probable"] = [
        float(reading.label == best[row.id]) if row.id in best else None
        for row, reading in zip(rows, readings, strict=True)
    ]
    found = _bootstrap(shares, [row.group for row in rows])
    if samples:
        found |= _bootstrap(*_of_samples(samples, parser))
    return {name: found.get(name, Figure(value=None, low=None, high=None)) for name in SHARES}


def _read(parser: Parser, row: Prediction) -> Reading:
    return parser.read(row.text or "", cut=bool(row.cut))


def _bootstrap(shares: Mapping[str, Sequence[float | None]], groups: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    from vitalfactory.scoring.intervals import bootstrap, mean

    values = {name: np.asarray(each, dtype=np.float64) for name, each in shares.items()}

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {name: mean(weights, each) for name, each in values.items()}

    return bootstrap(statistics, groups)


def _of_samples(samples: Sequence[Prediction], parser: Parser) -> tuple[dict[str, list[float | None]], list[str]]:
    """Describe the samples of each row: an answer without a label agrees with none, an equal one included."""
    of_row: dict[str, list[Prediction]] = defaultdict(list)
    for sample in samples:
        of_row[sample.id.rpartition("#")[0]].append(sample)
    shares: dict[str, list[float | None]] = defaultdict(list)
    for repeated in of_row.values():
        labels = [_read(parser, sample).label for sample in repeated]
        texts = [(sample.text or "").strip() for sample in repeated]
        shares["samples_parse_rate"].append(sum(label is not None for label in labels) / len(labels))
        shares["samples_agree"].append(_share_of_pairs([label or place for place, label in enumerate(labels)]))
        shares["samples_same_text"].append(_share_of_pairs(texts))
    return shares, [repeated[0].group for repeated in of_row.values()]


def _share_of_pairs(values: Sequence[object]) -> float | None:
    """Say which share of all pairs is of equal values; None where there is one value only."""
    pairs = [first == second for first, second in combinations(values, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def table(studies: Sequence[Mapping[str, Any]]) -> str:
    """Lay runs out side by side, then the most frequent answers of each.

    Parameters
    ----------
    studies : sequence of mapping
        Contents of free_text.json.
    """
    from vitalfactory.scoring.intervals import tell

    lines = [["", *(found["run"] for found in studies)]]
    lines += [["Answers", *(str(found["rows"]) for found in studies)]]
    lines += [["Distinct answers", *(str(found["distinct"]) for found in studies)]]
    lines += [["Longest answer allowed, tokens", *(str(found["longest_answer"] or "-") for found in studies)]]
    for name, title in SHARES.items():
        if any(found["figures"][name]["value"] is not None for found in studies):
            lines.append([title, *(tell(found["figures"][name]) for found in studies)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    parts = ["\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines), *map(_frequent, studies)]
    return "\n\n".join([*parts, SYNTHETIC] if any(found["synthetic"] for found in studies) else parts)


def _frequent(found: Mapping[str, Any]) -> str:
    lines = [f"{found['run']}, most frequent answers"]
    for answer in found["most_frequent"]:
        text = " ".join(answer["text"].split()) or "(nothing)"
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        lines.append(f"  {answer['share']:>6.1%}  {shown}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/free_text.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="folders of runs, such as before and after")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="(default: test)")
    parser.add_argument("--json", action="store_true", help="print all free_text.json as one array on the last line")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    studies = [study(folder, arguments.split) for folder in arguments.runs]
    print(table(studies))
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(studies))


if __name__ == "__main__":
    run(main)
