r"""The convolutional network for atrial fibrillation, with one stream or two (MS-CNN).

Source: Fan et al. 2018, Multiscaled Fusion of Deep Convolutional Neural Networks for Screening Atrial Fibrillation
From Single Lead Short ECG Recordings. Two streams of 13 convolutions look at five seconds, one through kernels of 3,
the other through kernels of 7 in its first four layers; both are flattened, joined, and led to one number.

    python -m vitalfactory.models.mscnn train --input data/raw/training2017 --folds data/raw/cv \
        --val-fold 2 --test-fold 3 --out checkpoints/mscnn
    python -m vitalfactory.models.mscnn cross-validate --input data/raw/training2017 --folds data/raw/cv \
        --out checkpoints/mscnn_cv
    python -m vitalfactory.models.mscnn predict --encoder checkpoints/mscnn --dataset ecg --out results/ecg_mscnn
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models.encoder import Architecture

if TYPE_CHECKING:
    import torch

BLOCKS = (
    ((64, 64), 3),
    ((128, 128), 2),
    ((256, 256, 256), 2),
    ((512, 512, 512), 2),
    ((512, 512, 512), 2),
)
"""Channels of the convolutions between two poolings, and the pooling's width."""
WIDE_LAYERS = 4
SHRINKS = 48
"""What all poolings divide the length by."""


def build(samples: int, streams: int) -> torch.nn.Module:
    """Build the network up to the 64 features.

    Parameters
    ----------
    samples : int
        Length of a window at 120 Hz, at least 48.
    streams : {1, 2}

    Raises
    ------
    VitalFactoryError
        The window is too short or the number of streams another.
    """
    import torch
    from torch import nn

    if samples < SHRINKS:
        raise VitalFactoryError(f"--seconds: the network's poolings need at least {SHRINKS / 120} s")
    if streams not in (1, 2):
        raise VitalFactoryError(f"--streams {streams}: expected 1 or 2")

    class Streams(nn.Module):  # type: ignore[misc]
        width = 64

        def __init__(self) -> None:
            super().__init__()
            self.streams = nn.ModuleList(_stream(kernel) for kernel in (3, 7)[:streams])
            flat = streams * BLOCKS[-1][0][-1] * (samples // 3 // 2 // 2 // 2 // 2)
            self.joined = nn.Sequential(nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, self.width), nn.ReLU())

        def forward(self, signals: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            seen = [stream(signals[:, None]).flatten(1) for stream in self.streams]
            joined: torch.Tensor = self.joined(torch.cat(seen, dim=1))
            return joined

    return Streams()


def _stream(first_kernel: int) -> torch.nn.Module:
    from torch import nn

    layers: list[nn.Module] = []
    channels = 1
    count = 0
    for block, pool in BLOCKS:
        for width in block:
            kernel = first_kernel if count < WIDE_LAYERS else 3
            layers += [nn.Conv1d(channels, width, kernel, padding="same"), nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
            count += 1
        layers.append(nn.MaxPool1d(pool))
    return nn.Sequential(*layers)


ARCHITECTURE = Architecture(
    name="mscnn",
    seconds=5.0,
    options={"streams": 2},
    help={"streams": "1 for the single-stream network, 2 for MS-CNN"},
    build=build,
)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.models.encoder_commands import main as run_command

    run_command(ARCHITECTURE, argv)


if __name__ == "__main__":
    run(main)
