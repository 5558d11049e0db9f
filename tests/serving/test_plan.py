"""What cannot be served is said in one line before anything heavy is loaded, and nothing is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.serving.recipes import WHOLE, write_recipe
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.serving import export, start, stock
from vitalfactory.serving.__main__ import main
from vitalfactory.serving.plan import read_plan

COMMAND = [sys.executable, "-m", "vitalfactory.serving"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def adapter_of(recipe: Path) -> Path:
    return recipe.parent / "adapter"


def truncate(recipe: Path) -> None:
    (adapter_of(recipe) / "adapter_model.safetensors").write_bytes(WHOLE[:-2])


def without_config(recipe: Path) -> None:
    (adapter_of(recipe) / "adapter_config.json").unlink()


def of_another_model(recipe: Path) -> None:
    (adapter_of(recipe) / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen2.5-7B-Instruct"}')


def without_weights(recipe: Path) -> None:
    (adapter_of(recipe) / "adapter_model.safetensors").unlink()


def without_model(recipe: Path) -> None:
    (recipe.parent / "model" / "config.json").unlink()
    (recipe.parent / "model").rmdir()


def without_name(recipe: Path) -> None:
    recipe.write_text(yaml.safe_dump({"template": "smollm2"}))


def no_recipe(recipe: Path) -> None:
    recipe.unlink()


BROKEN = [
    (truncate, "adapter_model.safetensors is no safetensors file"),
    (without_config, "holds no adapter (adapter_config.json); train first, or give --adapter DIR or none"),
    (of_another_model, "was trained on Qwen/Qwen2.5-7B-Instruct, and the recipe's model is"),
    (without_weights, "has no weights; expected adapter_model.safetensors"),
    (without_model, "is not on this machine; download it first, or name its folder"),
    (without_name, "model_name_or_path names nothing"),
    (no_recipe, "no such recipe"),
]


@pytest.mark.parametrize("command", [("start",), ("export", "--out", "new")], ids=lambda command: command[0])
@pytest.mark.parametrize(("spoil", "told"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_missing_or_broken_is_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], spoil: Callable[[Path], None], told: str
) -> None:
    spoil(recipe)
    with pytest.raises(SystemExit) as ended:
        run(main, [command[0], str(recipe), *command[1:]])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_a_port_in_use_is_said_at_once(recipe: Path) -> None:
    with socket.create_server((start.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        command = [*COMMAND, "start", str(recipe), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: --port {port}: Address already in use; give another one\n")
    assert time.monotonic() - began < 20, "the model was loaded first"


def test_two_at_once_on_one_port() -> None:
    with start.reserve(0) as port:
        with pytest.raises(VitalFactoryError, match=f"--port {port}: another server is being started on it"):
            start.reserve(port).__enter__()
        with start.reserve(0) as other:
            assert other != port
    with start.reserve(port) as again:
        assert again == port


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(VitalFactoryError, match=f"--port {port}: expected a number"):
        start.reserve(port).__enter__()


def test_the_key_is_the_environments_or_made(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {start.read_key() for _ in range(4)}
    assert len(keys) == 4
    assert all(made and len(key) >= 43 for key, made in keys)
    monkeypatch.setenv("VITALFACTORY_API_KEY", "mine")
    assert start.read_key() == ("mine", False)


@pytest.mark.parametrize("key", ["", " ", " a", "a\n", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("VITALFACTORY_API_KEY", key)
    with pytest.raises(VitalFactoryError, match="VITALFACTORY_API_KEY: expected printable ASCII"):
        start.read_key()


def test_the_environment_of_the_api_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "WEB_CONCURRENCY", "USE_V1", "API_HOST", "ALLOW_LOCAL_FILES", "API_VERBOSE"):
        monkeypatch.setenv(name, "1")
    found = stock.closed("secret", 8000, "x")
    assert not {"no_proxy", "NO_PROXY", "WEB_CONCURRENCY", "USE_V1"} & found.keys()
    wanted = {"API_HOST": "127.0.0.1", "API_KEY": "secret", "API_VERBOSE": "0", "ALLOW_LOCAL_FILES": "0"}
    assert wanted.items() <= found.items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"template": "qwen", "do_sample": False}, ["--template=qwen", "--do_sample=false"]),
        ({"default_system": "- be\nbrief", "x": None}, ["--default_system=- be\nbrief"]),
        ({"adapter_name_or_path": ["a", "b"], "n": 3}, ["--adapter_name_or_path=a,b", "--n=3"]),
        ({"vllm_config": {"a": True}}, ['--vllm_config={"a": true}']),
    ],
)
def test_arguments_become_flags(arguments: dict[str, object], words: list[str]) -> None:
    assert stock.flags(arguments) == words


def test_what_a_server_writes_after_it_listens_is_not_kept() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as stream, os.fdopen(writer, "w") as server:
        words = start.Words(stream)
        server.write("loading\n")
        server.write(f"INFO: {start.LISTENING} http://127.0.0.1:1\n")
        server.flush()
        assert words.listening.wait(10)
        server.write("Mrs Quux has fever\n")
        server.close()
        assert words.last() == "it said nothing"


def test_the_last_words_of_a_server_that_never_listened() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as stream, os.fdopen(writer, "w") as server:
        words = start.Words(stream)
        server.write("Traceback\n\nerror: no such thing\n\n")
        server.close()
        assert words.last() == "no such thing"


def test_a_server_that_is_killed_while_it_loads_is_one_line(recipe: Path) -> None:
    command = [*COMMAND, "start", str(recipe), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        assert process.stdout.readline().startswith("loading ")
        os.kill(child_of(process.pid), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == ("error: the server did not start: it was killed (signal 9), most often for want of memory\n")


def test_a_server_that_dies_while_it_loads_is_one_line(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "llamafactory").mkdir()
    (tmp_path / "llamafactory" / "__init__.py").write_text('print("loading")\nraise RuntimeError("no such card")')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [*COMMAND, "start", str(recipe), "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the server did not start: RuntimeError: no such card\n")


def test_a_server_that_is_stopped_while_it_loads_leaves_none(recipe: Path) -> None:
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        command = [*COMMAND, "start", str(recipe), "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, preexec_fn=hear_interrupts, **pipes)
        with process:
            assert process.stdout
            process.stdout.readline()
            child = child_of(process.pid)
            process.send_signal(number)
            process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        wait_until(lambda child=child: not is_alive(child))


def hear_interrupts() -> None:
    """Undo what a shell does to the commands that it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: bool(children.read_text()))
    return int(children.read_text().split()[0])


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "zombie" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note what would be merged and converted, and write files of these names instead."""
    folders: list[Path] = []

    def make(_: object, folder: Path) -> None:
        folders.append(folder)
        (folder / export.MERGED).mkdir()
        (folder / export.GGUF).write_text("GGUF")

    monkeypatch.setattr(export, "_make", make)
    return folders


def test_a_gguf_is_made_anew_when_what_it_is_made_of_has_changed(recipe: Path, made: list[Path]) -> None:
    def gguf(**changes: object) -> Path:
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **changes}))
        return export.constrained_gguf(read_plan(recipe, None))

    assert gguf() == adapter_of(recipe) / "gguf" / "model.gguf"
    gguf()
    assert len(made) == 1
    (adapter_of(recipe) / "adapter_model.safetensors").write_bytes(WHOLE[:-1] + b"\1")
    gguf()
    assert len(made) == 2
    gguf(template="llama3")
    gguf(default_system="Be brief.")
    (recipe.parent / "model" / "config.json").write_text('{"model_type": "qwen2"}')
    gguf()
    assert len(made) == 5
    files = sorted(file.name for file in (adapter_of(recipe) / "gguf").iterdir())
    assert files == ["made_of.json", "model.gguf"]


def test_an_export_is_whole_or_not_there(recipe: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = read_plan(recipe, None)
    out = recipe.parent / "out"
    before = sorted(recipe.parent.iterdir())

    def fail(_: object, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise VitalFactoryError("converting failed")

    with monkeypatch.context() as patch:
        patch.setattr(export, "_make", fail)
        with pytest.raises(VitalFactoryError, match="converting failed"):
            export.export(plan, out)
    assert sorted(set(recipe.parent.iterdir()) - {recipe.parent / ".out.lock"}) == before
    assert export.export(plan, out) == out
    assert sorted(file.name for file in out.iterdir()) == ["merged", "model.gguf"]
    with pytest.raises(VitalFactoryError, match="is there already; name a new folder"):
        export.export(plan, out)


def test_a_model_that_takes_pictures_is_not_exported(recipe: Path) -> None:
    (recipe.parent / "model" / "config.json").write_text(json.dumps({"vision_config": {}}))
    for make in (lambda plan: export.export(plan, recipe.parent / "out"), export.constrained_gguf):
        with pytest.raises(VitalFactoryError, match="the model takes pictures"):
            make(read_plan(recipe, None))


def test_a_missing_converter_is_said_with_its_remedy(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(VitalFactoryError, match=r"pip install 'vitalfactory\[local\]'"):
        export.constrained_gguf(read_plan(recipe, None))


def test_another_gguf_in_the_converters_place_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        size = 1

        def locate(self) -> Path:
            return Path(__file__)

        def __str__(self) -> str:
            return "gguf/constants.py"

    plan = read_plan(write_recipe(tmp_path), None)
    export._check(plan)
    monkeypatch.setattr(export, "files", lambda name: [Other()])
    with pytest.raises(VitalFactoryError, match="does not have its own gguf; run pip install --force-reinstall"):
        export._check(plan)
