"""From a source's entries to a checked, registered dataset, in constant memory.

Records are read by worker processes and written in the order of their ids, so that the number of
workers changes nothing in the files. Everything goes to ``data/.<name>.partial`` first; only when
LLaMA-Factory's own template and parser have accepted every row does that folder take the place of
the old one.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from vitalfactory import recipes
from vitalfactory.card import SPLITS, Card, Source, Split, Wordings
from vitalfactory.dataset import balance, check, registry, split, statistics
from vitalfactory.dataset.example import Entry, Example, Excluded, Task, content_of, digest, labels_of
from vitalfactory.dataset.options import Options
from vitalfactory.dataset.readme import readme
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import dumps, lock, read_jsonl, write_json, write_text
from vitalfactory.folds import by_folds, read_folds

MOST_LABELS = 20
"""Shown in a summary."""

Make = Callable[[Entry], Iterable[Example | Excluded]]
Prepare = Callable[[Sequence[Entry], Mapping[str, str]], list[Entry]]


@dataclass(frozen=True)
class Conversion:
    """What a converter adds to its options: where the records are from and how they are told.

    Attributes
    ----------
    task : Task
    source : Source
    representation : str
    make : callable
        Reads an entry and returns its examples in the order of their ids, and what of it was left out; raises
        :class:`UnusableRecord`. Must be picklable.
    arguments : sequence of str
        The converter's own flags, for the card's command.
    packages : sequence of str
        Packages whose versions decide the rows.
    prepare : callable, optional
        Takes the entries to be read and the split of every group, and returns the entries with whatever a
        model says of them; refuses a model that has seen what it must not.
    model_written : str, optional
        The model that wrote part of the rows.
    chunk : int
        Entries that one worker takes at a time: fewer where each is long.
    statistics : bool
        Whether counts of the labels are written beside the rows, as JSON, CSV and a picture.
    test_groups : collection of str, optional
        The groups of test, where the source or the converter names them; the others are drawn into train and
        validation.
    """

    task: Task
    source: Source
    representation: str
    make: Make
    arguments: Sequence[str]
    packages: Sequence[str]
    prepare: Prepare | None = None
    model_written: str | None = None
    chunk: int = 32
    statistics: bool = False
    test_groups: Collection[str] | None = None


@dataclass(frozen=True)
class Summary:
    """What a conversion did; ``as_json`` is what ``--json`` prints.

    ``unbalanced`` are the labels of the training rows before they were repeated or left out, where they were.
    """

    dataset: str
    folder: Path
    splits: Mapping[str, Split]
    excluded: Mapping[str, int]
    tokens: check.Tokens
    unbalanced: Mapping[str, int] | None
    seconds: float
    records_per_second: float
    peak_rss_mb: float

    def as_json(self) -> dict[str, Any]:
        """Lay the summary out as the object that ``--json`` prints."""
        balanced = {} if self.unbalanced is None else {"train_before_balance": dict(self.unbalanced)}
        return {
            "dataset": self.dataset,
            **balanced,
            "splits": {name: part.model_dump() for name, part in self.splits.items()},
            "excluded": dict(self.excluded),
            "seconds": round(self.seconds, 3),
            "records_per_second": round(self.records_per_second, 1),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "tokens": self.tokens.as_json(),
        }


@dataclass
class _SplitFile:
    """One split's file while it is written, and its counts."""

    stream: TextIO
    hash: Any = field(default_factory=hashlib.sha256)
    groups: set[str] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    rows: int = 0

    def write(self, line: str, group: str, labels: Iterable[str]) -> None:
        self.stream.write(line)
        self.hash.update(line.encode("utf-8"))
        self.groups.add(group)
        self.rows += 1
        self.labels.update(labels)

    def counts(self) -> Split:
        labels = dict(sorted(self.labels.items()))
        return Split(rows=self.rows, groups=len(self.groups), labels=labels, sha256=self.hash.hexdigest())


@dataclass(frozen=True)
class _Row:
    """An example as its worker sends it back: already encoded."""

    id: str
    group: str
    labels: Sequence[str]
    line: str
    contents: frozenset[int]
    preview: str | None
    images: Mapping[str, bytes]


@dataclass(frozen=True)
class _Chunk:
    """What has become of some entries."""

    entries: int
    rows: Sequence[_Row | Excluded]


