"""LLaMA-Factory's registry, ``dataset_info.json``: entries go in without touching what else stands there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitalfactory.card import SPLITS
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock, write_text

FILE_NAME = "dataset_info.json"

# A key left out of a block that stands in an entry becomes None in LLaMA-Factory, so each block is whole.
ALPACA: dict[str, Any] = {
    "formatting": "alpaca",
    "columns": {"prompt": "instruction", "query": "input", "response": "output"},
}
SHAREGPT: dict[str, Any] = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
        "observation_tag": "observation",
        "function_tag": "function_call",
    },
}


def entries(name: str, columns: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Describe the three splits of a dataset to LLaMA-Factory.

    Parameters
    ----------
    name : str
    columns : mapping
        One row of the dataset: its keys tell Alpaca from ShareGPT rows and whether there are images.

    Returns
    -------
    dict of str to dict
        ``<name>_train``, ``<name>_val`` and ``<name>_test``.
    """
    layout = SHAREGPT if "messages" in columns else ALPACA
    block = {**layout, "columns": {**layout["columns"], **({"images": "images"} if "images" in columns else {})}}
    return {f"{name}_{split}": {"file_name": f"data/{name}/{split}.jsonl", **block} for split in SPLITS}


def read(root: Path) -> dict[str, Any]:
    """Read the registry; a missing file is an empty one.

    Raises
    ------
    VitalFactoryError
        It is not a JSON object.
    """
    return _parse(root / FILE_NAME, _text(root / FILE_NAME))


def register(root: Path, new: Mapping[str, Mapping[str, Any]]) -> None:
    """Add or replace entries, every other byte of the file kept, under a lock and in one step.

    Parameters
    ----------
    root : Path
        The folder of ``dataset_info.json``.
    new : mapping of str to mapping
        Name to entry.

    Raises
    ------
    VitalFactoryError
        The file is not a JSON object; it is left as it was.
    """
    path = root / FILE_NAME
    with lock(root / "data" / ".registry.lock"):
        text = _text(path)
        merged = text
        for name, entry in new.items():
            if _parse(path, merged).get(name) != entry:
                merged = _put(merged, name, entry)
        if merged != text or not path.exists():
            write_text(path, merged)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return "{\n}\n"
    except UnicodeDecodeError as error:
        raise VitalFactoryError(f"{path}: not UTF-8 text (byte {error.start}); left untouched") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise VitalFactoryError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg}); mend it, it was left untouched"
        ) from None
    if not isinstance(value, dict):
        raise VitalFactoryError(f"{path}: expected a JSON object of datasets, found {type(value).__name__}")
    return value


def _put(text: str, name: str, entry: Mapping[str, Any]) -> str:
    """Replace the value of a top-level key, or add the key after the last one."""
    body = json.dumps(entry, indent=2).replace("\n", "\n  ")
    spans = _spans(text)
    if name in spans:
        start, end = spans[name]
        return text[:start] + body + text[end:]
    member = f"\n  {json.dumps(name)}: {body}"
    if not spans:
        opening = text.index("{") + 1
        return text[:opening] + member + "\n" + text[opening:].lstrip()
    end = max(end for _, end in spans.values())
    return text[:end] + "," + member + text[end:]


def _spans(text: str) -> dict[str, tuple[int, int]]:
    """Find where each top-level value of a valid JSON object starts and ends."""
    decoder = json.JSONDecoder()
    spans: dict[str, tuple[int, int]] = {}
    place = text.index("{") + 1
    while text[place := _skip(text, place, " \t\r\n,")] != "}":
        key, place = decoder.raw_decode(text, place)
        start = _skip(text, place, " \t\r\n:")
        _, place = decoder.raw_decode(text, start)
        spans[key] = (start, place)
    return spans


def _skip(text: str, place: int, characters: str) -> int:
    while text[place] in characters:
        place += 1
    return place
