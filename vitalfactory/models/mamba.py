"""A state-space encoder for atrial fibrillation: convolutions down to ten steps a second, then Mamba layers.

Source: Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, as implemented by
``transformers.MambaModel``. Half a minute is read at once, so that the network sees the rhythm over many beats.

    python -m vitalfactory.models.mamba train --input data/raw/training2017 --folds data/raw/cv --val-fold 2 --test-fold 3 --out checkpoints/mamba
    python -m vitalfactory.models.mamba cross-validate --input data/raw/training2017 --folds data/raw/cv --out checkpoints/mamba_cv
    python -m vitalfactory.models.mamba predict --encoder checkpoints/mamba --dataset ecg --out results/ecg_mamba
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models.encoder import Architecture

if TYPE_CHECKING:
    import torch

STRIDES = (2, 2, 3)
"""Of the convolutions before the Mamba layers: 120 Hz to ten steps a second."""
KERNEL = 7


def build(samples: int, width: int, layers: int) -> torch.nn.Module:
    """Build the network up to its features.

    Parameters
    ----------
    samples : int
        Length of a window at 120 Hz.
    width : int
        Channels of the Mamba layers, and features.
    layers : int

    Raises
    ------
    VitalFactoryError
        The window is shorter than one step.
    """
    import torch
    from torch import nn
    from transformers import MambaConfig, MambaModel

    if samples < _step():
        raise VitalFactoryError(f"--seconds: a window must hold at least {_step() / 120} s")
    config = MambaConfig(vocab_size=1, hidden_size=width, num_hidden_layers=layers, use_cache=False)

    class Mamba(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 2 * width
            channels = (1, width // 2, width, width)
            convolutions = [
                part
                for before, after, stride in zip(channels, channels[1:], STRIDES, strict=False)
                for part in (
                    nn.Conv1d(before, after, KERNEL, stride, padding=KERNEL // 2),
                    nn.BatchNorm1d(after),
                    nn.GELU(),
                )
            ]
            self.stem = nn.Sequential(*convolutions)
            self.mamba = MambaModel(config)

        def forward(self, signals: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            steps = self.stem(signals[:, None]).transpose(1, 2)
            hidden = self.mamba(inputs_embeds=steps).last_hidden_state.float()
            real = torch.arange(hidden.shape[1], device=hidden.device) < (lengths[:, None] / _step()).ceil()
            # Padding stands at the end, after all that a causal layer has read: leaving it out of the pooling is enough.
            mean = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            most = hidden.masked_fill(~real[..., None], -torch.inf).amax(1)
            return torch.cat((mean, most), dim=1)

    return Mamba()


def _step() -> int:
    product = 1
    for stride in STRIDES:
        product *= stride
    return product


ARCHITECTURE = Architecture(
    name="mamba",
    seconds=30.0,
    options={"width": 64, "layers": 3},
    help={"width": "channels of the Mamba layers", "layers": "Mamba layers"},
    build=build,
)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.models.encoder_training import main as train

    train(ARCHITECTURE, argv)


if __name__ == "__main__":
    run(main)
