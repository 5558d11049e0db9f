"""The images of chest X-rays in a source's folders: each found by its name, none outside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals.cxr_image import SUFFIXES, pixels

OUTSIDE = "outside the folder"
MISSING = "image not at hand"


class Images:
    """The images below some folders.

    Parameters
    ----------
    folders : sequence of Path
        Searched at every depth, in this order. Folders that are links are not entered.

    Attributes
    ----------
    smaller : list of Path
        Images that were passed over for a larger one of the same name.

    Raises
    ------
    VitalFactoryError
        A folder is not there, or none holds an image.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise VitalFactoryError(f"{folder}: no such folder; give --images FOLDER with the images")
        self._folders = [folder.resolve() for folder in folders]
        self._by_name: dict[str, dict[Path, None]] = {}
        self._outside: set[str] = set()
        self._used: set[Path] = set()
        self.smaller: list[Path] = []
        for folder in self._folders:
            for path in _files(folder):
                self._add(path)
        if not self._by_name and not self._outside:
            places = ", ".join(map(str, folders))
            raise VitalFactoryError(f"{places}: no image ({', '.join(SUFFIXES)}); give --images FOLDER with the images")

    def _add(self, path: Path) -> None:
        if not path.is_file():
            return
        if path.is_symlink() and not self._inside(path.resolve()):
            self._outside.add(path.name)
        else:
            self._by_name.setdefault(path.name, {})[path] = None

    def _inside(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._folders)

    def find(self, name: str, *, anywhere: bool = False) -> Path:
        """Find an image.

        Parameters
        ----------
        name : str
            A file name, which is looked for everywhere; or a path from one of the folders.
        anywhere : bool
            Whether a path that leads to nothing is looked for by its file name alone.

        Returns
        -------
        Path
            The largest, where several are called so.

        Raises
        ------
        UnusableRecord
            With the reason ``outside the folder`` or ``image not at hand``.
        """
        plain = name.rpartition("/")[2]
        found = self._at(name) if name != plain else None
        if found is None and (name == plain or anywhere):
            found = self._largest(plain)
        if found is None:
            raise UnusableRecord(OUTSIDE if plain in self._outside else MISSING)
        self._used.add(found)
        return found

    def _at(self, name: str) -> Path | None:
        """Look a path up from each folder."""
        try:
            places = [(folder / name).resolve() for folder in self._folders]
            inside = [place for place in places if self._inside(place)]
            if not inside:
                raise UnusableRecord(OUTSIDE, name)
            return next((place for place in inside if place.is_file()), None)
        except (OSError, RuntimeError, ValueError):  # a loop of links, or no name that a file can have
            return None

    def _largest(self, name: str) -> Path | None:
        paths = list(self._by_name.get(name, ()))
        if len(paths) > 1:
            largest = max(paths, key=pixels)
            self.smaller += [path for path in paths if path != largest and path not in self._used]
            self._by_name[name] = {largest: None}
            return largest
        return paths[0] if paths else None

    def unused(self) -> list[Path]:
        """List the images that nothing has asked for."""
        paths = (path for paths in self._by_name.values() for path in paths)
        return [path for path in paths if path not in self._used and path.resolve() not in self._used]


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES):
                yield Path(where) / name
