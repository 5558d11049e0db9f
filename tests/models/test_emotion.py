"""Emotion codes: the numbers the networks see, what they say in all forms, what is refused, and how codes are told."""

import importlib.util
import json
import multiprocessing
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.models import emotion_networks
from vitalfactory.models.emotion import (
    BANDS,
    NETWORKS,
    EmotionModels,
    Standardiser,
    band_powers,
    codes,
    sub_windows,
    summarise,
    tell,
)

needs_keras = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("keras", "h5py")),
    reason='Keras is not installed: pip install "vitalfactory[emotion]"',
)
# Keras 3.15 saves its variables by an array interface that NumPy 2 is about to drop.
saves_keras = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Layers = list[dict[str, Any]]
Tensors = dict[str, np.ndarray]
TENSORS = ("kernel", "bias", "gamma", "beta", "mean", "variance")
DENSE = {"layer": "Dense", "units": 2, "activation": "softmax", "kernel": "out.kernel", "bias": "out.bias"}
SMALL: Layers = [{"layer": "Flatten"}, DENSE]
CONVOLUTION: Layers = [
    {
        "layer": "Conv1D",
        "filters": 4,
        "kernel_size": 4,
        "padding": "same",
        "activation": "relu",
        "kernel": "a",
        "bias": "b",
    },
    {"layer": "BatchNormalization", "mean": "m", "variance": "v", "gamma": "g", "beta": "h", "epsilon": 0.01},
    {"layer": "MaxPooling1D", "pool_size": 2},
    {"layer": "Dropout", "rate": 0.3},
    {"layer": "Flatten"},
    {"layer": "Dense", "units": 6, "activation": "elu", "kernel": "c", "bias": "d"},
    DENSE,
]
STRIDES: Layers = [
    {"layer": "Conv1D", "filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "kernel": "a"},
    {"layer": "Activation", "activation": "tanh"},
    {"layer": "MaxPooling1D", "pool_size": 3, "strides": 2, "padding": "same"},
    {"layer": "Conv1D", "filters": 5, "kernel_size": 2, "kernel": "b", "bias": "c"},
    {"layer": "BatchNormalization", "mean": "m", "variance": "v"},
    {"layer": "Dense", "units": 4, "activation": "sigmoid", "kernel": "d", "bias": "e"},
    {"layer": "GlobalAveragePooling1D"},
    {"layer": "Dense", "units": 2, "kernel": "f"},
    {"layer": "Activation", "activation": "softmax"},
]  # fmt: skip
INPUTS = np.random.default_rng(7).normal(size=(300, 10))


def make_tensors(layers: Layers, seed: int = 0) -> Tensors:
    """Draw weights in the shapes that the layers ask for."""
    shapes = emotion_networks._expected(
        emotion_networks._Description.model_validate({"input": [10, 1], "layers": layers}), Path("made")
    )
    rng = np.random.default_rng(seed)
    variances = {layer["variance"] for layer in layers if "variance" in layer}
    return {
        name: (rng.uniform(0.5, 2, size=shape) if name in variances else rng.normal(size=shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_network(folder: Path, name: str, layers: Layers = SMALL, seed: int = 0) -> Tensors:
    """Write one network as safetensors and JSON."""
    from safetensors.numpy import save_file

    tensors = make_tensors(layers, seed)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps({"input": [10, 1], "layers": layers}), encoding="utf-8")
    return tensors


def write_networks(folder: Path, layers: Layers = SMALL, names: Sequence[str] = NETWORKS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        write_network(folder, name, layers, seed)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_networks(tmp_path / "networks")


def failure(folder: Path) -> str:
    """Open a folder that cannot be opened; return the one line that says why."""
    with pytest.raises(VitalFactoryError) as error:
        EmotionModels(folder)
    line = str(error.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def test_sub_windows_are_two_seconds_every_half() -> None:
    epoch = np.arange(2 * 3000, dtype=float).reshape(2, 3000)
    windows = sub_windows(epoch, 100.0)
    assert windows.shape == (57, 2, 200)
    for place in (0, 1, 56):
        np.testing.assert_array_equal(windows[place], epoch[:, 50 * place : 50 * place + 200])
    assert sub_windows(epoch[:, :249], 100).shape == (1, 2, 200)
    assert sub_windows(epoch, 100, seconds=1, step=1).shape == (30, 2, 100)
    assert np.shares_memory(windows, epoch)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((400,), (100.0,), r"shape \(400,\): expected \(channels, samples\)"),
        ((2, 400), (0.0,), "at 0.0 Hz: expected at least a sample"),
        ((2, 400), (float("nan"),), "expected at least a sample"),
        ((2, 400), (float("inf"),), "expected at least a sample"),
        ((2, 400), (100.0, 2.0, 0.001), "every 0.001 s at 100.0 Hz"),
        ((2, 400), (100.0, -2.0), "windows of -2.0 s"),
    ],
)
def test_windows_that_cannot_be_cut(shape: tuple[int, ...], arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        sub_windows(np.zeros(shape), *arguments)


def test_an_epoch_without_a_whole_window_is_too_short() -> None:
    with pytest.raises(UnusableRecord, match="too short"):
        sub_windows(np.zeros((2, 199)), 100.0)


@pytest.mark.parametrize("fs", [90.0, 100.0, 128.0, 200.0, 256.0])
@pytest.mark.parametrize("hertz", [4, 6, 7.5, 8, 10, 12, 14, 16, 20, 25, 30, 44])
def test_a_sine_lands_in_its_band(fs: float, hertz: float) -> None:
    time = np.arange(10 * int(fs)) / fs
    epoch = np.stack([np.zeros_like(time), 3 * np.sin(2 * np.pi * hertz * time)])
    powers = band_powers(sub_windows(epoch, fs), fs)
    band = next(place for place, (low, high) in enumerate(BANDS) if low <= hertz < high)
    assert powers.shape == (17, 10)
    assert powers[:, 5 + band] == pytest.approx(3 * 2 * fs / 2)  # the amplitude times half a window's samples
    assert np.delete(powers, 5 + band, axis=1).max() < 1e-6


def test_band_powers_are_sums_of_magnitudes_channel_by_channel() -> None:
    """The definition of PyEEG's bin_power, written out for one window."""
    window = np.random.default_rng(1).normal(size=(2, 256))
    expected = []
    for channel in window:
        magnitude = abs(np.fft.fft(channel))
        edges = [(int(low / 128 * 256), int(high / 128 * 256)) for low, high in BANDS]
        expected += [sum(magnitude[low:high]) for low, high in edges]
    assert band_powers(window[None], 128.0)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "fs", "message"),
    [
        ((5, 3, 200), 100.0, r"shape \(5, 3, 200\): expected \(windows, 2, samples\)"),
        ((2, 200), 100.0, r"expected \(windows, 2, samples\)"),
        ((5, 2, 160), 80.0, "80.0 Hz: the band up to 45 Hz needs at least 90 Hz"),
        ((5, 2, 160), float("nan"), "needs at least 90 Hz"),
        ((5, 2, 24), 100.0, "0.240 s: the bands need at least 0.25 s"),
    ],
)
def test_windows_without_all_bands_are_refused(shape: tuple[int, ...], fs: float, message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        band_powers(np.zeros(shape), fs)


def test_a_sample_that_is_no_number_is_told_of() -> None:
    windows = np.zeros((2, 2, 200))
    windows[1, 0, 5] = np.nan
    with pytest.raises(UnusableRecord, match="not finite"):
        band_powers(windows, 100.0)


def recordings(seed: int = 0, count: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    means, scales = 10.0 ** rng.uniform(-1, 3, size=(2, 10))
    return [means + scales * rng.normal(size=(rng.integers(1, 200), 10)) for _ in range(count)]


def test_the_standardiser_is_that_of_all_data() -> None:
    parts = recordings()
    whole = np.concatenate(parts)
    fitted = Standardiser.fit(iter(parts))
    np.testing.assert_allclose(fitted.mean, whole.mean(axis=0), rtol=1e-12)
    exact = whole.astype(np.longdouble)  # in double precision, NumPy's own sums of such numbers are off by 1e-9
    np.testing.assert_allclose(fitted.scale, exact.std(axis=0).astype(float), rtol=1e-12)
    applied = fitted.apply(whole)
    np.testing.assert_allclose(applied.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(applied.std(axis=0), 1, rtol=1e-8)


@given(st.permutations(range(6)), st.integers(0, 5))
def test_the_order_of_recordings_changes_no_bit(order: list[int], seed: int) -> None:
    parts = recordings(seed, 6)
    first, second = Standardiser.fit(parts), Standardiser.fit(parts[place] for place in order)
    assert first.to_json() == second.to_json()


def test_small_variation_on_a_large_mean_is_kept() -> None:
    rng = np.random.default_rng(2)
    parts = [1e8 + rng.normal(size=(50, 10)) for _ in range(4)]
    np.testing.assert_allclose(Standardiser.fit(parts).scale, np.concatenate(parts).std(axis=0), rtol=1e-7)


def test_numbers_that_never_vary_become_zero() -> None:
    parts = [np.full((5, 10), 0.1), np.empty((0, 10)), np.full((7, 10), 0.1)]
    fitted = Standardiser.fit(parts)
    assert fitted.scale.tolist() == [1.0] * 10
    np.testing.assert_allclose(fitted.apply(parts[0]), 0, atol=1e-12)
    assert Standardiser.fit([np.zeros((3, 10))]).scale.tolist() == [1.0] * 10
    rounded = 0.1 * (1 + 1e-13 * np.random.default_rng(1).normal(size=(9, 10)))
    assert Standardiser.fit([rounded]).scale.tolist() == [1.0] * 10


def test_the_standardiser_is_stored_to_the_bit() -> None:
    fitted = Standardiser.fit(recordings())
    read = Standardiser.from_json(json.loads(json.dumps(fitted.to_json())))
    assert read.mean.tobytes() == fitted.mean.tobytes()
    assert read.scale.tobytes() == fitted.scale.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0] * 9}, "mean: List should have at least 10 items"),
        ({"scale": [1.0] * 9 + [0.0]}, "scale.9: Input should be greater than 0"),
        ({"scale": [1.0] * 9 + [float("nan")]}, "scale.9: Input should be a finite number"),
        ({"median": []}, "median: Extra inputs are not permitted"),
    ],
)
def test_a_stored_standardiser_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=f"the emotion standardiser: {message}"):
        Standardiser.from_json({"mean": [0.0] * 10, "scale": [1.0] * 10, **change})


