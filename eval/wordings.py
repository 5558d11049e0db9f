"""The same rows under other wordings of their question: how much of an answer hangs on the wording.

    python eval/wordings.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/wordings
    python eval/wordings.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/wordings --against results/ecg

Scores every row under each wording of the card, plain and with the answers listed in both orders, and in other
languages that the card or --questions knows. Thresholds are those of the run named by --against, chosen on its
validation rows, else 0.5. Goes on where it stopped; writes a run's folder a variant, wordings.json and wordings.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.card import Card, Wordings
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.intervals import Figure, Floats
    from vitalfactory.scoring.model import Job

LISTED = {"zh": ("请回答{}。", "、", "或")}
LISTED_ELSE = (" Answer {}.", ", ", " or ")
"""How the answers are appended to a question: the sentence, and what stands between them and before the last."""
PLAIN, FORWARD, REVERSED = "plain", "forward", "reversed"
SAME_MODEL = ("model", "adapter_sha256", "dataset_sha256")
SYNTHETIC = "Synthetic recordings: these figures say nothing about patients."


@dataclass(frozen=True)
class Variant:
    """One way to put the question.

    Attributes
    ----------
    name : str
        The language, the number of the wording and, where answers are listed, their order: ``en1``, ``zh2-reversed``.
    language : str
    wording : str
        The question without listed answers.
    order : {'plain', 'forward', 'reversed'}
    answers : dict of str to str
        The output string of each label, in the order of the card's labels.
    """

    name: str
    language: str
    wording: str
    order: str
    answers: dict[str, str]

    @property
    def question(self) -> str:
        """What the model is asked."""
        if self.order == PLAIN:
            return self.wording
        sentence, between, last = LISTED.get(self.language, LISTED_ELSE)
        *most, final = list(self.answers.values())[:: -1 if self.order == REVERSED else 1]
        return self.wording + sentence.format(between.join(most) + last + final)


def variants_of(card: Card, languages: Mapping[str, Wordings]) -> list[Variant]:
    """Lay out every way to put a card's question: its own wordings plain first.

    Parameters
    ----------
    card : Card
    languages : mapping of str to Wordings
        Of :func:`languages_of`.

    Returns
    -------
    list of Variant
    """
    found = []
    for language, told in languages.items():
        answers = {label: (told.answers or card.answers)[label] for label in card.labels}
        for order in (PLAIN, FORWARD, REVERSED):
            for number, wording in enumerate(told.question, 1):
                name = f"{language}{number}" if order == PLAIN else f"{language}{number}-{order}"
                found.append(Variant(name, language, wording, order, answers))
    return found


def languages_of(card: Card, file: Path | None, wanted: Sequence[str] | None) -> dict[str, Wordings]:
    """Gather the wordings of each language: the card's own language first, then others.

    Parameters
    ----------
    card : Card
    file : Path or None
        JSON: language to a list of wordings, or to ``{"questions": [...], "answers": {label: answer}}``; added to
        those of the card.
    wanted : sequence of str or None
        Languages beside the card's own; all of them by default.

    Raises
    ------
    VitalFactoryError
        The file is of another form, or a language is not known.
    """
    from vitalfactory.card import Wordings

    known = {card.language: Wordings(question=card.question), **card.other_languages}
    for language, added in (_read_questions(file, card) if file else {}).items():
        old = known.get(language, Wordings(question=[]))
        questions = list(dict.fromkeys([*old.question, *added.question]))
        known[language] = Wordings(question=questions, answers=added.answers or old.answers)
    for language in known:
        if not re.fullmatch(r"[A-Za-z][\w-]*", language):  # it names folders
            raise VitalFactoryError(f"language {language!r}: expected a code such as en or zh")
    for language in wanted or []:
        if language not in known:
            raise VitalFactoryError(
                f"--languages {language}: the dataset's card has wordings in {', '.join(known)}; "
                "give others with --questions FILE"
            )
    return {name: told for name, told in known.items() if wanted is None or name in (card.language, *wanted)}


def _read_questions(file: Path, card: Card) -> dict[str, Wordings]:
    from vitalfactory.card import Wordings
    from vitalfactory.files import read_json

    expected = 'expected {"zh": ["...", ...]} or {"zh": {"questions": ["...", ...], "answers": {"LABEL": "..."}}}'
    content = read_json(file)
    if not isinstance(content, dict):
        raise VitalFactoryError(f"{file}: {expected}")
    found = {}
    for language, told in content.items():
        questions, answers = (told.get("questions"), told.get("answers", {})) if isinstance(told, dict) else (told, {})
        if not _texts(questions) or not isinstance(answers, dict) or not _texts(list(answers.values())):
            raise VitalFactoryError(f"{file}: {language}: {expected}")
        if answers and set(answers) != set(card.labels):
            raise VitalFactoryError(f"{file}: {language}: expected an answer for each of {', '.join(card.labels)}")
        found[language] = Wordings(question=questions, answers=answers)
    return found


def _texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) and text for text in value)


def reworded(row: Mapping[str, Any], question: str, known: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Put another question in place of a row's own.

    Parameters
    ----------
    row : mapping
        Alpaca or ShareGPT.
    question : str
    known : sequence of str
        The wordings of which the row has one.

    Returns
    -------
    row : dict
    own : str
        The wording that it had.

    Raises
    ------
    VitalFactoryError
        The row has none of them.
    """
    messages = [dict(message) for message in row.get("messages", [])]
    place = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=0)
    text = str(messages[place]["content"] if messages else row["instruction"])
    own = max((wording for wording in known if wording in text), key=len, default=None)
    if own is None:
        raise VitalFactoryError(f"row {row['id']!r}: holds none of the card's wordings of the question; convert again")
    text = text.replace(own, question)
    if not messages:
        return {**row, "instruction": text}, own
    messages[place]["content"] = text
    return {**row, "messages": messages}, own


