"""A dataset row as the exact tokens that LLaMA-Factory trains on.

Rendering uses LLaMA-Factory's own row converter and template, so that what is measured, scored and
generated is what was trained. A row's images become as many tokens as they have in training: those of
Qwen2-VL are counted from the pictures' sizes, so that its processor is not needed. Importing
LLaMA-Factory takes some 15 seconds and 850 MB; nothing here imports it before a :class:`Renderer` is made.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError
from vitalfactory.recipes import resolve

Convert = Callable[[dict[str, Any]], dict[str, Any]]
IMAGE_MARK = "<image>"
QWEN2_VL_MAX_PIXELS = 28 * 28 * 16384
"""Of the preprocessor_config.json published with Qwen2-VL."""


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
        LLaMA-Factory's arguments; the template, the limits of an image's size and all that touches the data are
        taken from it. Images are found from its ``media_dir``, else from its ``dataset_dir``.
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
        from llamafactory.data.template import get_template_and_fix_tokenizer

        self._convert, arguments = _converter(recipe, registry, dataset)
        try:
            self.template = get_template_and_fix_tokenizer(tokenizer, arguments)
        except (ValueError, TypeError) as error:
            raise VitalFactoryError(f"LLaMA-Factory refuses {dataset}: {error}") from None
        self.tokenizer = tokenizer
        self._recipe = recipe

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

        Raises
        ------
        VitalFactoryError
            LLaMA-Factory's template refuses the row's images, or one cannot be read.
        """
        aligned = self._convert(dict(row))
        response = aligned["_response"] if answer is None else [{"role": "assistant", "content": answer}]
        messages = aligned["_prompt"] + response
        if aligned["_images"]:
            messages = self._with_images(messages, aligned["_images"], row.get("id"))
        prompt, target = self.template.encode_oneturn(self.tokenizer, messages, aligned["_system"], aligned["_tools"])
        return Rendered(prompt, target)

    def _with_images(self, messages: list[dict[str, str]], images: list[str], name: object) -> list[dict[str, str]]:
        try:
            done: list[dict[str, str]] = self.template.mm_plugin.process_messages(
                messages, images, [], [], self._processor
            )
        except (ValueError, OSError) as error:
            reason = str(error).partition(" tokens in ")[0]  # what follows is the text of the row
            raise VitalFactoryError(f"{name}: LLaMA-Factory refuses its images: {reason}") from None
        return done

    def pixels(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Compute what a model is shown of a row's images.

        Parameters
        ----------
        row : mapping
            One row of the dataset.

        Returns
        -------
        dict of str to Tensor
            What the model takes beside the tokens, such as ``pixel_values``; empty for a row without images.

        Raises
        ------
        VitalFactoryError
            The model's processor is not at hand, or an image cannot be read.
        """
        images = self._convert(dict(row))["_images"]
        if not images:
            return {}
        name = str(self._recipe.get("model_name_or_path"))
        if self._own_processor is None:
            raise VitalFactoryError(f"{name}: its processor of images is not at hand; download the whole model first")
        try:
            inputs: dict[str, Any] = self.template.mm_plugin.get_mm_inputs(
                images, [], [], [len(images)], [0], [0], [[]], self._own_processor
            )
        except (ValueError, OSError) as error:
            raise VitalFactoryError(f"{row.get('id')}: LLaMA-Factory refuses its images: {error}") from None
        return inputs

    @cached_property
    def _own_processor(self) -> Any | None:
        """The model's processor with the recipe's limits, as LLaMA-Factory sets it up."""
        return self._limited(load_processor(str(self._recipe.get("model_name_or_path"))))

    @cached_property
    def _processor(self) -> Any | None:
        """The same for counting tokens alone: Qwen2-VL's computes no pixels and can be stood in for."""
        from llamafactory.data.mm_plugin import Qwen2VLPlugin

        if type(self.template.mm_plugin) is not Qwen2VLPlugin:
            return self._own_processor
        sizes = _ImageSizes(getattr(self._own_processor, "image_processor", None))
        return self._limited(SimpleNamespace(image_processor=sizes, video_processor=sizes))

    def _limited(self, processor: Any | None) -> Any | None:
        for limit in ("image_max_pixels", "image_min_pixels"):
            if processor is not None and limit in self._recipe:
                setattr(processor, limit, int(self._recipe[limit]))
        return processor

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end an answer."""
        return sorted(self.template.get_stop_token_ids(self.tokenizer))


class Chat:
    """Turns rows of one registered dataset into the chat messages that a recipe's template puts into tokens.

    It needs no tokenizer: a server renders the messages with the model's own.

    Parameters
    ----------
    recipe, registry, dataset
        See :class:`Renderer`.

    Raises
    ------
    VitalFactoryError
        LLaMA-Factory does not know the template, or refuses the dataset's entry or the arguments.
    """

    def __init__(self, recipe: Mapping[str, Any], registry: Mapping[str, Any], dataset: str) -> None:
        from llamafactory.data.template import TEMPLATES

        self._convert, arguments = _converter(recipe, registry, dataset)
        if arguments.template not in TEMPLATES:
            raise VitalFactoryError(
                f"template {arguments.template!r} of the recipe: LLaMA-Factory has none of that name"
            )
        own = TEMPLATES[arguments.template].default_system
        self._system: str = own if arguments.default_system is None else arguments.default_system

    def messages(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Lay out a row up to its last answer.

        Parameters
        ----------
        row : mapping
            One row of the dataset.

        Returns
        -------
        list of dict
            ``role`` and ``content``; the system message that LLaMA-Factory trains with first, where there is one. Of a
            row with images, ``content`` is a list of texts and ``image_url``, each image where its mark stands.

        Raises
        ------
        VitalFactoryError
            The row has not one mark for each image, or an image cannot be read.
        """
        aligned = self._convert(dict(row))
        system = aligned["_system"] or self._system
        turns: list[dict[str, Any]] = aligned["_prompt"]
        if aligned["_images"]:
            turns = _with_pictures(turns, aligned["_images"], row.get("id"))
        return [*([{"role": "system", "content": system}] if system else []), *turns]


def _with_pictures(turns: Sequence[Mapping[str, Any]], images: Sequence[Any], name: object) -> list[dict[str, Any]]:
    """Put images where their marks stand, as an OpenAI-compatible endpoint takes them."""
    if sum(turn["content"].count(IMAGE_MARK) for turn in turns) != len(images):
        raise VitalFactoryError(f"{name}: not one {IMAGE_MARK} mark for each of its {len(images)} images")
    left = iter(images)
    told = []
    for turn in turns:
        first, *rest = turn["content"].split(IMAGE_MARK)
        parts: list[dict[str, Any]] = [{"type": "text", "text": first}] if first else []
        for text in rest:
            parts.append({"type": "image_url", "image_url": {"url": _data_url(Path(str(next(left))), name)}})
            parts += [{"type": "text", "text": text}] if text else []
        told.append({**turn, "content": parts if rest else first})
    return told


def _data_url(image: Path, name: object) -> str:
    try:
        content = base64.b64encode(image.read_bytes()).decode()
    except OSError as error:
        raise VitalFactoryError(f"{name}: {image}: {error.strerror}") from None
    kind = "jpeg" if image.suffix.lower() in (".jpg", ".jpeg") else "png"
    return f"data:image/{kind};base64,{content}"


def _converter(recipe: Mapping[str, Any], registry: Mapping[str, Any], dataset: str) -> tuple[Convert, Any]:
    """Set up LLaMA-Factory's own converter of a dataset's rows, and its arguments about data."""
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments

    known = {field.name for field in fields(DataArguments)} - {"dataset", "eval_dataset", "val_size"}
    media = resolve(str(recipe.get("media_dir") or recipe.get("dataset_dir") or "."))
    given = {key: value for key, value in recipe.items() if key in known}
    try:
        arguments = DataArguments(**{**given, "media_dir": str(media)})
        attributes = get_dataset_list([dataset], dict(registry))[0]
        return get_dataset_converter(attributes.formatting, attributes, arguments), arguments
    except (ValueError, TypeError) as error:
        raise VitalFactoryError(f"LLaMA-Factory refuses {dataset}: {error}") from None


class _ImageSizes:
    """An image processor of Qwen2-VL that says how many patches images have, and computes none of them.

    Parameters
    ----------
    own : Qwen2VLImageProcessor or None
        The model's; by default one as it is published.
    """

    def __init__(self, own: Any | None) -> None:
        from transformers import Qwen2VLImageProcessor

        self._own = Qwen2VLImageProcessor(max_pixels=QWEN2_VL_MAX_PIXELS) if own is None else own
        self.merge_size = self._own.merge_size

    def __call__(self, images: list[Any], return_tensors: str) -> dict[str, NDArray[np.int64]]:
        patches = [self._own.get_number_of_image_patches(image.height, image.width, {}) for image in images]
        return {"image_grid_thw": np.array([[1, 1, count] for count in patches])}


def load_processor(model: str) -> Any | None:
    """Load a model's processor of images from disk or from the local hub cache, never from the network.

    Parameters
    ----------
    model : str
        ``model_name_or_path`` of a recipe.

    Returns
    -------
    ProcessorMixin or None
        None where it is not at hand, or where the model takes no images.
    """
    from transformers import AutoProcessor

    found = _at_hand(AutoProcessor, model)
    return found if hasattr(found, "image_processor") else None


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

    return _at_hand(AutoTokenizer, model)


def _at_hand(loader: Any, model: str) -> Any | None:
    local = resolve(model)
    try:
        return loader.from_pretrained(local if local.is_dir() else model, local_files_only=True)
    except (OSError, ValueError):
        return None
