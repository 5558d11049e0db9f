"""The networks over ECG signals: their layers as published, what they refuse, and that padding does not count."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.models.encoders import OPTIONS, tiny
from vitalfactory.errors import VitalFactoryError
from vitalfactory.models import mamba, mscnn
from vitalfactory.models.encoder import (
    CODE,
    Reading,
    components,
    find_architecture,
    fit_reading,
    make_network,
    run_network,
    stack,
    windows,
)

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def layers_of(stream: Any, kind: str) -> list[Any]:
    return [layer for layer in stream if type(layer).__name__ == kind]


@pytest.mark.parametrize("streams", [1, 2])
def test_mscnn_is_built_as_published(streams: int) -> None:
    network = mscnn.build(600, streams)
    assert len(network.streams) == streams
    for stream, first in zip(network.streams, (3, 7)[:streams], strict=True):
        convolutions = layers_of(stream, "Conv1d")
        assert [layer.out_channels for layer in convolutions] == CHANNELS
        assert [layer.in_channels for layer in convolutions] == [1, *CHANNELS[:-1]]
        assert [layer.kernel_size for layer in convolutions] == [(first,)] * 4 + [(3,)] * 9
        kinds = [type(layer).__name__ for layer in stream]
        seen = [kinds[:place].count("Conv1d") for place, kind in enumerate(kinds) if kind == "MaxPool1d"]
        assert seen == [2, 4, 7, 10, 13]
        assert [layer.kernel_size for layer in layers_of(stream, "MaxPool1d")] == [3, 2, 2, 2, 2]
        assert kinds.count("BatchNorm1d") == kinds.count("ReLU") == 13
    joined = [(layer.in_features, layer.out_features) for layer in network.joined if hasattr(layer, "in_features")]
    assert joined == [(streams * 512 * 12, 256), (256, 64)]
    assert network.width == 64


@pytest.mark.parametrize("samples", [48, 59, 600, 1201])
def test_mscnn_takes_windows_of_any_length(samples: int) -> None:
    import torch

    network = mscnn.build(samples, 1).eval()
    with torch.inference_mode():
        features = network(torch.randn(3, samples), torch.full((3,), samples))
    assert features.shape == (3, 64)
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize(
    ("name", "samples", "options", "message"),
    [
        ("mscnn", 47, {"streams": 2}, "--seconds: the network's poolings need at least 0.4 s"),
        ("mscnn", 600, {"streams": 3}, "--streams 3: expected 1 or 2"),
        ("mscnn", 600, {"streams": 0}, "--streams 0: expected 1 or 2"),
        ("mamba", 23, {"width": 8, "layers": 1}, "--seconds: a window must hold at least 0.2 s"),
        ("mamba", 240, {"width": 1, "layers": 1}, "--width 1: expected at least 2"),
        ("mamba", 240, {"width": 8, "layers": 0}, "--layers 0: expected at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, samples: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        find_architecture(name).build(samples, **options)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(VitalFactoryError, match="mscn: no such architecture, did you mean 'mscnn'"):
        find_architecture("mscn")


def seasoned_mamba(samples: int) -> Any:
    """Build the network with the statistics of batch normalisation at other than their first values."""
    import torch

    torch.manual_seed(5)
    network = mamba.build(samples, 8, 2)
    for _ in range(5):
        network(2 * torch.randn(4, samples) + 0.5, torch.full((4,), samples))
    return network.eval()


@pytest.mark.parametrize("length", [25, 240, 601, 1199, 1200])
def test_the_padding_of_a_record_does_not_count(length: int) -> None:
    """Neither its length, nor what stands in the batch beside it."""
    import torch
    from torch.nn.functional import pad

    network = seasoned_mamba(1200)
    signal, other = torch.randn(1, length), torch.randn(1, 1200)
    with torch.inference_mode():
        alone = network(signal, torch.tensor([length]))
        for padding in (1, 7, 24, 300):
            padded = network(pad(signal, (0, padding)), torch.tensor([length]))
            torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)
        together = network(torch.cat((pad(signal, (0, 1200 - length)), other)), torch.tensor([length, 1200]))
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
        changed = network(signal + torch.randn(1, length), torch.tensor([length]))
    assert float((changed - alone).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["mscnn", "mamba"])
def test_gradients_reach_every_weight(name: str) -> None:
    import torch

    settings = tiny(name)
    network = make_network(find_architecture(name), settings).train()
    signals, lengths = torch.randn(4, settings.samples), torch.full((4,), settings.samples)
    features = network["trunk"](signals, lengths)
    assert features.shape == (4, network["trunk"].width)
    network["head"](features).sum().backward()
    without = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert without in ([], ["trunk.mamba.embeddings.weight"])
    reached = [float(weight.grad.abs().sum()) > 0 for weight in network.parameters() if weight.grad is not None]
    assert sum(reached) > 0.5 * len(reached)
    assert reached[0]


def test_the_same_settings_give_the_same_weights() -> None:
    import torch

    first, second, other = (make_network(find_architecture("mamba"), tiny(seed=seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert not all(map(torch.equal, first.state_dict().values(), other.state_dict().values()))


def test_nothing_is_said_of_kernels_that_are_not_there() -> None:
    code = (
        "import torch\nfrom vitalfactory.models import mamba\nnetwork = mamba.build(240, 8, 1)\n"
        "for mode in (True, False):\n    network.train(mode)(torch.randn(2, 240), torch.full((2,), 240))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["cross-validate", "--help"], ["predict", "-h"]]
)
@pytest.mark.parametrize("name", ["mscnn", "mamba"])
def test_help_imports_nothing_heavy(name: str, arguments: list[str]) -> None:
    code = (
        "import runpy, sys\nmodule, *sys.argv[1:] = sys.argv[1:]\n"
        "try:\n    runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "finally:\n    print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", code, f"vitalfactory.models.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m vitalfactory.models.{name}")
    heavy = {"torch", "transformers", "llamafactory", "datasets", "scipy", "sklearn", "matplotlib", "pandas"}
    assert not heavy & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("length", "samples", "starts"),
    [(5, 10, [0]), (10, 10, [0]), (11, 10, [0, 1]), (20, 10, [0, 10]), (25, 10, [0, 8, 15])],
)
def test_windows_cover_a_record(length: int, samples: int, starts: list[int]) -> None:
    signal = np.arange(length, dtype=np.float32)
    parts = list(windows(signal, samples))
    assert [int(part[0]) for part in parts] == starts
    assert {len(part) for part in parts} == {min(length, samples)}
    assert set(np.concatenate(parts)) == set(signal)


def test_windows_are_padded_at_their_end() -> None:
    signals, lengths = stack([np.ones(3, np.float32), np.full(5, 2, np.float32)], 5)
    assert signals.tolist() == [[1, 1, 1, 0, 0], [2, 2, 2, 2, 2]]
    assert lengths.tolist() == [3, 5]


def test_a_record_is_the_mean_of_its_windows() -> None:
    settings = tiny(batch_size=2)
    network = make_network(find_architecture("mamba"), settings)
    signal = np.random.default_rng(1).normal(size=3 * settings.samples).astype(np.float32)
    short = signal[:100]
    logits, features = run_network(network, [signal, short], settings, "test")
    parts = list(windows(signal, settings.samples))
    each_logit, each_features = run_network(network, [*parts, short], settings, "test")
    assert logits == pytest.approx([each_logit[:3].mean(), each_logit[3]], abs=1e-5)
    np.testing.assert_allclose(features, [each_features[:3].mean(0), each_features[3]], atol=1e-5)
    assert [len(part) for part in run_network(network, [], settings, "test")] == [0, 0]


def test_a_code_is_of_principal_components() -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(200, 2)) * (5, 1)
    features = hidden @ rng.normal(size=(2, 10)) + 3
    scores = components(features)
    assert scores.shape == (200, CODE)
    assert scores[:, :2].std(axis=0) == pytest.approx([1, 1])
    assert abs(np.corrcoef(scores[:, 0], scores[:, 1])[0, 1]) < 1e-6
    assert components(np.ones((5, 3))).tolist() == np.zeros((5, CODE)).tolist()
    np.testing.assert_allclose(components(features[:, :1])[:, 1:], 0)


def test_a_reading_calibrates_and_maps_another_networks_features() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 8))
    truth = 1 / (1 + np.exp(-(2 * features[:, 0] - 1)))
    af = rng.random(400) < truth
    target = components(features)
    turned = features @ np.linalg.qr(rng.normal(size=(8, 8)))[0]  # what another network would call the same
    reading = fit_reading(10 * features[:, 0], turned, af, target)
    probability, code = reading.read(10 * features[:, 0], turned)
    assert probability.mean() == pytest.approx(af.mean(), abs=0.01)
    assert abs(probability - truth).mean() < 0.05
    assert code.min() >= 0
    assert code.max() <= 99
    assert abs(code - (50 + 15 * target)).max() < 2
    one_kind = fit_reading(features[:, 0], turned, np.zeros(400, bool), target)
    assert (one_kind.slope, one_kind.intercept) == (1, 0)


def test_a_code_has_two_digits_however_far_it_is() -> None:
    reading = Reading(1, 0, np.eye(2, CODE) * 100, np.zeros(CODE))
    _, code = reading.read(np.zeros(2), np.asarray([[1.0, 0.0], [-1.0, 0.0]]))
    assert code.tolist() == [[99, 50, 50, 50, 50, 50], [0, 50, 50, 50, 50, 50]]


def test_tiny_options_are_those_of_the_architectures() -> None:
    for name, options in OPTIONS.items():
        assert set(options) == set(find_architecture(name).options)
