"""What the networks over ECG signals share: their settings, their checkpoint, and what they say of a record.

A checkpoint is a folder of safetensors files and ``encoder.json``:

    main.safetensors         trained on all training folds; tells of every record that it has not seen
    without_0.safetensors    trained on the training folds but 0; tells of the records of fold 0
    all_data.npz              what was said of every record of the folds, each by a network that had not seen it
    encoder.json             architecture, settings, folds, hashes

So a text made from a checkpoint never holds what a network says of a record that it was trained on (stacking,
Wolpert 1992).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitalfactory.errors import UnusableRecord, VitalFactoryError, closest
from vitalfactory.files import read_json, sha256
from vitalfactory.processor import computes_bfloat16
from vitalfactory.signals.ecg import Record, digest_of
from vitalfactory.signals.ecg_resampled import FS, Floats32, resample

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]

ARCHITECTURES = ("mscnn", "mamba")
MANIFEST = "encoder.json"
OUTPUTS = "all_data.npz"
MAIN = "main"
CODE = 6
"""Numbers in a record's code: principal components of the features."""
PICKLED = (".pth", ".pt", ".pkl", ".ckpt", ".bin")


@dataclass(frozen=True)
class Architecture:
    """A network that turns a window of signal into features.

    Attributes
    ----------
    name : str
        Its module in this package, and its representation in the converter.
    seconds : float
        Length of a window by default.
    options : mapping of str to int
        Its own settings and their defaults.
    help : mapping of str to str
        What each of them means.
    build : callable
        Takes the window's length in samples and the options, and returns a module that maps signals of shape
        (batch, samples) and their lengths before padding, shape (batch,), to features, shape (batch, features);
        its attribute ``width`` is the number of features.
    """

    name: str
    seconds: float
    options: Mapping[str, int]
    help: Mapping[str, str]
    build: Callable[..., torch.nn.Module]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Settings(_Strict):
    """How the networks of a checkpoint are built and trained.

    Attributes
    ----------
    seconds : float
        Length of a window; shorter records are padded with zeros, longer ones are read window by window.
    options : dict of str to int
        The architecture's own.
    learning_rate, pos_weight : float
        Adam's, and the weight of AF in the binary cross entropy.
    batch_size : int
        At least 2, which batch normalisation needs.
    epochs, patience, seed : int
        At most so many epochs; fewer when the validation loss has not fallen for ``patience`` of them.
    bfloat16 : bool
        Whether layers compute in bfloat16, where the card or processor has instructions for it.
    """

    seconds: float = Field(gt=0)
    options: dict[str, int]
    learning_rate: float = Field(default=1e-4, gt=0)
    pos_weight: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=32, ge=2)
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=20, ge=1)
    seed: int = Field(default=2026, ge=0)
    bfloat16: bool = False

    @property
    def samples(self) -> int:
        """Length of a window in samples."""
        return round(self.seconds * FS)


class Trained(_Strict):
    """One network of a checkpoint: what it was trained on and how that went."""

    folds: list[int]
    records: int
    sha256: str
    epochs: int
    best_epoch: int
    val_loss: float
    seconds: float


class Manifest(_Strict):
    """The content of ``encoder.json``.

    Attributes
    ----------
    architecture : str
    settings : Settings
    source : str
        Where the records were read from.
    val_fold, test_fold : int
    folds : dict of str to int
        Record or group to fold: what the fold files name, and the groups of the records that they name.
    excluded : dict of str to int
        Reason to records that no network has seen and nothing is told of.
    networks : dict of str to Trained
    told_sha256 : str
        Of ``all_data.npz``.
    versions : dict of str to str
    hardware, date : str
    """

    architecture: str
    settings: Settings
    source: str
    val_fold: int
    test_fold: int
    folds: dict[str, int]
    excluded: dict[str, int]
    networks: dict[str, Trained]
    told_sha256: str
    versions: dict[str, str]
    hardware: str
    date: str

    def network_for(self, fold: int | None) -> str | None:
        """Name the network that has not seen the records of a fold; None where there is none.

        A record of no fold, which is fold None, is for the main network.
        """
        held_out = f"without_{fold}"
        if held_out in self.networks:
            return held_out
        return None if fold in self.networks[MAIN].folds else MAIN

    def fold_of(self, record: str, group: str) -> int | None:
        """Find the fold of a record; None where it stands in none."""
        return self.folds.get(record, self.folds.get(group))

    def split_of(self, fold: int) -> str:
        """Name the split of a fold."""
        return {self.val_fold: "val", self.test_fold: "test"}.get(fold, "train")


