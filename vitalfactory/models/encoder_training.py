"""Training of the networks over ECG signals: folds in, a checkpoint with its predictions out.

Training stops on the validation fold and never looks at the test fold. One network is trained on all training folds
and one without each of them, so that every record is told of by a network that has not seen it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import lock, sha256, write_json, write_jsonl
from vitalfactory.folds import fold_of_groups, read_folds
from vitalfactory.models.encoder import (
    MAIN,
    MANIFEST,
    OUTPUTS,
    Architecture,
    Floats,
    Manifest,
    Reading,
    Settings,
    Trained,
    components,
    device,
    digest_of_text,
    fit_reading,
    forward,
    make_network,
    read_network,
    run_network,
    stack,
    write_network,
    write_outputs,
)
from vitalfactory.predictions import Prediction, shown
from vitalfactory.processor import hardware
from vitalfactory.signals.ecg import AF, digest_of, read_folder
from vitalfactory.signals.ecg_resampled import Floats32, resample

if TYPE_CHECKING:
    import torch

VERSIONS = ("vitalfactory", "torch", "transformers", "scipy")
ANSWERS = ("AF", "no AF")


@dataclass(frozen=True)
class Records:
    """The records of a source, in memory.

    Attributes
    ----------
    id, group : sequence of str
    af : ndarray of bool, shape (n,)
    fold : ndarray of int, shape (n,)
    digest : ndarray of int, shape (n,)
    signal : sequence of ndarray
        Standardised, at 120 Hz.
    folds : dict of str to int
        Record or group to fold: what the fold files name, and the groups of the records that they name.
    excluded : dict of str to int
    source : str
    """

    id: Sequence[str]
    group: Sequence[str]
    af: NDArray[np.bool_]
    fold: NDArray[np.int64]
    digest: NDArray[np.int64]
    signal: Sequence[Floats32]
    folds: dict[str, int]
    excluded: dict[str, int]
    source: str

    def of(self, folds: Sequence[int]) -> NDArray[np.int64]:
        """Find the places of the records of some folds."""
        return np.flatnonzero(np.isin(self.fold, folds))

    def signals(self, places: NDArray[np.int64]) -> list[Floats32]:
        """Collect the signals at some places."""
        return [self.signal[place] for place in places]


def read_records(folder: Path, folds: Path, limit: int | None = None) -> Records:
    """Read, filter and standardise all labelled records that stand in a fold.

    Parameters
    ----------
    folder : Path
        As the ECG converter reads it.
    folds : Path
        The folder of fold files.
    limit : int, optional
        The first records of each fold only.

    Raises
    ------
    VitalFactoryError
        A folder or file is missing, or no record stands in a fold.
    """
    from tqdm import tqdm

    records = list(read_folder(folder))
    named = read_folds(folds)
    fold_of = fold_of_groups(records, named)
    kept: list[tuple[str, str, bool, int, int, Floats32]] = []
    excluded: Counter[str] = Counter()
    taken: Counter[int] = Counter()
    seen: set[str] = set()
    recordings: dict[int, int] = {}
    for record in tqdm(records, desc="reading", unit="record", disable=None):
        fold = fold_of.get(record.group)
        if record.id in seen:
            excluded["duplicate record"] += 1
        elif record.label not in AF or fold is None:
            excluded["in no fold file" if record.label in AF else "neither AF nor another rhythm"] += 1
        elif limit is not None and taken[fold] >= limit:
            excluded["over --limit"] += 1
        else:
            try:
                recording = record.read()
                signal = resample(recording)
            except UnusableRecord as error:
                excluded[error.reason] += 1
                continue
            digest = digest_of(recording)
            if recordings.setdefault(digest, fold) != fold:  # it would be told of by a network that has seen its twin
                excluded["the same recording as one of another fold"] += 1
                continue
            kept.append((record.id, record.group, AF[record.label], fold, digest, signal))
            seen.add(record.id)
            taken[fold] += 1
    if not kept:
        raise VitalFactoryError(f"{folder}: no record of it stands in a fold of {folds}; excluded: {dict(excluded)}")
    ids, groups, af, fold_column, digests, signals = zip(*kept, strict=True)
    return Records(
        ids,
        groups,
        np.asarray(af),
        np.asarray(fold_column),
        np.asarray(digests),
        signals,
        fold_of | named,
        dict(sorted(excluded.items())),
        shown(folder),
    )


def train(
    architecture: Architecture,
    records: Records,
    settings: Settings,
    val_fold: int,
    test_fold: int,
    out: Path,
    *,
    out_of_fold: bool = True,
) -> Manifest:
    """Train a checkpoint, or go on with one that was cut off.

    Parameters
    ----------
    architecture : Architecture
    records : Records
    settings : Settings
    val_fold : int
        Training stops on it, and outputs are calibrated on it.
    test_fold : int
        Nothing is learned from it.
    out : Path
        The checkpoint.
    out_of_fold : bool
        Whether a network is trained without each training fold, which training rows of a text need.

    Returns
    -------
    Manifest

    Raises
    ------
    VitalFactoryError
        A fold is missing or lacks a class, ``out`` holds another checkpoint, or another run is at work there.
    """
    training = _training_folds(records, val_fold, test_fold)
    plan = {MAIN: training}
    if out_of_fold and len(training) > 1:
        plan |= {f"without_{fold}": [other for other in training if other != fold] for fold in training}
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", wait=False):
        _check_same(out, architecture, records, settings, val_fold, test_fold)
        networks = {
            name: _train_network(architecture, records, settings, folds, val_fold, out, name)
            for name, folds in plan.items()
        }
        manifest = _manifest(architecture, records, settings, val_fold, test_fold, networks)
        _tell_all(architecture, records, manifest, out)
        manifest = manifest.model_copy(update={"told_sha256": sha256(out / OUTPUTS)})
        write_json(out / MANIFEST, manifest.model_dump())
    return manifest


def _training_folds(records: Records, val_fold: int, test_fold: int) -> list[int]:
    present = sorted(set(records.fold.tolist()))
    for flag, fold in (("--val-fold", val_fold), ("--test-fold", test_fold)):
        if fold not in present:
            raise VitalFactoryError(f"{flag} {fold}: no such fold; there are {present}")
    if val_fold == test_fold:
        raise VitalFactoryError(f"--val-fold and --test-fold are both {val_fold}; they must differ")
    training = [fold for fold in present if fold not in (val_fold, test_fold)]
    if not training:
        raise VitalFactoryError(f"there are only the folds {present}; training needs a third")
    for fold in (*training, val_fold):
        if len(set(records.af[records.of([fold])].tolist())) < 2:
            raise VitalFactoryError(
                f"fold {fold}: its records are all of one kind; training needs AF and other rhythms"
            )
    return training


def _identity(
    architecture: Architecture, records: Records, settings: Settings, val_fold: int, test_fold: int
) -> dict[str, Any]:
    return {
        "architecture": architecture.name,
        "settings": settings.model_dump(),
        "val_fold": val_fold,
        "test_fold": test_fold,
        "records": digest_of_text(*records.id, *records.digest, *records.fold),
        "labels": digest_of_text(*records.af),
    }


def _check_same(
    out: Path, architecture: Architecture, records: Records, settings: Settings, val_fold: int, test_fold: int
) -> None:
    """Refuse to go on with a checkpoint of other records or settings."""
    from vitalfactory.files import read_json

    wanted = _identity(architecture, records, settings, val_fold, test_fold)
    path = out / "training.json"
    if path.exists():
        old = read_json(path)
        if changed := [name for name in old if old[name] != wanted.get(name)]:
            raise VitalFactoryError(f"{out}: holds an encoder of other {', '.join(changed)}; choose another --out")
    write_json(path, wanted)


def _manifest(
    architecture: Architecture,
    records: Records,
    settings: Settings,
    val_fold: int,
    test_fold: int,
    networks: dict[str, Trained],
) -> Manifest:
    return Manifest(
        architecture=architecture.name,
        settings=settings,
        source=records.source,
        val_fold=val_fold,
        test_fold=test_fold,
        folds=records.folds,
        excluded=records.excluded,
        networks=networks,
        told_sha256="",
        versions={name: version(name) for name in VERSIONS},
        hardware=hardware(),
        date=datetime.now(UTC).date().isoformat(),
    )


@dataclass
class _State:
    """Where the training of one network stands, on disk after every epoch."""

    path: Path
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    train_loss: list[float] | None = None
    val_loss: list[float] | None = None

    def load(self, network: torch.nn.ModuleDict, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor] | None:
        """Go on where a file left off; returns the best weights so far."""
        import torch

        self.train_loss, self.val_loss = [], []
        if not self.path.exists():
            return None
        saved = torch.load(self.path, weights_only=True, map_location=next(network.parameters()).device)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        for name, value in saved["state"].items():
            setattr(self, name, value)
        best: dict[str, torch.Tensor] | None = saved["best"]
        return best

    def save(
        self, network: torch.nn.ModuleDict, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor] | None
    ) -> None:
        import torch

        state = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "path"}
        partial = self.path.with_name(f"{self.path.name}.partial")
        torch.save(
            {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "best": best, "state": state},
            partial,
        )
        partial.replace(self.path)


def _train_network(
    architecture: Architecture,
    records: Records,
    settings: Settings,
    folds: Sequence[int],
    val_fold: int,
    out: Path,
    name: str,
) -> Trained:
    """Train one network to its best epoch, or take the finished one; writes its weights without a reading yet."""
    import torch

    from vitalfactory.files import read_json

    done = out / f".{name}.json"
    if done.exists():
        return Trained.model_validate(read_json(done))
    network = make_network(architecture, settings).to(device())
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    state = _State(out / f".{name}.state")
    best = state.load(network, optimizer)
    places, val = records.of(folds), records.of([val_fold])
    while state.epoch < settings.epochs and state.epoch - state.best_epoch < settings.patience:
        start = time.perf_counter()
        assert state.train_loss is not None
        assert state.val_loss is not None
        state.train_loss.append(_epoch(network, optimizer, records, places, settings, state.epoch, name))
        state.val_loss.append(_loss(network, records, val, settings))
        state.epoch += 1
        if state.val_loss[-1] < state.best_loss:
            state.best_loss, state.best_epoch = state.val_loss[-1], state.epoch
            best = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        state.seconds += time.perf_counter() - start
        state.save(network, optimizer, best)
        print(
            f"{name}: epoch {state.epoch}, training loss {state.train_loss[-1]:.4f}, validation loss "
            f"{state.val_loss[-1]:.4f}, best {state.best_loss:.4f} (epoch {state.best_epoch}), {state.seconds:.0f} s",
            flush=True,
        )
    if best is None:
        raise VitalFactoryError(f"{name}: the validation loss was never a number; give a smaller --learning-rate")
    network.load_state_dict(best)
    return _finish(network, state, out, name, folds, len(places))


def _finish(
    network: torch.nn.ModuleDict, state: _State, out: Path, name: str, folds: Sequence[int], records: int
) -> Trained:
    """Write a trained network and its loss curves; from here on its state is not needed any more."""
    write_network(out / f"{name}.safetensors", network, _unread(network))
    _draw_losses(out / f"loss_{name}.png", state, name)
    trained = Trained(
        folds=list(folds),
        records=records,
        sha256="",
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        val_loss=state.best_loss,
        seconds=round(state.seconds, 1),
    )
    write_json(out / f".{name}.json", trained.model_dump())
    state.path.unlink()
    return trained


def _unread(network: torch.nn.ModuleDict) -> Reading:
    from vitalfactory.models.encoder import CODE

    width = int(network["head"].in_features)
    return Reading(1.0, 0.0, np.zeros((width, CODE)), np.zeros(CODE))


def _epoch(
    network: torch.nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    records: Records,
    places: NDArray[np.int64],
    settings: Settings,
    epoch: int,
    title: str,
) -> float:
    """Show every record once, a window of it drawn by the seed and the epoch; returns the mean loss."""
    import torch
    from tqdm import tqdm

    random = np.random.default_rng((settings.seed, epoch))
    torch.manual_seed(settings.seed + epoch)
    order = random.permutation(places)
    starts = [int(random.integers(max(1, len(records.signal[place]) - settings.samples + 1))) for place in order]
    batches = list(_batches(order, starts, settings.batch_size))
    total = 0.0
    network.train()
    for chosen, offsets in tqdm(batches, desc=f"{title}, epoch {epoch + 1}", unit="batch", leave=False, disable=None):
        pairs = zip(chosen, offsets, strict=True)
        parts = [records.signal[place][start : start + settings.samples] for place, start in pairs]
        loss = _batch_loss(network, parts, records.af[chosen], settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(order)


def _batches(
    order: NDArray[np.int64], starts: Sequence[int], size: int
) -> Iterator[tuple[NDArray[np.int64], Sequence[int]]]:
    for begin in range(0, len(order), size):
        if len(order[begin : begin + size]) > 1 or len(order) == 1:  # batch normalisation needs two rows
            yield order[begin : begin + size], starts[begin : begin + size]


def _batch_loss(
    network: torch.nn.ModuleDict, parts: Sequence[Floats32], af: NDArray[np.bool_], settings: Settings
) -> torch.Tensor:
    import torch

    where = next(network.parameters()).device
    signals, lengths = stack(parts, settings.samples)
    logits = network["head"](forward(network, signals.to(where), lengths.to(where), settings))[:, 0]
    truth = torch.from_numpy(af).to(where, torch.float32)
    weight = torch.tensor(settings.pos_weight, device=where)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight)


def _loss(network: torch.nn.ModuleDict, records: Records, places: NDArray[np.int64], settings: Settings) -> float:
    """Compute the loss on the middle window of every record."""
    import torch

    total = 0.0
    network.eval()
    with torch.inference_mode():
        for begin in range(0, len(places), settings.batch_size):
            chosen = places[begin : begin + settings.batch_size]
            parts = [_middle(records.signal[place], settings.samples) for place in chosen]
            total += float(_batch_loss(network, parts, records.af[chosen], settings)) * len(chosen)
    return total / len(places)


def _middle(signal: Floats32, samples: int) -> Floats32:
    start = max(0, (len(signal) - samples) // 2)
    return signal[start : start + samples]


def _draw_losses(path: Path, state: _State, name: str) -> None:
    from matplotlib.figure import Figure

    assert state.train_loss is not None
    assert state.val_loss is not None
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, state.epoch + 1)
    axes.plot(epochs, state.train_loss, label="training")
    axes.plot(epochs, state.val_loss, label="validation")
    axes.axvline(state.best_epoch, color="grey", linestyle=":", label=f"kept: epoch {state.best_epoch}")
    axes.set(xlabel="epoch", ylabel="binary cross entropy", title=name)
    axes.legend()
    figure.savefig(path, dpi=120)


def _tell_all(architecture: Architecture, records: Records, manifest: Manifest, out: Path) -> None:
    """Let every record be told of by a network that has not seen it; writes all_data.npz and predictions.jsonl."""
    val = records.of([manifest.val_fold])
    owner = np.asarray([manifest.network_for(fold) or "" for fold in records.fold.tolist()])
    count = len(records.id)
    logit, probability = np.full(count, np.nan), np.full(count, np.nan)
    features: Floats | None = None
    code = np.zeros((count, 0), dtype=np.int64)
    target: Floats | None = None
    for name in manifest.networks:
        path = out / f"{name}.safetensors"
        network, _ = read_network(path, architecture, manifest.settings)
        title = f"{architecture.name} ({name})"
        val_logits, val_features = run_network(network, records.signals(val), manifest.settings, title)
        if target is None:
            target = components(val_features)
        reading = fit_reading(val_logits, val_features, records.af[val], target)
        write_network(path, network, reading)
        manifest.networks[name] = manifest.networks[name].model_copy(update={"sha256": sha256(path)})
        mine = np.flatnonzero(owner == name)
        told_logits, told_features = run_network(network, records.signals(mine), manifest.settings, title)
        if features is None:
            features = np.full((count, told_features.shape[1]), np.nan)
            code = np.zeros((count, target.shape[1]), dtype=np.int64)
        logit[mine], features[mine] = told_logits, told_features
        probability[mine], code[mine] = reading.read(told_logits, told_features)
    assert features is not None
    _write_told(out, records, owner, logit, probability, code, features)


def _write_told(
    out: Path,
    records: Records,
    owner: NDArray[np.str_],
    logit: Floats,
    probability: Floats,
    code: NDArray[np.int64],
    features: Floats,
) -> None:
    told = np.flatnonzero(owner != "")
    columns = {
        "id": np.asarray(records.id),
        "group": np.asarray(records.group),
        "af": records.af,
        "fold": records.fold,
        "digest": records.digest,
        "network": owner,
        "logit": logit,
        "probability": probability,
        "code": code,
        "features": features.astype(np.float32),
    }
    write_outputs(out, {name: column[told] for name, column in columns.items()})
    rows = (
        prediction_of(records.id[place], records.group[place], ANSWERS[0] if records.af[place] else ANSWERS[1], value)
        for place, value in zip(told.tolist(), probability[told], strict=True)
    )
    write_jsonl(out / "predictions.jsonl", (row.model_dump() for row in rows))


def prediction_of(name: str, group: str, label: str, probability: float) -> Prediction:
    """Write what was said of a record as a prediction; the more probable answer is the one that counts as given."""
    values = {ANSWERS[0]: float(probability), ANSWERS[1]: 1 - float(probability)}
    parsed = max(values, key=lambda answer: values[answer])
    return Prediction(id=name, group=group, label=label, probabilities=values, text=None, parsed=parsed)
