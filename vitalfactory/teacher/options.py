"""How rows are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitalfactory.errors import VitalFactoryError, check_counts
from vitalfactory.files import ROOT

if TYPE_CHECKING:
    from vitalfactory.endpoint.client import Endpoint
    from vitalfactory.endpoint.prices import Price

TEMPERATURE, SAMPLING_TEMPERATURE = 0.0, 0.7
STRUCTURED = ("auto", "json_schema", "json_object", "plain")

Answer = Literal["diagnosis", "text"]


@dataclass(frozen=True)
class Options:
    """How rows are labelled; the flags of the command line say more.

    Attributes
    ----------
    input, out : Path
    endpoint : Endpoint
    answer : {'diagnosis', 'text'}, optional
        By default a diagnosis for notes and text for prompts.
    language : {'en', 'zh'}, optional
        Of the question; by default that of each note.
    temperature : float, optional
    max_tokens : int
    structured : str
        How the endpoint is held to JSON; ``auto`` finds out.
    tries : int
    samples : int
        Answers to each row.
    limit : int, optional
        The first so many rows only.
    strip_diagnosis, scrub, allow_personal, allow_test, retry_failed : bool
    price : Price, optional
    max_cost : float, optional
    gold, synonyms : Path, optional
    root : Path
    """

    input: Path
    out: Path
    endpoint: Endpoint
    answer: Answer | None = None
    language: str | None = None
    temperature: float | None = None
    max_tokens: int = 1024
    structured: str = "auto"
    tries: int = 3
    samples: int = 1
    limit: int | None = None
    strip_diagnosis: bool = False
    scrub: bool = False
    allow_personal: bool = False
    allow_test: bool = False
    retry_failed: bool = False
    price: Price | None = None
    max_cost: float | None = None
    gold: Path | None = None
    synonyms: Path | None = None
    root: Path = ROOT

    def __post_init__(self) -> None:
        """Refuse numbers out of range and files that would overwrite one another."""
        counts = {"--tries": self.tries, "--self-consistency": self.samples, "--max-tokens": self.max_tokens}
        check_counts({**counts, "--limit": self.limit})
        if self.max_cost is not None and self.price is None:
            raise VitalFactoryError("--max-cost needs --prices FILE, a table with the model's price")
        if self.out.resolve() == self.input.resolve():
            raise VitalFactoryError(f"--out {self.out}: is the input; choose another file")
        if self.out.exists() and not self.ledger.exists():
            raise VitalFactoryError(
                f"--out {self.out}: is there, and its ledger {self.ledger.name} is not, so it is not this command's; "
                "move it away, or choose another file"
            )

    @property
    def ledger(self) -> Path:
        """The file that every answer is written to."""
        return self.out.with_name(f"{self.out.stem}.ledger.jsonl")

    @property
    def parameters(self) -> dict[str, Any]:
        """What every request holds beside the model and the messages."""
        usual = SAMPLING_TEMPERATURE if self.samples > 1 else TEMPERATURE
        return {"temperature": usual if self.temperature is None else self.temperature, "max_tokens": self.max_tokens}