def score(
    job: Job, variants: Sequence[Variant], split: str, limit: int | None, batch_size: int
) -> dict[str, list[Prediction]]:
    """Score a split under every variant, each into a run's folder of its own under the job's.

    Parameters
    ----------
    job : Job
    variants : sequence of Variant
    split : str
    limit : int or None
        The first rows of the split only.
    batch_size : int

    Returns
    -------
    dict of str to list of Prediction
        By variant, in the order of the rows. The model is loaded only where an answer is missing.

    Raises
    ------
    VitalFactoryError
        A folder holds answers of another model or to another question.
    """
    from vitalfactory.predictions import answer_rows, predictions_file, read_predictions

    rows = job.rows(split, limit)
    loaded = _loader(job, split)
    found = {}
    for variant in variants:
        folder = job.out / variant.name
        settings = {"question": variant.question, "answers": variant.answers, "limit": limit}
        replace(job, out=folder).open("predictions", settings)

        def answer(todo: Sequence[dict[str, Any]], variant: Variant = variant) -> Iterator[Prediction]:
            from vitalfactory.scoring.model import score_rows

            if not todo:
                return iter(())
            asked = [reworded(row, variant.question, job.card.question)[0] for row in todo]
            return score_rows(*loaded(), asked, variant.answers, batch_size)

        print(answer_rows(folder, split, "predictions", rows, answer))
        found[variant.name] = read_predictions(predictions_file(folder, split))
    return found


def _loader(job: Job, split: str) -> Callable[[], tuple[Any, Any]]:
    """Make the function that loads the model and the renderer when first called."""
    from functools import cache

    @cache
    def loaded() -> tuple[Any, Any]:
        from vitalfactory.render import Renderer
        from vitalfactory.scoring.model import load

        model, tokenizer = load(job)
        return model, Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

    return loaded


def validation_rows(job: Job, against: Path | None) -> list[Prediction] | None:
    """Read the rows that a threshold is chosen on.

    Parameters
    ----------
    job : Job
    against : Path or None
        The run of the same model over the same dataset; None without one.

    Raises
    ------
    VitalFactoryError
        The run is of another model or dataset, or has no answers to its validation rows.
    """
    from vitalfactory.files import read_json
    from vitalfactory.predictions import predictions_file, read_predictions
    from vitalfactory.scoring.metrics import check

    if against is None:
        return None
    ours, theirs = job.manifest(), read_json(against / "run.json")
    other = [name for name in SAME_MODEL if theirs.get(name) != ours[name]]
    if other:
        raise VitalFactoryError(
            f"--against {against}: a run with another {', '.join(other)}; its threshold is not ours"
        )
    path = predictions_file(against, "val")
    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file; run eval/score.py --split val --out {against} first")
    val = read_predictions(path)
    check(val, job.card, str(path))
    return val


