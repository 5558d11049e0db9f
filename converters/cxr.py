"""Chest X-rays -> an instruction dataset that asks for fourteen findings, or for one finding at a time.

Reads NIH ChestX-ray14 (Wang et al. 2017; NIH Clinical Center, free with attribution): Data_Entry_2017*.csv or
sample_labels.csv, plain or gzip, and the images in any number of folders, as PNG, JPEG or DICOM; or JSON of image_path
and disease_names; or draws chest X-rays. Images that are not at hand are counted. A row, in the default representation:

    user         <image>Which of these findings does this chest X-ray show: atelectasis, cardiomegaly, ...?
    assistant    cardiomegaly, effusion

    python converters/cxr.py --input data/raw/cxr_nih14
    python converters/cxr.py --input data/raw/Data_Entry_2017_v2020.csv --images data/raw/images_001 data/raw/images_002
    python converters/cxr.py --test-list data/raw/test_list.txt --train-val-list data/raw/train_val_list.txt
    python converters/cxr.py --synthetic 600
    python converters/cxr.py --repeat log --name cxr_weighted
    python converters/cxr.py --representation yesno --name cxr_yesno

Representations:

    list     one question; the findings in a fixed order, or that there is none
    yesno    a row for each finding, answered yes or no, so that each gets a probability
    report   the findings in a sentence
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, run
from vitalfactory.files import ROOT, short_path

if TYPE_CHECKING:
    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.signals.cxr import Described, Official, Picture

RECIPE = "cxr_qwen2vl7b_lora.yaml"
DEFAULT_INPUT = ROOT / "data" / "raw" / "cxr_nih14"
PACKAGES = ("numpy", "pillow")
REPRESENTATIONS = ("list", "yesno", "report")
REPEATS = ("none", "double", "log")
CHUNK = 4
"""Images that a worker takes at a time: one of full size takes some 25 ms."""
SMALLEST, LARGEST = 28, 2048
"""Pixels of a side: one of Qwen2-VL's patches, and more than any recipe shows."""

CHINESE = {
    "atelectasis": "肺不张",
    "cardiomegaly": "心脏增大",
    "consolidation": "肺实变",
    "edema": "肺水肿",
    "effusion": "胸腔积液",
    "emphysema": "肺气肿",
    "fibrosis": "肺纤维化",
    "hernia": "膈疝",
    "infiltration": "肺浸润",
    "mass": "肿块",
    "no finding": "未见异常",
    "nodule": "结节",
    "pleural thickening": "胸膜增厚",
    "pneumonia": "肺炎",
    "pneumothorax": "气胸",
}
ANSWERS = {"en": {finding: finding for finding in CHINESE}, "zh": CHINESE}
SYNONYMS = {
    "en": {
        "atelectasis": ("atelectases", "atelectatic change", "lung collapse"),
        "cardiomegaly": ("enlarged heart", "cardiac enlargement", "enlarged cardiac silhouette"),
        "consolidation": ("consolidations", "airspace consolidation"),
        "edema": ("oedema", "pulmonary edema", "pulmonary oedema"),
        "effusion": ("effusions", "pleural effusion", "pleural effusions", "pleural fluid"),
        "emphysema": ("emphysematous change",),
        "fibrosis": ("pulmonary fibrosis", "fibrotic change"),
        "hernia": ("hiatal hernia", "hiatus hernia", "diaphragmatic hernia"),
        "infiltration": ("infiltrate", "infiltrates", "infiltrations"),
        "mass": ("masses",),
        "no finding": ("no findings", "no abnormality", "no abnormalities", "normal"),
        "nodule": ("nodules", "pulmonary nodule"),
        "pleural thickening": ("thickened pleura", "thickening of the pleura"),
        "pneumonia": ("pneumonias", "pneumonic change"),
        "pneumothorax": ("pneumothoraces", "pneumothoraxes"),
    },
    "zh": {
        "atelectasis": ("肺萎陷", "肺膨胀不全"),
        "cardiomegaly": ("心影增大", "心脏扩大", "心脏肥大"),
        "consolidation": ("实变", "实变影"),
        "edema": ("水肿",),
        "effusion": ("胸水", "胸腔有积液", "胸膜腔积液"),
        "emphysema": ("气肿",),
        "fibrosis": ("肺间质纤维化", "纤维化"),
        "hernia": ("疝", "疝气", "食管裂孔疝"),
        "infiltration": ("浸润", "浸润影"),
        "mass": ("肿块影", "占位"),
        "no finding": ("无异常", "未发现异常", "无异常发现", "正常"),
        "nodule": ("结节影", "小结节"),
        "pleural thickening": ("胸膜肥厚",),
        "pneumonia": ("肺部感染",),
        "pneumothorax": ("自发性气胸",),
    },
}
LISTED = {"en": ", ".join(ANSWERS["en"].values()), "zh": "、".join(ANSWERS["zh"].values())}
QUESTIONS = {
    "list": {
        "en": (
            f"Which of these findings does this chest X-ray show: {LISTED['en']}?",
            f"List the findings in this chest X-ray, out of {LISTED['en']}.",
            f"Name what this chest X-ray shows. Choose from {LISTED['en']}.",
        ),
        "zh": (
            f"这张胸片显示下列哪些表现：{LISTED['zh']}？",
            f"请从下列表现中列出这张胸片所见：{LISTED['zh']}。",
            f"这张胸片有哪些表现？可选：{LISTED['zh']}。",
        ),
    },
    "yesno": {
        "en": (
            "Does this chest X-ray show {finding}?",
            "Is it right to say of this chest X-ray: {finding}?",
            "Judge this chest X-ray: {finding}, yes or no?",
        ),
        "zh": ("这张胸片是否提示{finding}？", "就这张胸片判断：{finding}，是或否？", "这张胸片的表现是{finding}吗？"),
    },
    "report": {
        "en": (
            f"Report the findings of this chest X-ray in one sentence, in these words: {LISTED['en']}.",
            f"Write one sentence on what this chest X-ray shows, out of {LISTED['en']}.",
            f"What does this chest X-ray show? Answer in a sentence and use these words: {LISTED['en']}.",
        ),
        "zh": (
            f"请用一句话报告这张胸片的表现，用词限于：{LISTED['zh']}。",
            f"请用一句话写出这张胸片所见，可选：{LISTED['zh']}。",
            f"这张胸片显示什么？请用一句话回答，用词限于：{LISTED['zh']}。",
        ),
    },
}
"""Form to language to the wordings of the question; ``{finding}`` stands for the answer of the one asked about."""
VERDICTS = {"en": ("yes", "no"), "zh": ("是", "否")}
VIEWS = {"en": "view {}", "zh": "体位{}"}
AGES = {"en": "{} years old", "zh": "{}岁"}
SEXES = {"en": {"F": "female", "M": "male"}, "zh": {"F": "女", "M": "男"}}
"""What ``--context`` tells beside the image."""