def test_a_standardiser_needs_finite_sub_windows() -> None:
    with pytest.raises(VitalFactoryError, match="no sub-window of a training recording"):
        Standardiser.fit([np.empty((0, 10))])
    with pytest.raises(VitalFactoryError, match=r"shape \(3, 9\): expected \(sub-windows, 10\)"):
        Standardiser.fit([np.zeros((3, 9))])
    with pytest.raises(VitalFactoryError, match="expected finite numbers"):
        Standardiser.fit([np.full((3, 10), np.inf)])


activities = arrays(np.float64, st.tuples(st.integers(1, 30), st.just(4)), elements=st.floats(0, 1))


def bits(code: int) -> list[int]:
    return [int(bit) for bit in f"{code:04b}"]


def test_codes_have_a_bit_a_network() -> None:
    activity = np.asarray([[0.9, 0.1, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1], [0.1, 0.6, 0.1, 0.9], [0.5, 0.5, 0.5, 0.5]])
    assert codes(activity, resolve=False).tolist() == [0b1000, 0b0100, 0b0101, 0]
    assert codes(activity, resolve=True).tolist() == [0b1000, 0b0100, 0b0001, 0]
    assert codes(np.empty((0, 4)), resolve=True).tolist() == []


def test_resolution_looks_at_active_networks_alone() -> None:
    """An inactive network is surer of its class 0 than any active one is of its class 1."""
    assert codes(np.asarray([[0.55, 0.6, 0.01, 0.001]]), resolve=True).tolist() == [0b0100]
    assert codes(np.asarray([[0.4, 0.3, 0.01, 0.001]]), resolve=True).tolist() == [0]
    assert codes(np.asarray([[0.2, 0.8, 0.8, 0.2]]), resolve=True).tolist() == [0b0100]


