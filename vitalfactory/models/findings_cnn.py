"""A small convolutional network on chest X-rays of 64 x 64 pixels: the baseline that looks at the image.

Four convolutions, their mean over the image, one probability a finding; some 100,000 weights. It stops where the
AUROC of the findings is highest on the validation rows, and answers the same rows as the language model, so that
``eval/multilabel.py`` judges both alike:

    python -m vitalfactory.models.findings_cnn --dataset cxr --out results/cxr_cnn
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models.baseline import Floats, parse_arguments
from vitalfactory.models.encoder import device
from vitalfactory.models.findings import Rows, open_findings, write_run

if TYPE_CHECKING:
    import torch

SEED = 2026
SIDE, SHIFT = 64, 4
"""Pixels of an image, and by how many it is moved at most in training."""
CHANNELS = (16, 32, 64, 128)
BATCH, EPOCHS, PATIENCE = 32, 60, 12
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1e-3, 0.3

Images = NDArray[np.uint8]
Truth = NDArray[np.bool_]


def build(labels: int) -> torch.nn.Module:
    """Build the network: images of shape (batch, 1, side, side) to logits of shape (batch, labels).

    The same seed gives the same weights.
    """
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    layers: list[nn.Module] = [nn.BatchNorm2d(1)]
    for before, after in zip((1, *CHANNELS), CHANNELS, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(CHANNELS[-1], labels)]
    return nn.Sequential(*layers, *head).to(device())


def fit(network: torch.nn.Module, images: Images, truth: Truth, val_images: Images, judged: Judge) -> tuple[int, float]:
    """Train a network to its best epoch on validation rows.

    Parameters
    ----------
    network : Module
        Left with the weights of that epoch.
    images : ndarray of uint8, shape (rows, side, side)
    truth : ndarray of bool, shape (rows, labels)
    val_images : ndarray of uint8
    judged : Judge
        Judges the probabilities of the validation rows.

    Returns
    -------
    epoch : int
        Counted from 1.
    auroc : float
    """
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    shares = (truth.sum(axis=0) + 0.5) / (len(truth) + 1)
    with torch.no_grad():  # a label begins with its share, which is all that is learned of a rare one
        network[-1].bias.copy_(torch.from_numpy(np.log(shares / (1 - shares))))
    best, best_epoch, epoch, kept = -1.0, 0, 0, {}
    while epoch < EPOCHS and epoch - best_epoch < PATIENCE:
        _epoch(network, optimizer, images, truth, epoch)
        epoch += 1
        auroc = judged(predict(network, val_images))
        if auroc > best:
            best, best_epoch = auroc, epoch
            kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        print(f"epoch {epoch}: AUROC on val {auroc:.3f}, best {best:.3f} (epoch {best_epoch})", flush=True)
    network.load_state_dict(kept)
    return best_epoch, best


class Judge:
    """The mean AUROC of the findings that some rows have and others lack.

    Each counts as often as there are images of it: the AUROC of a finding of two images says little.

    Parameters
    ----------
    truth : ndarray of bool, shape (rows, labels)
    labels : sequence of str
    normal : str or None
        The label that is no finding.

    Raises
    ------
    VitalFactoryError
        There is no such finding.
    """

    def __init__(self, truth: Truth, labels: Sequence[str], normal: str | None) -> None:
        self.truth = truth
        mixed = truth.any(axis=0) & ~truth.all(axis=0)
        self.columns = [place for place in np.flatnonzero(mixed).tolist() if labels[place] != normal]
        if not self.columns:
            raise VitalFactoryError(
                "val.jsonl: no finding that some of its images have and others lack; give the converter another --split"
            )

    def __call__(self, probabilities: Floats) -> float:
        """Judge probabilities, shape (rows, labels)."""
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(self.truth[:, self.columns], probabilities[:, self.columns], average="weighted"))


def _epoch(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, images: Images, truth: Truth, epoch: int
) -> None:
    """Show every image once, moved a little by the seed and the epoch."""
    import torch

    random = np.random.default_rng((SEED, epoch))
    torch.manual_seed(SEED + epoch)
    where = next(network.parameters()).device
    network.train()
    for places in np.array_split(random.permutation(len(images)), max(1, len(images) // BATCH)):
        moved = np.stack([move(images[place], *random.integers(-SHIFT, SHIFT + 1, 2)) for place in places])
        logits = network(_tensor(moved).to(where))
        wanted = torch.from_numpy(truth[places]).to(where, torch.float32)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def move(image: Images, down: int, right: int) -> Images:
    """Move an image by some pixels; what is uncovered repeats its edge."""
    rows, columns = (np.clip(np.arange(SIDE) - by, 0, SIDE - 1) for by in (down, right))
    return image[np.ix_(rows, columns)]


def _tensor(images: Images) -> torch.Tensor:
    import torch

    return torch.from_numpy(images).float()[:, None] / 255


def predict(network: torch.nn.Module, images: Images) -> Floats:
    """Compute the probability of each label, shape (rows, labels)."""
    import torch

    where = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        parts = [network(_tensor(part).to(where)).sigmoid().double().cpu() for part in _parts(images)]
    probabilities: Floats = torch.cat(parts).numpy()
    return probabilities


def _parts(images: Images) -> list[Images]:
    return [images[start : start + 4 * BATCH] for start in range(0, len(images), 4 * BATCH)]


def train(folder: Path, out: Path) -> None:
    """Fit the network on a dataset's training rows and answer its validation and test rows.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The rows are no chest X-rays with their findings, or the folder holds another run.
    """
    findings = open_findings(folder)
    rows, val = findings.rows("train"), findings.rows("val")
    judged = Judge(findings.truth(val), findings.card.labels, findings.card.normal)
    network = build(len(findings.card.labels))
    images, val_images = findings.pixels(rows, SIDE), findings.pixels(val, SIDE)
    epoch, auroc = fit(network, images, findings.truth(rows), val_images, judged)

    def answer(rows: Rows) -> Floats:
        return predict(network, findings.pixels(rows, SIDE))

    settings = {"side": SIDE, "seed": SEED, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "dropout": DROPOUT}
    settings |= {"weight_decay": WEIGHT_DECAY, "best_epoch": epoch, "val_auroc": round(auroc, 6)}
    write_run(out, findings, {"model": "small CNN, 64 x 64 pixels", "method": "network"}, settings, answer)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    train(*parse_arguments(argv, "vitalfactory.models.findings_cnn", "A small network on chest X-rays."))


if __name__ == "__main__":
    run(main)
