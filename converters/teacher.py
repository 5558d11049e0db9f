"""Clinical notes, or any prompts -> answers written by a larger model behind an OpenAI-compatible endpoint.

Reads JSON Lines: notes, or prompts with `instruction` and `input`, or with `messages`. The key of the endpoint is taken
from the environment (OPENAI_API_KEY) alone.

    {"id": 17, "feature_content": "主诉：咳嗽3天。查体：右下肺湿啰音。"}
    {"id": "17", "key": "0c6...", "state": "answered", "feature_content": "...", "diseases": ["肺炎"], "reason": ...}

    python converters/teacher.py --input notes.jsonl --out labels.jsonl --base-url URL --model qwen2.5-72b-instruct
    python converters/teacher.py ... --prices prices.yaml --max-cost 20      stops asking before 20 are spent
    python converters/teacher.py ... --dry-run                               asks nothing: rows, tokens and cost
    python converters/teacher.py ... --batch requests.jsonl                  asks nothing: writes OpenAI's batch form
    python converters/teacher.py ... --batch-results results.jsonl           takes a batch's results into the labels

Every answer goes into labels.ledger.jsonl as soon as it is there; the same command goes on where it was stopped, and
asks nothing again that was answered. labels.jsonl has one row for each input row that has ended, in the input's order.

Not sent, and counted under their reasons: notes that state their diagnosis (--strip-diagnosis cuts it out), text with
personal details (--scrub replaces what is found, --allow-personal sends it as it is), and rows of a val or test split
(--allow-test). What is found is what has a telling form: read vitalfactory/notes/personal.py on what that misses.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, dumps
from vitalfactory.teacher.options import SAMPLING_TEMPERATURE, STRUCTURED, TEMPERATURE, Options


def show(summary: Mapping[str, Any]) -> None:
    """Print a summary for people."""
    for name, value in summary.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {told}" for key, told in value.items() if told is not None) or "none"
        if value is not None:
            print(f"  {name.replace('_', ' '):<18}{value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python converters/teacher.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="FILE", help="JSON Lines: notes, or prompts")
    add("--out", type=Path, required=True, metavar="FILE", help="the labels; the ledger stands beside them")
    add("--base-url", default="http://127.0.0.1:8000/v1", metavar="URL", help="the endpoint (default: %(default)s)")
    add("--model", required=True, metavar="NAME", help="the model's name there")
    add("--concurrency", type=int, default=16, metavar="N", help="requests at the same time (default: %(default)s)")
    add("--requests-per-minute", type=int, metavar="N", help="the endpoint's limit")
    add("--tokens-per-minute", type=int, metavar="N", help="the endpoint's limit")
    add("--timeout", type=float, default=120.0, metavar="S", help="seconds for one request (default: %(default)s)")
    add("--retries", type=int, default=6, metavar="N", help="of a request that got no answer (default: %(default)s)")
    add("--tries", type=int, default=3, metavar="N", help="of an answer in a wrong form (default: %(default)s)")
    add("--answer", choices=("diagnosis", "text"), help="default: diagnosis for notes, text for prompts")
    add("--language", choices=("en", "zh"), help="of the question about a note (default: the note's own)")
    add("--temperature", type=float, help=f"default: {TEMPERATURE}; {SAMPLING_TEMPERATURE} with --self-consistency")
    add("--max-tokens", type=int, default=1024, metavar="N", help="of one answer (default: %(default)s)")
    add(
        "--structured",
        choices=STRUCTURED,
        default="auto",
        help="how JSON is asked for (default: what the endpoint keeps to)",
    )
    add("--limit", type=int, metavar="N", help="the first N rows only")
    add("--self-consistency", type=int, default=1, metavar="N", help="ask N times and keep what most answers say")
    add("--strip-diagnosis", action="store_true", help="cut the diagnosis out of notes that state it")
    add("--scrub", action="store_true", help="replace the personal details that are found")
    add("--allow-personal", action="store_true", help="send text with personal details as it is")
    add("--allow-test", action="store_true", help="send rows of val and test splits")
    add("--retry-failed", action="store_true", help="ask again what failed by a wrong answer or a filter")
    add("--prices", type=Path, metavar="YAML", help="your table of prices, by the million tokens")
    add("--max-cost", type=float, metavar="X", help="stop before the labels have cost more, earlier runs included")
    add("--gold", type=Path, metavar="FILE", help="rows of id and diseases to compare the labels with")
    add("--synonyms", type=Path, metavar="CSV", help="names of diseases that mean the same, a line each")
    add("--root", type=Path, default=ROOT, help="folder of data/, whose val and test rows are not sent")
    add("--dry-run", action="store_true", help="ask nothing: count rows, tokens and cost")
    add("--batch", type=Path, metavar="FILE", help="ask nothing: write the requests in OpenAI's batch form")
    add("--batch-results", type=Path, metavar="FILE", help="take the results of a batch into the labels")
    add("--json", action="store_true", help="print the summary as one JSON object on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _options(given: argparse.Namespace) -> Options:
    from vitalfactory.endpoint.client import Endpoint
    from vitalfactory.endpoint.prices import read_price

    limits = ("concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "retries")
    endpoint = Endpoint(given.base_url, given.model, **{name: getattr(given, name) for name in limits})
    same = set(Options.__dataclass_fields__) & set(vars(given))
    price = read_price(given.prices, given.model) if given.prices else None
    return Options(
        **{name: getattr(given, name) for name in same}, endpoint=endpoint, price=price, samples=given.self_consistency
    )


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    given = _parser().parse_args(argv)
    if (given.dry_run, given.batch is not None, given.batch_results is not None).count(True) > 1:
        raise VitalFactoryError("give one of --dry-run, --batch and --batch-results")

    from vitalfactory.teacher.job import estimate, label, read_batch, write_batch

    options = _options(given)
    if given.dry_run:
        summary = estimate(options)
    elif given.batch:
        summary = write_batch(options, given.batch)
    elif given.batch_results:
        summary = read_batch(options, given.batch_results)
    else:
        summary = label(options)
    print(dumps(summary)) if given.json else show(summary)


if __name__ == "__main__":
    run(main)
