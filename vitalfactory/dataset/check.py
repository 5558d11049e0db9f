"""The preflight of a dataset: everything that would spoil a training run, found before it starts.

LLaMA-Factory's parser and templates are used as they are, so a check takes some 15 seconds and 850 MB
to import them. :func:`check_all` therefore runs in a process of its own, one for all its requests, and
:func:`inspect` is what it runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from vitalfactory import recipes
from vitalfactory.card import SPLITS, Card, read_card
from vitalfactory.dataset import cost, registry, rules
from vitalfactory.dataset.example import content_of, digest
from vitalfactory.dataset.options import Options
from vitalfactory.errors import VitalFactoryError, closest
from vitalfactory.files import read_jsonl, sha256

HISTOGRAM_STEP = 64
IMAGE_TOKENS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
"""Qwen2-VL's, one token each in every tokenizer of its models; the embedded tokenizer lacks them."""
MAX_EXAMPLES = 3
"""How many of the rows with one fault a message names."""


@dataclass(frozen=True)
class Tokens:
    """Lengths of all rows under a recipe's template, in tokens.

    Attributes
    ----------
    rows, shortest, median, p95, longest : int
    train : int
        The tokens of all rows of train together.
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
    train: int
    cutoff: int
    tokenizer: str
    stand_in: bool
    histogram: dict[int, int]

    def as_json(self) -> dict[str, Any]:
        """Lay the figures out for ``--json``."""
        return asdict(self)

    def describe(self) -> str:
        """Say the figures in one line."""
        lengths = (
            f"row length median {self.median}, 95th percentile {self.p95}, longest {self.longest} of {self.cutoff}"
        )
        missing = ", the recipe's own tokenizer not being at hand" if self.stand_in else ""
        return f"{lengths} ({self.tokenizer}'s tokens{missing})"


@dataclass(frozen=True)
class Request:
    """What to check.

    Attributes
    ----------
    folder : str
        The dataset's folder. It need not be in its place yet: images that its rows look for in the place that
        the registry names are found in it.
    registered : dict of str to dict
        Name to registry entry of its splits.
    root : str
        All other images are found from here.
    recipe : str
    scope : {'rows', 'recipe', 'all'}
        The dataset's files under the recipe's template and cutoff; the recipe and the registry alone; or both.
    """

    folder: str
    registered: dict[str, dict[str, Any]]
    root: str
    recipe: str
    scope: Literal["rows", "recipe", "all"] = "all"


@dataclass
class Report:
    """What a check found."""

    problems: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    tokens: Tokens | None = None
    cost: cost.Cost | None = None


def check_rows(folder: Path, registered: Mapping[str, Mapping[str, Any]], options: Options) -> Tokens:
    """Check a dataset that is about to be registered.

    Raises
    ------
    VitalFactoryError
        Names every problem.
    """
    entries = {name: dict(entry) for name, entry in registered.items()}
    report = check(Request(str(folder), entries, str(options.root), str(options.recipe), "rows"))
    if report.problems or report.tokens is None:
        raise VitalFactoryError(f"{options.name}: " + "; ".join(report.problems))
    return report.tokens


def check(request: Request) -> Report:
    """Check one dataset; see :func:`check_all`."""
    return check_all([request])[0]


def check_all(requests: Sequence[Request]) -> list[Report]:
    """Run :func:`inspect_all` in a process of its own.

    Raises
    ------
    VitalFactoryError
        That process failed.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "vitalfactory.dataset.check"]
    given = json.dumps([asdict(request) for request in requests])
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise VitalFactoryError(f"LLaMA-Factory's check failed: {reason[0].removeprefix('error: ')}")
    return [_report(answer) for answer in json.loads(done.stdout.strip().splitlines()[-1])]


def _report(answer: dict[str, Any]) -> Report:
    tokens, costs = answer.pop("tokens"), answer.pop("cost")
    if tokens is not None:
        tokens["histogram"] = {int(edge): count for edge, count in tokens["histogram"].items()}
    return Report(**answer, tokens=Tokens(**tokens) if tokens else None, cost=cost.Cost(**costs) if costs else None)


