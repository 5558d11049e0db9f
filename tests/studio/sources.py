"""Sources of all five tasks, made in code, each in a folder of its own."""

import random
from pathlib import Path

from tests.signals.cinc import write_cinc
from tests.signals.psg import write_pair
from tests.signals.xrays import write_nih
from vitalfactory.files import write_jsonl

WORDS = [
    "amber",
    "basil",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "karst",
    "lotus",
    "maple",
    "north",
    "ocean",
    "pearl",
    "quartz",
]
SIGNS = {"pneumonia": "fever, cough and crackles", "asthma": "wheeze at night", "gout": "a red swollen big toe"}
STAGES = [("W", 120), ("N1", 60), ("N2", 180), ("N3", 90), ("R", 90), ("W", 60)]


def write_all(folder: Path) -> Path:
    """Write forty ECGs, three short nights, thirty notes, thirty questions and thirty chest X-rays."""
    write_cinc(folder / "ecg", [(f"A{number:05d}", "NAONANOANO"[number % 10]) for number in range(40)])
    for number in range(3):
        write_pair(folder / "eeg", f"SC4{number:02d}1", STAGES)
    (folder / "clinical").mkdir()
    write_jsonl(folder / "clinical" / "notes.jsonl", map(note, range(30)))
    (folder / "medqa").mkdir()
    write_jsonl(folder / "medqa" / "questions.jsonl", map(question, range(30)))
    found = ("Cardiomegaly", "No Finding", "Effusion|Mass")
    write_nih(folder / "cxr", {f"{number + 1:08d}_000.png": found[number % 3] for number in range(30)})
    return folder


def note(number: int) -> dict[str, object]:
    """Make a note with its diagnosis."""
    disease = list(SIGNS)[number % 3]
    text = f"Chief complaint: {SIGNS[disease]} for {number + 2} days. Examination: patient {number} is alert."
    return {"id": number, "feature_content": text, "diseases": [disease], "reason": SIGNS[disease]}


def question(number: int) -> dict[str, str]:
    """Make a question that is like no other."""
    words = random.Random(number).sample(WORDS, 8)
    asked, answered = " ".join(words[:4]), " ".join(words[4:])
    return {"instruction": f"What does the sign called {asked} mean?", "input": "", "output": f"It means {answered}."}
