"""Sources come from the folders that the studio was started with, and from nowhere else."""

from pathlib import Path

import pytest

from vitalfactory.errors import VitalFactoryError
from vitalfactory.studio.folders import Folders


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("data/raw/ecg", "data/ecg", "data/.cache", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "raw" / "notes.jsonl").touch()
    (tmp_path / "data" / "raw" / "ecg" / "A1.mat").touch()
    (tmp_path / "data" / "ecg" / "card.json").touch()
    (tmp_path / "other" / "secret.csv").touch()
    (tmp_path / "data" / "raw" / "away").symlink_to(tmp_path / "other")
    (tmp_path / "data" / "raw" / "gone").symlink_to(tmp_path / "nowhere")
    return tmp_path


@pytest.mark.parametrize("given", ["raw/ecg", " raw/notes.jsonl ", "{data}/raw/ecg", "{data}"])
def test_a_path_inside_is_found(place: Path, given: str) -> None:
    data = place / "data"
    text = given.format(data=data)
    assert Folders.of([data]).inside(text) == data / text.strip()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{place}/other", "not in"),
        ("/etc/passwd", "not in"),
        ("/", "not in"),
        ("raw/nothing", "not in"),
        ("{place}/datax", "not in"),
        ("../other", r"without '\.\.'"),
        ("raw/../../other/secret.csv", r"without '\.\.'"),
        ("{data}/raw/../../other", r"without '\.\.'"),
        ("raw/away", "is a symbolic link"),
        ("raw/away/secret.csv", "is a symbolic link"),
        ("raw/gone", "is a symbolic link"),
        ("", r"without '\.\.'"),
        ("raw/\0ecg", r"without '\.\.'"),
    ],
)
def test_a_path_that_leads_out_is_refused(place: Path, given: str, words: str) -> None:
    with pytest.raises(VitalFactoryError, match=words):
        Folders.of([place / "data"]).inside(given.format(place=place, data=place / "data"))


def test_a_folder_that_is_a_link_may_be_given_at_the_start(place: Path) -> None:
    assert Folders.of([place / "data" / "raw" / "away"]).inside("secret.csv") == place / "other" / "secret.csv"


def test_a_folder_must_be_there(place: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no such folder"):
        Folders.of([place / "nothing"])


def test_sources_are_listed_without_datasets_links_and_hidden_folders(place: Path) -> None:
    data = place / "data"
    listed = Folders.of([data]).listing()
    assert listed == [str(data / name) for name in ("", "raw", "raw/ecg", "raw/notes.jsonl")]
    assert all(Folders.of([data]).inside(name) for name in listed)