def inspect_all(requests: Sequence[Request]) -> list[Report]:
    """Inspect datasets one after the other; one that cannot be read at all has that as its problem."""
    reports = []
    for request in requests:
        try:
            reports.append(inspect(request))
        except VitalFactoryError as error:
            reports.append(Report([str(error)]))
    return reports


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
    recipe = recipes.read_recipe(Path(request.recipe))
    if request.scope != "rows":
        report.problems += rules.find_problems(recipe, Path(request.recipe).name)
    report.problems += _entry_problems(request.registered)
    if request.scope == "recipe":
        _renderers(recipe, request.registered)
        report.cost = cost.estimate(recipe, rows=None, tokens=None, longest=None)
        return report
    folder = Path(request.folder)
    rows = {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in SPLITS}
    report.rows = {split: len(part) for split, part in rows.items()}
    report.labels = {split: _label_counts(part) for split, part in rows.items()}
    if broken := _shape_problems(request.registered, rows):
        report.problems += broken
        return report
    if request.scope == "all":
        report.problems += _empty_splits(recipe, request.registered, rows)
    report.problems += _leaks(rows)
    report.problems += _card_problems(folder, rows)
    if unusable := _image_problems(rows, request):
        report.problems += unusable
        return report
    report.tokens, too_long = _measure(request, recipe, rows)
    report.problems += too_long
    report.cost = _cost(recipe, rows, report.tokens)
    return report


def _entry_problems(registered: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Find what an entry lacks: LLaMA-Factory reads a key left out of ``columns`` or ``tags`` as none."""
    problems = []
    for name, entry in registered.items():
        layout = registry.SHAREGPT if entry.get("formatting") == "sharegpt" else registry.ALPACA
        for block in ("columns", "tags"):
            missing = sorted(set(layout.get(block, {})) - set(entry.get(block, {})))
            if missing:
                problems.append(f"{name}: {block} lacks {', '.join(missing)}, which LLaMA-Factory then reads as none")
    return problems


def _shape_problems(
    registered: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Find rows without a column that their entry names, and images that the entry does not name."""
    problems = [] if any(rows.values()) else ["there is no row in any split"]
    for name, entry in registered.items():
        columns = entry.get("columns", {})
        part = rows[name.rsplit("_", 1)[-1]]
        for column in sorted({"id", "group", *columns.values()}):
            if lacking := [str(row.get("id")) for row in part if column not in row]:
                problems.append(f"{name}: {len(lacking)} rows lack {column!r}: {_some(lacking)}")
        if "images" not in columns and any(row.get("images") for row in part):
            problems.append(f"{name}: its rows have images, but columns lacks images, so that LLaMA-Factory skips them")
    return problems


def _empty_splits(
    recipe: Mapping[str, Any], registered: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Sequence[Any]]
) -> list[str]:
    """Find splits that the recipe trains or evaluates on and that have no rows."""
    wanted = [name for name in recipes.dataset_names(recipe) if name in registered]
    empty = [name for name in wanted if not rows[name.rsplit("_", 1)[-1]]]
    return [f"{name}: the recipe names it, and it has no rows" for name in empty]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_EXAMPLES} more" if len(names) > MAX_EXAMPLES else ""
    return ", ".join(names[:MAX_EXAMPLES]) + more