@given(activities)
def test_resolution_keeps_one_of_several_and_leaves_the_rest(activity: np.ndarray) -> None:
    kept, resolved = codes(activity, resolve=False), codes(activity, resolve=True)
    for row, before, after in zip(activity, kept.tolist(), resolved.tolist(), strict=True):
        assert bits(before) == [int(value > 0.5) for value in row]
        assert after & ~before == 0  # never a network that is not active
        assert sum(bits(after)) == min(1, sum(bits(before)))
        if sum(bits(before)) <= 1:
            assert after == before
        else:
            assert row[bits(after).index(1)] == row.max()


@given(activities, st.booleans())
def test_shares_sum_to_one(activity: np.ndarray, resolve: bool) -> None:
    found = codes(activity, resolve=resolve)
    summary = summarise(found)
    assert summary.shares.shape == (16,)
    assert summary.shares.sum() == pytest.approx(1)
    assert summary.shares[found].min() > 0
    assert summary.sequence.tolist() == found.tolist()


@pytest.mark.parametrize("activity", [np.zeros(4), np.zeros((2, 3)), np.asarray([[0.1, np.nan, 0.1, 0.1]])])
def test_activity_of_another_form_is_refused(activity: np.ndarray) -> None:
    with pytest.raises(VitalFactoryError, match=r"expected numbers, \(sub-windows, 4\)"):
        codes(activity, resolve=False)


@pytest.mark.parametrize("found", [[], [16], [-1], [[1]]])
def test_codes_of_no_epoch_are_refused(found: list[Any]) -> None:
    with pytest.raises(VitalFactoryError, match="expected at least one, each from 0 to 15"):
        summarise(np.asarray(found, dtype=np.int64))


def test_an_epoch_is_told_by_shares_and_runs() -> None:
    summary = summarise(np.asarray([8] * 5 + [0] * 3))
    assert tell(summary, "en") == "Emotion 1000 62%, 0000 38%; sequence 1000x5 0000x3"
    assert tell(summary, "zh") == "情绪1000 62%，0000 38%；序列1000x5 0000x3"
    assert tell(summarise(np.asarray([3])), "en") == "Emotion 0011 100%; sequence 0011x1"


def test_codes_of_equal_share_stand_in_order_and_small_shares_are_not_zero() -> None:
    told = tell(summarise(np.asarray([9, 2] * 2 + [1] * 996)), "en")
    assert told.startswith("Emotion 0001 100%, 0010 <1%, 1001 <1%; sequence 1001x1 0010x1")


def test_a_restless_sequence_is_cut() -> None:
    summary = summarise(np.asarray([8, 0] * 28 + [8]))
    runs = " ".join(["1000x1 0000x1"] * 6)
    assert tell(summary, "en") == f"Emotion 1000 51%, 0000 49%; sequence {runs} and 45 more runs"
    assert tell(summary, "zh").endswith(f"序列{runs}，其后还有45段")
    calm = summarise(np.asarray([8, 0] * 6))
    assert "more" not in tell(calm, "en")


