r"""A state-space encoder for atrial fibrillation: convolutions down to five steps a second, then Mamba layers.

Source: Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, as implemented by
``transformers.MambaModel``. Half a minute is read at once, so that the network sees the rhythm over many beats.

    python -m vitalfactory.models.mamba train --input data/raw/training2017 --folds data/raw/cv \
        --val-fold 2 --test-fold 3 --out checkpoints/mamba
    python -m vitalfactory.models.mamba cross-validate --input data/raw/training2017 --folds data/raw/cv \
        --out checkpoints/mamba_cv
    python -m vitalfactory.models.mamba predict --encoder checkpoints/mamba --dataset ecg --out results/ecg_mamba
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models.encoder import Architecture

if TYPE_CHECKING:
    import torch

STRIDES = (2, 3, 4)
"""Of the convolutions before the Mamba layers: 120 Hz to five steps a second."""
STEP = math.prod(STRIDES)
STATE = 8
KERNEL = 7


def build(samples: int, width: int, layers: int) -> torch.nn.Module:
    """Build the network up to its features.

    Parameters
    ----------
    samples : int
        Length of a window at 120 Hz.
    width : int
        Channels of the Mamba layers, and half as many as there are features; at least 2.
    layers : int
        At least 1.

    Raises
    ------
    VitalFactoryError
        The window is shorter than one step, or there are too few channels or layers.
    """
    import torch
    from torch import nn
    from transformers import MambaConfig, MambaModel
    from transformers.utils import logging

    if samples < STEP:
        raise VitalFactoryError(f"--seconds: a window must hold at least {STEP / 120} s")
    for flag, value, least in (("--width", width, 2), ("--layers", layers, 1)):
        if value < least:
            raise VitalFactoryError(f"{flag} {value}: expected at least {least}")
    # Without a card's own kernels: mambapy's parallel scan in training, where transformers' loop over the steps takes
    # time by the square of their number.
    config = MambaConfig(
        vocab_size=1,
        hidden_size=width,
        state_size=STATE,
        num_hidden_layers=layers,
        use_cache=False,
        use_mambapy=True,
    )
    logging.set_verbosity_error()  # it would name the kernels that are not there

    class Mamba(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.width = 2 * width
            channels = (1, width // 2, width, width)
            self.stem = nn.ModuleList(
                nn.Sequential(
                    nn.Conv1d(before, after, KERNEL, stride, padding=KERNEL // 2), nn.BatchNorm1d(after), nn.GELU()
                )
                for before, after, stride in zip(channels, channels[1:], STRIDES, strict=False)
            )
            self.mamba = MambaModel(config)

        def forward(self, signals: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            steps = signals[:, None]
            for layer, stride in zip(self.stem, STRIDES, strict=True):
                steps = layer(steps)
                lengths = -(-lengths // stride)
                real = torch.arange(steps.shape[2], device=steps.device) < lengths[:, None]
                steps = steps * real[:, None]  # beyond a record's end stand zeros, as beyond a window's
            hidden = self.mamba(inputs_embeds=steps.transpose(1, 2)).last_hidden_state.float()
            # A causal layer has read all of the record before its padding, which need only stay out of the pooling.
            mean = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            most = hidden.masked_fill(~real[..., None], -torch.inf).amax(1)
            return torch.cat((mean, most), dim=1)

    return Mamba()


ARCHITECTURE = Architecture(
    name="mamba",
    seconds=30.0,
    options={"width": 64, "layers": 2},
    help={"width": "channels of the Mamba layers", "layers": "Mamba layers"},
    build=build,
)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.models.encoder_commands import main as run_command

    run_command(ARCHITECTURE, argv)


if __name__ == "__main__":
    run(main)