def build(conversion: Conversion, entries: Sequence[Entry], excluded: Sequence[Excluded], options: Options) -> Summary:
    """Read, split, balance, write, check and register a dataset.

    Parameters
    ----------
    conversion : Conversion
    entries : sequence of Entry
        One for each usable record of the source, in any order.
    excluded : sequence of Excluded
        Source rows that the converter has dropped already.
    options : Options

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        The task is not put in the language, no row is left, more than ``max_bad`` records cannot be used,
        a row does not fit the recipe's cutoff, or another conversion of the same name is running. The old
        dataset stays as it was.
    """
    _check_language(conversion.task, options)
    data = options.root / "data"
    final, partial = data / options.name, data / f".{options.name}.partial"
    with lock(data / f".{options.name}.lock", wait=False):
        _prepare(final, options)
        with _all_or_nothing(partial):
            with closing(_Writer(partial, options)) as writer:
                chosen = writer.assign(entries, excluded, conversion.test_groups)
                if conversion.prepare is not None:
                    chosen = conversion.prepare(chosen, writer.splits)
                with closing(_read(chosen, conversion, options, writer)) as chunks:
                    writer.write(chunks, len(chosen))
                counts = writer.finish()
            memory = _peak_rss_mb()
            _write_card(partial, conversion, options, counts, writer.excluded)
            if conversion.statistics:
                statistics.write(partial, conversion.task.labels, counts, writer.unbalanced)
            check_start = time.perf_counter()
            entry = registry.entries(options.name, writer.columns)
            tokens = check.check_rows(partial, entry, options)
            check_seconds = time.perf_counter() - check_start
            _replace(final, partial)
        registry.register(options.root, entry)
    seconds = time.perf_counter() - options.started - check_seconds
    rate = (len(entries) + len(excluded)) / seconds
    done = (seconds, rate, memory)
    return Summary(options.name, final, counts, writer.excluded, tokens, writer.unbalanced, *done)


def _check_language(task: Task, options: Options) -> None:
    if options.language not in task.questions:
        raise VitalFactoryError(
            f"--language {options.language}: the task {task.name!r} is put in {', '.join(sorted(task.questions))}"
        )


def _prepare(final: Path, options: Options) -> None:
    """Find what would stop the conversion at its end before it begins."""
    _recover(final)
    if final.exists() and not (final / "card.json").is_file():
        raise VitalFactoryError(f"{final}: is there and is no dataset (it has no card.json); choose another --name")
    registry.read(options.root)
    recipes.read_recipe(options.recipe)


@contextmanager
def _all_or_nothing(partial: Path) -> Iterator[None]:
    """Make a folder to work in; whatever happens, nothing of it stays under its temporary name."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or partial}: {error.strerror or error}"
        raise VitalFactoryError(f"{reason}; the conversion was given up, the dataset is as it was") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(
    entries: Sequence[Entry], conversion: Conversion, options: Options, writer: _Writer
) -> Generator[_Chunk, None, None]:
    """Read entries in chunks and hand the rows on in the entries' order."""
    size, make = conversion.chunk, conversion.make
    chunks = [entries[start : start + size] for start in range(0, len(entries), size)]
    tested = [[writer.splits[entry.group] == "test" for entry in chunk] for chunk in chunks]
    tasks = [(chunk, make, previews, writer.images) for chunk, previews in zip(chunks, tested, strict=True)]
    return options.reader().map(_read_chunk, tasks)


def _read_chunk(entries: Sequence[Entry], make: Make, previews: Sequence[bool], images: str) -> _Chunk:
    rows: list[_Row | Excluded] = []
    for entry, preview in zip(entries, previews, strict=True):
        try:
            rows.extend([_encode(made, preview, images) for made in make(entry)])
        except UnusableRecord as error:
            rows.append(Excluded(entry.id, error.reason, error.detail, bad=True))
    return _Chunk(len(entries), rows)


def _encode(example: Example | Excluded, preview: bool, images: str) -> _Row | Excluded:
    if isinstance(example, Excluded):
        return example
    drawn = dumps({"id": example.id, **example.preview}) + "\n" if preview and example.preview else None
    row = example.row(images)
    contents = {digest(content_of(row))}
    if example.recording is not None:
        contents.add(digest("recording", example.recording))
    line = dumps(row) + "\n"
    return _Row(example.id, example.group, labels_of(row), line, frozenset(contents), drawn, example.images)


