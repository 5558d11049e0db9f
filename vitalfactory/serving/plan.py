"""What is served of a recipe, checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitalfactory.dataset.checkpoint import adapter_problem, find_model
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json
from vitalfactory.inference import find_adapter
from vitalfactory.recipes import read_recipe, resolve


@dataclass(frozen=True)
class Plan:
    """A recipe's model, ready to be served or exported.

    Attributes
    ----------
    file : Path
        The recipe.
    recipe : dict
    model : Path
        Folder of the model's checkpoint.
    adapter : Path or None
        None is the model before training.
    """

    file: Path
    recipe: dict[str, Any]
    model: Path
    adapter: Path | None

    @property
    def name(self) -> str:
        """The name that the model is served under."""
        return self.file.stem

    @property
    def output_dir(self) -> Path:
        """Where the recipe keeps what it makes."""
        return resolve(str(self.recipe.get("output_dir", f"saves/{self.name}")))

    @property
    def stock_words(self) -> list[str]:
        """The recipe and its adapter on the command line of :mod:`vitalfactory.serving.stock`."""
        return [str(self.file), *(["--adapter", str(self.adapter)] if self.adapter else [])]


def read_plan(file: Path, adapter: str | None) -> Plan:
    """Read a recipe and look at its model and its adapter.

    Parameters
    ----------
    file : Path
        The recipe.
    adapter : str or None
        Another folder than the recipe's ``output_dir``, or ``none``.

    Raises
    ------
    VitalFactoryError
        The recipe, the model or the adapter is not there, or the adapter is broken or another model's.
    """
    recipe = read_recipe(file)
    name = recipe.get("model_name_or_path")
    if not name:
        raise VitalFactoryError(f"{file}: model_name_or_path names nothing; expected a folder or a name on the hub")
    folder = find_adapter(adapter, recipe)
    if folder is not None and (problem := adapter_problem(folder, str(name))):
        raise VitalFactoryError(f"{folder}: {problem}")
    model = find_model(recipe)
    if model is None:
        raise VitalFactoryError(
            f"{file}: model_name_or_path: {name} is not on this machine; download it first, or name its folder"
        )
    return Plan(file, recipe, model, folder)


def check_text_alone(plan: Plan) -> None:
    """Check that a model can be exported to a server that takes text alone.

    Raises
    ------
    VitalFactoryError
        It takes pictures.
    """
    path = plan.model / "config.json"
    config = read_json(path)
    if isinstance(config, Mapping) and "vision_config" in config:
        raise VitalFactoryError(f"{path}: the model takes pictures, and a GGUF holds its text part alone; leave it out")
