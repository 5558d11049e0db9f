"""Images in folders: found by name or path, the largest taken, none outside."""

import os
from pathlib import Path

import pytest

from tests.signals.xrays import png, ramp
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals.cxr_folders import Images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders with an image in two sizes, and one image beside them."""
    for place, side in (("images_001", 64), ("images_002/images", 128)):
        (tmp_path / "set" / place).mkdir(parents=True)
        ramp(side, side).save(tmp_path / "set" / place / "a.png")
    ramp().save(tmp_path / "set" / "images_001" / "b.png")
    ramp().save(tmp_path / "c.png")
    return tmp_path / "set"


def refusal(images: Images, name: str) -> str:
    with pytest.raises(UnusableRecord) as refused:
        images.find(name)
    return refused.value.reason


def test_an_image_is_found_by_its_name_or_its_path(folder: Path) -> None:
    images = Images([folder])
    assert images.find("b.png") == images.find("images_001/b.png") == folder / "images_001" / "b.png"
    assert images.find(str(folder / "images_001" / "b.png")) == folder / "images_001" / "b.png"
    assert images.find("nowhere/b.png", anywhere=True) == folder / "images_001" / "b.png"
    assert refusal(images, "nowhere/b.png") == "image not at hand"


def test_of_one_name_the_largest_is_taken(folder: Path) -> None:
    images = Images([folder / "images_002", folder / "images_001"])
    assert images.find("a.png") == folder / "images_002" / "images" / "a.png"
    assert images.find("a.png") == folder / "images_002" / "images" / "a.png"
    assert images.smaller == [folder / "images_001" / "a.png"]
    assert images.unused() == [folder / "images_001" / "b.png"]


def test_a_broken_image_is_the_smallest(folder: Path) -> None:
    (folder / "images_002" / "images" / "a.png").write_bytes(b"broken")
    assert Images([folder]).find("a.png") == folder / "images_001" / "a.png"
    (folder / "images_002" / "images" / "a.png").write_bytes(png(60_000, 60_000))
    assert Images([folder]).find("a.png") == folder / "images_001" / "a.png"


def test_a_folder_given_twice_is_one(folder: Path) -> None:
    images = Images([folder, folder / "images_001", folder])
    images.find("b.png")
    assert images.smaller == []


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "c.png").symlink_to(tmp_path / "c.png")
    (folder / "away").symlink_to(tmp_path)
    (folder / "inside.png").symlink_to(folder / "images_001" / "b.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    images = Images([folder])
    for name in ("c.png", "./c.png", "away/c.png", "../c.png", "images_001/../../c.png", str(tmp_path / "c.png")):
        assert refusal(images, name) == "outside the folder", name
    assert images.find("inside.png") == folder / "inside.png"
    assert refusal(images, "loop.png") == refusal(images, "./loop.png") == "image not at hand"


def test_a_folder_that_is_a_link_is_one_where_it_is_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert Images([tmp_path / "link"]).find("images_001/b.png") == folder / "images_001" / "b.png"


def test_what_is_no_file_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    images = Images([folder])
    for name in ("pipe.png", "./pipe.png", "folder.png", "./folder.png", ".", "..", ""):
        assert refusal(images, name) in ("image not at hand", "outside the folder"), name


def test_hidden_folders_are_not_searched(folder: Path) -> None:
    (folder / ".kept").mkdir()
    ramp().save(folder / ".kept" / "d.png")
    assert refusal(Images([folder]), "d.png") == "image not at hand"


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"none: no such folder; give --images FOLDER"):
        Images([tmp_path / "none"])
    with pytest.raises(VitalFactoryError, match=r"no image \(\.png, .*\); give --images FOLDER"):
        Images([tmp_path])