def task(representation: str = "list") -> Task:
    """Return the question, its wordings, its answers and what else they may be called.

    Parameters
    ----------
    representation : {'list', 'yesno', 'report'}
    """
    from vitalfactory.card import Verdicts
    from vitalfactory.dataset.example import Task
    from vitalfactory.signals.cxr import FINDINGS, NO_FINDING

    verdicts = {language: Verdicts(present=yes, absent=no) for language, (yes, no) in VERDICTS.items()}
    return Task(
        name="cxr",
        kind="multilabel",
        labels=FINDINGS,
        positive=None,
        questions=QUESTIONS[representation],
        answers=ANSWERS,
        synonyms=SYNONYMS,
        verdicts=verdicts if representation == "yesno" else None,
        normal=NO_FINDING,
    )


def convert(
    *,
    input: Sequence[Path] | None = None,
    images: Sequence[Path] | None = None,
    synthetic: int | None = None,
    test_list: Path | None = None,
    train_val_list: Path | None = None,
    representation: str = "list",
    context: bool = False,
    size: int = 350,
    pad: bool = False,
    quota: int | None = None,
    repeat: str = "none",
    **shared: Any,
) -> Summary:
    """Turn chest X-rays into a registered dataset.

    Parameters
    ----------
    input : sequence of Path, optional
        Label files, or a folder with one; ``data/raw/cxr_nih14`` by default.
    images : sequence of Path, optional
        Folders with the images, at any depth; those of the label files by default.
    synthetic : int, optional
        Draw this many instead.
    test_list, train_val_list : Path, optional
        The source's own split, as names of images; validation patients are drawn from what is not tested on.
    representation : {'list', 'yesno', 'report'}
    context : bool
        Whether the question tells view, age and sex.
    size : int
        Pixels of an image's longest side.
    pad : bool
        Whether images are made square.
    quota : int, optional
        Take training images until each finding has this many, the rarest first.
    repeat : {'none', 'double', 'log'}
        Write a training row once, or as often as the weight of its findings says: 2 for each of the fourteen, or
        ln(1 + N / n) for one that n of the N training images have.
    **shared
        What every converter shares: the fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        The source or the options are not usable; and see :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import Conversion, build
    from vitalfactory.dataset.options import Options

    options = Options(**{"name": "cxr", "recipe": ROOT / "train_configs" / RECIPE, **shared})
    telling = Telling(representation, options.language, options.wordings, context, size, pad)
    _check(telling, quota, repeat)
    if repeat != "none" and options.balance != "none":
        raise VitalFactoryError("give --repeat or --balance: both write training rows more than once")
    found = _source(options.seed, input, images, synthetic)
    arguments = [*found.arguments, *telling.flags()]
    arguments += ["--quota", str(quota)] if quota is not None else []
    arguments += ["--repeat", repeat] if repeat != "none" else []
    official = _official(found, test_list, train_val_list, options.folds is not None)
    for flag, path in (("--test-list", test_list), ("--train-val-list", train_val_list)):
        arguments += [flag, short_path(path)] if path else []
    conversion = Conversion(
        task=task(representation),
        source=found.source,
        representation=representation,
        make=partial(_examples, telling, options.root / "data" / ".cxr_cache"),
        arguments=arguments,
        packages=PACKAGES,
        prepare=partial(_prepare, quota, repeat, options.seed),
        chunk=CHUNK,
        test_groups=official.test if official else None,
    )
    return build(conversion, _entries(found.pictures), found.excluded, options)


@dataclass(frozen=True)
class Telling:
    """How chest X-rays are told.

    Attributes
    ----------
    representation, language : str
    wordings : int or None
    context : bool
    size : int
    pad : bool
    """

    representation: str
    language: str
    wordings: int | None
    context: bool
    size: int
    pad: bool

    def flags(self) -> list[str]:
        """List the flags that decide it, the shared ones apart."""
        flags = ["--representation", self.representation, "--size", str(self.size)]
        return [*flags, *(["--pad"] if self.pad else []), *(["--context"] if self.context else [])]

    def question(self, row_id: str, about: Described, finding: str | None) -> str:
        """Put the question, about one finding or about all of them."""
        from vitalfactory.dataset.example import pick

        wording = pick(QUESTIONS[self.representation][self.language][: self.wordings], row_id)
        asked = wording.format(finding=ANSWERS[self.language][finding]) if finding else wording
        told = self._context(about) if self.context else ""
        return f"<image>{asked}\n{told}" if told else f"<image>{asked}"

    def _context(self, about: Described) -> str:
        parts = [
            VIEWS[self.language].format(about.view) if about.view else "",
            AGES[self.language].format(about.age) if about.age is not None else "",
            SEXES[self.language][about.sex] if about.sex else "",
        ]
        return ("，" if self.language == "zh" else ", ").join(part for part in parts if part)

    def answer(self, findings: Sequence[str], finding: str | None) -> str:
        """Answer it."""
        if finding:
            return VERDICTS[self.language][finding not in findings]
        names = [ANSWERS[self.language][name] for name in findings]
        if self.representation == "report":
            return SENTENCES[self.language](names)
        return ("、" if self.language == "zh" else ", ").join(names)


def _english_sentence(names: Sequence[str]) -> str:
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"This chest X-ray shows {listed}."


def _chinese_sentence(names: Sequence[str]) -> str:
    if names == [ANSWERS["zh"]["no finding"]]:
        return f"胸片{names[0]}。"
    listed = f"{'、'.join(names[:-1])}和{names[-1]}" if len(names) > 1 else names[0]
    return f"胸片可见{listed}。"


SENTENCES = {"en": _english_sentence, "zh": _chinese_sentence}


def _check(telling: Telling, quota: int | None, repeat: str) -> None:
    from vitalfactory.errors import closest

    for flag, value, known in (
        ("--representation", telling.representation, REPRESENTATIONS),
        ("--repeat", repeat, REPEATS),
    ):
        if value not in known:
            raise VitalFactoryError(f"{flag} {value}: expected {', '.join(known)}{closest(value, known)}")
    if not SMALLEST <= telling.size <= LARGEST:
        raise VitalFactoryError(f"--size {telling.size}: expected {SMALLEST} to {LARGEST} pixels")
    check_counts({"--quota": quota})


@dataclass
class Found:
    """What a source holds."""

    source: Source
    arguments: list[str]
    pictures: list[Picture] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


def _source(seed: int, files: Sequence[Path] | None, folders: Sequence[Path] | None, count: int | None) -> Found:
    from vitalfactory.card import Source
    from vitalfactory.signals.cxr_synthetic import synthetic

    if count is not None:
        if files or folders:
            raise VitalFactoryError("give --input with or without --images, or --synthetic")
        check_counts({"--synthetic": count})
        made = Source(name="drawn chest X-rays", version=f"seed {seed}", licence="Apache-2.0", synthetic=True)
        return Found(made, ["--synthetic", str(count)], list(synthetic(count, seed)))
    return _read([*(files or [DEFAULT_INPUT])], folders)


def _read(given: Sequence[Path], folders: Sequence[Path] | None) -> Found:
    from vitalfactory.dataset.example import Excluded
    from vitalfactory.signals.cxr import LeftOut, label_file, radiographs

    for path in given:
        if not path.exists():
            raise VitalFactoryError(
                f"{path}: no such file or folder; give --input with NIH's Data_Entry_2017*.csv and --images with the "
                "folders of its images, or --synthetic 600 to draw some"
            )
    files = [label_file(path) for path in given]
    places = folders or list(dict.fromkeys(file.parent for file in files))
    arguments = ["--input", *map(short_path, given)]
    found = Found(_describe(files), arguments + (["--images", *map(short_path, folders)] if folders else []))
    for item in radiographs(files, places):
        if isinstance(item, LeftOut):
            found.excluded.append(Excluded(item.id, item.reason, item.detail))
        else:
            found.pictures.append(item)
    return found


def _describe(files: Sequence[Path]) -> Source:
    from vitalfactory.card import Source
    from vitalfactory.files import sha256
    from vitalfactory.signals.cxr import LABEL_FILES

    nih = all(any(file.match(pattern) for pattern in LABEL_FILES) for file in files)
    name, licence = ("NIH ChestX-ray14", "free with attribution") if nih else ("chest X-rays", "the owner's")
    version = ", ".join(f"{file.name} {sha256(file)[:12]}" for file in files)
    return Source(name=name, version=version, licence=licence, synthetic=False)


def _official(found: Found, test: Path | None, others: Path | None, folds: bool) -> Official | None:
    """Read the source's own split; images of patients that are in none of its lists are left out."""
    from vitalfactory.dataset.example import Excluded
    from vitalfactory.signals.cxr import read_official

    if test is None:
        if others is not None:
            raise VitalFactoryError("--train-val-list needs --test-list, which names what is tested on")
        return None
    if folds:
        raise VitalFactoryError("give --test-list or --folds: both say what is tested on")
    patients = {picture.about.id: picture.about.group for picture in found.pictures}
    official = read_official(test, others, patients)
    if official.others is not None:
        known = official.test | official.others
        unlisted = [picture for picture in found.pictures if picture.about.group not in known]
        found.excluded += [Excluded(picture.about.id, "in no official list") for picture in unlisted]
        found.pictures = [picture for picture in found.pictures if picture.about.group in known]
    return official