class _Writer:
    """Writes the splits of one dataset and counts what was left out."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self.images = f"data/{options.name}/images"
        self.excluded: Counter[str] = Counter()
        self._told: dict[str, str] = {}
        self.splits: dict[str, str] = {}
        self.columns: dict[str, Any] = {}
        self.unbalanced: dict[str, int] | None = None
        self._train: dict[str, Sequence[str]] = {}
        self._bad = 0
        self._content: dict[int, str] = {}
        self._files = {name: _SplitFile(self._open(f"{name}.jsonl")) for name in SPLITS}
        self._list = self._open("excluded.jsonl")
        self._previews = self._open("previews.jsonl")

    def _open(self, name: str) -> TextIO:
        return (self.folder / name).open("w", encoding="utf-8", newline="\n")

    def assign(
        self, entries: Sequence[Entry], excluded: Sequence[Excluded], test_groups: Collection[str] | None
    ) -> list[Entry]:
        """Drop repeated ids, those over the limit and those in no fold; give every group its split."""
        for item in excluded:
            self.exclude(item)
        options = self.options
        unique: dict[str, Entry] = {}
        for entry in entries:
            if entry.id in unique:
                self.exclude(Excluded(entry.id, "duplicate record"))
            unique.setdefault(entry.id, entry)
        kept = self._limit(list(unique.values()))
        if test_groups is not None:
            self.splits = split.beside_test(kept, test_groups, split.parse_shares(options.split), options.seed)
        elif options.folds is None:
            self.splits = split.by_group(kept, split.parse_shares(options.split), options.seed)
        else:
            known = {item.id for item in excluded} | set(unique) | {entry.group for entry in unique.values()}
            self._assign_folds(kept, options.folds, known)
        for entry in kept:
            if entry.group not in self.splits:
                self.exclude(Excluded(entry.id, "in no fold file"))
        return sorted((entry for entry in kept if entry.group in self.splits), key=lambda entry: entry.id)

    def _assign_folds(self, kept: Sequence[Entry], folder: Path, known: set[str]) -> None:
        options = self.options
        assert options.val_fold is not None
        assert options.test_fold is not None
        folds = read_folds(folder)
        self.splits = by_folds(kept, folds, options.val_fold, options.test_fold)
        for name in sorted(set(folds) - known):
            self.exclude(Excluded(name, "in a fold file but not in the source"))

    def _limit(self, entries: list[Entry]) -> list[Entry]:
        if self.options.limit is None:
            return entries
        drawn = sorted(entries, key=lambda entry: (digest("limit", self.options.seed, entry.id), entry.id))
        for entry in drawn[self.options.limit :]:
            self.exclude(Excluded(entry.id, "over --limit"))
        return drawn[: self.options.limit]

    def exclude(self, item: Excluded) -> None:
        self.excluded[item.reason] += item.count
        self._told.setdefault(item.reason, f", first {item.id}: {item.detail}" if item.detail else "")
        told = {"id": item.id, "reason": item.reason, "detail": item.detail}
        self._list.write(dumps(told | ({"count": item.count} if item.count > 1 else {})) + "\n")

    def write(self, chunks: Iterable[_Chunk], total: int) -> None:
        from tqdm import tqdm

        with tqdm(desc=f"reading {self.options.name}", total=total, unit="record", disable=None) as bar:
            for chunk in chunks:
                for row in chunk.rows:
                    if isinstance(row, Excluded):
                        self._leave_out(row)
                    else:
                        self._write_row(row)
                bar.update(chunk.entries)

    def _leave_out(self, item: Excluded) -> None:
        self.exclude(item)
        self._bad += item.bad
        limit = self.options.max_bad
        if limit is not None and self._bad > limit:
            raise VitalFactoryError(
                f"more than --max-bad {limit} records cannot be used; the last one, {item.id}: {item.reason}"
            )

    def _write_row(self, row: _Row) -> None:
        name = self.splits[row.group]
        if any(self._content.get(content, name) != name for content in row.contents):
            self.exclude(Excluded(row.id, "same content as a row of another split"))
            return
        self._content |= dict.fromkeys(row.contents, name)
        if name == "train":
            self._train[row.id] = row.labels
        self._files[name].write(row.line, row.group, row.labels)
        self._write_images(row.images)
        if row.preview:
            self._previews.write(row.preview)
        if not self.columns:
            self.columns = json.loads(row.line)

    def _write_images(self, images: Mapping[str, bytes]) -> None:
        for name, content in images.items():
            path = self.folder / "images" / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            elif path.read_bytes() != content:  # rows may share an image, not only its name
                raise VitalFactoryError(f"{self.options.name}: two different images are called {name}")

    def _drop_images(self) -> None:
        """Remove the images of the rows that were left out."""
        rows = (row for name in SPLITS for row in read_jsonl(self.folder / f"{name}.jsonl"))
        kept = {image for row in rows for image in row["images"]}
        folder = self.folder / "images"
        for path in folder.rglob("*"):
            if path.is_file() and f"{self.images}/{path.relative_to(folder).as_posix()}" not in kept:
                path.unlink()

    def finish(self) -> dict[str, Split]:
        """Balance train, close the files and return the counts."""
        options = self.options
        if not self.columns:
            told = (f"{reason} ({count}){self._told[reason]}" for reason, count in self.excluded.most_common(5))
            raise VitalFactoryError(
                f"{options.name}: no row is left; excluded: {', '.join(told) or 'nothing was found'}"
            )
        if self._train and (options.balance != "none" or options.train_rows is not None):
            self._balance()
        for stream in self._streams():
            stream.close()
        if self.unbalanced is not None and "images" in self.columns:
            self._drop_images()
        return {name: part.counts() for name, part in self._files.items()}

    def _streams(self) -> list[TextIO]:
        return [self._list, self._previews, *(part.stream for part in self._files.values())]

    def close(self) -> None:
        """Close what an error left open; on a full disk, closing fails as well."""
        for stream in self._streams():
            with suppress(OSError):
                stream.close()

    def _balance(self) -> None:
        options = self.options
        how = (options.balance, options.balance_alpha, options.weight_method, options.seed, options.train_rows)
        plan = balance.plan(balance.rarest(self._train), *how)
        self.unbalanced = dict(sorted(Counter(label for row in self._train.values() for label in row).items()))
        self._files["train"].stream.close()
        source = self.folder / "train.jsonl"
        unbalanced = source.rename(self.folder / ".train.unbalanced")
        self._files["train"] = balanced = _SplitFile(self._open("train.jsonl"))
        with unbalanced.open(encoding="utf-8") as lines:
            for line in lines:
                self._repeat(line, plan, balanced)
        unbalanced.unlink()

    def _repeat(self, line: str, plan: Mapping[str, int], balanced: _SplitFile) -> None:
        row = json.loads(line)
        count = plan[row["id"]]
        if not count:
            reason = "over --train-rows" if self.options.balance == "none" else "left out by --balance"
            self.exclude(Excluded(row["id"], reason))
        for copy in range(count):
            named = row if copy == 0 else {**row, "id": f"{row['id']}+{copy}"}
            balanced.write(dumps(named) + "\n", row["group"], labels_of(row))


def _write_card(
    folder: Path, conversion: Conversion, options: Options, counts: Mapping[str, Split], excluded: Mapping[str, int]
) -> None:
    from importlib.metadata import version

    task, language = conversion.task, options.language
    command = ["python", f"converters/{task.name}.py", *conversion.arguments, *options.flags()]
    card = Card(
        name=options.name,
        task=task.name,
        kind=task.kind,
        question=list(task.questions[language][: options.wordings]),
        labels=list(task.labels),
        positive=task.positive,
        answers=dict(task.answers[language]),
        synonyms={label: list(words) for label, words in task.synonyms[language].items()},
        language=language,
        representation=conversion.representation,
        splits=dict(counts),
        excluded=dict(sorted(excluded.items())),
        source=conversion.source,
        model_written=conversion.model_written,
        command=shlex.join(command),
        seed=options.seed,
        versions={name: version(name) for name in ("vitalfactory", "llamafactory", *conversion.packages)},
        scored=list(task.scored) if task.scored else None,
        epoch_seconds=task.epoch_seconds,
        longest_note=task.longest_note,
        verdicts=task.verdicts[language] if task.verdicts else None,
        normal=task.normal,
        other_languages={
            other: Wordings(question=list(task.questions[other]), answers=dict(task.answers[other]))
            for other in sorted(task.questions)
            if other != language
        },
    )
    write_json(folder / "card.json", card.model_dump())
    write_text(folder / "README.md", readme(card, images=(folder / "images").is_dir()))


def _recover(final: Path) -> None:
    """Bring back a dataset whose replacement was cut off between its two renames."""
    old = final.with_name(f".{final.name}.old")
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _replace(final: Path, partial: Path) -> None:
    old = final.with_name(f".{final.name}.old")
    if final.exists():
        final.rename(old)
    partial.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _peak_rss_mb() -> float:
    peak = max(_own_peak_rss(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _own_peak_rss() -> int:
    # Linux's getrusage also counts the memory of the process that started this one.
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    return int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Print the table that ends every conversion, or the same as one JSON object."""
    if as_json:
        print(dumps(summary.as_json()))
        return
    print(f"\n{summary.dataset}: {summary.folder}")
    for name, part in summary.splits.items():
        print(f"  {name:<6}{part.rows:>8} rows {part.groups:>7} groups   {_counts(part.labels)}")
    if summary.unbalanced:
        print(f"  train before balance: {_counts(summary.unbalanced)}")
    for reason, count in sorted(summary.excluded.items()):
        print(f"  excluded {count:>4}: {reason}")
    print(f"  {summary.tokens.describe()}")
    rate = f"{summary.records_per_second:.0f} records/s, {summary.peak_rss_mb:.0f} MB in the largest process"
    print(f"  {summary.seconds:.1f} s, {rate}")


def _counts(labels: Mapping[str, int]) -> str:
    """Write the counts of labels; of a large vocabulary the most frequent ones."""
    if len(labels) > MOST_LABELS:
        frequent = sorted(labels, key=lambda label: (-labels[label], label))[:MOST_LABELS]
        told = ", ".join(f"{label} {labels[label]}" for label in frequent)
        return f"{told} and {len(labels) - MOST_LABELS} labels more"
    return ", ".join(f"{label} {count}" for label, count in labels.items())
