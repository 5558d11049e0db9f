"""Clinical notes and their diagnoses -> a dataset whose answers are JSON that always parses.

Reads JSON Lines: notes, and labels that name the diseases of each and the findings that speak for them. Labels
are a user's own, or those that a larger model has written (converters/teacher.py), whose rows carry their notes:

    {"id": 17, "feature_content": "主诉：发热咳嗽3天。..."}
    {"id": 17, "diseases": "肺炎", "reason": "发热、咳嗽，右下肺湿啰音"}

    python converters/clinical.py --input notes.jsonl --labels labels.jsonl --language zh
    python converters/clinical.py --labels taught.jsonl --language zh
    python converters/clinical.py --synthetic 1500

Ids repeat in real files, so a note is known by its id and its text, and all notes of one id stand in one split.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, run
from vitalfactory.files import ROOT, short_path

if TYPE_CHECKING:
    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.diagnosis import Diagnosis, Synonyms
    from vitalfactory.notes.note import Note

RECIPE = "clinical_smollm2_lora.yaml"
LONGEST_NOTE = 2400
"""Characters; with question and answer some 2,000 tokens of Qwen's in Chinese."""
ENDS = {"failed": "the teacher failed", "refused": "the teacher was not asked"}
"""How a row of the teacher's ends, other than answered, to why it is no example."""


def task(labels: Sequence[str] = (), longest_note: int | None = LONGEST_NOTE) -> Task:
    """Describe the question and its answers.

    Parameters
    ----------
    labels : sequence of str
        The diseases that the dataset's labels name.
    longest_note : int, optional
        Characters that a note is shortened to.
    """
    from vitalfactory.dataset.example import Task
    from vitalfactory.diagnosis import QUESTIONS

    return Task(
        name="clinical",
        kind="diagnosis",
        labels=tuple(labels),
        positive=None,
        questions=QUESTIONS,
        answers={language: {} for language in QUESTIONS},
        synonyms={language: {} for language in QUESTIONS},
        longest_note=longest_note,
    )


@dataclass(frozen=True)
class Labelled:
    """A note with its diagnosis, and the model that named it where one did."""

    id: str
    text: str
    diagnosis: Diagnosis
    model: str | None = None


