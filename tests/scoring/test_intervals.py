"""Weighted figures equal scikit-learn's, and resamples draw whole groups."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vitalfactory.scoring.intervals import Figure, Floats, Ranking, bin_of, bootstrap, calibration_error, mean, ratio

rows = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


@settings(deadline=None)
@given(rows)
def test_ranking_equals_sklearn_with_ties_and_weights(drawn: list[tuple[int, bool, int]]) -> None:
    scores = np.asarray([row[0] / 7 for row in drawn])
    positive = np.asarray([row[1] for row in drawn])
    weights = np.asarray([row[2] for row in drawn], dtype=float)
    ranking = Ranking(scores, positive)
    for used in (np.ones(len(drawn)), weights):
        auroc, precision = ranking.auroc(used[None])[0], ranking.average_precision(used[None])[0]
        kept = np.repeat(np.arange(len(drawn)), used.astype(int))
        if len(set(positive[kept])) < 2:
            assert np.isnan(auroc)
        else:
            assert auroc == pytest.approx(roc_auc_score(positive[kept], scores[kept]))
        if positive[kept].any():
            assert precision == pytest.approx(average_precision_score(positive[kept], scores[kept]))
        else:
            assert np.isnan(precision)


def test_ranking_equals_sklearn_without_ties() -> None:
    random = np.random.default_rng(1)
    positive = random.random(500) < 0.2
    scores = random.normal(size=500) + positive
    ranking, ones = Ranking(scores, positive), np.ones((1, 500))
    assert ranking.auroc(ones)[0] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert ranking.average_precision(ones)[0] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


def mean_of(values: Floats) -> Callable[[Floats], dict[str, Floats]]:
    return lambda weights: {"mean": ratio(weights @ values, weights.sum(axis=1))}


def width(figure: Figure) -> float:
    assert figure["low"] is not None
    assert figure["high"] is not None
    return figure["high"] - figure["low"]


def test_groups_are_drawn_whole() -> None:
    seen: list[Floats] = []

    def statistics(weights: Floats) -> dict[str, Floats]:
        seen.append(weights)
        return {"rows": weights.sum(axis=1)}

    bootstrap(statistics, ["b", "a", "b", "c", "a"], resamples=200)
    drawn = np.concatenate(seen[1:])
    assert drawn.shape == (200, 5)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 1] == drawn[:, 4]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(drawn, axis=0)) > 5


def test_intervals_are_wider_over_groups_than_over_rows() -> None:
    values = np.repeat(np.random.default_rng(2).random(20), 10)
    statistics = mean_of(values)
    by_row = bootstrap(statistics, [str(place) for place in range(200)])["mean"]
    by_group = bootstrap(statistics, [str(place // 10) for place in range(200)])["mean"]
    assert width(by_group) > 2 * width(by_row)
    assert by_group["value"] == by_row["value"] == pytest.approx(values.mean())


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    values, groups = np.arange(9.0), list("abcabcabc")
    turned = [8, 3, 5, 0, 1, 7, 2, 6, 4]
    first = bootstrap(mean_of(values), groups, 50)
    assert first == bootstrap(mean_of(values[turned]), [groups[place] for place in turned], 50)
    assert first != bootstrap(mean_of(values), groups, 50, seed=1)


def test_large_data_is_resampled_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(mean_of(np.arange(9.0)), list("abcdefghi"), 50)
    monkeypatch.setattr("vitalfactory.scoring.intervals._CELLS", 20)
    assert bootstrap(mean_of(np.arange(9.0)), list("abcdefghi"), 50) == whole


def test_undefined_figures_are_none() -> None:
    def statistics(weights: Floats) -> dict[str, Floats]:
        first = weights[:, 0]
        return {
            "never": np.full(len(weights), np.nan),
            "if drawn": np.where(first > 0, first, np.nan),
            "if drawn thrice": np.where((first > 2) | (len(weights) == 1), first, np.nan),
        }

    figures = bootstrap(statistics, list("abcde"), 100)
    assert figures["never"] == {"value": None, "low": None, "high": None}
    assert figures["if drawn"]["low"] == 1
    assert figures["if drawn thrice"] == {"value": 1, "low": None, "high": None}


def test_calibration_error_by_hand() -> None:
    said, true = np.asarray([0.0, 0.1, 0.95, 1.0]), np.asarray([0.0, 1.0, 1.0, 1.0])
    # Bins of 0.5: the mean of {0, 0.1} is 0.05 and half came true; the mean of {0.95, 1} is 0.975 and all did.
    assert calibration_error(np.ones((1, 4)), said, true, 2)[0] == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_bins_hold_both_ends() -> None:
    places: NDArray[np.int64] = bin_of(np.asarray([0.0, 0.0666, 0.067, 0.999, 1.0]), 15)
    assert places.tolist() == [0, 0, 1, 14, 14]


def test_a_mean_leaves_out_what_is_not_known() -> None:
    weights = np.array([[1.0, 1, 1], [2, 1, 0], [0, 0, 3]])
    found = mean(weights, np.array([1.0, 0, np.nan]))
    np.testing.assert_array_equal(found, [0.5, 2 / 3, np.nan])