@given(arrays(np.int64, st.integers(1, 400), elements=st.integers(0, 15)))
def test_a_text_is_short_whatever_the_codes(found: np.ndarray) -> None:
    assert len(tell(summarise(found), "en")) < 350


def test_other_languages_are_refused() -> None:
    with pytest.raises(VitalFactoryError, match="fr: no such language; there are"):
        tell(summarise(np.asarray([1])), "fr")


def test_activity_is_the_probability_of_class_one(folder: Path) -> None:
    found = EmotionModels(folder).activity(INPUTS)
    assert found.shape == (300, 4)
    for place in range(4):
        tensors = make_tensors(SMALL, place)
        logits = INPUTS @ tensors["out.kernel"].astype(float) + tensors["out.bias"]
        assert found[:, place] == pytest.approx(1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), abs=1e-5)


def places(steps: int, size: int, stride: int, padding: str) -> list[list[int]]:
    """List the steps that each place of a kernel or pool covers; those outside of the input are left in."""
    if padding == "valid":
        return [list(range(start, start + size)) for start in range(0, steps - size + 1, stride)]
    count = -(-steps // stride)
    before = max(0, (count - 1) * stride + size - steps) // 2
    return [list(range(place * stride - before, place * stride - before + size)) for place in range(count)]


def window_layer(layer: dict[str, Any], tensors: Tensors, data: np.ndarray) -> np.ndarray:
    """Compute a convolution or a pooling of one input, place by place."""
    size = layer.get("kernel_size") or layer["pool_size"]
    stride = layer.get("strides", 1 if layer["layer"] == "Conv1D" else size)
    found = []
    for steps in places(len(data), size, stride, layer.get("padding", "valid")):
        inside = [(offset, step) for offset, step in enumerate(steps) if 0 <= step < len(data)]
        if layer["layer"] == "Conv1D":
            found.append(sum(data[step] @ tensors[layer["kernel"]][offset] for offset, step in inside))
        else:
            found.append(np.max([data[step] for _, step in inside], axis=0))
    return np.asarray(found)


def scaled(layer: dict[str, Any], tensors: Tensors, data: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(tensors[layer["variance"]] + layer.get("epsilon", 0.001))
    data = (data - tensors[layer["mean"]]) / deviation
    return data * tensors[layer["gamma"]] + tensors[layer["beta"]] if "gamma" in layer else data


def written_out(layers: Layers, tensors: Tensors, data: np.ndarray) -> np.ndarray:
    """Compute a network's output for one input of shape (10, 1), from the definitions of its layers."""
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "linear": lambda x: x,
        "relu": lambda x: np.maximum(x, 0),
        "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
        "tanh": np.tanh,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "softmax": lambda x: np.exp(x) / np.exp(x).sum(),
    }
    for layer in layers:
        kind = layer["layer"]
        if kind in ("Conv1D", "MaxPooling1D"):
            data = window_layer(layer, tensors, data)
        elif kind == "Dense":
            data = data @ tensors[layer["kernel"]]
        elif kind == "BatchNormalization":
            data = scaled(layer, tensors, data)
        elif kind == "GlobalAveragePooling1D":
            data = data.mean(axis=0)
        elif kind == "Flatten":
            data = data.reshape(-1)
        if "bias" in layer:
            data = data + tensors[layer["bias"]]
        data = functions[layer.get("activation", "linear")](data)
    return data


@pytest.mark.parametrize("layers", [CONVOLUTION, STRIDES], ids=["convolution", "strides"])
def test_activity_is_that_of_the_layers_written_out(tmp_path: Path, layers: Layers) -> None:
    found = EmotionModels(write_networks(tmp_path / "networks", layers)).activity(INPUTS[:8])
    for place in range(4):
        tensors = {name: value.astype(float) for name, value in make_tensors(layers, place).items()}
        expected = [written_out(layers, tensors, row[:, None])[1] for row in INPUTS[:8]]
        assert found[:, place] == pytest.approx(expected, abs=1e-5)


def test_a_row_does_not_depend_on_the_others(folder: Path) -> None:
    models = EmotionModels(folder)
    whole = models.activity(INPUTS)
    np.testing.assert_allclose(models.activity(INPUTS[270:271]), whole[270:271], atol=1e-6)
    assert models.activity(np.empty((0, 10))).shape == (0, 4)


def answer(models: EmotionModels, queue: Any) -> None:
    queue.put(models.activity(INPUTS))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of every fork
def test_a_forked_worker_asks_the_networks_too(tmp_path: Path) -> None:
    """After its parent has computed in several threads, none of which a fork takes along."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        models = EmotionModels(write_networks(tmp_path / "networks", CONVOLUTION))
        torch.ones(600, 600) @ torch.ones(600, 600)
        expected = models.activity(INPUTS)
        assert torch.get_num_threads() == 2
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        worker = context.Process(target=answer, args=(models, queue), daemon=True)
        worker.start()
        assert queue.get(timeout=60).tobytes() == expected.tobytes()
        worker.join(timeout=60)
    finally:
        torch.set_num_threads(before)


def test_the_digest_is_of_names_and_contents(folder: Path, tmp_path: Path) -> None:
    first = EmotionModels(folder).digest
    assert len(first) == 64
    assert EmotionModels(write_networks(tmp_path / "same")).digest == first
    assert EmotionModels(write_networks(tmp_path / "turned", names=NETWORKS[::-1])).digest != first
    write_network(folder, "LVLA", seed=9)
    assert EmotionModels(folder).digest != first
    (folder / "README").write_text("of the networks")
    assert EmotionModels(folder).digest != first


@pytest.mark.parametrize("inputs", [np.zeros((3, 9)), np.zeros(10), np.full((1, 10), np.nan)])
def test_inputs_of_another_form_are_refused(folder: Path, inputs: np.ndarray) -> None:
    with pytest.raises(VitalFactoryError, match="band powers"):
        EmotionModels(folder).activity(inputs)


def test_all_missing_networks_are_named(folder: Path, tmp_path: Path) -> None:
    assert "no such folder; expected one with NAME.safetensors with NAME.json" in failure(tmp_path / "nowhere")
    (folder / "HVHA.json").unlink()
    (folder / "LVHA.safetensors").unlink()
    (folder / "LVHA.json").rename(folder / "LVHA.pkl")
    (folder / "LVLA.safetensors").unlink()
    (folder / "LVLA.json").rename(folder / "emotion_2classes_LVLA.h5")
    line = failure(folder)
    assert "no network for HVHA (there is only HVHA.safetensors), LVHA (there is only LVHA.pkl)" in line
    assert "LVLA (there is only emotion_2classes_LVLA.h5)" in line
    assert "HVLA (" not in line
    assert "expected NAME.safetensors with NAME.json, or NAME.keras, or NAME.h5" in line
    assert "pickled networks can run code" in line


def test_a_network_in_two_forms_is_not_chosen_from(folder: Path) -> None:
    (folder / "HVLA.h5").write_bytes(b"")
    assert "holds HVLA twice, as HVLA.safetensors and HVLA.h5; keep one of them" in failure(folder)


class Payload:
    """What a pickle of this runs when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('the pickle was opened')",)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, b"\xff" * 8 + b"{}", pickle.dumps(Payload())],
    ids=["empty", "zeros", "oversized header", "pickle"],
)
def test_what_is_no_safetensors_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / "HVLA.safetensors").write_bytes(content)
    assert "HVLA.safetensors: not a safetensors file" in failure(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    whole = (folder / "LVHA.safetensors").read_bytes()
    (folder / "LVHA.safetensors").write_bytes(whole[:-4])
    assert "LVHA.safetensors: not a safetensors file" in failure(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out.kernel": np.zeros((10, 3), np.float32)}, "out.kernel: HVHA.json says (10, 2), the file (10, 3)"),
        ({"more": np.zeros(1, np.float32)}, "more: HVHA.json says nothing of it, the file (1,)"),
        ({"out.bias": None}, "out.bias: HVHA.json says (2,), the file does not hold it"),
        ({"out.bias": np.zeros(2, np.int64)}, "out.bias: is I64; expected floating point"),
        ({"out.bias": np.asarray([np.nan, 0], np.float32)}, "not the probabilities of 2 classes"),
        ({"out.kernel": np.full((10, 2), np.inf, np.float32)}, "not the probabilities of 2 classes"),
    ],
)
def test_tensors_must_be_those_of_the_layers(folder: Path, change: Tensors, message: str) -> None:
    from safetensors.numpy import save_file

    tensors = {name: value for name, value in {**make_tensors(SMALL), **change}.items() if value is not None}
    save_file(tensors, folder / "HVHA.safetensors")
    assert message in failure(folder)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_precision_are_read(folder: Path, dtype: type) -> None:
    from safetensors.numpy import save_file

    before = EmotionModels(folder).activity(INPUTS)
    save_file({name: value.astype(dtype) for name, value in make_tensors(SMALL).items()}, folder / "HVHA.safetensors")
    np.testing.assert_allclose(EmotionModels(folder).activity(INPUTS), before, atol=0.01)