def _leaks(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Find ids that repeat, and groups and contents that stand in two splits."""
    problems = []
    ids = Counter(str(row["id"]) for part in rows.values() for row in part)
    if twice := sorted(name for name, count in ids.items() if count > 1):
        problems.append(f"ids that stand more than once: {_some(twice)}")
    groups: dict[str, set[str]] = defaultdict(set)
    contents: dict[int, dict[str, str]] = defaultdict(dict)
    for split, part in rows.items():
        for row in part:
            groups[str(row["group"])].add(split)
            contents[digest(content_of(row))][split] = str(row["id"])
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
        strange = {label for row in part for label in _labels(row)} - set(card.labels)
        if card.labels and strange:
            problems.append(f"{split}: labels that are not in the card's vocabulary: {_some(sorted(strange))}")
        wrong = [str(row["id"]) for row in part if not _answers(row, card)]
        if wrong:
            problems.append(f"{split}: the output is not its label's answer in {_some(wrong)}")
    return problems


def _answers(row: Mapping[str, Any], card: Card) -> bool:
    output = row["messages"][-1]["content"] if row.get("messages") else row.get("output")
    if output is None:
        return True
    if card.kind == "multilabel":
        return _says_its_labels(str(output), row, card)
    return "label" not in row or output == card.answers.get(row["label"])


def _says_its_labels(output: str, row: Mapping[str, Any], card: Card) -> bool:
    if card.verdicts is not None:
        return output == (card.verdicts.present if row.get("finding") in _labels(row) else card.verdicts.absent)
    return {label for label, answer in card.answers.items() if answer in output} == set(_labels(row))


def _image_problems(rows: Mapping[str, Sequence[Mapping[str, Any]]], request: Request) -> list[str]:
    """Find images that cannot be read or are not those of their rows, and rows whose text does not place them."""
    having = [row for part in rows.values() for row in part if row.get("images")]
    problems = []
    if unplaced := [str(row["id"]) for row in having if _marks(row) != len(row["images"])]:
        problems.append(f"rows whose text has not one <image> for each of their images: {_some(unplaced)}")
    hashes = {image: wanted for row in having for image, wanted in _images(row)}
    places = {image: _place(image, request) for image in hashes}
    if broken := [image for image, place in places.items() if place is None or not _readable(place)]:
        return [*problems, f"images that are missing or cannot be read: {_some(broken)}"]
    changed = [image for image, place in places.items() if place and hashes[image] not in (None, sha256(place))]
    if changed:
        problems.append(f"images that are not those of their rows; convert again: {_some(changed)}")
    return problems


def _images(row: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """List a row's images with the hashes that it notes."""
    images = row["images"]
    return list(zip(images, row.get("image_sha256") or [None] * len(images), strict=False))


def _marks(row: Mapping[str, Any]) -> int:
    texts = [message["content"] for message in row.get("messages") or ()]
    return sum(str(text).count("<image>") for text in texts or (row.get("instruction"), row.get("input")))


def _place(image: str, request: Request) -> Path | None:
    """Find where an image lies before or after its dataset is in place; None where that is outside the root."""
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts:
        return None
    home = PurePosixPath(str(next(iter(request.registered.values())).get("file_name"))).parent
    if path.is_relative_to(home):
        return Path(request.folder) / path.relative_to(home)
    return Path(request.root) / path


def _readable(image: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            opened.draft("L", (64, 64))  # a JPEG is read to its end, but decoded to a small one
            opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _labels(row: Mapping[str, Any]) -> list[str]:
    label = row.get("label")
    return [str(name) for name in row.get("labels") or ([] if label is None else [label])]


def _label_counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(label for row in rows for label in _labels(row)).items()))


@cache
def tokenizer_for(name: str, template: str) -> tuple[Any, str]:
    """Load a model's tokenizer, or the embedded one; one for each template, which adapts it in place."""
    from vitalfactory.models import embedded
    from vitalfactory.render import load_tokenizer

    del template
    own = load_tokenizer(name)
    if own is not None:
        return own, name
    stand_in = embedded.load_tokenizer()
    stand_in.add_tokens(list(IMAGE_TOKENS), special_tokens=True)
    return stand_in, embedded.NAME