def convert(
    *,
    input: Path | None = None,
    labels: Path | None = None,
    synthetic: int | None = None,
    synonyms: Path | None = None,
    longest_note: int = LONGEST_NOTE,
    strip_diagnosis: bool = False,
    **shared: Any,
) -> Summary:
    """Make a dataset of clinical notes.

    Parameters
    ----------
    input : Path, optional
        JSON Lines of notes.
    labels : Path, optional
        JSON Lines of diagnoses, by id; needs ``input`` unless its rows carry their notes.
    synthetic : int, optional
        Make that many cases instead.
    synonyms : Path, optional
        CSV of diseases' names, the one to be said first in each line.
    longest_note : int
        Characters that a longer note is shortened to, by section; its answer is never cut.
    strip_diagnosis : bool
        Cut the section that states the diagnosis out of each note.
    **shared
        Fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        A file is not there or not JSON Lines; and see :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import Conversion, build
    from vitalfactory.dataset.options import Options
    from vitalfactory.diagnosis import Synonyms, read_synonyms

    if longest_note < 1:
        raise VitalFactoryError(f"--longest-note {longest_note}: expected at least 1 character")
    options = Options(**{"name": "clinical", "recipe": ROOT / "train_configs" / RECIPE, **shared})
    found = _source(options.seed, options.language, input, labels, synthetic)
    known = read_synonyms(synonyms) if synonyms else Synonyms()
    diseases = sorted(set().union(*(known.set_of(one.diagnosis.diseases) for one in found.labelled)))
    arguments = [*found.arguments, "--longest-note", str(longest_note)]
    arguments += ["--synonyms", short_path(synonyms)] if synonyms else []
    arguments += ["--strip-diagnosis"] if strip_diagnosis else []
    models = sorted({one.model for one in found.labelled if one.model})
    conversion = Conversion(
        task=task(diseases, longest_note),
        source=found.source,
        representation="note",
        make=partial(_examples, options.language, options.wordings, longest_note, known, strip_diagnosis),
        arguments=arguments,
        packages=(),
        model_written=", ".join(models) or None,
    )
    return build(conversion, _entries(found.labelled), found.excluded, options)


@dataclass
class Found:
    """What a source holds."""

    source: Source
    arguments: list[str]
    labelled: list[Labelled] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


def _source(seed: int, language: str, notes: Path | None, labels: Path | None, count: int | None) -> Found:
    from vitalfactory.card import Source

    if count is not None:
        if notes or labels:
            raise VitalFactoryError("give --labels with or without --input, or --synthetic")
        check_counts({"--synthetic": count})
        made = Source(name="synthetic cases", version=f"seed {seed}", licence="Apache-2.0", synthetic=True)
        return Found(made, ["--synthetic", str(count)], list(_synthetic(count, seed, language)))
    if labels is None:
        raise VitalFactoryError(
            "no labels; give --labels FILE, with --input FILE where its rows do not carry their notes, have a larger "
            "model write them (python converters/teacher.py --help), or make cases (--synthetic 1500)"
        )
    arguments = ["--input", short_path(notes)] if notes else []
    found = Found(_describe(notes, labels), [*arguments, "--labels", short_path(labels)])
    _read(notes or labels, labels if notes else None, found)
    return found


def _synthetic(count: int, seed: int, language: str) -> Iterator[Labelled]:
    from vitalfactory.diagnosis import Diagnosis
    from vitalfactory.notes.synthetic import make_cases

    for case in make_cases(count, seed, language):
        yield Labelled(case.id, case.text, Diagnosis(diseases=list(case.diseases), reason=case.reason))


def _describe(notes: Path | None, labels: Path) -> Source:
    from vitalfactory.card import Source
    from vitalfactory.files import sha256

    files = [path for path in (notes, labels) if path is not None]
    for path in files:
        if not path.is_file():
            raise VitalFactoryError(f"{path}: no such file")
    version = ", ".join(f"{path.name} {sha256(path)[:12]}" for path in files)
    return Source(name="clinical notes", version=version, licence="the owner's", synthetic=False)


def _read(notes: Path, labels: Path | None, found: Found) -> None:
    """Give each note its label: its own, the one with its id and its text, or the one with its id alone."""
    from vitalfactory.dataset.example import Excluded
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.files import read_jsonl
    from vitalfactory.notes.note import name_of, note_of

    rows = list(read_jsonl(notes))
    known = _Labels(labels, rows) if labels else None
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, 1):
        name = name_of(row, number)
        try:
            note = note_of(row)
            if (note.id, note.text) in seen:
                found.excluded.append(Excluded(name, "repeated note"))
                continue
            seen.add((note.id, note.text))
            label = known.of(note) if known else row
            found.labelled.append(Labelled(note.id, note.text, _diagnosis_of(label), label.get("model")))
        except UnusableRecord as error:
            found.excluded.append(Excluded(name, error.reason, error.detail))
    found.excluded += [Excluded(name, "label without a note") for name in (known.unused if known else ())]


class _Labels:
    """Labels by what they are known by: a note's id and text where they carry the text, else its id."""

    def __init__(self, path: Path, notes: Sequence[Mapping[str, Any]]) -> None:
        from vitalfactory.files import read_jsonl

        self._by_note: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._by_id: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._notes: dict[str, set[str]] = defaultdict(set)
        self._used: set[str] = set()
        for row in notes:
            self._notes[str(row.get("id"))].add(_text_of(row) or "")
        for row in read_jsonl(path):
            text = _text_of(row)
            if text is None:
                self._by_id[str(row.get("id"))].append(row)
            else:
                self._by_note[str(row.get("id")), text] = row

    def of(self, note: Note) -> Mapping[str, Any]:
        """Find a note's label.

        Raises
        ------
        UnusableRecord
            It has none, or which of several is meant cannot be told.
        """
        from vitalfactory.errors import UnusableRecord

        self._used.add(note.id)
        own = self._by_note.get((note.id, note.text))
        if own is not None:
            return own
        several = self._by_id.get(note.id, [])
        if not several:
            raise UnusableRecord("not labelled")
        if len(several) > 1 or len(self._notes[note.id]) > 1:
            detail = (
                f"{len(several)} labels for {len(self._notes[note.id])} notes of one id; let labels carry their notes"
            )
            raise UnusableRecord("label not clear", detail)
        return several[0]

    @property
    def unused(self) -> list[str]:
        """The ids of labels that no note has."""
        return sorted(({name for name, _ in self._by_note} | set(self._by_id)) - self._used)


