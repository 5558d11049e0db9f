"""Which paths the studio touches: those in the folders that it was started with, and nothing that leads out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, short_path
from vitalfactory.studio.words import Refusal

DEPTH = 4
"""Levels below a folder that are listed; deeper ones can be typed."""
MOST_LISTED = 300
FILES = (".csv", ".csv.gz", ".json", ".jsonl")
"""What a source may be that is one file."""


@dataclass(frozen=True)
class Folders:
    """The folders that sources may be taken from.

    Attributes
    ----------
    allowed : tuple of Path
        Resolved, so that a folder that the studio is started with may itself be a link.
    """

    allowed: tuple[Path, ...]

    @classmethod
    def of(cls, folders: Sequence[Path], data: Path | None = None) -> Folders:
        """Take folders that must be there, and one that may come to be.

        Raises
        ------
        VitalFactoryError
            One is not there.
        """
        for folder in folders:
            if not folder.is_dir():
                raise VitalFactoryError(f"{folder}: no such folder; name one that is there with --folder")
        every = [*([data] if data else []), *folders]
        return cls(tuple(dict.fromkeys(folder.resolve() for folder in every)))

    def inside(self, given: str) -> Path:
        """Find a path in the folders.

        Parameters
        ----------
        given : str
            An absolute path, or one from the repository or from any of the folders.

        Raises
        ------
        VitalFactoryError
            It is not there, lies outside, or leads through ``..`` or a symbolic link.
        """
        path = Path(given.strip())
        if not given.strip() or ".." in path.parts or "\0" in given:
            raise Refusal("dots", path=given)
        for folder in self.allowed:
            for place in (ROOT / path, folder / path):  # an absolute path is itself in both
                if place.is_relative_to(folder) and (place.exists() or place.is_symlink()):
                    return _unlinked(place, folder)
        raise Refusal("outside", path=given, folders=", ".join(map(str, self.allowed)))

    def listing(self) -> list[str]:
        """List what may be a source, as a path from the repository where it lies there."""
        found: list[str] = []
        for folder in self.allowed:
            for path in _walk(folder, DEPTH):
                found.append(short_path(path))
                if len(found) == MOST_LISTED:
                    return found
        return found


def _unlinked(place: Path, folder: Path) -> Path:
    """Refuse a path with a symbolic link below the folder."""
    for part in (place, *place.parents):
        if part == folder:
            return place
        if part.is_symlink():
            raise Refusal("link", path=place, part=part.name)
    raise Refusal("outside", path=place, folders=folder)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """List folders that are no dataset of the pack, and files that a converter reads, links left out."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    if any(path.name == "card.json" for path in inside):
        return
    yield folder
    for path in inside:
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir() and depth:
            yield from _walk(path, depth - 1)
        elif path.is_file() and path.name.endswith(FILES):
            yield path
