"""A dataset row as the exact tokens that LLaMA-Factory trains on.

Rendering uses LLaMA-Factory's own row converter and template, so that what is measured, scored and
generated is what was trained. Importing LLaMA-Factory takes some 15 seconds and 850 MB; nothing
here imports it before a :class:`Renderer` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.recipes import resolve


@dataclass(frozen=True)
class Rendered:
    """Token ids of one row: the prompt with all earlier turns, and the last answer."""

    prompt: list[int]
    answer: list[int]


class Renderer:
    """Turns rows of one registered dataset into tokens, as one recipe does.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments; the template and all that touches the data are taken from it.
    tokenizer : PreTrainedTokenizerBase
        Adapted to the template in place, as LLaMA-Factory does before training.
    registry : mapping
        The content of ``dataset_info.json``.
    dataset : str
        A name in the registry.

    Raises
    ------
    VitalFactoryError
        LLaMA-Factory refuses the template, the dataset's entry or the arguments.
    """

    def __init__(self, recipe: Mapping[str, Any], tokenizer: Any, registry: Mapping[str, Any], dataset: str) -> None:
        from llamafactory.data.converter import get_dataset_converter
        from llamafactory.data.parser import get_dataset_list
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.hparams import DataArguments

        known = {field.name for field in fields(DataArguments)} - {"dataset", "eval_dataset", "val_size"}
        try:
            arguments = DataArguments(**{key: value for key, value in recipe.items() if key in known})
            attributes = get_dataset_list([dataset], dict(registry))[0]
            self._convert = get_dataset_converter(attributes.formatting, attributes, arguments)
            self.template = get_template_and_fix_tokenizer(tokenizer, arguments)
        except (ValueError, TypeError) as error:
            raise VitalFactoryError(f"LLaMA-Factory refuses {dataset}: {error}") from None
        self.tokenizer = tokenizer

    def render(self, row: Mapping[str, Any], answer: str | None = None) -> Rendered:
        """Render a row.

        Parameters
        ----------
        row : mapping
            One row of the dataset.
        answer : str, optional
            Put in place of the row's own last answer.

        Returns
        -------
        Rendered
        """
        aligned = self._convert(dict(row))
        response = aligned["_response"] if answer is None else [{"role": "assistant", "content": answer}]
        prompt, target = self.template.encode_oneturn(
            self.tokenizer, aligned["_prompt"] + response, aligned["_system"], aligned["_tools"]
        )
        return Rendered(prompt, target)

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end an answer."""
        return sorted(self.template.get_stop_token_ids(self.tokenizer))


def load_tokenizer(model: str) -> Any | None:
    """Load a model's tokenizer from disk or from the local hub cache, never from the network.

    Parameters
    ----------
    model : str
        ``model_name_or_path`` of a recipe.

    Returns
    -------
    PreTrainedTokenizerBase or None
        None where the tokenizer is not at hand.
    """
    from transformers import AutoTokenizer

    local = resolve(model)
    try:
        return AutoTokenizer.from_pretrained(local if local.is_dir() else model, local_files_only=True)
    except (OSError, ValueError):
        return None