@dataclass(frozen=True)
class Encoding:
    """What an encoder says of a record.

    Attributes
    ----------
    probability : float
        Of atrial fibrillation, calibrated on the validation fold.
    code : tuple of int
        The features' first principal components, 50 for their mean, 15 a standard deviation, 0 to 99.
    digest : int
        Of the recording that was encoded.
    network : str
        Which of the checkpoint's networks said it.
    """

    probability: float
    code: tuple[int, ...]
    digest: int
    network: str


def digest_of_text(*parts: object) -> str:
    """Hash values by their text, as 16 hexadecimal digits."""
    import hashlib

    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8"), digest_size=8).hexdigest()


def find_architecture(name: str) -> Architecture:
    """Import an architecture by its name.

    Raises
    ------
    VitalFactoryError
        There is none of that name.
    """
    if name not in ARCHITECTURES:
        raise VitalFactoryError(
            f"{name}: no such architecture{closest(name, ARCHITECTURES)}; there are {ARCHITECTURES}"
        )
    found: Architecture = importlib.import_module(f"vitalfactory.models.{name}").ARCHITECTURE
    return found


def device() -> torch.device:
    """Choose CUDA where there is a card, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_network(architecture: Architecture, settings: Settings) -> torch.nn.ModuleDict:
    """Build a network with random weights: ``trunk`` to the features, ``head`` from them to the logit of AF.

    The same settings give the same weights.
    """
    import torch

    torch.manual_seed(settings.seed)
    trunk = architecture.build(settings.samples, **settings.options)
    return torch.nn.ModuleDict({"trunk": trunk, "head": torch.nn.Linear(int(trunk.width), 1)})


def windows(signal: Floats32, samples: int) -> Iterator[Floats32]:
    """Cut a signal into as few windows as cover it, evenly spaced; a shorter signal is its only window."""
    count = max(1, -(-len(signal) // samples))
    last = max(0, len(signal) - samples)
    for start in np.linspace(0, last, count).round().astype(int):
        yield signal[start : start + samples]


def stack(parts: Sequence[Floats32], samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad windows with zeros at their end.

    Returns
    -------
    signals : Tensor of float32, shape (windows, samples)
    lengths : Tensor of int64, shape (windows,)
    """
    import torch

    signals = np.zeros((len(parts), samples), dtype=np.float32)
    for row, part in zip(signals, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(signals), torch.tensor([len(part) for part in parts])


def run_network(
    network: torch.nn.ModuleDict, signals: Sequence[Floats32], settings: Settings, title: str
) -> tuple[Floats, Floats]:
    """Show records to a network, every window of them.

    Parameters
    ----------
    network : ModuleDict
    signals : sequence of ndarray
        As :func:`vitalfactory.signals.ecg_resampled.resample` gives them.
    settings : Settings
    title : str
        For the progress bar.

    Returns
    -------
    logits : ndarray, shape (records,)
    features : ndarray, shape (records, features)
        Each the mean over the record's windows.
    """
    import torch
    from tqdm import tqdm

    parts = [(place, part) for place, signal in enumerate(signals) for part in windows(signal, settings.samples)]
    owner = np.asarray([place for place, _ in parts], dtype=np.int64)
    where = next(network.parameters()).device
    found = []
    network.eval()
    steps = range(0, len(parts), 2 * settings.batch_size)
    with torch.inference_mode():
        for start in tqdm(steps, desc=title, unit="batch", leave=False, disable=None):
            batch, lengths = stack(
                [part for _, part in parts[start : start + steps.step]],
                settings.samples,
            )
            features = forward(network, batch.to(where), lengths.to(where), settings)
            logits = network["head"](features)
            found.append(torch.cat((logits, features), dim=1).double().cpu().numpy())
    totals = np.zeros((len(signals), int(network["head"].in_features) + 1))
    np.add.at(totals, owner, np.concatenate(found) if found else np.empty((0, totals.shape[1])))
    means = totals / np.bincount(owner, minlength=len(signals))[:, None]
    return means[:, 0], means[:, 1:]


def forward(
    network: torch.nn.ModuleDict, signals: torch.Tensor, lengths: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """Compute the features of a batch in the precision of the settings; they come back in float32."""
    import torch

    fast = signals.device.type != "cpu" or computes_bfloat16()
    with torch.autocast(signals.device.type, torch.bfloat16, enabled=settings.bfloat16 and fast):
        features: torch.Tensor = network["trunk"](signals, lengths)
    return features.float()


@dataclass(frozen=True)
class Reading:
    """How a network's output is told: the calibration of its logit, and the code of its features.

    Attributes
    ----------
    slope, intercept : float
        The logit that is told is ``slope * logit + intercept`` (Platt scaling on the validation fold).
    weight : ndarray, shape (features, CODE)
    bias : ndarray, shape (CODE,)
    """

    slope: float
    intercept: float
    weight: Floats
    bias: Floats

    def read(self, logits: Floats, features: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Turn logits and features into probabilities, shape (n,), and codes, shape (n, CODE)."""
        probability = 1 / (1 + np.exp(-(self.slope * logits + self.intercept)))
        score = features @ self.weight + self.bias
        return probability, np.clip(np.round(50 + 15 * score), 0, 99).astype(np.int64)


def fit_reading(logits: Floats, features: Floats, af: NDArray[np.bool_], target: Floats) -> Reading:
    """Fit a reading on the validation fold.

    Parameters
    ----------
    logits : ndarray, shape (n,)
    features : ndarray, shape (n, features)
    af : ndarray of bool, shape (n,)
        Used for the calibration of the logit alone.
    target : ndarray, shape (n, CODE)
        The code's components, from :func:`components` of the main network. Every network is mapped onto these
        by ridge regression, so that one place of the code means the same whichever network wrote it.

    Returns
    -------
    Reading
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    line = Ridge(alpha=1.0).fit(features, target)
    weight, bias = np.asarray(line.coef_).T, np.asarray(line.intercept_)
    if af.all() or not af.any():
        return Reading(1.0, 0.0, weight, bias)
    scale = LogisticRegression(C=1e6).fit(logits[:, None], af)
    return Reading(float(scale.coef_[0, 0]), float(scale.intercept_[0]), weight, bias)


def components(features: Floats) -> Floats:
    """Compute the first principal components of features, each of unit variance, shape (n, CODE).

    Their sign is that of their largest weight; where there are fewer than CODE, the rest is 0.
    """
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    _, size, axes = np.linalg.svd(standard, full_matrices=False)
    axes, size = axes[:CODE], size[:CODE]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    scores = standard @ axes.T
    deviation = scores.std(axis=0)
    result = np.zeros((len(features), CODE))
    result[:, : scores.shape[1]] = scores / np.where(deviation > 1e-9, deviation, 1)
    return result


def write_network(path: Path, network: torch.nn.ModuleDict, reading: Reading) -> None:
    """Write a network with its reading as safetensors."""
    import torch
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    tensors["reading.line"] = torch.tensor([reading.slope, reading.intercept], dtype=torch.float64)
    tensors["reading.weight"] = torch.from_numpy(np.ascontiguousarray(reading.weight))
    tensors["reading.bias"] = torch.from_numpy(np.ascontiguousarray(reading.bias))
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial)
    partial.replace(path)


def read_network(path: Path, architecture: Architecture, settings: Settings) -> tuple[torch.nn.ModuleDict, Reading]:
    """Read what :func:`write_network` wrote.

    Raises
    ------
    VitalFactoryError
        The file is not safetensors, or holds another architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = make_network(architecture, settings)
    try:
        tensors = load_file(path)
        line, weight, bias = (tensors.pop(f"reading.{name}").numpy() for name in ("line", "weight", "bias"))
        network.load_state_dict(tensors)
    except FileNotFoundError:
        raise VitalFactoryError(f"{path}: no such file; {_train_again(architecture.name)}") from None
    except (SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise VitalFactoryError(
            f"{path}: not the weights of the {architecture.name} that {MANIFEST} describes ({reason}); "
            f"{_train_again(architecture.name)}"
        ) from None
    return network.to(device()), Reading(float(line[0]), float(line[1]), weight, bias)


def _train_again(name: str) -> str:
    return (
        f"make one with python -m vitalfactory.models.{name} train --input FOLDER --folds DIR --val-fold K "
        f"--test-fold K --out checkpoints/{name}"
    )


class Encoder:
    """A checkpoint opened to tell of records.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    name : str
        The architecture that it must be of.

    Raises
    ------
    VitalFactoryError
        There is no such checkpoint, it is pickled, of another architecture, or not whole.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.architecture = find_architecture(name)
        self.manifest = read_manifest(folder, name)
        self._networks: dict[str, tuple[torch.nn.ModuleDict, Reading]] = {}
        self._outputs = read_outputs(folder)
        if sha256(folder / OUTPUTS) != self.manifest.told_sha256:
            raise VitalFactoryError(
                f"{folder / OUTPUTS}: not the file that {MANIFEST} describes; train the encoder again"
            )

    def check_splits(self, groups: Mapping[str, str], records: Iterable[Record]) -> None:
        """Refuse a dataset whose splits are not those that the encoder was trained with.

        Parameters
        ----------
        groups : mapping of str to str
            Group to split.
        records : iterable of Record
            The dataset's records; those that stand in none of the encoder's folds are free.

        Raises
        ------
        VitalFactoryError
            A record stands in another split: what the encoder has learned from it would leak.
        """
        wrong = []
        for record in records:
            fold = self.manifest.fold_of(record.id, record.group)
            if fold is not None and self.manifest.split_of(fold) != groups[record.group]:
                wrong.append((record.id, groups[record.group], self.manifest.split_of(fold)))
        if wrong:
            name, here, there = wrong[0]
            made = self.manifest
            raise VitalFactoryError(
                f"--encoder {self.folder}: trained on other folds than the dataset's: {len(wrong)} records stand in "
                f"another split, first {name} ({here} here, {there} there); convert with --folds DIR --val-fold "
                f"{made.val_fold} --test-fold {made.test_fold}, or train an encoder on the dataset's folds"
            )

    def told(self, record: str) -> Encoding | None:
        """Return what was said of a record of the folds in training."""
        return self._outputs.get(record)

    def encode(self, records: Sequence[Record]) -> dict[str, Encoding]:
        """Tell of records, each by a network that has not seen it.

        Parameters
        ----------
        records : sequence of Record

        Returns
        -------
        dict of str to Encoding
            By id; a record that cannot be read is left out. The recording of a known record under another id
            is told of as that record, by a network that has seen neither.
        """
        told = {record.id: self._outputs[record.id] for record in records if record.id in self._outputs}
        twins = {encoding.digest: encoding for encoding in self._outputs.values()}
        waiting: dict[str, list[tuple[str, int, Floats32]]] = {}
        for record in records:
            if record.id in told:
                continue
            try:
                recording = record.read()
                signal = resample(recording)
            except UnusableRecord:
                continue  # the converter meets the same fault, and counts it
            digest = digest_of(recording)
            if digest in twins:
                told[record.id] = twins[digest]
            else:
                waiting.setdefault(self._network_for(record), []).append((record.id, digest, signal))
        for name, part in waiting.items():
            told |= self._run(name, part)
        return told

    def _network_for(self, record: Record) -> str:
        name = self.manifest.network_for(self.manifest.fold_of(record.id, record.group))
        if name is None:
            raise VitalFactoryError(
                f"--encoder {self.folder}: its only network was trained on {record.id}, of which it can't tell; train "
                "without --no-out-of-fold on at least two training folds"
            )
        return name

    def _run(self, name: str, read: Sequence[tuple[str, int, Floats32]]) -> dict[str, Encoding]:
        import torch

        title = f"{self.architecture.name} ({name})"
        try:
            network, reading = self._network(name)
            logits, features = run_network(network, [signal for _, _, signal in read], self.manifest.settings, title)
        except torch.OutOfMemoryError:
            raise VitalFactoryError(
                f"--encoder {self.folder}: the card has too little memory for its network; free the card, or set "
                "CUDA_VISIBLE_DEVICES= to compute on the processor"
            ) from None
        probabilities, codes = reading.read(logits, features)
        return {
            record: Encoding(float(probability), tuple(map(int, code)), digest, name)
            for (record, digest, _), probability, code in zip(read, probabilities, codes, strict=True)
        }

    def _network(self, name: str) -> tuple[torch.nn.ModuleDict, Reading]:
        if name not in self._networks:
            path = self.folder / f"{name}.safetensors"
            if path.is_file() and sha256(path) != self.manifest.networks[name].sha256:
                raise VitalFactoryError(f"{path}: not the file that {MANIFEST} describes; train the encoder again")
            self._networks[name] = read_network(path, self.architecture, self.manifest.settings)
        return self._networks[name]


def read_manifest(folder: Path, name: str) -> Manifest:
    """Read and check ``encoder.json``.

    Raises
    ------
    VitalFactoryError
        There is none, it does not fit the schema, or it is of another architecture than ``name``.
    """
    path = folder / MANIFEST
    if not path.is_file():
        pickled = [folder] if folder.suffix in PICKLED else [p for p in folder.glob("*") if p.suffix in PICKLED]
        if pickled:
            raise VitalFactoryError(
                f"{pickled[0]}: a pickled checkpoint can run code when it is opened and is refused; "
                f"{_train_again(name)}"
            )
        raise VitalFactoryError(f"{folder}: holds no encoder ({MANIFEST}); {_train_again(name)}")
    try:
        manifest = Manifest.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise VitalFactoryError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if MAIN not in manifest.networks:
        raise VitalFactoryError(f"{path}: networks: has no {MAIN!r}")
    if manifest.architecture != name:
        raise VitalFactoryError(f"{folder}: an encoder of the architecture {manifest.architecture!r}, not {name!r}")
    if set(manifest.settings.options) != set(known := find_architecture(name).options):
        raise VitalFactoryError(f"{path}: settings.options: expected {', '.join(known)}")
    return manifest


def write_outputs(folder: Path, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Write ``all_data.npz`` in one step."""
    partial = folder / f".{OUTPUTS}.partial.npz"
    np.savez(partial, **outputs)  # type: ignore[arg-type]
    partial.replace(folder / OUTPUTS)


def read_outputs(folder: Path) -> dict[str, Encoding]:
    """Read what an encoder said of the records of its folds.

    Raises
    ------
    VitalFactoryError
        The file is missing or is not what :func:`write_outputs` wrote.
    """
    import zipfile

    path = folder / OUTPUTS
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            columns = [file[name].tolist() for name in ("id", "probability", "code", "digest", "network")]
        rows = list(zip(*columns, strict=True))
    except FileNotFoundError:
        raise VitalFactoryError(f"{path}: no such file; give the same training command again, it goes on") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise VitalFactoryError(f"{path}: not an encoder's outputs ({error}); train the encoder again") from None
    return {
        name: Encoding(probability, tuple(code), digest, network) for name, probability, code, digest, network in rows
    }
