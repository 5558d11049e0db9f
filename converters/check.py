"""The preflight of datasets and recipes: what would spoil a training run, found before it starts.

Looks at the recipe's arguments, alone and beside those of the recipe that trains its adapter; at the registry, the
columns, ids, leaks between the splits, the labels, the images and the length of every row under the recipe's template.
Says how many steps and tokens an epoch has, and estimates a GPU's memory. Ends with "ok", or with all problems and
exit code 2.

    python converters/check.py --recipe train_configs/ecg_qwen7b_lora.yaml
    python converters/check.py --dataset ecg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import EXIT_ERROR, VitalFactoryError, run
from vitalfactory.files import ROOT

if TYPE_CHECKING:
    from vitalfactory.dataset.check import Report, Request, Tokens

RECIPES = ROOT / "train_configs"
BAR = 40


def pairs(recipes: Sequence[Path], dataset: str | None) -> list[tuple[Path, str]]:
    """List which datasets are checked under which recipes.

    Parameters
    ----------
    recipes : sequence of Path
        By default the plainest recipe that trains on ``dataset``: the one with the shortest name.
    dataset : str, optional
        By default those of every recipe.

    Returns
    -------
    list of tuple of Path and str
        Recipe and dataset; a dataset's splits count as one.

    Raises
    ------
    VitalFactoryError
        A recipe cannot be read or names no dataset, or none trains on ``dataset``.
    """
    if dataset is None:
        return [(recipe, name) for recipe in recipes for name in _datasets(recipe)]
    if recipes:
        return [(recipe, dataset) for recipe in recipes]
    for recipe in sorted(RECIPES.glob("*.yaml"), key=lambda recipe: (len(recipe.name), recipe.name)):
        if _base(dataset) in _datasets(recipe):
            return [(recipe, dataset)]
    raise VitalFactoryError(f"--dataset {dataset}: no recipe in {RECIPES} trains on it; give --recipe YAML")


def _base(name: str) -> str:
    from vitalfactory.card import SPLITS

    base, _, split = name.rpartition("_")
    return base if split in SPLITS else name


def _datasets(recipe: Path) -> list[str]:
    from vitalfactory.recipes import dataset_names, read_recipe

    names = dataset_names(read_recipe(recipe))
    if not names:
        raise VitalFactoryError(f"{recipe}: names no dataset")
    return list(dict.fromkeys(_base(name) for name in names))


def preflight(chosen: Sequence[tuple[Path, str]], root: Path, *, data: bool = True) -> list[Report]:
    """Check each dataset under its recipe.

    Parameters
    ----------
    chosen : sequence of tuple of Path and str
        Recipe and dataset, as :func:`pairs` gives them.
    root : Path
        The folder of ``dataset_info.json``.
    data : bool
        Whether the datasets' rows are checked, or the recipes and the registry alone.

    Returns
    -------
    list of Report
        One for each pair.
    """
    from vitalfactory.dataset.check import Report, check_all

    requests: list[Request] = []
    reports: list[Report] = []
    for recipe, name in chosen:
        try:
            requests.append(_request(recipe, name, root, data=data))
            reports.append(Report())
        except VitalFactoryError as error:
            reports.append(Report([str(error)]))
    answers = iter(check_all(requests) if requests else ())
    reports = [report if report.problems else next(answers) for report in reports]
    return _with_mismatches(chosen, reports)


def _with_mismatches(chosen: Sequence[tuple[Path, str]], reports: Sequence[Report]) -> list[Report]:
    """Add what recipes that use an adapter have otherwise than the one that trains it, once for each recipe."""
    from dataclasses import replace

    from vitalfactory.dataset.rules import find_mismatches
    from vitalfactory.recipes import read_recipe

    found = find_mismatches({recipe: read_recipe(recipe) for recipe, _ in chosen})
    return [
        replace(report, problems=[*found.pop(recipe, ()), *report.problems])
        for (recipe, _), report in zip(chosen, reports, strict=True)
    ]


def _request(recipe: Path, name: str, root: Path, *, data: bool) -> Request:
    from vitalfactory.dataset.check import Request, find

    folder, registered = find(name, root, data=data)
    return Request(str(folder), registered, str(root), str(recipe), "all" if data else "recipe")


def show(recipe: Path, name: str, report: Report) -> None:
    """Print what was found of one dataset under one recipe."""
    print(f"\n{name} under {recipe.name}")
    for split, labels in report.labels.items():
        counts = ", ".join(f"{label} {count}" for label, count in labels.items())
        print(f"  {split:<6}{report.rows.get(split, 0):>8} rows   {counts}")
    if report.tokens is not None:
        _show_tokens(report.tokens)
    for line in report.cost.describe() if report.cost else ():
        print(f"  {line}")
    for problem in report.problems:
        print(f"  problem: {problem}")
    if not report.problems:
        print("  ok")


def _show_tokens(tokens: Tokens) -> None:
    from vitalfactory.dataset.check import HISTOGRAM_STEP

    print(f"  {tokens.describe()}")
    most = max(tokens.histogram.values())
    for edge, count in tokens.histogram.items():
        bar = "#" * max(1, round(BAR * count / most))
        over = "   over the cutoff" if edge + HISTOGRAM_STEP > tokens.cutoff and tokens.longest > tokens.cutoff else ""
        print(f"  {edge:>6}-{edge + HISTOGRAM_STEP - 1:<6}{count:>8} {bar}{over}")


def _as_json(chosen: Sequence[tuple[Path, str]], reports: Sequence[Report]) -> dict[str, Any]:
    from dataclasses import asdict

    checked = [
        {"dataset": name, "recipe": str(recipe), **asdict(report)}
        for (recipe, name), report in zip(chosen, reports, strict=True)
    ]
    return {"ok": not any(report.problems for report in reports), "checked": checked}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python converters/check.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--recipe", type=Path, nargs="+", default=[], metavar="YAML", help="recipes, each with its datasets")
    add("--dataset", metavar="NAME", help="check this dataset (default: those of the recipes)")
    add("--root", type=Path, default=ROOT, help="folder of data/ and dataset_info.json (default: the repository)")
    add("--no-data", action="store_true", help="check the recipes and the registry alone")
    add("--json", action="store_true", help="print the result as one JSON object on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if not arguments.recipe and arguments.dataset is None:
        raise VitalFactoryError("give --recipe YAML or --dataset NAME")
    chosen = pairs(arguments.recipe, arguments.dataset)
    reports = preflight(chosen, arguments.root, data=not arguments.no_data)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(_as_json(chosen, reports)))
    else:
        for (recipe, name), report in zip(chosen, reports, strict=True):
            show(recipe, name, report)
    if any(report.problems for report in reports):
        raise SystemExit(EXIT_ERROR)


if __name__ == "__main__":
    run(main)
