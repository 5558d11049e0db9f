"""The preflight of a dataset: everything that would spoil a training run, found before it starts.

LLaMA-Factory's parser and templates are used as they are, so a check takes some 15 seconds and 850 MB
to import them. :func:`check` therefore runs in a process of its own, and :func:`inspect` is what it
runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitalfactory import recipes
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset import registry
from vitalfactory.dataset.example import content_of, digest
from vitalfactory.dataset.options import Options
from vitalfactory.errors import VitalFactoryError, closest
from vitalfactory.files import read_jsonl, sha256

HISTOGRAM_STEP = 64
MAX_EXAMPLES = 3
"""How many of the rows with one fault a message names."""


@dataclass(frozen=True)
class Tokens:
    """Lengths of all rows under a recipe's template, in tokens.

    Attributes
    ----------
    rows, shortest, median, p95, longest : int
    cutoff : int
        The recipe's ``cutoff_len``.
    tokenizer : str
        Whose tokenizer counted.
    stand_in : bool
        Whether that is another model's tokenizer, the recipe's own not being at hand.
    histogram : dict of int to int
        Lower edge of a bin of 64 tokens to its rows.
    """

    rows: int
    shortest: int
    median: int
    p95: int
    longest: int
    cutoff: int
    tokenizer: str
    stand_in: bool
    histogram: dict[int, int]

    def as_json(self) -> dict[str, Any]:
        """Lay the figures out for ``--json``."""
        return asdict(self)

    def describe(self) -> str:
        """Say the figures in one line."""
        whose = f"{self.tokenizer}'s tokens" + (", the recipe's own tokenizer not being at hand" if self.stand_in else "")
        return f"row length median {self.median}, 95th percentile {self.p95}, longest {self.longest} of {self.cutoff} ({whose})"


@dataclass(frozen=True)
class Request:
    """What to check.

    Attributes
    ----------
    folder : str
        The dataset's folder.
    registered : dict of str to dict
        Name to registry entry of its splits.
    root : str
        Images are found from here.
    recipe : str
    """

    folder: str
    registered: dict[str, dict[str, Any]]
    root: str
    recipe: str


@dataclass
class Report:
    """What a check found."""

    problems: list[str] = field(default_factory=list)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    tokens: Tokens | None = None


def check_rows(folder: Path, registered: Mapping[str, Mapping[str, Any]], options: Options) -> Tokens:
    """Check a dataset that is about to be registered.

    Raises
    ------
    VitalFactoryError
        Names every problem.
    """
    entries = {name: dict(entry) for name, entry in registered.items()}
    registry.read(options.root)
    report = check(Request(str(folder), entries, str(options.root), str(options.recipe)))
    if report.problems or report.tokens is None:
        raise VitalFactoryError(f"{options.name}: " + "; ".join(report.problems))
    return report.tokens


def check(request: Request) -> Report:
    """Run :func:`inspect` in a process of its own.

    Raises
    ------
    VitalFactoryError
        That process failed.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "vitalfactory.dataset.check"]
    done = subprocess.run(command, input=json.dumps(asdict(request)), capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise VitalFactoryError(f"LLaMA-Factory's check failed: {reason[0].removeprefix('error: ')}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    tokens = answer.pop("tokens")
    if tokens is not None:
        tokens["histogram"] = {int(edge): count for edge, count in tokens["histogram"].items()}
    return Report(**answer, tokens=Tokens(**tokens) if tokens else None)


def inspect(request: Request) -> Report:
    """Check a dataset's files, its registry entries, and every row under the recipe's template.

    Parameters
    ----------
    request : Request

    Returns
    -------
    Report
        All problems at once.

    Raises
    ------
    VitalFactoryError
        A file cannot be read at all, or LLaMA-Factory refuses the recipe or the registry.
    """
    report = Report()
    folder = Path(request.folder)
    rows = {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in SPLITS}
    report.problems += _entry_problems(request.registered)
    report.problems += _leaks(rows)
    report.problems += _card_problems(folder, rows)
    report.problems += _image_problems(rows, Path(request.root))
    report.labels = {split: _label_counts(part) for split, part in rows.items()}
    report.tokens, too_long = _measure(request, rows)
    report.problems += too_long
    return report


def _entry_problems(registered: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problems = []
    for name, entry in registered.items():
        layout = registry.SHAREGPT if entry.get("formatting") == "sharegpt" else registry.ALPACA
        for block in ("columns", "tags"):
            missing = sorted(set(layout.get(block, {})) - set(entry.get(block, {})))
            if missing:
                problems.append(f"{name}: {block} lacks {', '.join(missing)}, which LLaMA-Factory then reads as none")
    return problems


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_EXAMPLES} more" if len(names) > MAX_EXAMPLES else ""
    return ", ".join(names[:MAX_EXAMPLES]) + more


def _leaks(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Find ids that repeat, and groups and contents that stand in two splits."""
    problems = []
    ids = Counter(row.get("id") for part in rows.values() for row in part)
    if None in ids:
        problems.append(f"{ids.pop(None)} rows have no id")
    if twice := sorted(str(name) for name, count in ids.items() if count > 1):
        problems.append(f"ids that stand more than once: {_some(twice)}")
    groups: dict[str, set[str]] = defaultdict(set)
    contents: dict[int, dict[str, str]] = defaultdict(dict)
    for split, part in rows.items():
        for row in part:
            groups[str(row.get("group"))].add(split)
            contents[digest(content_of(row))][split] = str(row.get("id"))
    if leaking := sorted(group for group, splits in groups.items() if len(splits) > 1):
        problems.append(f"groups that stand in more than one split (a leak): {_some(leaking)}")
    same = sorted("=".join(places.values()) for places in contents.values() if len(places) > 1)
    if same:
        problems.append(f"rows with the same content in different splits (a leak): {_some(same)}")
    return problems


def _card_problems(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    card = read_card(folder)
    problems = []
    for split, part in rows.items():
        noted = card.splits.get(split)
        if noted is None or noted.sha256 != sha256(folder / f"{split}.jsonl"):
            problems.append(f"{split}.jsonl is not the file that card.json describes; convert again")
        wrong = [str(row["id"]) for row in part if "output" in row and not _answers(row, card.answers)]
        if wrong:
            problems.append(f"{split}: the output is not its label's answer in {_some(wrong)}")
    return problems


def _answers(row: Mapping[str, Any], answers: Mapping[str, str]) -> bool:
    return "label" not in row or row["output"] == answers.get(row["label"])


def _image_problems(rows: Mapping[str, Sequence[Mapping[str, Any]]], root: Path) -> list[str]:
    images = [root / image for part in rows.values() for row in part for image in row.get("images", ())]
    broken = [str(image) for image in images if not _readable(image)]
    return [f"images that are missing or cannot be read: {_some(broken)}"] if broken else []


def _readable(image: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(image) as opened:
            opened.verify()
    except (OSError, SyntaxError, UnidentifiedImageError):
        return False
    return True


def _label_counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    labels = Counter(label for row in rows for label in row.get("labels", [row.get("label")]) if label is not None)
    return dict(sorted(labels.items()))


def _measure(
    request: Request, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Tokens, list[str]]:
    """Count the tokens of every row, and find the rows that the cutoff would cut."""
    from vitalfactory.models import embedded
    from vitalfactory.render import Renderer, load_tokenizer

    recipe = recipes.read_recipe(Path(request.recipe))
    name = str(recipe.get("model_name_or_path"))
    own = load_tokenizer(name)
    tokenizer = own or embedded.load_tokenizer()
    cutoff = int(recipe.get("cutoff_len", 2048))
    lengths: list[int] = []
    too_long: list[str] = []
    for registered in request.registered:
        split = registered.rsplit("_", 1)[-1]
        renderer = Renderer(recipe, tokenizer, request.registered, registered)
        for row in rows[split]:
            rendered = renderer.render(row)
            lengths.append(len(rendered.prompt) + len(rendered.answer))
            if lengths[-1] > cutoff:
                too_long.append(f"{row['id']} ({lengths[-1]})")
    tokens = _tokens(sorted(lengths), cutoff, name if own else embedded.NAME, stand_in=own is None)
    if not too_long:
        return tokens, []
    return tokens, [
        f"{len(too_long)} of {len(lengths)} rows are longer than cutoff_len {cutoff} of {Path(request.recipe).name} "
        f"and would lose their end, the answer with it: {_some(too_long)}; "
        f"raise cutoff_len to {tokens.longest} or choose a shorter representation"
    ]


def _tokens(lengths: Sequence[int], cutoff: int, tokenizer: str, *, stand_in: bool) -> Tokens:
    histogram = Counter(length // HISTOGRAM_STEP * HISTOGRAM_STEP for length in lengths)
    return Tokens(
        rows=len(lengths),
        shortest=lengths[0],
        median=lengths[len(lengths) // 2],
        p95=lengths[int(0.95 * (len(lengths) - 1))],
        longest=lengths[-1],
        cutoff=cutoff,
        tokenizer=tokenizer,
        stand_in=stand_in,
        histogram=dict(sorted(histogram.items())),
    )


def find(name: str, root: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Find a dataset's folder and the registry entries of its three splits.

    Parameters
    ----------
    name : str
        A dataset, or one of its registered splits.
    root : Path
        The folder of ``dataset_info.json``.

    Raises
    ------
    VitalFactoryError
        It is not registered, or its folder is not there.
    """
    known = registry.read(root)
    base = name if f"{name}_train" in known else name.rsplit("_", 1)[0]
    names = [f"{base}_{split}" for split in SPLITS]
    missing = [full for full in names if full not in known]
    if missing or name not in (base, *names):
        raise VitalFactoryError(f"{name}: not registered in {root / registry.FILE_NAME}{closest(name, list(known))}")
    folder = (root / str(known[names[0]].get("file_name"))).parent
    if not (folder / "card.json").is_file():
        raise VitalFactoryError(f"{name}: {folder} holds no dataset yet; run converters/{base.split('_')[0]}.py first")
    return folder, {full: known[full] for full in names}


def _main() -> None:
    from vitalfactory.errors import run

    def work(_: Sequence[str]) -> None:
        report = inspect(Request(**json.loads(sys.stdin.read())))
        print(json.dumps(asdict(report)))

    run(work)


if __name__ == "__main__":
    _main()
