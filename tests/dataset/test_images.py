"""Images land and vanish with their dataset, and each belongs to a row that is in it."""

import json
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vitalfactory.card import Source
from vitalfactory.dataset.build import Conversion, Summary, build
from vitalfactory.dataset.check import Request, check, find
from vitalfactory.dataset.example import Entry, Example, Task
from vitalfactory.dataset.options import Options
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_text

TASK = Task(
    "ecg",
    "classify",
    ("AF", "no AF"),
    "AF",
    {"en": ("Is it AF?", "AF?")},
    {"en": {"AF": "AF", "no AF": "no AF"}},
    {"en": {"AF": (), "no AF": ()}},
)
ENTRIES = [
    Entry(f"r{number:02d}", f"r{number:02d}", "AF" if number % 4 == 0 else "no AF", number) for number in range(40)
]


def png(number: int) -> bytes:
    """Lay out a grey PNG of 56 x 56 pixels whose shade is the number."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 56, 56, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress((b"\0" + bytes([number]) * 56) * 56)),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def draw(entry: Entry, *, name: str = "{}.png", modulo: int = 256) -> list[Example]:
    """Make a row of a picture; records of the same number modulo ``modulo`` have the same one."""
    if entry.record == 39:
        raise UnusableRecord("flat")
    turns = [{"role": "user", "content": f"<image>{entry.id}?"}, {"role": "assistant", "content": str(entry.label)}]
    shown = {name.format(entry.id): png(entry.record % modulo)}
    return [Example(entry.id, entry.group, entry.label, {"messages": turns}, {"x": 1.0}, images=shown)]


def convert(
    root: Path, entries: Sequence[Entry] = ENTRIES, cutoff: int = 100, make: Any = draw, **options: Any
) -> Summary:
    recipe = {"model_name_or_path": "nobody/none", "template": "qwen2_vl", "cutoff_len": cutoff}
    write_text(root / "recipe.yaml", json.dumps(recipe))
    source = Source(name="made", version="1", licence="none", synthetic=True)
    conversion = Conversion(TASK, source, "picture", make, [], [])
    given = {"name": "ecg", "recipe": root / "recipe.yaml", "root": root, "workers": 1, "split": "60/20/20", **options}
    return build(conversion, entries, [], Options(**given))


def rows_of(root: Path) -> list[dict[str, Any]]:
    return [row for split in ("train", "val", "test") for row in read_jsonl(root / "data" / "ecg" / f"{split}.jsonl")]


def on_disk(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / "data/ecg/images").rglob("*") if path.is_file()}


def named(root: Path) -> set[str]:
    return {image for row in rows_of(root) for image in row["images"]}


def test_images_lie_where_their_rows_say(tmp_path: Path) -> None:
    summary = convert(tmp_path)
    rows = rows_of(tmp_path)
    assert len(rows) == 39
    assert on_disk(tmp_path) == named(tmp_path) == {f"data/ecg/images/{row['id']}.png" for row in rows}
    for row in rows:
        assert (tmp_path / row["images"][0]).read_bytes() == png(int(row["id"][1:]))
    entry = read_json(tmp_path / "dataset_info.json")["ecg_train"]
    assert entry["columns"] == {"messages": "messages", "images": "images"}
    assert summary.tokens.shortest > 4
    assert "image_sha256" in (tmp_path / "data/ecg/README.md").read_text()
    folder, registered = find("ecg", tmp_path)
    assert check(Request(str(folder), registered, str(tmp_path), str(tmp_path / "recipe.yaml"))).problems == []


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    kept = []
    for workers in (1, 3):
        convert(tmp_path / str(workers), workers=workers)
        folder = tmp_path / str(workers) / "data" / "ecg"
        kept.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert kept[0] == kept[1]


def test_images_of_rows_with_the_same_content_as_another_split_are_left_out(tmp_path: Path) -> None:
    summary = convert(tmp_path, make=partial(draw, modulo=8))
    assert summary.excluded["same content as a row of another split"] > 0
    assert on_disk(tmp_path) == named(tmp_path)


@pytest.mark.parametrize("method", ["blend", "weighted"])
def test_copies_share_an_image_and_rows_left_out_leave_none(tmp_path: Path, method: str) -> None:
    summary = convert(tmp_path, balance=method, balance_alpha=0.0)
    rows = rows_of(tmp_path)
    assert summary.excluded["left out by --balance"] > 0
    assert any("+" in row["id"] for row in rows)
    assert all(row["images"] == [f"data/ecg/images/{row['id'].split('+')[0]}.png"] for row in rows)
    assert on_disk(tmp_path) == named(tmp_path)


def test_images_in_folders(tmp_path: Path) -> None:
    convert(tmp_path, make=partial(draw, name="p1/{}.png"))
    assert "data/ecg/images/p1/r01.png" in on_disk(tmp_path) == named(tmp_path)


def test_a_name_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"no row is left; excluded: outside the folder \(39\)"):
        convert(tmp_path, make=partial(draw, name="../{}.png"))
    assert not list(tmp_path.rglob("*.png"))


def test_rows_may_share_an_image_but_not_its_name_alone(tmp_path: Path) -> None:
    convert(tmp_path, make=partial(draw, name="one.png", modulo=1), split="100/0/0")
    assert on_disk(tmp_path) == {"data/ecg/images/one.png"}
    with pytest.raises(VitalFactoryError, match=r"two different images are called one\.png"):
        convert(tmp_path, make=partial(draw, name="one.png"), split="100/0/0")


def test_a_conversion_given_up_leaves_the_old_images(tmp_path: Path) -> None:
    convert(tmp_path)
    before = on_disk(tmp_path)
    with pytest.raises(VitalFactoryError, match="longer than cutoff_len 10"):
        convert(tmp_path, ENTRIES[:20], cutoff=10)
    assert on_disk(tmp_path) == before
    assert not (tmp_path / "data/.ecg.partial").exists()
    convert(tmp_path, ENTRIES[:20])
    assert on_disk(tmp_path) == {f"data/ecg/images/{entry.id}.png" for entry in ENTRIES[:20]}
