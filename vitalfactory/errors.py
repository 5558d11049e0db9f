"""One-line errors for people, and the exit code that goes with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

EXIT_ERROR = 2
OUT_OF_MEMORY = "OutOfMemoryError"
"""PyTorch's error when a card's memory is full, told by its name: importing it takes seconds."""


class VitalFactoryError(Exception):
    """What was wrong, where, what was expected and what to do, in one line."""


class UnusableRecord(Exception):
    """A record that cannot become a row; ``reason`` names the exclusion it is counted under.

    Parameters
    ----------
    reason : str
        A short phrase shared by all records with the same fault.
    detail : str
        What was found in this record.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
    """Run a script's ``main`` and turn its errors into one line on standard error.

    Parameters
    ----------
    main : callable
        Takes the arguments after the program's name.
    argv : sequence of str, optional
        Those arguments; ``sys.argv[1:]`` by default. ``--debug`` among them lets the traceback through.

    Raises
    ------
    SystemExit
        With code 2 after an error that a person can mend, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        main(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_ERROR) from None
    except Exception as error:
        if "--debug" in arguments or not _for_people(error):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(EXIT_ERROR) from None


def _for_people(error: Exception) -> bool:
    return isinstance(error, VitalFactoryError | OSError) or type(error).__name__ == OUT_OF_MEMORY


def _one_line(error: Exception) -> str:
    if type(error).__name__ == OUT_OF_MEMORY:
        reason = str(error).partition(". ")[0]
        return (
            f"the card has too little memory ({' '.join(reason.split())}); what is finished is kept: give a smaller "
            "--batch-size, or free the card and give the same command again, it goes on where it stopped"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def check_counts(counts: Mapping[str, int | None]) -> None:
    """Check that each flag's number, where one is given, is 1 or more.

    Raises
    ------
    VitalFactoryError
        One is not.
    """
    for flag, value in counts.items():
        if value is not None and value < 1:
            raise VitalFactoryError(f"{flag} {value}: expected at least 1")


def closest(word: str, known: Sequence[str]) -> str:
    """Return ``, did you mean 'x'?`` where a known word is close to ``word``, else an empty string."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""