def scopes_of(variants: Sequence[Variant]) -> dict[str, list[str]]:
    """Group variants by what differs within a group: all, then each language plain and with answers listed."""
    scopes = {"all": [variant.name for variant in variants]}
    for variant in variants:
        listed = "" if variant.order == PLAIN else ", answers listed"
        scopes.setdefault(f"{variant.language}{listed}", []).append(variant.name)
    return scopes


def measure(
    answers: Mapping[str, Sequence[Prediction]],
    variants: Sequence[Variant],
    own: Sequence[str],
    card: Card,
    threshold: float | None,
) -> dict[tuple[str, str], Figure]:
    """Compute the figures of each variant and their spread, over the same resampled groups.

    Parameters
    ----------
    answers : mapping of str to sequence of Prediction
        By variant, the same rows in one order.
    variants : sequence of Variant
    own : sequence of str
        The variant that puts each row's question as the dataset does.
    card : Card
    threshold : float or None

    Returns
    -------
    dict of (str, str) to Figure
        By variant: ``auroc``, the F1 that the task is judged by, and ``flip_rate``, the share of rows decided
        otherwise than under their own wording. By scope of :func:`scopes_of`: the spread of both, highest minus
        lowest, and ``not_unanimous``, the share of rows that the variants do not all decide alike.
    """
    import numpy as np

    from vitalfactory.scoring.intervals import bootstrap, mean
    from vitalfactory.scoring.metrics import decide, figures_of, main_f1

    names = ("auroc", main_f1(card))
    computed = {name: figures_of(rows, card, threshold) for name, rows in answers.items()}
    decided = {name: decide(rows, card, threshold) for name, rows in answers.items()}
    before = [decided[name][place] for place, name in enumerate(own)]
    scopes = scopes_of(variants)
    flipped = {
        name: np.asarray([ours != theirs for ours, theirs in zip(after, before, strict=True)], dtype=np.float64)
        for name, after in decided.items()
    }
    split = {
        scope: np.asarray([len(set(row)) > 1 for row in zip(*(decided[name] for name in inside), strict=True)])
        for scope, inside in scopes.items()
    }

    def statistics(weights: Floats) -> dict[tuple[str, str], Floats]:
        each = {variant: function(weights) for variant, function in computed.items()}
        found = {(variant, name): figures["", name] for variant, figures in each.items() for name in names}
        found |= {(variant, "flip_rate"): mean(weights, values) for variant, values in flipped.items()}
        for scope, inside in scopes.items():
            for name in names:
                found[scope, f"{name}_spread"] = np.ptp([found[variant, name] for variant in inside], axis=0)
            found[scope, "not_unanimous"] = mean(weights, split[scope].astype(np.float64))
        return found

    return bootstrap(statistics, [row.group for row in next(iter(answers.values()))])


