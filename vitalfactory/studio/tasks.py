"""What the studio must know of each task: how its converter is called, and what a model of it is asked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """One task.

    Attributes
    ----------
    forms : tuple of str
        What its rows may be told by, the first one by default; of questions, what their source may be.
    recipe : str
        Under which its rows are checked.
    endings : tuple of str
        Of the files that a model of it is asked with.
    recipes : mapping of str to str
        The forms that need another recipe.
    flags : mapping of str to str
        Form to the flag before the source, where that is not ``--input``.
    telling : tuple of str
        Of the flags in a card's command those that decide how a recording is told, the others being about the source;
        empty where a text is asked as it is.
    """

    forms: tuple[str, ...]
    recipe: str
    endings: tuple[str, ...]
    recipes: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    telling: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether its converter takes ``--representation``."""
        return "--representation" in self.telling

    def recipe_for(self, form: str) -> str:
        """Name the recipe that rows of a form are rendered with."""
        return self.recipes.get(form, self.recipe)


KINDS: dict[str, Kind] = {
    "ecg": Kind(
        ("rhythm", "rr", "wave", "raw", "mscnn", "mamba", "picture"),
        "ecg_qwen7b_lora.yaml",
        (".mat", ".hea"),
        {"picture": "ecg_qwen2vl7b_lora.yaml"},
        telling=("--representation", "--labels", "--preview", "--encoder", "--language", "--wordings"),
    ),
    "eeg": Kind(
        ("bands", "numbers", "picture"),
        "eeg_qwen7b_lora.yaml",
        (".edf",),
        {"picture": "eeg_qwen2vl_lora.yaml"},
        telling=(
            *("--representation", "--stages", "--window", "--step", "--rate", "--channels", "--no-events"),
            *("--emotion-models", "--emotion-window", "--emotion-step", "--keep-contradictions"),
            *("--language", "--wordings"),
        ),
    ),
    "clinical": Kind(("notes",), "clinical_smollm2_lora.yaml", (".txt",)),
    "medqa": Kind(("questions", "graph"), "medqa_smollm2_lora.yaml", (".txt",), flags={"graph": "--graph"}),
    "cxr": Kind(
        ("list", "yesno", "report"),
        "cxr_qwen2vl7b_lora.yaml",
        (".png", ".jpg", ".jpeg"),
        telling=("--representation", "--size", "--pad", "--context", "--language", "--wordings"),
    ),
}
TASKS = tuple(KINDS)
