"""What a model costs, by a table that the user owns, and how many tokens a text may have.

currency: USD
models:
  qwen2.5-72b-instruct: {input: 0.40, output: 1.20}   # for a million tokens
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from vitalfactory.errors import VitalFactoryError, closest

_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_DIGIT = re.compile("[0-9]")
WIDE_TOKENS, DIGIT_TOKENS, OTHER_TOKENS = 0.85, 1.0, 0.24
"""Tokens a character, Chinese, digit and other: Qwen2.5's vocabulary on clinical notes."""


@dataclass(frozen=True)
class Price:
    """What a million tokens cost.

    Attributes
    ----------
    input, output : float
    currency : str
    """

    input: float
    output: float
    currency: str

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what so many tokens cost."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1_000_000


def read_price(path: Path, model: str) -> Price:
    """Read a model's price.

    Parameters
    ----------
    path : Path
        YAML: ``currency``, and ``models`` with ``input`` and ``output`` for each; no other keys.
    model : str

    Raises
    ------
    VitalFactoryError
        The file is missing or not such a table, or does not have the model.
    """
    import yaml
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

    class Costs(BaseModel):
        model_config = ConfigDict(extra="forbid")
        input: float = Field(ge=0, allow_inf_nan=False)
        output: float = Field(ge=0, allow_inf_nan=False)

    class Table(BaseModel):
        model_config = ConfigDict(extra="forbid")
        currency: str = Field(min_length=1)
        models: dict[str, Costs]

    try:
        table = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise VitalFactoryError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise VitalFactoryError(f"{path}: not valid YAML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "table"
        raise VitalFactoryError(
            f"{path}: {where}: {first['msg']}; expected currency, and input and output of models"
        ) from None
    if model not in table.models:
        known = list(table.models)
        raise VitalFactoryError(
            f"{path}: has no price of {model!r}{closest(model, known)}; add it, by the million tokens"
        )
    costs = table.models[model]
    return Price(costs.input, costs.output, table.currency)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text from its characters; the truth may lie a quarter above or below."""
    wide = len(_WIDE.findall(text)) if not text.isascii() else 0
    digits = len(_DIGIT.findall(text))
    return math.ceil(WIDE_TOKENS * wide + DIGIT_TOKENS * digits + OTHER_TOKENS * (len(text) - wide - digits))