def _entries(pictures: Sequence[Picture]) -> list[Entry]:
    """Make entries; their label, which splits are stratified by, is the rarest finding."""
    from vitalfactory.dataset.balance import rarest
    from vitalfactory.dataset.example import Entry

    labels = rarest({str(place): picture.about.findings for place, picture in enumerate(pictures)})
    return [
        Entry(picture.about.id, picture.about.group, labels[str(place)], Planned(picture))
        for place, picture in enumerate(pictures)
    ]


@dataclass(frozen=True)
class Planned:
    """A chest X-ray and how often it is written.

    Attributes
    ----------
    picture : Picture
    copies : mapping of str to int, optional
        How often each of its findings asks for it; once where nothing is said.
    over_quota : bool
        Whether it is left out, each of its findings having enough images without it.
    """

    picture: Picture
    copies: Mapping[str, int] = field(default_factory=dict)
    over_quota: bool = False


def _prepare(
    quota: int | None, repeat: str, seed: int, entries: Sequence[Entry], splits: Mapping[str, str]
) -> list[Entry]:
    """Choose and weigh the training images; the others stay as they are."""
    from vitalfactory.signals.cxr import weigh

    training = {entry.id: _findings(entry) for entry in entries if splits[entry.group] == "train"}
    chosen = choose(training, quota, seed) if quota else set(training)
    weights = weigh({name: training[name] for name in chosen}, repeat)

    def plan(entry: Entry) -> Planned:
        if entry.id not in training:
            return Planned(entry.record.picture)
        copies = {finding: _times(weights[finding], seed, entry.id, finding) for finding in _findings(entry)}
        return Planned(entry.record.picture, copies, over_quota=entry.id not in chosen)

    return [replace(entry, record=plan(entry)) for entry in entries]