def _renderers(recipe: Mapping[str, Any], registered: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    from vitalfactory.render import Renderer

    tokenizer, _ = tokenizer_for(str(recipe.get("model_name_or_path")), str(recipe.get("template")))
    return {name: Renderer(recipe, tokenizer, registered, name) for name in registered}


def _measure(
    request: Request, recipe: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Tokens, list[str]]:
    """Count the tokens of every row, and find the rows that the cutoff would cut."""
    model = str(recipe.get("model_name_or_path"))
    cutoff = int(recipe.get("cutoff_len", 2048))
    lengths: list[int] = []
    too_long: list[str] = []
    train = 0
    for name, renderer in _renderers(recipe, request.registered).items():
        end = int(renderer.template.efficient_eos)  # such a template's answers end in a token added later
        for row in rows[name.rsplit("_", 1)[-1]]:
            rendered = renderer.render({**row, **_placed(row, request)})
            lengths.append(len(rendered.prompt) + len(rendered.answer) + end)
            train += lengths[-1] if name.endswith("_train") else 0
            if lengths[-1] > cutoff:
                too_long.append(f"{row['id']} ({lengths[-1]})")
    _, counted_by = tokenizer_for(model, str(recipe.get("template")))
    tokens = _tokens(sorted(lengths), train, cutoff, counted_by, stand_in=counted_by != model)
    if not too_long:
        return tokens, []
    return tokens, [
        f"{len(too_long)} of {len(lengths)} rows are longer than cutoff_len {cutoff} of {Path(request.recipe).name} "
        f"and would lose their end, the answer with it: {_some(too_long)}; "
        f"raise cutoff_len to {tokens.longest} or choose a shorter representation"
    ]


def _cost(recipe: Mapping[str, Any], rows: Mapping[str, Sequence[Any]], tokens: Tokens) -> cost.Cost:
    """Estimate the cost of training on a dataset; a recipe that mixes it with others has no epoch of its own."""
    alone = len(recipes.dataset_names({"dataset": recipe.get("dataset")})) == 1
    counted = len(rows["train"]) if alone else None
    return cost.estimate(recipe, counted, tokens.train if alone else None, tokens.longest)


def _placed(row: Mapping[str, Any], request: Request) -> dict[str, list[str]]:
    images = row.get("images")
    return {"images": [str(_place(image, request)) for image in images]} if images else {}


def _tokens(lengths: Sequence[int], train: int, cutoff: int, tokenizer: str, *, stand_in: bool) -> Tokens:
    histogram = Counter(length // HISTOGRAM_STEP * HISTOGRAM_STEP for length in lengths)
    return Tokens(
        rows=len(lengths),
        shortest=lengths[0],
        median=lengths[len(lengths) // 2],
        p95=lengths[int(0.95 * (len(lengths) - 1))],
        longest=lengths[-1],
        train=train,
        cutoff=cutoff,
        tokenizer=tokenizer,
        stand_in=stand_in,
        histogram=dict(sorted(histogram.items())),
    )


def find(name: str, root: Path, *, data: bool = True) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Find a dataset's folder and the registry entries of its three splits.

    Parameters
    ----------
    name : str
        A dataset, or one of its registered splits.
    root : Path
        The folder of ``dataset_info.json``.
    data : bool
        Whether the dataset must have been converted already.

    Raises
    ------
    VitalFactoryError
        It is not registered, or its folder is not there.
    """
    known = registry.read(root)
    base = name if f"{name}_train" in known else name.rsplit("_", 1)[0]
    names = [f"{base}_{split}" for split in SPLITS]
    where = root / registry.FILE_NAME
    if name not in known and (name != base or names[0] not in known):
        near = closest(name, sorted({*known, *(full.rpartition("_")[0] for full in known)}))
        raise VitalFactoryError(f"{name}: not registered in {where}{near}")
    found = {full: known[full] for full in names if isinstance(known.get(full), dict)}
    files = {full: root / str(entry.get("file_name")) for full, entry in found.items()}
    folder = next(iter(files.values()), root).parent
    if files != {full: folder / f"{split}.jsonl" for full, split in zip(names, SPLITS, strict=True)}:
        raise VitalFactoryError(f"{name}: {where} does not have it as {', '.join(names)}, the files of one folder")
    if data and not (folder / "card.json").is_file():
        raise VitalFactoryError(f"{name}: {folder} holds no dataset yet; run converters/{base.split('_')[0]}.py first")
    return folder, found


def _main() -> None:
    from vitalfactory.errors import run

    def work(_: Sequence[str]) -> None:
        reports = inspect_all([Request(**given) for given in json.loads(sys.stdin.read())])
        print("\n" + json.dumps([asdict(report) for report in reports]))

    run(work)


if __name__ == "__main__":
    _main()
