"""How a script ends: errors in one line, exit codes, and readers that hang up."""

import subprocess
import sys

import pytest

from vitalfactory.errors import VitalFactoryError, closest, run


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's is."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (VitalFactoryError("a: wrong;\nmend it"), 2, "error: a: wrong; mend it\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file or directory\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nGPU 0 has 8 GiB."),
            2,
            "error: the card has too little memory (CUDA out of memory); what is finished is kept: give a smaller "
            "--batch-size, or free the card and give the same command again, it goes on where it stopped\n",
        ),
    ],
)
def test_errors_are_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: object) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main, [])
    assert stop.value.code == code
    assert capsys.readouterr().err == line


def test_debug_shows_the_traceback() -> None:
    def main(_: object) -> None:
        raise VitalFactoryError("wrong")

    with pytest.raises(VitalFactoryError):
        run(main, ["--debug"])


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda _: print(1 / 0), [])


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_hangs_up(lines: int) -> None:
    code = f"from vitalfactory.errors import run\nrun(lambda _: print('line\\n' * {lines}))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 2


def test_the_closest_word() -> None:
    assert closest("ecgg", ["ecg", "eeg"]) == ", did you mean 'ecg'?"
    assert closest("xyz", ["ecg"]) == ""