def _findings(entry: Entry) -> Sequence[str]:
    findings: Sequence[str] = entry.record.picture.about.findings
    return findings


def choose(findings: Mapping[str, Sequence[str]], quota: int, seed: int) -> set[str]:
    """Choose images until each finding has as many as wanted, or all that there are: the rarest finding first.

    Parameters
    ----------
    findings : mapping of str to sequence of str
        Image to its findings.
    quota : int
    seed : int

    Returns
    -------
    set of str
        A frequent finding may end with more than ``quota``: those that stand beside rarer ones.
    """
    from vitalfactory.dataset.example import digest

    order = sorted(findings, key=lambda name: (digest("quota", seed, name), name))
    counts = Counter(finding for found in findings.values() for finding in found)
    chosen: set[str] = set()
    for finding in sorted(counts, key=lambda finding: (counts[finding], finding)):
        having = [name for name in order if finding in findings[name]]
        wanted = quota - sum(name in chosen for name in having)
        chosen.update([name for name in having if name not in chosen][: max(0, wanted)])
    return chosen


def _times(weight: float, seed: int, name: str, finding: str) -> int:
    """Round a weight to a whole number, up for as many images as its fraction says."""
    from vitalfactory.dataset.example import digest

    return int(weight) + (digest("repeat", seed, name, finding) / 2**64 < weight % 1)