CONV = {"layer": "Conv1D", "filters": 4, "kernel_size": 3, "kernel": "k"}
WIDE = {**CONV, "filters": 2048}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers: List should have at least 1 item"),
        ([{"layer": "Flatten"}] * 65, "layers: List should have at most 64 items"),
        ([{"layer": "Lambda"}], "layers.0: Input tag 'Lambda' found using 'layer' does not match any of the expected"),
        ([{**DENSE, "code": "x"}], "layers.0.Dense.code: Extra inputs are not permitted"),
        ([{**DENSE, "units": 10**9}], "layers.0.Dense.units: Input should be less than or equal to 2048"),
        ([{**CONV, "kernel_size": 17}], "kernel_size: Input should be less than"),
        ([{**DENSE, "activation": "selu"}], "layers.0.Dense.activation: Input should be 'linear', 'relu'"),
        ([DENSE], "its output is (10, 2); expected (2,)"),
        ([{"layer": "Flatten"}, {**DENSE, "units": 3}], "its output is (3,); expected (2,)"),
        ([{"layer": "Flatten"}, CONV], "layers.1 (Conv1D): takes (steps, channels), but its input is (10,)"),
        ([{**CONV, "kernel_size": 11}], "layers.0 (Conv1D): takes at least 11 steps, but its input has 10"),
        ([CONV, {**CONV, "kernel_size": 2}], "layers.1 (Conv1D): k would be (2, 4, 4), and (3, 1, 4) elsewhere"),
        (
            [WIDE, {**WIDE, "kernel_size": 8, "kernel": "l"}, {"layer": "Flatten"}, DENSE],
            "weights; a small network has at most 16777216",
        ),
        ([{"layer": "Flatten"}, {**DENSE, "activation": "linear"}], "expected a network that ends with softmax"),
        ([{"layer": "Flatten"}, {**DENSE, "activation": "sigmoid"}], "expected a network that ends with softmax"),
    ],
)  # fmt: skip
def test_layers_that_make_no_such_network_are_refused(folder: Path, layers: Layers, message: str) -> None:
    (folder / "HVHA.json").write_text(json.dumps({"input": [10, 1], "layers": layers}))
    assert message in failure(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "HVHA.json:1: not valid JSON"),
        ("[]", "HVHA.json: : Input should be a valid dictionary"),
        ("[" * 100_000, "HVHA.json: not the layers of a network"),
        ('{"input": ' + "1" * 5000 + "}", "HVHA.json: not the layers of a network"),
        ('{"input": [14, 1], "layers": []}', "HVHA.json: input.0: Input should be 10"),
        ('{"input": [10, 1]}', "HVHA.json: layers: Field required"),
        (" " * (2**20 + 1), "HVHA.json: larger than the 1 MiB"),
    ],
    ids=["cut off", "list", "nested", "long number", "input", "no layers", "large"],
)
def test_a_description_of_another_form_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "HVHA.json").write_text(text)
    assert message in failure(folder)


