"""Training on several processes through LLaMA-Factory's own launch, on the CPU: ZeRO-2, ZeRO-3, a kill, two nodes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open

from converters import ecg
from tests.test_recipes import ALL, RECIPES, note_row, register
from tests.tiny import make_qwen2
from vitalfactory.dataset.rules import zero_stage
from vitalfactory.files import ROOT, lock, read_json, read_jsonl
from vitalfactory.recipes import read_recipe

pytestmark = pytest.mark.slow
ZERO2, ZERO3 = "ecg_qwen7b_lora_zero2.yaml", "clinical_qwen7b_lora_zero3.yaml"
STEPS, KEPT = 12, 4
"""Of two epochs: the run is cut off within the first one."""
COMPILED = ROOT / ".pytest_cache" / "torch_extensions"
COMPILE = "from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder; ShareMemCommBuilder().load()"
"""What DeepSpeed compiles of itself on its first use on a CPU, which takes minutes."""
PATIENCE = 600


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Show no GPU, and what DeepSpeed compiles of itself, kept from one run of the tests to the next."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(COMPILED)}
    variables = {**os.environ, **own, "FORCE_TORCHRUN": "1"}
    if shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles a part of itself, and there is no C++ compiler")
    COMPILED.mkdir(parents=True, exist_ok=True)
    with lock(COMPILED / "tests.lock"):
        for left in COMPILED.rglob("lock"):  # of a compilation that was killed: PyTorch would wait for it for ever
            left.unlink()
        subprocess.run([sys.executable, "-c", COMPILE], env=variables, check=True, capture_output=True)
    return variables


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_qwen2(root / "model")
    ecg.convert(synthetic=60, root=root, workers=1)
    register(root, "clinical", [note_row(number) for number in range(60)])
    return root


def start(place: Path, environment: dict[str, str], recipe: str, out: str, **launch: object) -> "subprocess.Popen[str]":
    changes = {
        "model_name_or_path": "model",
        "output_dir": out,
        "deepspeed": ROOT / str(read_recipe(ROOT / "train_configs" / recipe)["deepspeed"]),
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": KEPT,
        "logging_steps": 1,
        "bf16": "false",
        "preprocessing_num_workers": 1,
        "dataloader_num_workers": 0,
    }
    command = ["llamafactory-cli", "train", str(ROOT / "train_configs" / recipe)]
    command += [f"{key}={value}" for key, value in changes.items()]
    variables = environment | {name: str(value) for name, value in launch.items()}
    return subprocess.Popen(
        command, cwd=place, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def end(*running: "subprocess.Popen[str]") -> None:
    """Wait for runs to end well."""
    try:
        for process in running:
            told, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, told[-6000:]
    finally:
        for process in running:
            kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill a run with all that it has started: torchrun puts its workers into sessions of their own."""
    if process.poll() is not None:
        return
    whole = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in whole:
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs(whole)
    process.communicate()


def losses(out: Path) -> list[float]:
    return [entry["loss"] for entry in read_json(out / "trainer_state.json")["log_history"] if "loss" in entry]


def has_learned(out: Path) -> bool:
    """Say whether every LoRA has left its start, which is zero on one side."""
    with safe_open(out / "adapter_model.safetensors", framework="pt") as adapter:
        return all(adapter.get_tensor(name).any() for name in adapter.keys() if "lora_B" in name)  # noqa: SIM118


def test_every_recipe_for_several_processes_is_tried_here() -> None:
    assert {recipe.name for recipe in set(ALL) - set(RECIPES)} == {ZERO2, ZERO3}


@pytest.fixture(scope="module")
def unbroken(place: Path, environment: dict[str, str]) -> Path:
    end(start(place, environment, ZERO2, "saves/unbroken", NPROC_PER_NODE=2))
    return place / "saves" / "unbroken"


def test_zero2_trains_on_two_processes(unbroken: Path) -> None:
    assert zero_stage(read_recipe(ROOT / "train_configs" / ZERO2)) == 2
    assert len(losses(unbroken)) == STEPS
    assert has_learned(unbroken)
    parts = {path.name for path in unbroken.glob(f"checkpoint-{STEPS}/global_step*/*optim_states.pt")}
    assert len(parts) == 2  # each process keeps its half of the optimiser


def test_a_killed_run_goes_on_to_the_same_losses(place: Path, environment: dict[str, str], unbroken: Path) -> None:
    out = place / "saves" / "broken"
    process = start(place, environment, ZERO2, "saves/broken", NPROC_PER_NODE=2)
    limit = time.monotonic() + PATIENCE
    while not (out / f"checkpoint-{KEPT}" / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < limit
        time.sleep(0.05)
    kill(process)
    assert not (out / "trainer_state.json").exists()
    end(start(place, environment, ZERO2, "saves/broken", NPROC_PER_NODE=2))
    taken = [row["current_steps"] for row in read_jsonl(out / "trainer_log.jsonl")]
    assert taken.count(1) == 1  # it has not begun anew
    assert losses(out) == pytest.approx(losses(unbroken), abs=1e-4)


def test_zero3_trains_on_two_nodes(place: Path, environment: dict[str, str]) -> None:
    assert zero_stage(read_recipe(ROOT / "train_configs" / ZERO3)) == 3
    nodes = {"NNODES": 2, "NPROC_PER_NODE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    end(*[start(place, environment, ZERO3, "saves/nodes", **nodes, NODE_RANK=rank) for rank in (0, 1)])
    out = place / "saves" / "nodes"
    assert len(losses(out)) == STEPS
    assert has_learned(out)
    parts = {path.name for path in out.glob(f"checkpoint-{STEPS}/global_step*/*optim_states.pt")}
    assert len(parts) == 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