def _text_of(row: Mapping[str, Any]) -> str | None:
    from vitalfactory.notes.note import field_of

    field = field_of(row)
    return None if field is None else str(row[field])


def _diagnosis_of(row: Mapping[str, Any]) -> Diagnosis:
    """Read a label.

    Raises
    ------
    UnusableRecord
        The teacher has not answered, or the row names no disease.
    """
    from pydantic import ValidationError

    from vitalfactory.diagnosis import Diagnosis
    from vitalfactory.errors import UnusableRecord

    if (end := ENDS.get(str(row.get("state")))) is not None:
        raise UnusableRecord(end, str(row.get("failure") or ""))
    if "diseases" not in row:
        raise UnusableRecord("not labelled")
    try:
        return Diagnosis(diseases=row["diseases"], reason=row.get("reason") or "")
    except ValidationError:
        raise UnusableRecord("no disease", "expected 'diseases': a list of names, or names between commas") from None


def _entries(labelled: Sequence[Labelled]) -> list[Entry]:
    """Name each note; where an id repeats, by its text as well. All notes of an id are one group."""
    from vitalfactory.dataset.example import Entry
    from vitalfactory.notes.note import Note, note_key

    counts = Counter(one.id for one in labelled)
    return [
        Entry(
            id=one.id if counts[one.id] == 1 else f"{one.id}-{note_key(Note(one.id, one.text))}",
            group=one.id,
            label=one.diagnosis.diseases[0],
            record=one,
        )
        for one in labelled
    ]


def _examples(
    language: str, wordings: int | None, longest: int, known: Synonyms, strip: bool, entry: Entry
) -> list[Example]:
    """Tell a note; its answer says each disease once, by the name that it is known by where synonyms are given."""
    from vitalfactory.dataset.example import Example, digest, pick
    from vitalfactory.diagnosis import QUESTIONS, Diagnosis
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.notes.note import has_diagnosis, shorten, strip_diagnosis

    one: Labelled = entry.record
    text = strip_diagnosis(one.text) if strip else one.text
    if not text.strip():
        raise UnusableRecord("nothing but a diagnosis")
    said = {known(name): known.say(name) for name in one.diagnosis.diseases}
    columns = {
        "instruction": pick(QUESTIONS[language][:wordings], entry.id),
        "input": shorten(text, longest),
        "output": Diagnosis(diseases=list(said.values()), reason=one.diagnosis.reason).line(),
        "stated": has_diagnosis(text),
    }
    return [Example(entry.id, entry.group, None, columns, labels=sorted(said), recording=digest("note", text.strip()))]


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.dataset.options import add_arguments, shared

    parser = argparse.ArgumentParser(prog="python converters/clinical.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--input", type=Path, metavar="FILE", help="JSON Lines of notes: id and feature_content")
    add("--labels", type=Path, metavar="FILE", help="JSON Lines of their diagnoses: id, diseases and reason")
    add("--synthetic", type=int, metavar="N", help="make N synthetic cases instead")
    add("--synonyms", type=Path, metavar="CSV", help="names of diseases, in each line first the one to be said")
    longest = "characters that a note is shortened to, by section (default: %(default)s)"
    add("--longest-note", type=int, default=LONGEST_NOTE, metavar="N", help=longest)
    add("--strip-diagnosis", action="store_true", help="cut the section that states the diagnosis out of each note")
    add_arguments(parser, name="clinical", recipe=RECIPE)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    names = ("input", "labels", "synthetic", "synonyms", "longest_note", "strip_diagnosis")
    own = {name: getattr(arguments, name) for name in names}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