def test_a_file_too_large_is_not_opened(folder: Path) -> None:
    with (folder / "HVHA.safetensors").open("ab") as file:
        file.truncate(2**28 + 1)
    assert "HVHA.safetensors: larger than the 256 MiB" in failure(folder)


def test_importing_takes_nothing_heavy() -> None:
    code = "import sys, vitalfactory.models.emotion\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "keras", "h5py", "safetensors", "scipy", "transformers"} & set(done.stdout.split())


def make_keras(layers: Layers, tensors: Tensors) -> Any:
    """Build what the JSON describes in Keras, with the same weights."""
    emotion_networks._import_keras(Path("made"))
    import keras

    model = keras.Sequential([keras.Input((10, 1))])
    for layer in layers:
        settings = {name: value for name, value in layer.items() if name not in ("layer", *TENSORS)}
        if layer["layer"] in ("Conv1D", "Dense"):
            settings["use_bias"] = "bias" in layer
        if layer["layer"] == "BatchNormalization":
            settings |= {"scale": "gamma" in layer, "center": "beta" in layer}
        model.add(getattr(keras.layers, layer["layer"])(**settings))
        model.layers[-1].set_weights([tensors[layer[name]] for name in TENSORS if name in layer])
    return model


def write_keras(folder: Path, layers: Layers, suffixes: Sequence[str]) -> Path:
    folder.mkdir()
    for seed, (name, suffix) in enumerate(zip(NETWORKS, suffixes, strict=True)):
        make_keras(layers, make_tensors(layers, seed)).save(folder / f"{name}{suffix}")
    return folder


@needs_keras
@saves_keras
@pytest.mark.parametrize("layers", [CONVOLUTION, STRIDES], ids=["convolution", "strides"])
def test_all_forms_say_the_same(tmp_path: Path, layers: Layers) -> None:
    plain = EmotionModels(write_networks(tmp_path / "plain", layers))
    models = EmotionModels(write_keras(tmp_path / "keras", layers, (".keras", ".h5", ".keras", ".h5")))
    expected = plain.activity(INPUTS)
    np.testing.assert_allclose(models.activity(INPUTS), expected, atol=1e-5)
    assert 0.01 < (expected > 0.5).mean() < 0.99
    assert models.digest != plain.digest


@needs_keras
@saves_keras
def test_forms_may_be_mixed_and_models_compiled(folder: Path) -> None:
    expected = EmotionModels(folder).activity(INPUTS)
    for name, suffix in (("HVLA", ".h5"), ("LVLA", ".keras")):
        tensors = make_tensors(SMALL, NETWORKS.index(name))
        model = make_keras(SMALL, tensors)
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        model.fit(INPUTS[:4], np.eye(2)[[0, 1, 0, 1]], verbose=0)
        model.set_weights(list(tensors.values()))
        (folder / f"{name}.json").unlink()
        (folder / f"{name}.safetensors").unlink()
        model.save(folder / f"{name}{suffix}")
    np.testing.assert_allclose(EmotionModels(folder).activity(INPUTS), expected, atol=1e-5)