def _examples(telling: Telling, kept: Path, entry: Entry) -> Iterable[Example | Excluded]:
    """Read one chest X-ray and tell it; runs in the worker processes."""
    from vitalfactory.dataset.example import Excluded

    planned: Planned = entry.record
    if planned.over_quota:
        return [Excluded(entry.id, "over --quota")]
    png = planned.picture.png(telling.size, telling.pad, kept)
    return [
        replace(example, id=f"{example.id}+{copy}") if copy else example
        for example, times in _tell(telling, entry, png)
        for copy in range(times)
    ]


def _tell(telling: Telling, entry: Entry, png: bytes) -> Iterator[tuple[Example, int]]:
    """Write an image's rows, and how often each of them stands in train."""
    from vitalfactory.dataset.example import Example
    from vitalfactory.signals.cxr import FINDINGS

    planned: Planned = entry.record
    about, copies = planned.picture.about, planned.copies
    known = {"view": about.view, "age": about.age, "sex": about.sex}
    for finding in FINDINGS if telling.representation == "yesno" else (None,):
        name = f"{entry.id}_{finding.replace(' ', '_')}" if finding else entry.id
        question, answer = telling.question(name, about, finding), telling.answer(about.findings, finding)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        columns = {"messages": messages, **({"finding": finding} if finding else {}), **known}
        labels = [label for label in about.findings if finding in (None, label)]
        example = Example(name, entry.group, None, columns, images={f"{entry.id}.png": png}, labels=labels)
        yield example, copies.get(finding, 1) if finding else max(copies.values(), default=1)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.dataset.options import add_arguments, shared

    parser = argparse.ArgumentParser(prog="python converters/cxr.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    where = "label files, CSV or JSON, or a folder with one (default: data/raw/cxr_nih14)"
    add("--input", type=Path, nargs="+", metavar="PATH", help=where)
    there = "folders with the images, at any depth (default: those of the label files)"
    add("--images", type=Path, nargs="+", metavar="DIR", help=there)
    add("--synthetic", type=int, metavar="N", help="draw N chest X-rays instead")
    add("--test-list", type=Path, metavar="FILE", help="NIH's test_list.txt: the images to test on")
    add("--train-val-list", type=Path, metavar="FILE", help="NIH's train_val_list.txt: the others")
    add("--representation", choices=REPRESENTATIONS, default="list", help="(default: list)")
    add("--context", action="store_true", help="tell view, age and sex in the question")
    add("--size", type=int, default=350, metavar="N", help="pixels of an image's longest side (default: 350)")
    add("--pad", action="store_true", help="make images square")
    quota = "train on images until each finding has N, the rarest first"
    add("--quota", type=int, metavar="N", help=quota)
    repeat = "write training rows 2 times for each finding, or ln(1 + N/n) times (default: none, once)"
    add("--repeat", choices=REPEATS, default="none", help=repeat)
    add_arguments(parser, name="cxr", recipe=RECIPE)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    not_own = {"json", "debug", *shared(arguments)}
    own = {name: value for name, value in vars(arguments).items() if name not in not_own}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
