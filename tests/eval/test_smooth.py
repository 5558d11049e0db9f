"""eval/smooth.py: posteriors and paths equal to brute force, an exponent from val alone, a run like any other."""

import itertools
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import classify, compare, smooth
from tests.scoring.conftest import ECG_TERMS, make_card
from tests.scoring.nights import LABELS, drawn_splits, night_rows, said, scored, sleep_card, write_dataset, write_run
from vitalfactory.card import Card, read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.predictions import Prediction, read_predictions
from vitalfactory.scoring.hmm import FEWEST_PAIRS, FLOOR, emissions, learn, smoothed
from vitalfactory.scoring.intervals import Floats

CARD = sleep_card()


@st.composite
def models(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Draw emissions of a short chain, where it begins and how it goes on."""
    states, epochs = draw(st.integers(2, 4)), draw(st.integers(1, 5))
    share = st.floats(0.01, 1)

    def rows(count: int, values: st.SearchStrategy[float]) -> Floats:
        return np.asarray(draw(st.lists(values, min_size=count * states, max_size=count * states))).reshape(count, -1)

    initial, transition = rows(1, share)[0], rows(states, share)
    emission = rows(epochs, st.floats(-30, 30))
    return emission, initial / initial.sum(), transition / transition.sum(axis=1, keepdims=True)


def paths(emission: Floats, initial: Floats, transition: Floats) -> dict[tuple[int, ...], float]:
    """Compute the log probability of every path."""
    found = {}
    for path in itertools.product(range(len(initial)), repeat=len(emission)):
        value = math.log(initial[path[0]]) + sum(emission[place, state] for place, state in enumerate(path))
        found[path] = value + sum(math.log(transition[pair]) for pair in itertools.pairwise(path))
    return found


@settings(max_examples=60, deadline=None)
@given(models())
def test_posteriors_equal_the_sum_over_all_paths(model: tuple[Floats, Floats, Floats]) -> None:
    found = paths(*model)
    highest = max(found.values())
    wanted = np.zeros_like(model[0])
    for path, value in found.items():
        for place, state in enumerate(path):
            wanted[place, state] += math.exp(value - highest)
    np.testing.assert_allclose(smoothed(*model), wanted / wanted.sum(axis=1, keepdims=True), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(models())
def test_viterbi_equals_the_best_of_all_paths(model: tuple[Floats, Floats, Floats]) -> None:
    found = paths(*model)
    wanted = np.full_like(model[0], -np.inf)
    for path, value in found.items():
        for place, state in enumerate(path):
            wanted[place, state] = max(wanted[place, state], value)
    told = smoothed(*model, viterbi=True)
    shares = np.exp(wanted - wanted.max(axis=1, keepdims=True))
    np.testing.assert_allclose(told, shares / shares.sum(axis=1, keepdims=True), atol=1e-9)
    best, second = [*sorted(found.values(), reverse=True), -math.inf][:2]
    if best - second > 1e-6:
        assert tuple(told.argmax(axis=1)) == max(found, key=found.__getitem__)


def test_a_chain_without_memory_gives_the_shares_back() -> None:
    prior = np.asarray([0.5, 0.3, 0.2])
    probabilities = np.asarray([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])
    found = smoothed(emissions(probabilities, prior, 1.0), prior, np.tile(prior, (3, 1)))
    np.testing.assert_allclose(found, probabilities)


def test_long_chains_and_sure_probabilities_stay_finite() -> None:
    prior = np.asarray([0.98, 0.01, 0.01])
    probabilities = np.eye(3)[np.random.default_rng(1).integers(3, size=5000)]
    for viterbi in (False, True):
        found = smoothed(
            emissions(probabilities, prior, 3.0), prior, np.full((3, 3), 1e-9) + np.eye(3), viterbi=viterbi
        )
        np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.isfinite(emissions(np.zeros((1, 3)), prior, 1.0)).all()
    assert emissions(np.asarray([[FLOOR / 10]]), np.ones(1), 1.0) == emissions(np.asarray([[FLOOR]]), np.ones(1), 1.0)


def test_transitions_are_of_consecutive_distinct_training_epochs() -> None:
    rows = night_rows("a", "1", "WW12.2R" + "2" * FEWEST_PAIRS)
    copies = [row | {"id": f"{row['id']}+1"} for row in rows[:3]]
    chain = learn([*rows, *copies], LABELS, 30.0)
    assert (chain.counts[0].tolist(), chain.counts[4].tolist()) == ([1, 1, 0, 0, 0], [0, 0, 1, 0, 0])
    assert (chain.counts[1].tolist(), chain.counts[2].tolist()) == ([0, 0, 1, 0, 0], [0, 0, 99, 0, 1])
    assert chain.transition[0].tolist() == pytest.approx([2 / 7, 2 / 7, 1 / 7, 1 / 7, 1 / 7])
    assert chain.transition[3].tolist() == [0.2] * 5
    # Shares: of rows with their copies, and of distinct epochs.
    assert chain.prior.tolist() == pytest.approx([5 / 114, 3 / 114, 103 / 114, 1 / 114, 2 / 114])
    assert chain.initial.tolist() == pytest.approx([3 / 111, 2 / 111, 103 / 111, 1 / 111, 2 / 111])
    assert (chain.rows, chain.epochs, chain.nights) == (109, 106, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("W2.2W", "only 2 pairs of consecutive epochs in train.jsonl, at least 100 are needed"),
        ("W" * 80 + "." + "2" * 80 + "R", "1 of 2 changes of stage in train.jsonl lie in gaps, few other pairs do"),
    ],
)
def test_training_rows_that_say_nothing_of_transitions_are_an_error(text: str, message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        learn(night_rows("a", "1", text), LABELS, 30.0)


@pytest.mark.parametrize("text", ["2" * 150, "W" * 80 + "2" * 80, "WW.W22.2" * 40])
def test_gaps_that_tell_nothing_are_no_error(text: str) -> None:
    learn(night_rows("a", "1", text), LABELS, 30.0)


def test_windows_that_overlap_within_annotations_are_refused() -> None:
    """Windows of 30 s every 15 s, none of which runs over a change of stage."""
    rows: list[dict[str, Any]] = []
    for number, (onset, stage) in enumerate([(0, "W"), (3000, "2"), (6000, "3"), (9000, "R")]):
        part = night_rows("a", "1", stage * 199, 15.0)
        rows += [row | {"id": f"{number}{row['id']}", "start": row["start"] + onset} for row in part]
    with pytest.raises(VitalFactoryError, match=r"3 of 3 changes of stage in train.jsonl lie in gaps"):
        learn(rows, LABELS, 15.0)


MakeSleep = Callable[..., Path]


@pytest.fixture
def make_sleep(tmp_path: Path) -> MakeSleep:
    """Write a dataset of nights and a run over it whose answers are noisy."""

    def make(
        name: str = "noisy",
        splits: dict[str, list[dict[str, Any]]] | None = None,
        card: Card = CARD,
        skill: float = 1.0,
    ) -> Path:
        made = splits or drawn_splits(150, card.epoch_seconds or 30.0)
        data = write_dataset(tmp_path / "data" / card.name, card, made)
        answers = {split: scored(made[split], card.labels, seed=5, skill=skill) for split in ("val", "test")}
        return write_run(tmp_path / "results" / name, data, read_card(data), answers)

    return make


def rows_of(folder: Path, split: str = "test") -> list[Prediction]:
    return read_predictions(folder / ("predictions.jsonl" if split == "test" else f"predictions_{split}.jsonl"))


def right(rows: list[Prediction]) -> float:
    return sum(row.parsed == row.label for row in rows) / len(rows)


@pytest.mark.parametrize("viterbi", [False, True])
def test_smoothing_improves_a_noisy_chain(make_sleep: MakeSleep, viterbi: bool) -> None:
    folder = make_sleep()
    out = folder.parent / "smooth"
    smooth.smooth(folder, out, viterbi=viterbi)
    before, after = rows_of(folder), rows_of(out)
    assert [row.id for row in after] == [row.id for row in before]
    assert right(after) > right(before) + 0.1
    for row in after:
        assert row.probabilities is not None
        assert row.parsed == max(LABELS, key=row.probabilities.__getitem__)


@pytest.mark.parametrize("step", [30.0, 7.5])
def test_the_smoothed_run_is_a_run_like_any_other(
    make_sleep: MakeSleep, step: float, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sleep(card=sleep_card(epoch_seconds=step))
    out = folder.parent / "noisy_hmm"
    smooth.main([str(folder), "--out", str(out), "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    manifest = read_json(out / "run.json")
    told = manifest["smoothing"]
    assert json.loads(last) == told
    assert manifest["method"] == "gradient boosting + HMM"
    assert (manifest["run"], manifest["model"], manifest["dataset"]) == ("noisy_hmm", "tiny", "sleep")
    assert (out / "card.json").read_text() == (folder / "card.json").read_text()
    assert told["exponent"] in smooth.EXPONENTS
    assert "train.jsonl: 894 pairs of consecutive epochs of 6 nights" in told["transitions_from"]
    assert np.asarray(told["transitions"]).sum(axis=1).tolist() == pytest.approx([1] * 5)
    assert (told["algorithm"], told["balanced"]) == ("forward-backward", False)
    assert any(line.endswith("chosen") for line in lines)
    for place in (folder, out):
        classify.judge(place)
    compared = compare.compare([folder, out])["differences"]
    assert [row["figure"] for row in compared] == ["auroc", "macro_f1"]
    assert all(row["difference"]["value"] > 0 for row in compared)
    assert read_json(out / "metrics.json")["staging"]["nights"]
    classify.judge(out, "val")


def test_the_same_command_again_gives_the_same_bytes(make_sleep: MakeSleep) -> None:
    folder = make_sleep()
    out = folder.parent / "smooth"
    smooth.smooth(folder, out)
    before = (out / "predictions.jsonl").read_bytes()
    smooth.smooth(folder, out)
    assert (out / "predictions.jsonl").read_bytes() == before


def test_test_rows_choose_nothing(make_sleep: MakeSleep, tmp_path: Path) -> None:
    splits = drawn_splits(150)
    first = smooth.smooth(make_sleep("one", splits), tmp_path / "results" / "one_hmm")
    shutil.rmtree(tmp_path / "data")
    changed = {**splits, "test": [row | {"label": "W", "output": "W"} for row in drawn_splits(90)["test"]]}
    other = smooth.smooth(make_sleep("two", changed), tmp_path / "results" / "two_hmm")
    for name in ("exponent", "val_macro_f1", "val_macro_f1_unsmoothed", "transitions", "initial", "prior"):
        assert first[name] == other[name]
    val = [(tmp_path / "results" / name / "predictions_val.jsonl").read_bytes() for name in ("one_hmm", "two_hmm")]
    assert val[0] == val[1]


def test_the_best_exponent_on_val_is_chosen_and_of_equal_ones_the_largest(make_sleep: MakeSleep) -> None:
    folder = make_sleep()
    told = smooth.smooth(folder, folder.parent / "smooth")
    by_exponent = {row["exponent"]: row["macro_f1"] for row in told["val_macro_f1"]}
    assert tuple(by_exponent) == smooth.EXPONENTS
    assert by_exponent[told["exponent"]] == max(by_exponent.values())
    sure = make_sleep("sure", skill=20.0)
    told = smooth.smooth(sure, folder.parent / "sure_hmm")
    assert (told["exponent"], told["val_macro_f1_unsmoothed"]) == (smooth.EXPONENTS[-1], pytest.approx(1, abs=0.02))


def test_epochs_on_both_sides_of_a_gap_do_not_know_one_another(make_sleep: MakeSleep) -> None:
    splits = drawn_splits(150)
    splits["test"] = night_rows("t", "1", "WW2222.2RRRW")
    folder = make_sleep(splits=splits)
    out = folder.parent / "smooth"
    told = smooth.smooth(folder, out)
    whole = {row.id: row.probabilities for row in rows_of(out)}
    table = np.asarray([[row.probabilities[label] for label in LABELS] for row in rows_of(folder) if row.probabilities])
    initial, transition = np.asarray(told["initial"]), np.asarray(told["transitions"])
    for places in (range(6), range(6, 11)):
        observed = emissions(table[list(places)], np.asarray(told["prior"]), told["exponent"])
        alone = smoothed(observed, initial, transition)
        for place, values in zip(places, alone, strict=True):
            found = whole[splits["test"][place]["id"]]
            assert found == pytest.approx(dict(zip(LABELS, values, strict=True)))


def test_a_balanced_training_file_is_noted(make_sleep: MakeSleep, capsys: pytest.CaptureFixture[str]) -> None:
    splits = drawn_splits(150)
    kept = [row for place, row in enumerate(splits["train"]) if place % 10]
    splits["train"] = [*kept, *(row | {"id": f"{row['id']}+1"} for row in kept[:90])]
    folder = make_sleep(splits=splits)
    smooth.main([str(folder), "--out", str(folder.parent / "smooth")])
    assert "note: train.jsonl was balanced" in capsys.readouterr().out
    told = read_json(folder.parent / "smooth" / "run.json")["smoothing"]
    assert told["balanced"]
    assert "900 rows, copies included" in told["prior_from"]
    assert "810 distinct epochs" in told["initial_from"]


def test_transitions_of_the_whole_nights(make_sleep: MakeSleep, tmp_path: Path) -> None:
    """A model that learnt from few epochs is smoothed by the nights that they were drawn from."""
    splits = drawn_splits(150)
    whole = write_dataset(tmp_path / "whole", CARD, splits)
    folder = make_sleep(splits={**splits, "train": splits["train"][::20]})
    with pytest.raises(VitalFactoryError, match=r"only 0 pairs .* give --transitions DIR"):
        smooth.smooth(folder, folder.parent / "alone")
    smooth.main([str(folder), "--out", str(folder.parent / "smooth"), "--transitions", str(whole)])
    told = read_json(folder.parent / "smooth" / "run.json")["smoothing"]
    assert "whole/train.jsonl: 894 pairs" in told["transitions_from"]
    assert "45 rows" in told["prior_from"]
    assert not told["balanced"]
    assert right(rows_of(folder.parent / "smooth")) > right(rows_of(folder)) + 0.1


def test_transitions_of_nights_that_are_judged_are_refused(make_sleep: MakeSleep, tmp_path: Path) -> None:
    splits = drawn_splits(150)
    other = write_dataset(tmp_path / "other", CARD, {**splits, "train": splits["train"] + splits["test"][:1]})
    folder = make_sleep(splits=splits)
    with pytest.raises(VitalFactoryError, match=r"trains on test0, whose nights are judged here \(a leak\)"):
        smooth.smooth(folder, folder.parent / "smooth", transitions=other)
    assert not (folder.parent / "smooth").exists()


def test_a_limited_run_is_smoothed_as_far_as_it_goes(make_sleep: MakeSleep) -> None:
    folder = make_sleep()
    manifest = read_json(folder / "run.json")
    write_json(folder / "run.json", manifest | {"decoding": {"predictions": {"limit": 100}}})
    for name in ("predictions.jsonl", "predictions_val.jsonl"):
        write_jsonl(folder / name, list(read_jsonl(folder / name))[:100])
    out = folder.parent / "smooth"
    smooth.smooth(folder, out)
    assert len(rows_of(out)) == 100
    assert classify.judge(out)["rows"] == 100


def no_epochs(folder: Path) -> None:
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", card | {"epoch_seconds": None})


def no_probabilities(folder: Path) -> None:
    path = folder / "predictions_val.jsonl"
    write_jsonl(path, [row | {"probabilities": None} for row in read_jsonl(path)])


def no_val(folder: Path) -> None:
    (folder / "predictions_val.jsonl").unlink()


def free_text_alone(folder: Path) -> None:
    for name in ("", "_val"):
        (folder / f"predictions{name}.jsonl").rename(folder / f"generations{name}.jsonl")


def dataset_gone(folder: Path) -> None:
    shutil.rmtree(folder.parents[1] / "data")


def train_changed(folder: Path) -> None:
    with (folder.parents[1] / "data" / "sleep" / "train.jsonl").open("a") as stream:
        stream.write("\n")


def another_run(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "out")


def smoothed_already(folder: Path) -> None:
    manifest = read_json(folder / "run.json")
    write_json(folder / "run.json", manifest | {"smoothing": {"run": "results/raw"}})


def val_missing_a_row(folder: Path) -> None:
    path = folder / "predictions_val.jsonl"
    write_jsonl(path, list(read_jsonl(path))[:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_epochs, "the card of its dataset has no epoch_seconds"),
        (
            no_probabilities,
            "its answers to val have no probabilities, which smoothing needs; score it with eval/score.py",
        ),
        (no_val, "holds no predictions of val, and smoothing needs val and test; run eval/score.py --split val test"),
        (free_text_alone, "holds no predictions of val"),
        (dataset_gone, "val.jsonl is not there, and smoothing reads nights from it; convert the dataset again"),
        (train_changed, "train.jsonl has changed since the run was made"),
        (another_run, "out: holds a run with another method, smoothing; choose another --out"),
        (smoothed_already, "is smoothed already; name the run that it was made of, results/raw"),
        (val_missing_a_row, "1 of 900 rows of the dataset are missing"),
    ],
)
def test_what_cannot_be_smoothed_is_one_line_and_exit_code_2(
    spoil: Callable[[Path], None], message: str, make_sleep: MakeSleep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sleep()
    spoil(folder)
    out = folder.parent / "out"
    before = sorted(path.name for path in out.iterdir()) if out.exists() else []
    with pytest.raises(SystemExit) as stopped:
        run(smooth.main, [str(folder), "--out", str(out)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert message in error
    after = sorted(path.name for path in out.iterdir()) if out.exists() else []
    assert [name for name in after if not name.startswith(".")] == [name for name in before if name[0] != "."]


def test_another_algorithm_needs_another_folder(make_sleep: MakeSleep) -> None:
    folder = make_sleep()
    smooth.smooth(folder, folder.parent / "smooth")
    with pytest.raises(VitalFactoryError, match="holds a run with another smoothing; choose another --out"):
        smooth.smooth(folder, folder.parent / "smooth", viterbi=True)
    with pytest.raises(VitalFactoryError, match="holds a run with another method, smoothing"):
        smooth.smooth(folder, folder)


def test_an_epoch_that_stands_twice_in_val_is_an_error(make_sleep: MakeSleep) -> None:
    splits = drawn_splits(150)
    splits["val"].append(splits["val"][0] | {"id": "again"})
    folder = make_sleep(splits=splits)
    with pytest.raises(VitalFactoryError, match=r"val.jsonl: an epoch stands twice"):
        smooth.smooth(folder, folder.parent / "smooth")


def test_a_run_of_free_text_in_its_predictions_is_refused(make_sleep: MakeSleep) -> None:
    splits = drawn_splits(150)
    folder = make_sleep(splits=splits)
    told = said(splits["val"], "W" * len(splits["val"]))
    (folder / "predictions_val.jsonl").write_text("".join(row.line() for row in told))
    with pytest.raises(VitalFactoryError, match="have no probabilities"):
        smooth.smooth(folder, folder.parent / "smooth")


def test_a_folder_without_a_run_and_another_kind_are_errors(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"holds no run \(run.json\)"):
        smooth.smooth(tmp_path, tmp_path / "out")
    write_json(tmp_path / "run.json", {})
    write_json(tmp_path / "card.json", make_card(ECG_TERMS["en"], "AF", kind="qa").model_dump())
    with pytest.raises(VitalFactoryError, match="expected 'classify'"):
        smooth.smooth(tmp_path, tmp_path / "out")


def test_help_is_quick() -> None:
    loaded = [sys.executable, "-X", "importtime", str(ROOT / "eval" / "smooth.py"), "--help"]
    done = subprocess.run(loaded, check=True, capture_output=True, text=True)
    assert "numpy" not in done.stderr
    assert "pydantic" not in done.stderr
    assert "--viterbi" in done.stdout