def as_keras_2(path: Path) -> None:
    """Describe the layers of an HDF5 file as Keras 2 did."""
    import h5py

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {name: plain(part) for name, part in value.items() if name not in ("module", "registered_name")}
            return "float32" if kept.get("class_name") == "DTypePolicy" else kept
        return [plain(part) for part in value] if isinstance(value, list) else value

    with h5py.File(path, "r+") as file:
        config = plain(json.loads(file.attrs["model_config"]))
        for layer in config["config"]["layers"]:
            settings = layer["config"]
            if layer["class_name"] == "InputLayer":
                settings["batch_input_shape"] = settings.pop("batch_shape")
                del settings["optional"]
            if layer["class_name"] == "BatchNormalization":
                settings["axis"] = [2]
                for name in ("synchronized", "renorm", "renorm_clipping", "renorm_momentum"):
                    settings.pop(name, None)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.10.0"


@needs_keras
@saves_keras
def test_a_file_of_keras_2_is_read(tmp_path: Path) -> None:
    folder = write_keras(tmp_path / "keras", CONVOLUTION, (".h5",) * 4)
    expected = EmotionModels(folder).activity(INPUTS)
    for path in folder.iterdir():
        as_keras_2(path)
    assert EmotionModels(folder).activity(INPUTS).tobytes() == expected.tobytes()


def replace_hvha(folder: Path, suffix: str) -> Path:
    """Take the first network away; return where a Keras file is to stand."""
    (folder / "HVHA.json").unlink()
    (folder / "HVHA.safetensors").unlink()
    return folder / f"HVHA{suffix}"


@needs_keras
@saves_keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_and_not_run(folder: Path, tmp_path: Path, suffix: str) -> None:
    emotion_networks._import_keras(Path("made"))
    import keras

    trace = tmp_path / "was_run"
    model = keras.Sequential([keras.Input((10, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    path = replace_hvha(folder, suffix)
    model.save(path)
    assert EmotionModels(folder).activity(INPUTS).shape == (300, 4)
    at = str(trace)
    harmful = keras.layers.Lambda(lambda data: (data, exec(f"open({at!r}, 'w').close()"))[0])
    model = keras.Sequential([keras.Input((10, 1)), harmful, *model.layers])
    model.save(path)
    trace.unlink()  # making the file runs the layer, opening it must not
    assert "holds a Lambda layer or a function of its own, which is code that would be run" in failure(folder)
    assert not trace.exists()


@needs_keras
@saves_keras
@pytest.mark.parametrize(
    ("takes", "gives", "end", "message"),
    [
        (14, 2, "softmax", "takes (None, 14, 1) and gives (None, 2); expected (None, 10, 1) and (None, 2)"),
        (10, 4, "softmax", "takes (None, 10, 1) and gives (None, 4); expected (None, 10, 1) and (None, 2)"),
        (10, 2, "sigmoid", "expected a network that ends with softmax"),
    ],
)
def test_a_keras_model_of_other_shapes_is_refused(folder: Path, takes: int, gives: int, end: str, message: str) -> None:
    emotion_networks._import_keras(Path("made"))
    import keras

    layers = [keras.Input((takes, 1)), keras.layers.Flatten(), keras.layers.Dense(gives, end)]
    keras.Sequential(layers).save(replace_hvha(folder, ".h5"))
    assert message in failure(folder)


@needs_keras
@saves_keras
def test_a_keras_model_is_counted_before_it_takes_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emotion_networks._import_keras(Path("made"))
    import keras

    devices = []
    load = emotion_networks._load_keras

    def followed(keras: Any, path: Path, device: str) -> Any:
        devices.append(device)
        return load(keras, path, device)

    monkeypatch.setattr(emotion_networks, "_load_keras", followed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(50), keras.layers.Dense(2, "softmax")]
    keras.Sequential([keras.Input((10, 1)), *layers]).save(replace_hvha(folder, ".keras"))
    monkeypatch.setattr(emotion_networks, "MAX_WEIGHTS", 651)
    assert "HVHA.keras: 652 weights; a small network has at most 651" in failure(folder)
    assert devices == ["meta"]


def change_member(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one file of a .keras archive."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members.get(name, b""))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


@needs_keras
@saves_keras
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda _: b"{", "not a Keras file (Expecting property name"),
        ("config.json", lambda _: b"[]", "not a Keras file (its layers are no JSON object)"),
        ("config.json", lambda _: b"[" * 100_000, "not a Keras file (maximum recursion depth"),
        ("config.json", lambda _: b"{}", "Keras cannot read it ("),
        ("config.json", lambda text: text + b" " * 2**20, "unpacked, larger than a small network may be"),
        ("config.json", lambda text: text.replace(b'"units": 2', b'"units": 1e9'), "units is 1000000000.0; a small"),
        ("config.json", lambda text: text.replace(b'"units": 2', b'"units": 3'), "Keras cannot read it ("),
        ("config.json", lambda text: text.replace(b'"keras.layers"', b'"os"'), "os."),
        ("model.weights.h5", lambda _: b"no HDF5", "not a Keras file ("),
        ("model.weights.h5", lambda _: bytes(2**28 + 1), "unpacked, larger than a small network may be"),
        ("payload.py", lambda _: b"", "HVHA.keras: holds ['config.json', 'metadata.json', 'model.weights.h5', 'pay"),
    ],
)
def test_a_damaged_keras_archive_is_refused(
    folder: Path, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    path = replace_hvha(folder, ".keras")
    make_keras(SMALL, make_tensors(SMALL)).save(path)
    change_member(path, name, change)
    assert message in failure(folder)


@needs_keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps(Payload())], ids=["empty", "zip", "pickle"])
def test_what_is_no_keras_file_is_refused(folder: Path, suffix: str, content: bytes) -> None:
    path = replace_hvha(folder, suffix)
    path.write_bytes(content)
    assert f"HVHA{suffix}: not a Keras file (" in failure(folder)


def add_external_link(file: Any) -> None:
    import h5py

    file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def add_soft_link(file: Any) -> None:
    import h5py

    file["elsewhere"] = h5py.SoftLink("/model_weights")


def add_external_array(file: Any) -> None:
    file.create_dataset("elsewhere", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def add_virtual_array(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((10,), "u1")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "values", (10,))
    file.create_virtual_dataset("elsewhere", layout)


def add_large_array(file: Any) -> None:
    file.create_dataset("large", (2**28 + 1,), "u1", chunks=(2**20,), compression="gzip")


def drop_layers(file: Any) -> None:
    del file.attrs["model_config"]


@needs_keras
@saves_keras
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_external_link, "links or arrays that lie outside of it"),
        (add_soft_link, "links or arrays that lie outside of it"),
        (add_external_array, "links or arrays that lie outside of it"),
        (add_virtual_array, "links or arrays that lie outside of it"),
        (add_large_array, "unpacked, larger than the 256 MiB"),
        (drop_layers, "holds weights without their layers; save the whole model with model.save"),
    ],
)
def test_a_damaged_hdf5_file_is_refused(folder: Path, change: Callable[[Any], None], message: str) -> None:
    import h5py

    path = replace_hvha(folder, ".h5")
    make_keras(SMALL, make_tensors(SMALL)).save(path)
    with h5py.File(path, "r+") as file:
        change(file)
    assert message in failure(folder)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({"class_name": "Lambda", "config": {}}, "holds a Lambda layer or a function of its own"),
        (
            {"class_name": "Dense", "config": {"activation": {"class_name": "function", "config": "f"}}},
            "holds a Lambda",
        ),
        ({"class_name": "Dense", "module": "os", "config": {}}, "os.Dense: not among the layers that are read (Input"),
        ({"class_name": "TorchModuleWrapper", "module": "keras.layers"}, "keras.layers.TorchModuleWrapper: not among"),
        ({"class_name": ["Dense"]}, "keras.['Dense']: not among the layers"),
        ({"class_name": "Dense", "compile_config": {"optimizer": {"class_name": "Adam"}}}, "keras.Adam: not among"),
        ({"class_name": "Conv1D", "config": {"kernel_size": [10**9]}}, "kernel_size is 1000000000; a small network"),
        ({"class_name": "Conv1D", "config": {"filters": float("nan")}}, "filters is nan; a small network has at most"),
    ],
)
def test_every_object_of_a_keras_description_is_looked_at(inner: dict[str, Any], message: str) -> None:
    """Without Keras, which has no part in it."""
    deep = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Sequential", "config": {"layers": [inner]}}]},
    }
    for config in (deep, {"class_name": "Sequential", "compile_config": {"class_name": "Adam"}, "config": [[inner]]}):
        with pytest.raises(VitalFactoryError) as error:
            emotion_networks._check_keras_config(config, Path("HVHA.h5"))
        assert str(error.value).startswith("HVHA.h5: ")
        assert message in str(error.value)


