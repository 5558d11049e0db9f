"""Splits: no group in two of them, the same shares for every label, the same draw for the same seed."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.card import SPLITS
from vitalfactory.dataset.example import Entry
from vitalfactory.dataset.split import beside_test, by_group, parse_shares
from vitalfactory.errors import VitalFactoryError
from vitalfactory.folds import by_folds, read_folds

SHARES = st.sampled_from([(80, 10, 10), (100, 0, 0), (0, 0, 100), (34, 33, 33), (50, 50, 0), (0, 50, 50)])
ENTRIES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["AF", "no AF", "other"])), min_size=1, max_size=120
).map(lambda rows: [Entry(f"r{number}", f"p{group}", label, None) for number, (group, label) in enumerate(rows)])


@pytest.mark.parametrize("text", ["80/10/10", "100/0/0", "0/0/100", "34/33/33"])
def test_shares(text: str) -> None:
    assert "/".join(map(str, parse_shares(text))) == text


@pytest.mark.parametrize("text", ["", "80", "80/20", "80/10/10/0", "80/10/20", "-10/100/10", "a/b/c", "80.5/10/9.5"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(VitalFactoryError, match="--split"):
        parse_shares(text)


@given(ENTRIES, SHARES, st.integers(0, 5), st.randoms())
def test_every_group_has_one_split_whatever_the_order(
    entries: list[Entry], shares: tuple[int, int, int], seed: int, chance: object
) -> None:
    splits = by_group(entries, shares, seed)
    assert set(splits) == {entry.group for entry in entries}
    assert set(splits.values()) <= {name for name, share in zip(SPLITS, shares, strict=True) if share}
    shuffled = list(entries)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert by_group(shuffled, shares, seed) == splits


@given(st.integers(1, 200), st.integers(1, 200), SHARES, st.integers(0, 3))
def test_shares_are_met_within_one_group_a_label(
    positive: int, negative: int, shares: tuple[int, int, int], seed: int
) -> None:
    entries = [Entry(f"a{n}", f"a{n}", "AF", None) for n in range(positive)]
    entries += [Entry(f"n{n}", f"n{n}", "no AF", None) for n in range(negative)]
    splits = by_group(entries, shares, seed)
    for label, count in (("AF", positive), ("no AF", negative)):
        for name, share in zip(SPLITS, shares, strict=True):
            found = sum(splits[entry.group] == name for entry in entries if entry.label == label)
            assert abs(found - count * share / 100) <= 1


def test_another_seed_is_another_draw() -> None:
    entries = [Entry(str(n), str(n), "AF", None) for n in range(100)]
    assert by_group(entries, (50, 25, 25), 1) == by_group(entries, (50, 25, 25), 1)
    assert by_group(entries, (50, 25, 25), 1) != by_group(entries, (50, 25, 25), 2)


def test_the_draw_stays_when_versions_change() -> None:
    """The splits of these groups are written down: a change would move patients between published splits."""
    entries = [Entry(f"A{n:05d}", f"A{n:05d}", "AF", None) for n in range(10)]
    splits = by_group(entries, (60, 20, 20), 2026)
    expected = "train train test train train train val train val test"
    assert " ".join(splits[entry.group] for entry in entries) == expected


def fold_files(folder: Path, *contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"cv{number}.csv").write_text(content, encoding="utf-8", newline="")
    return folder


@pytest.mark.parametrize("head", ["file_name", "record", "group", "subject", "id"])
@pytest.mark.parametrize(("before", "after"), [("", ""), (",", ""), ("", ",label"), ("\ufeff", "")])
def test_fold_files_of_every_make(tmp_path: Path, head: str, before: str, after: str) -> None:
    index = "0," if before == "," else ""
    rest = ",N" if after else ""
    folder = fold_files(
        tmp_path / "cv",
        f"{before}{head}{after}\r\n{index}a{rest}\r\n{index} b {rest}\r\n\r\n",
        f"{before}{head}{after}\n{index}c{rest}\n",
    )
    assert read_folds(folder) == {"a": 0, "b": 0, "c": 1}


def test_fold_numbers_come_from_the_names(tmp_path: Path) -> None:
    (tmp_path / "fold-07.csv").write_text("record\na\n")
    (tmp_path / "cv12.csv").write_text("record\nb\nb\n")
    (tmp_path / "notes.csv").write_text("no folds\n")
    assert read_folds(tmp_path) == {"a": 7, "b": 12}


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ((), "no fold files; expected cv0.csv"),
        (("name\na\n",), "expected a column named one of file_name"),
        (("",), "expected a column"),
        (("record\na\n", "record\na\n"), "'a' stands in folds 0 and 1"),
    ],
)
def test_bad_fold_files(tmp_path: Path, contents: tuple[str, ...], words: str) -> None:
    with pytest.raises(VitalFactoryError, match=words):
        read_folds(fold_files(tmp_path / "cv", *contents))


def test_a_folder_of_folds_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no fold files"):
        read_folds(tmp_path / "none")


ENTRY = Entry("r1", "p1", "AF", None)
SAME_PATIENT = Entry("r2", "p1", "AF", None)
OTHER = Entry("r3", "p2", "AF", None)


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ({"r1": 0, "r2": 0, "r3": 1, "x": 2}, {"p1": "train", "p2": "val"}),
        ({"p1": 2, "p2": 0, "x": 1}, {"p1": "test", "p2": "train"}),
        ({"r1": 1, "p2": 2}, {"p1": "val", "p2": "test"}),
        ({"x": 1, "y": 2}, {}),
    ],
    ids=["records", "groups", "both", "none of them"],
)
def test_folds(folds: dict[str, int], expected: dict[str, str]) -> None:
    assert by_folds([ENTRY, SAME_PATIENT, OTHER], folds, 1, 2) == expected


@pytest.mark.parametrize(
    ("folds", "val", "test", "words"),
    [
        ({"r1": 0, "r2": 1, "r3": 2}, 1, 2, "group 'p1' stands in folds 0 and 1"),
        ({"r1": 0, "r3": 1}, 1, 7, r"--test-fold 7: no such fold; there are \[0, 1\]"),
        ({"r1": 0, "r3": 1}, 3, 1, "--val-fold 3"),
        ({"r1": 0, "r3": 1}, 1, 1, "they must differ"),
    ],
)
def test_folds_that_do_not_fit(folds: dict[str, int], val: int, test: int, words: str) -> None:
    with pytest.raises(VitalFactoryError, match=words):
        by_folds([ENTRY, SAME_PATIENT, OTHER], folds, val, test)


@given(ENTRIES, st.sets(st.integers(0, 30)), SHARES, st.integers(0, 5))
def test_a_published_test_set_stays_as_it_is(
    entries: list[Entry], tested: set[int], shares: tuple[int, int, int], seed: int
) -> None:
    groups = {entry.group for entry in entries}
    test = {f"p{number}" for number in tested}
    if not test & groups or shares[:2] == (0, 0):
        with pytest.raises(VitalFactoryError, match=r"the test list names none|--split: with a test list"):
            beside_test(entries, test, shares, seed)
        return
    splits = beside_test(entries, test, shares, seed)
    assert set(splits) == groups
    assert {group for group, split in splits.items() if split == "test"} == test & groups
    drawn = {name for name, share in zip(SPLITS, shares[:2], strict=False) if share}
    assert set(splits.values()) <= {"test", *drawn}


def test_labels_too_rare_for_every_split_are_drawn_together() -> None:
    entries = [Entry(f"r{n:03d}", f"g{n:03d}", f"disease {n}", None) for n in range(200)]
    counts = Counter(by_group(entries, (80, 10, 10), 1).values())
    assert counts == {"train": 160, "val": 20, "test": 20}
