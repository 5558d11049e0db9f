"""Balance: the total kept, the shares met, no label lost, the same draw for the same seed."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.dataset import balance

COUNTS = st.dictionaries(st.sampled_from(["W", "N1", "N2", "N3", "R", "AF"]), st.integers(1, 60), min_size=1)
METHODS = st.one_of(
    st.tuples(st.just("blend"), st.floats(0, 1), st.just("inverse")),
    st.tuples(st.just("weighted"), st.just(0.5), st.sampled_from(["inverse", "sqrt_inverse", "log_inverse"])),
)


def rows_of(counts: dict[str, int]) -> dict[str, str]:
    return {f"{label}{number}": label for label, count in counts.items() for number in range(count)}


@pytest.mark.parametrize(
    ("labels", "counted"),
    [
        ({}, {}),
        ({"a": ["x"], "b": []}, {"a": "x", "b": ""}),
        ({"a": ["x", "y"], "b": ["x"], "c": ("y", "z")}, {"a": "x", "b": "x", "c": "z"}),
        ({"a": ["y", "x"]}, {"a": "x"}),
    ],
)
def test_a_row_of_several_labels_counts_under_its_rarest(labels: dict[str, list[str]], counted: dict[str, str]) -> None:
    assert balance.rarest(labels) == counted


@given(COUNTS, METHODS, st.integers(0, 3))
def test_the_total_stays_and_no_label_is_lost(
    counts: dict[str, int], method: tuple[balance.Balance, float, balance.WeightMethod], seed: int
) -> None:
    labels = rows_of(counts)
    plan = balance.plan(labels, *method, seed)
    assert set(plan) == set(labels)
    assert sum(plan.values()) == len(labels)
    written = Counter(label for row, label in labels.items() for _ in range(plan[row]))
    assert set(written) == set(counts)
    name, alpha, weight = method
    shares = balance.blend_shares(counts, alpha) if name == "blend" else balance.weighted_shares(counts, weight)
    assert math.isclose(sum(shares.values()), 1)
    for label, share in shares.items():
        assert abs(written[label] - share * len(labels)) < 1
        copies = [plan[row] for row, own in labels.items() if own == label]
        assert max(copies) - min(copies) <= 1
    assert balance.plan(labels, *method, seed) == plan
    assert balance.plan(dict(reversed(labels.items())), *method, seed) == plan


@pytest.mark.parametrize(
    ("counts", "alpha", "expected"),
    [
        ({"AF": 10, "no AF": 90}, 1.0, {"AF": 10, "no AF": 90}),
        ({"AF": 10, "no AF": 90}, 0.5, {"AF": 30, "no AF": 70}),
        ({"AF": 10, "no AF": 90}, 0.0, {"AF": 50, "no AF": 50}),
        ({"AF": 1, "no AF": 2}, 0.0, {"AF": 2, "no AF": 1}),
    ],
)
def test_blend(counts: dict[str, int], alpha: float, expected: dict[str, int]) -> None:
    labels = rows_of(counts)
    plan = balance.plan(labels, "blend", alpha, "inverse", 1)
    assert {label: sum(plan[row] for row in labels if labels[row] == label) for label in counts} == expected


@pytest.mark.parametrize(
    ("method", "share"),
    [("inverse", 0.5), ("sqrt_inverse", 0.25), ("log_inverse", 0.1729)],
)
def test_weights(method: balance.WeightMethod, share: float) -> None:
    assert balance.weighted_shares({"AF": 10, "no AF": 90}, method)["AF"] == pytest.approx(share, abs=1e-4)


@given(COUNTS, st.sampled_from(["none", "blend", "weighted"]), st.integers(1, 200))
def test_at_most_so_many_rows(counts: dict[str, int], method: balance.Balance, most: int) -> None:
    labels = rows_of(counts)
    plan = balance.plan(labels, method, 0.5, "inverse", 1, most)
    assert sum(plan.values()) == min(most, len(labels))
    if method == "none":
        assert max(plan.values()) == 1


def test_the_seed_decides_who_is_repeated() -> None:
    labels = rows_of({"AF": 10, "no AF": 37})
    plans = [balance.plan(labels, "blend", 0.5, "inverse", seed) for seed in range(3)]
    assert plans[0] != plans[1] != plans[2]


@pytest.mark.parametrize("labels", [{}, {"a": "AF"}])
def test_nothing_to_balance(labels: dict[str, str]) -> None:
    assert balance.plan(labels, "blend", 0.0, "inverse", 1) == dict.fromkeys(labels, 1)
    assert balance.plan(labels, "none", 0.5, "inverse", 1) == dict.fromkeys(labels, 1)