def test_the_outermost_object_is_looked_at_and_how_it_was_trained_is_not() -> None:
    with pytest.raises(VitalFactoryError, match="holds a Lambda layer"):
        emotion_networks._check_keras_config({"class_name": "Lambda", "config": {}}, Path("HVHA.h5"))
    trained = {"optimizer": {"class_name": "Adam", "module": "keras.optimizers"}}
    emotion_networks._check_keras_config({"class_name": "Sequential", "compile_config": trained}, Path("HVHA.h5"))


def test_a_keras_description_has_few_layers() -> None:
    flat = {"class_name": "Flatten", "config": {}}
    emotion_networks._check_keras_config({"class_name": "Sequential", "config": [flat] * 64}, Path("HVHA.h5"))
    with pytest.raises(VitalFactoryError, match="65 layers; a small network has at most 64"):
        emotion_networks._check_keras_config({"class_name": "Sequential", "config": [flat] * 65}, Path("HVHA.h5"))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_without_keras_its_files_ask_for_it(folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    replace_hvha(folder, suffix).write_bytes(b"whatever")
    line = failure(folder)
    assert 'needs Keras, which is not installed: pip install "vitalfactory[emotion]"' in line
    assert "or bring the network as safetensors and JSON" in line


def test_keras_over_something_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(backend=SimpleNamespace(backend=lambda: "tensorflow"))
    monkeypatch.setitem(sys.modules, "keras", other)
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace())
    replace_hvha(folder, ".h5").write_bytes(b"whatever")
    assert "Keras has been imported over tensorflow; expected torch: set KERAS_BACKEND=torch" in failure(folder)
