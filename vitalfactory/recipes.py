"""Reading LLaMA-Factory recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe.

    Parameters
    ----------
    path : Path
        A YAML file of LLaMA-Factory's arguments.

    Raises
    ------
    VitalFactoryError
        The file is missing, is not YAML, or is not a mapping.
    """
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = ", ".join(sorted(file.name for file in path.parent.glob("*.yaml"))) or "no recipe"
        raise VitalFactoryError(f"{path}: no such recipe; {path.parent} holds {near}") from None
    except yaml.YAMLError as error:
        raise VitalFactoryError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise VitalFactoryError(f"{path}: expected a mapping of LLaMA-Factory's arguments")
    return recipe


def dataset_names(recipe: Mapping[str, Any]) -> list[str]:
    """List the datasets that a recipe trains and evaluates on."""
    names: list[str] = []
    for key in ("dataset", "eval_dataset"):
        value = recipe.get(key) or []
        names += [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    return names


def resolve(path: str) -> Path:
    """Find a path of a recipe as LLaMA-Factory does when it is run in the repository."""
    return ROOT / path


def changed(recipe: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Change a recipe as ``llamafactory-cli train RECIPE key=value ...`` does.

    Parameters
    ----------
    recipe : mapping
    changes : sequence of str
        ``key=value``, the value in YAML; a number may also be written as ``5e-5``.

    Raises
    ------
    VitalFactoryError
        A change is not of this form.
    """
    new = dict(recipe)
    for change in changes:
        key, equals, value = change.partition("=")
        if not key or not equals:
            raise VitalFactoryError(f"{change}: expected key=value, as in learning_rate=5e-5")
        try:
            new[key] = float(value) if _EXPONENT.fullmatch(value) else yaml.safe_load(value)
        except yaml.YAMLError:
            raise VitalFactoryError(f"{change}: the value is not valid YAML") from None
    return new
