"""The studio: a page in the browser over the whole pack, on this machine alone.

    python -m vitalfactory.studio
    python -m vitalfactory.studio --folder /data/ecg --folder /data/nights --endpoint http://127.0.0.1:8080/v1

Build a dataset, look at its rows, check a recipe and watch its training, ask a served model, and see the results of all
runs. Every button runs one of the pack's own scripts and shows its command. Sources are taken from the folder data/ and
from those given with --folder, and from nowhere else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vitalfactory.errors import VitalFactoryError, check_counts, run
from vitalfactory.files import ROOT, lock

PREFIX = "vitalfactory-studio-"
LOCK = ".lock"
LARGEST_MB = 64


@contextmanager
def scratch() -> Iterator[Path]:
    """Make the folder for what is dropped on the page; it goes with the studio.

    What an earlier studio left that was killed is deleted as well: a lock tells that it has gone.

    Yields
    ------
    Path
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if left.is_symlink() or not left.is_dir() or left.stat().st_uid != os.getuid():
            continue
        try:
            with lock(left / LOCK, wait=False):
                shutil.rmtree(left, ignore_errors=True)
        except (VitalFactoryError, OSError):
            continue
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with lock(folder / LOCK, wait=False):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(number: int, _: object) -> None:
    """End as after Ctrl-C, so that what was dropped is deleted."""
    raise SystemExit(128 + number)


def start(root: Path, folders: Sequence[Path], port: int, endpoint: str | None, largest_mb: int) -> None:
    """Serve the page until it is stopped.

    Parameters
    ----------
    root : Path
        The folder of ``data/`` and ``dataset_info.json``.
    folders : sequence of Path
        Where sources may be taken from, beside ``data/``.
    port : int
        0 takes a free one.
    endpoint : str or None
        The address of a served model, which may be another machine's.
    largest_mb : int
        Of a dropped file.

    Raises
    ------
    VitalFactoryError
        A folder is not there, or the port is taken.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with scratch() as place:
        from vitalfactory.studio.state import UPLOADS, Studio

        # Before Gradio is imported: where it puts what is uploaded, and that it tells nobody.
        tempfile.tempdir = str(place)
        os.environ |= {"GRADIO_TEMP_DIR": str(place / UPLOADS), "GRADIO_ANALYTICS_ENABLED": "False"}
        from vitalfactory.studio.folders import Folders
        from vitalfactory.studio.prompts import Prompts
        from vitalfactory.studio.server import bind, serve

        root = root.resolve()
        studio = Studio(root, Folders.of(folders, root / "data"), place, Prompts(), endpoint, largest_mb)
        taken = bind(port)
        try:
            serve(studio, taken)
        finally:
            studio.close()


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.studio", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--root", type=Path, default=ROOT, help="folder of data/ and dataset_info.json (default: the repository)")
    add("--folder", type=Path, action="append", default=[], metavar="DIR", help="sources may be taken from here too")
    add("--port", type=int, default=7860, metavar="N", help="port on 127.0.0.1, 0 for a free one (default: 7860)")
    add("--endpoint", metavar="URL", help="a served model's address, such as http://127.0.0.1:8080/v1")
    largest = "largest file that can be dropped (default: %(default)s)"
    add("--largest-mb", type=int, default=LARGEST_MB, metavar="N", help=largest)
    add("--debug", action="store_true", help="show the traceback of an error, with what it was about")
    arguments = parser.parse_args(argv)
    check_counts({"--largest-mb": arguments.largest_mb})
    if not arguments.root.is_dir():
        raise VitalFactoryError(f"--root {arguments.root}: no such folder")
    if arguments.debug:
        from vitalfactory.studio import parts

        parts.DEBUG = True
    start(arguments.root, arguments.folder, arguments.port, arguments.endpoint, arguments.largest_mb)


if __name__ == "__main__":
    run(main)