def study(
    job: Job, variants: Sequence[Variant], split: str, limit: int | None, batch: int, against: Path | None
) -> Any:
    """Score every variant, compare them and write wordings.json and wordings.md.

    Parameters
    ----------
    job : Job
    variants : sequence of Variant
    split : str
    limit : int or None
    batch : int
        Rows at a time.
    against : Path or None
        The run whose threshold is taken.

    Returns
    -------
    dict
        The content of wordings.json.

    Raises
    ------
    VitalFactoryError
        See :func:`score` and :func:`validation_rows`.
    """
    from vitalfactory.files import write_json, write_text
    from vitalfactory.predictions import named
    from vitalfactory.scoring.intervals import LEVEL, RESAMPLES, SEED
    from vitalfactory.scoring.metrics import check, choose_threshold

    plain = {v.wording: v.name for v in variants if v.language == job.card.language and v.order == PLAIN}
    own = [plain[reworded(row, "", job.card.question)[1]] for row in job.rows(split, limit)]
    if not own:
        raise VitalFactoryError(f"{job.dataset}: {split} has no rows; choose another --split")
    val = validation_rows(job, against)
    answers = score(job, variants, split, limit, batch)
    for name, rows in answers.items():
        check(rows, job.card, str(job.out / name))
    first = next(iter(answers.values()))
    threshold, source = choose_threshold(first, val, job.card)
    figures = measure(answers, variants, own, job.card, threshold)
    told = {
        "split": split,
        "rows": len(own),
        "groups": len({row.group for row in first}),
        "threshold": threshold,
        "threshold_from": source,
        "variants": [_variant(variant, figures) for variant in variants],
        "across": {scope: _figures(scope, figures) | {"variants": v} for scope, v in scopes_of(variants).items()},
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "groups"},
        "manifest": job.manifest(),
    }
    write_json(job.out / named("wordings.json", split), told)
    write_text(job.out / named("wordings.md", split), table(told, job.card) + "\n")
    return told


def _figures(name: str, figures: Mapping[tuple[str, str], Figure]) -> dict[str, Any]:
    return {figure: found for (owner, figure), found in figures.items() if owner == name}


def _variant(variant: Variant, figures: Mapping[tuple[str, str], Figure]) -> dict[str, Any]:
    about = {"name": variant.name, "language": variant.language, "question": variant.question, "order": variant.order}
    return {**about, "answers": variant.answers, "figures": _figures(variant.name, figures)}


def table(told: Mapping[str, Any], card: Card) -> str:
    """Write the study's two tables in Markdown: each variant, and how far they lie apart.

    Parameters
    ----------
    told : mapping
        The content of wordings.json.
    card : Card
    """
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.metrics import main_f1, title_of

    names = ("auroc", main_f1(card))
    titles = [title_of(name, card.scored) for name in names]
    lines = [["Variant", "Question", *titles, "Decided otherwise"], ["---"] * 5]
    for variant in told["variants"]:
        figures = [tell(variant["figures"][name]) for name in (*names, "flip_rate")]
        lines.append([variant["name"], variant["question"], *figures])
    across = [["Across", "Variants", *(f"{title}, spread" for title in titles), "Not unanimous"], ["---"] * 5]
    for scope, found in told["across"].items():
        figures = [tell(found[name]) for name in (*(f"{name}_spread" for name in names), "not_unanimous")]
        across.append([scope, str(len(found["variants"])), *figures])
    threshold = "" if told["threshold"] is None else f"threshold {told['threshold']:.4g} ({told['threshold_from']}), "
    note = (
        f"{told['split']}: {told['rows']} rows of {told['groups']} groups, {threshold}95 % intervals over groups. "
        "Decided otherwise: share of rows whose decision is not that under their own wording. Spread: highest minus "
        "lowest."
    )
    parts = [_markdown(lines), _markdown(across), note]
    return "\n\n".join([*parts, SYNTHETIC] if told["manifest"].get("synthetic") else parts)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, check_closed, read_job

    parser = argparse.ArgumentParser(prog="python eval/wordings.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.set_defaults(split=["test"])
    add = parser.add_argument
    add("--languages", nargs="+", metavar="LANG", help="beside the dataset's own language (default: all known)")
    add("--questions", type=Path, metavar="FILE", help="JSON with more wordings: language to a list of questions")
    add("--against", type=Path, metavar="RUN", help="take the threshold of this run's validation rows (default: 0.5)")
    add("--json", action="store_true", help="print wordings.json on the last line")
    arguments = parser.parse_args(argv)
    if len(arguments.split) != 1:
        raise VitalFactoryError(f"--split {' '.join(arguments.split)}: expected one split")
    job = read_job(arguments)
    check_closed(job)
    variants = variants_of(job.card, languages_of(job.card, arguments.questions, arguments.languages))
    given = (arguments.split[0], arguments.limit, arguments.batch_size, arguments.against)
    told = study(job, variants, *given)
    print(table(told, job.card))
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(told))


if __name__ == "__main__":
    run(main)
