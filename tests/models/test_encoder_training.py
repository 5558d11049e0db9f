"""Training of the networks: the same from the same, resumed, stopped by val alone, no record told of by who knew it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import ecg
from eval import classify
from tests.models.encoders import (
    COUNT,
    TEST_FOLD,
    VAL_FOLD,
    names,
    read,
    tiny,
    train_tiny,
    write_folds,
    write_source,
)
from tests.signals.cinc import write_cinc, write_record
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import lock, read_json, read_jsonl
from vitalfactory.models import encoder as encoder_module
from vitalfactory.models import encoder_commands as commands
from vitalfactory.models import encoder_training as training
from vitalfactory.models import mamba, mscnn
from vitalfactory.models.encoder import (
    OUTPUTS,
    Encoder,
    Manifest,
    Reading,
    find_architecture,
    read_manifest,
    read_network,
    read_outputs,
    run_network,
    write_network,
)
from vitalfactory.models.encoder_training import Records, read_records, train
from vitalfactory.predictions import read_predictions
from vitalfactory.signals.ecg import Recording, SyntheticRecord, WfdbRecord
from vitalfactory.signals.ecg_resampled import resample
from vitalfactory.signals.ecg_synthetic import make

NETWORKS = ["main", "without_0", "without_1"]
Told = dict[str, Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_source(root)
    return root


@pytest.fixture(scope="module")
def records(source: Path) -> Records:
    return read(source)


@pytest.fixture(scope="module")
def trained(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a checkpoint without a break."""
    out = tmp_path_factory.mktemp("encoder") / "mamba"
    train_tiny(records, out)
    return out


def told(folder: Path) -> Told:
    with np.load(folder / "all_data.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def weights(folder: Path, name: str) -> bytes:
    return (folder / f"{name}.safetensors").read_bytes()


def tensors(folder: Path, name: str) -> dict[str, bytes]:
    """Read a network's weights alone, without how its output is told."""
    from safetensors.numpy import load_file

    loaded = load_file(folder / f"{name}.safetensors")
    return {key: value.tobytes() for key, value in loaded.items() if not key.startswith("reading.")}


def relabelled(records: Records, places: Any) -> Records:
    af = records.af.copy()
    af[places] = ~af[places]
    return replace(records, af=af)


def test_what_training_leaves(trained: Path, records: Records) -> None:
    kept = {path.name for path in trained.iterdir() if path.name[0] != "."}
    assert kept == {
        "encoder.json",
        "training.json",
        "all_data.npz",
        "predictions.jsonl",
        *(f"{name}.safetensors" for name in NETWORKS),
        *(f"loss_{name}.png" for name in NETWORKS),
    }
    hidden = {path.name for path in trained.iterdir()} - kept
    assert hidden == {".lock", *(f".{name}.json" for name in NETWORKS)}
    made = read_manifest(trained, "mamba")
    assert (made.val_fold, made.test_fold) == (VAL_FOLD, TEST_FOLD)
    assert made.folds == {name: number % 4 for number, name in enumerate(names())}
    assert {name: network.folds for name, network in made.networks.items()} == {
        "main": [0, 1],
        "without_0": [1],
        "without_1": [0],
    }
    assert made.networks["main"].records == COUNT // 2
    assert all(1 <= network.best_epoch <= network.epochs == 3 for network in made.networks.values())
    rows = told(trained)
    assert rows["id"].tolist() == list(records.id)
    assert rows["af"].tolist() == list(records.af)
    assert rows["features"].shape == (COUNT, 16)
    assert rows["code"].shape == (COUNT, 6)
    assert np.isfinite(rows["features"]).all()
    assert np.isfinite(rows["logit"]).all()
    assert ((rows["probability"] > 0) & (rows["probability"] < 1)).all()


def test_predictions_are_what_was_told(trained: Path) -> None:
    rows = told(trained)
    for number, row in enumerate(read_predictions(trained / "predictions.jsonl")):
        assert row.id == rows["id"][number]
        assert row.label == ("AF" if rows["af"][number] else "no AF")
        assert row.probabilities is not None
        assert row.probabilities["AF"] == rows["probability"][number]
        assert sum(row.probabilities.values()) == pytest.approx(1)
        assert row.parsed == ("AF" if rows["probability"][number] >= 0.5 else "no AF")


def test_the_same_seed_gives_the_same_bytes(trained: Path, records: Records, tmp_path: Path) -> None:
    train_tiny(records, tmp_path / "again")
    for file in ("all_data.npz", "predictions.jsonl", *(f"{name}.safetensors" for name in NETWORKS)):
        assert (tmp_path / "again" / file).read_bytes() == (trained / file).read_bytes(), file
    train_tiny(records, tmp_path / "other", seed=7)
    assert weights(tmp_path / "other", "main") != weights(trained, "main")


def count_epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Keep a list of the epochs that are trained from now on, as the network and the epoch's number."""
    done: list[tuple[str, int]] = []
    epoch = training._epoch

    def counted(*given: Any) -> float:
        done.append((given[-1], given[-2]))
        return epoch(*given)

    monkeypatch.setattr(training, "_epoch", counted)
    return done


class Broken(Exception):
    pass


def fail_after(calls: int, function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Let a function be called so often, and then raise."""
    left = iter(range(calls))

    def called(*given: Any) -> Any:
        if next(left, None) is None:
            raise error
        return function(*given)

    return called


@pytest.mark.parametrize("epochs", [1, 2, 4, 8])
def test_an_interrupted_training_goes_on_to_the_same_end(
    trained: Path, records: Records, tmp_path: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off after so many epochs of all three networks, at the end of the next one."""
    out = tmp_path / "mamba"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_loss", fail_after(epochs, training._loss, Broken()))
        with pytest.raises(Broken):
            train_tiny(records, out)
    assert not (out / "encoder.json").exists()
    with pytest.raises(VitalFactoryError, match="holds no encoder"):
        Encoder(out, "mamba")
    done = count_epochs(monkeypatch)
    train_tiny(records, out)
    planned = [(name, epoch) for name in NETWORKS for epoch in range(3)]
    assert done == planned[epochs:]
    for file in ("all_data.npz", *(f"{name}.safetensors" for name in NETWORKS)):
        assert (out / file).read_bytes() == (trained / file).read_bytes(), file
    curves = ("epochs", "best_epoch", "val_loss", "sha256")
    again, unbroken = (read_manifest(folder, "mamba").networks for folder in (out, trained))
    for name in NETWORKS:
        assert all(getattr(again[name], curve) == getattr(unbroken[name], curve) for curve in curves)


def test_a_training_broken_while_it_tells_goes_on_to_the_same_end(
    trained: Path, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mamba"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run_network", fail_after(3, training.run_network, Broken()))
        with pytest.raises(Broken):
            train_tiny(records, out)
    done = count_epochs(monkeypatch)
    train_tiny(records, out)
    assert done == []
    assert (out / "all_data.npz").read_bytes() == (trained / "all_data.npz").read_bytes()


OTHER: dict[str, tuple[Callable[[Records], Records], dict[str, Any]]] = {
    "settings": (lambda records: records, {"settings": tiny(seed=1)}),
    "val_fold, test_fold": (lambda records: records, {"val_fold": TEST_FOLD, "test_fold": VAL_FOLD}),
    "records": (lambda records: replace(records, digest=records.digest + 1), {}),
    "labels": (lambda records: relabelled(records, [0]), {}),
    "architecture, settings": (
        lambda records: records,
        {"architecture": mscnn.ARCHITECTURE, "settings": tiny("mscnn")},
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_folder_holds_one_encoder(trained: Path, records: Records, what: str) -> None:
    change, given = OTHER[what]
    usual = {"architecture": mamba.ARCHITECTURE, "settings": tiny(), "val_fold": VAL_FOLD, "test_fold": TEST_FOLD}
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    with pytest.raises(VitalFactoryError, match=f"holds an encoder of other {what}; choose another --out"):
        train(records=change(records), out=trained, **{**usual, **given})
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_two_trainings_at_once_are_refused(records: Records, tmp_path: Path) -> None:
    with lock(tmp_path / ".lock"), pytest.raises(VitalFactoryError, match="another run holds this lock"):
        train_tiny(records, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_the_test_fold_decides_nothing(trained: Path, records: Records, tmp_path: Path) -> None:
    """Neither by its labels nor by its signals; what is told of other records stays the same."""
    test = records.of([TEST_FOLD])
    signals = list(records.signal)
    for place in test:
        signals[place] = signals[place][::-1].copy()
    made = train_tiny(replace(relabelled(records, test), signal=signals), tmp_path)
    for name, network in read_manifest(trained, "mamba").networks.items():
        assert made.networks[name].model_copy(update={"seconds": network.seconds}) == network
        assert weights(tmp_path, name) == weights(trained, name)
    before, after = told(trained), told(tmp_path)
    others = before["fold"] != TEST_FOLD
    for column in ("logit", "probability", "code", "features"):
        assert before[column][others].tobytes() == after[column][others].tobytes()
    assert before["logit"][~others].tobytes() != after["logit"][~others].tobytes()


def test_the_validation_fold_decides_the_stop(trained: Path, records: Records, tmp_path: Path) -> None:
    made = train_tiny(relabelled(records, records.of([VAL_FOLD])), tmp_path)
    before = read_manifest(trained, "mamba").networks
    assert all(made.networks[name].val_loss != before[name].val_loss for name in NETWORKS)
    assert any(tensors(tmp_path, name) != tensors(trained, name) for name in NETWORKS)
    assert {made.networks[name].best_epoch for name in NETWORKS} != {before[name].best_epoch for name in NETWORKS}


def test_training_stops_without_progress_and_keeps_the_best_weights(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [0.7, 0.5, 0.6, 0.55, 0.5, 0.1]  # as good as the best is no progress
    seen: list[dict[str, bytes]] = []

    def scripted(network: Any, *_: Any) -> float:
        seen.append({key: tensor.numpy().tobytes() for key, tensor in network.state_dict().items()})
        return losses[len(seen) - 1]

    monkeypatch.setattr(training, "_loss", scripted)
    made = train(mamba.ARCHITECTURE, records, tiny(epochs=9), VAL_FOLD, TEST_FOLD, tmp_path, out_of_fold=False).networks
    assert len(seen) == 5
    assert (made["main"].epochs, made["main"].best_epoch, made["main"].val_loss) == (5, 2, 0.5)
    assert tensors(tmp_path, "main") == seen[1] != seen[-1]


def test_a_loss_that_is_no_number_is_an_error(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_loss", lambda *_: float("nan"))
    with pytest.raises(VitalFactoryError, match="main: the validation loss was never a number; give a smaller"):
        train_tiny(records, tmp_path)


def test_no_record_is_told_of_by_a_network_that_has_seen_it(trained: Path) -> None:
    made, rows = read_manifest(trained, "mamba"), told(trained)
    for name, fold in zip(rows["network"].tolist(), rows["fold"].tolist(), strict=True):
        assert fold not in made.networks[name].folds
        assert name == {0: "without_0", 1: "without_1"}.get(fold, "main")
    assert set(rows["network"].tolist()) == set(NETWORKS)
    assert sorted(set(rows["fold"].tolist())) == [0, 1, 2, 3]


def test_what_is_told_of_a_record_does_not_depend_on_what_was_learned_from_it(
    trained: Path, records: Records, tmp_path: Path
) -> None:
    """One record of fold 0 becomes another with another label: nothing told of fold 0 changes, and all else does.

    A code is left out: its axes are the main network's, onto which each network's features are mapped by what they
    are in the validation fold.
    """
    place = int(records.of([0])[3])
    signals = list(records.signal)
    signals[place] = resample(Recording(make("A", np.random.default_rng(99), 10.0), 300.0))
    digest = records.digest.copy()
    digest[place] += 1
    changed = replace(relabelled(records, [place]), signal=signals, digest=digest)
    made = train_tiny(changed, tmp_path)
    assert tensors(tmp_path, "without_0") == tensors(trained, "without_0")
    for name in ("main", "without_1"):
        assert tensors(tmp_path, name) != tensors(trained, name)

    before, after = told(trained), told(tmp_path)
    mine = before["fold"] == 0
    others = mine & (np.arange(COUNT) != place)
    for column in ("logit", "probability", "features"):
        assert before[column][others].tobytes() == after[column][others].tobytes(), column
        assert (before[column][~mine] != after[column][~mine]).any(), column
    assert before["logit"][place] != after["logit"][place]

    network, reading = read_network(tmp_path / "without_0.safetensors", mamba.ARCHITECTURE, made.settings)
    logits, features = run_network(network, records.signals(records.of([0])), made.settings, "again")
    probability, _ = reading.read(logits, features)
    assert logits.tobytes() == before["logit"][mine].tobytes()
    assert probability.tobytes() == before["probability"][mine].tobytes()
    assert features.astype(np.float32).tobytes() == before["features"][mine].tobytes()


def test_without_out_of_fold_nothing_is_told_of_training_records(records: Records, tmp_path: Path) -> None:
    train(mamba.ARCHITECTURE, records, tiny(epochs=1), VAL_FOLD, TEST_FOLD, tmp_path, out_of_fold=False)
    assert set(told(tmp_path)["fold"].tolist()) == {VAL_FOLD, TEST_FOLD}
    encoder = Encoder(tmp_path, "mamba")
    assert encoder.told("A00002") is not None
    assert encoder.told("A00000") is None
    made = train(mamba.ARCHITECTURE, records, tiny(epochs=1), VAL_FOLD, TEST_FOLD, tmp_path)
    assert list(made.networks) == NETWORKS
    assert set(told(tmp_path)["fold"].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("val", "test", "change", "message"),
    [
        (9, 3, None, r"--val-fold 9: no such fold; there are \[0, 1, 2, 3\]"),
        (2, 9, None, r"--test-fold 9: no such fold"),
        (2, 2, None, "--val-fold and --test-fold are both 2; they must differ"),
        (2, 3, 0, "fold 0: its records are all of one kind"),
        (2, 3, 2, "fold 2: its records are all of one kind"),
    ],
)
def test_folds_must_be_fit_to_train_on(
    records: Records, tmp_path: Path, val: int, test: int, change: int | None, message: str
) -> None:
    af = records.af.copy()
    if change is not None:
        af[records.of([change])] = False
    with pytest.raises(VitalFactoryError, match=message):
        train(mamba.ARCHITECTURE, replace(records, af=af), tiny(), val, test, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_folds_are_too_few(source: Path, tmp_path: Path) -> None:
    folds = write_folds(tmp_path / "cv", [names()[::2], names()[1::2]])
    with pytest.raises(VitalFactoryError, match=r"there are only the folds \[0, 1\]; training needs a third"):
        train(mamba.ARCHITECTURE, read_records(source / "training2017", folds), tiny(), 0, 1, tmp_path / "out")


def test_every_line_of_the_source_is_a_record_or_excluded(tmp_path: Path) -> None:
    labels = [*((name, "NA"[number % 2]) for number, name in enumerate(names(12))), ("A90000", "~"), ("A90001", "N")]
    write_cinc(tmp_path / "training2017", [*labels, labels[0]])
    write_record(tmp_path / "training2017", "A00004", np.zeros(3000))
    folds = write_folds(tmp_path / "cv", [names(12)[fold::3] for fold in range(3)])
    found = read_records(tmp_path / "training2017", folds, limit=3)
    assert found.excluded == {
        "duplicate record": 1,
        "flat": 1,
        "in no fold file": 1,
        "neither AF nor another rhythm": 1,
        "over --limit": 2,
    }
    assert len(found.id) == 9
    with pytest.raises(VitalFactoryError, match="no record of it stands in a fold of"):
        read_records(tmp_path / "training2017", write_folds(tmp_path / "none", [["B1"]]))


def test_one_recording_under_two_names_has_one_fold(trained: Path, source: Path, tmp_path: Path) -> None:
    """A twin in another fold is not learned from, and told of as the record that it repeats; one in its own stays."""
    folder = tmp_path / "training2017"
    shutil.copytree(source / "training2017", folder)
    known = names()
    twin = WfdbRecord("A90000", "A90000", "N", folder)
    for ending in ("mat", "hea"):
        shutil.copy(folder / f"{known[0]}.{ending}", folder / f"{twin.id}.{ending}")
    header = folder / f"{twin.id}.hea"
    header.write_text(header.read_text().replace(known[0], twin.id))
    with (folder / "REFERENCE.csv").open("a") as reference:
        reference.write(f"{twin.id},N\n")
    other_fold = [[*known[fold::4], *([twin.id] if fold == 1 else [])] for fold in range(4)]
    found = read_records(folder, write_folds(tmp_path / "cv", other_fold))
    assert found.excluded == {"the same recording as one of another fold": 1}
    assert twin.id not in found.id
    own_fold = [[*known[fold::4], *([twin.id] if fold == 0 else [])] for fold in range(4)]
    kept = read_records(folder, write_folds(tmp_path / "own", own_fold))
    assert not kept.excluded
    assert twin.id in kept.id
    encoder = Encoder(trained, "mamba")
    assert encoder.encode([twin])[twin.id] == encoder.told(known[0])


def test_a_patients_records_have_one_fold(tmp_path: Path) -> None:
    """Where the files name one record of a patient, the others are of its fold; they name patients just as well."""
    known = names(24)
    write_cinc(tmp_path / "source", [(name, "N") for name in known])
    (tmp_path / "source" / "REFERENCE.csv").unlink()
    lines = [f"{name},{'AF' if number % 3 else 'no AF'},p{number // 2}" for number, name in enumerate(known)]
    (tmp_path / "source" / "labels.csv").write_text("\n".join(["record,label,patient", *lines]))
    by_record = write_folds(tmp_path / "records", [known[2 * fold :: 8] for fold in range(4)])
    by_patient = write_folds(
        tmp_path / "patients", [[f"p{number}" for number in range(fold, 12, 4)] for fold in range(4)]
    )
    for folds in (by_record, by_patient):
        found = read_records(tmp_path / "source", folds)
        assert found.fold.tolist() == [number // 2 % 4 for number in range(24)]
        few = read_records(tmp_path / "source", folds, limit=1)
        assert all(few.folds[f"p{number}"] == number % 4 for number in range(12))
    made = train_tiny(found, tmp_path / "encoder", epochs=1)
    assert made.fold_of("A00001", "p0") == 0
    assert made.fold_of("A99999", "p99") is None
    ecg.convert(
        input=tmp_path / "source", root=tmp_path, folds=by_patient, val_fold=VAL_FOLD, test_fold=TEST_FOLD, workers=1
    )
    commands.predict(mamba.ARCHITECTURE, tmp_path / "encoder", tmp_path / "data" / "ecg", tmp_path / "run")
    assert len(read_predictions(tmp_path / "run" / "predictions.jsonl")) == 6


def arguments(source: Path, out: Path, *more: object) -> list[str]:
    folders = ["--input", source / "training2017", "--folds", source / "cv", "--out", out]
    small = ["--seconds", 2, "--width", 8, "--layers", 1, "--learning-rate", 0.01, "--batch-size", 16]
    return list(map(str, [*folders, *small, "--epochs", 3, "--patience", 3, *more]))


def train_arguments(source: Path, out: Path, *more: object) -> list[str]:
    return ["train", *arguments(source, out, "--val-fold", VAL_FOLD, "--test-fold", TEST_FOLD, *more)]


def failure(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """Run the command line to its error; return that one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(mamba.main, argv)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_the_command_line(source: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mamba.main(train_arguments(source, tmp_path / "mamba"))
    out = capsys.readouterr().out
    shown = [line.split(":")[0] for line in out.splitlines() if ": epoch " in line]
    assert shown == [name for name in NETWORKS for _ in range(3)]
    assert f"encoder: {tmp_path / 'mamba'}" in out
    assert "24 records, 3 epochs, best " in out
    assert (tmp_path / "mamba" / "all_data.npz").read_bytes() == (trained / "all_data.npz").read_bytes()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--batch-size", 1], "--batch-size 1: Input should be greater than or equal to 2"),
        (["--epochs", 0], "--epochs 0: Input should be greater than or equal to 1"),
        (["--patience", 0], "--patience 0: Input"),
        (["--seed", -1], "--seed -1: Input"),
        (["--learning-rate", 0], "--learning-rate 0.0: Input"),
        (["--learning-rate", "nan"], "--learning-rate nan: Input"),
        (["--seconds", -1], "--seconds -1.0: Input"),
        (["--seconds", "inf"], "--seconds inf: Input"),
        (["--seconds", 0.01], "--seconds: a window must hold at least 0.2 s"),
        (["--width", 0], "--width 0: expected at least 2"),
        (["--input", "nowhere"], "nowhere: no such folder"),
        (["--folds", "nowhere"], "nowhere: no fold files"),
        (["--val-fold", 8], "--val-fold 8: no such fold"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_errors_are_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[object], words: str
) -> None:
    assert failure(capsys, train_arguments(source, tmp_path / "out", *more)).startswith(f"error: {words}")
    assert not (tmp_path / "out" / "encoder.json").exists()


def test_a_card_without_memory_ends_with_advice_and_the_training_goes_on(
    source: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    told_by_cuda = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has\na total of 8 GiB."
    )
    argv = train_arguments(source, tmp_path / "mamba")
    with pytest.MonkeyPatch.context() as patch:
        # Two batches of training and one of validation are an epoch of the main network.
        patch.setattr(training, "forward", fail_after(7, training.forward, told_by_cuda))
        line = failure(capsys, argv)
    assert line.startswith("error: the card has too little memory (CUDA out of memory)")
    assert "smaller --batch-size" in line
    assert "same command again, it goes on where it stopped" in line
    done = count_epochs(monkeypatch)
    mamba.main(argv)
    assert done[0] == ("main", 2)
    assert len(done) == 7
    assert (tmp_path / "mamba" / "all_data.npz").read_bytes() == (trained / "all_data.npz").read_bytes()


def test_cross_validation(source: Path, records: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mamba.main(["cross-validate", *arguments(source, tmp_path / "cv", "--epochs", 1)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("test fold", "mean"))]
    assert [line.split(":")[0] for line in lines] == [*(f"test fold {fold}" for fold in range(4)), "mean of 4 folds"]
    assert all("AUROC" in line and "F1" in line for line in lines)
    areas = [float(line.split("AUROC ")[1].split(",")[0]) for line in lines[:-1]]
    assert float(lines[-1].split("AUROC ")[1].split(" ")[0]) == pytest.approx(np.mean(areas), abs=0.001)
    for fold in range(4):
        folder = tmp_path / "cv" / f"test_{fold}"
        made, rows = read_manifest(folder, "mamba"), told(folder)
        assert made.test_fold == fold
        assert made.val_fold == (fold + 1) % 4
        assert list(made.networks) == ["main"]
        assert not {made.val_fold, made.test_fold} & set(made.networks["main"].folds)
        assert rows["id"][rows["fold"] == fold].tolist() == [records.id[place] for place in records.of([fold])]


@pytest.fixture(scope="module")
def root(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert the source over its folds and over others, and with four labels."""
    root = tmp_path_factory.mktemp("root")
    folds = {"folds": source / "cv", "val_fold": VAL_FOLD, "test_fold": TEST_FOLD}
    usual: dict[str, Any] = {"input": source / "training2017", "root": root, "workers": 1}
    ecg.convert(**usual, **folds, name="ecg")
    ecg.convert(**usual, **folds, name="zh", language="zh", representation="raw")
    ecg.convert(**usual, **folds, name="four", labels="cinc")
    ecg.convert(**usual, **{**folds, "val_fold": TEST_FOLD, "test_fold": VAL_FOLD}, name="swapped")
    ecg.convert(synthetic=24, root=root, workers=1, name="others", split="50/25/25")
    return root


def predict_arguments(root: Path, encoder: Path, dataset: str, out: Path) -> list[str]:
    return ["predict", *map(str, ["--encoder", encoder, "--dataset", dataset, "--root", root, "--out", out])]


@pytest.mark.parametrize("dataset", ["ecg", "zh"])
def test_a_checkpoint_answers_any_dataset_of_its_folds(
    root: Path, trained: Path, tmp_path: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mamba.main(predict_arguments(root, trained, dataset, tmp_path / "run"))
    assert "12 of 12 rows answered now" in capsys.readouterr().out
    said = read_outputs(trained)
    for split, name in (("test", "predictions.jsonl"), ("val", "predictions_val.jsonl")):
        rows = list(read_jsonl(root / "data" / dataset / f"{split}.jsonl"))
        answers = read_predictions(tmp_path / "run" / name)
        assert [(row["id"], row["label"]) for row in rows] == [(answer.id, answer.label) for answer in answers]
        for answer in answers:
            assert answer.probabilities is not None
            assert answer.probabilities["AF"] == said[answer.id].probability
    manifest = read_json(tmp_path / "run" / "run.json")
    assert manifest["method"] == "network"
    assert manifest["adapter_sha256"] == read_manifest(trained, "mamba").networks["main"].sha256
    classify.main([str(tmp_path / "run")])
    assert 0 <= read_json(tmp_path / "run" / "metrics.json")["figures"]["auroc"]["value"] <= 1


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("four", "its labels are normal rhythm, AF, other rhythm, noise; expected AF, no AF"),
        ("swapped", "is a val row, and the encoder's test; the folds differ"),
        ("others", "is no record that"),
        ("none", "no such file"),
    ],
)
def test_a_checkpoint_answers_no_other_dataset(
    root: Path, trained: Path, tmp_path: Path, dataset: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = failure(capsys, predict_arguments(root, trained, dataset, tmp_path / "run"))
    assert words in line
    assert not (tmp_path / "run").exists()


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """Copy the checkpoint, to be spoilt by a test."""
    return Path(shutil.copytree(trained, tmp_path / "own"))


def spoil_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from vitalfactory.files import write_json

    content = read_json(folder / "encoder.json")
    change(content)
    write_json(folder / "encoder.json", content)


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "extra: Extra inputs are not permitted": lambda content: content.update(extra=1),
    "settings.seconds: Field required": lambda content: content["settings"].pop("seconds"),
    "settings.options: expected": lambda content: content["settings"]["options"].update(unheard_of=1),
    "networks: has no 'main'": lambda content: content["networks"].pop("main"),
    "an encoder of the architecture 'mscnn', not 'mamba'": lambda content: content.update(architecture="mscnn"),
}


def test_a_card_without_memory_is_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(encoder_module, "run_network", fails)
    with pytest.raises(VitalFactoryError, match="too little memory for its network; free the card, or set CUDA_VIS"):
        Encoder(own, "mamba").encode([SyntheticRecord("S1", "S1", "N", 1)])


@pytest.mark.parametrize("words", MANIFESTS)
def test_a_spoilt_manifest_is_refused(own: Path, words: str) -> None:
    spoil_manifest(own, MANIFESTS[words])
    with pytest.raises(VitalFactoryError, match=words):
        Encoder(own, "mamba")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def write_pickle(path: Path) -> None:
    np.savez(path, id=np.asarray([{"a": 1}], dtype=object))


def write_columns(path: Path) -> None:
    np.savez(path, id=["a"], probability=[0.5, 0.5], code=[[1]], digest=[1], network=["main"])


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (cut, "not an encoder's outputs"),
    (lambda path: path.write_bytes(b"PK\x03\x04" + b"x" * 99), "not an encoder's outputs"),
    (lambda path: path.write_bytes(b"nothing"), "not an encoder's outputs"),
    (lambda path: path.write_bytes(b""), "not an encoder's outputs"),
    (write_pickle, "not an encoder's outputs"),
    (write_columns, "not an encoder's outputs"),
    (Path.unlink, "no such file; give the same training command again, it goes on"),
]


@pytest.mark.parametrize("place", range(len(SPOILT)))
def test_spoilt_outputs_are_refused(own: Path, place: int) -> None:
    spoil, words = SPOILT[place]
    spoil(own / "all_data.npz")
    with pytest.raises(VitalFactoryError, match=f"all_data.npz: {words}"):
        Encoder(own, "mamba")


def test_other_outputs_are_refused(own: Path) -> None:
    """A file of the right form that is not the one of the training would tell of records what it likes."""
    with np.load(own / OUTPUTS, allow_pickle=False) as file:
        columns = dict(file)
    columns["probability"] = columns["probability"][::-1]
    np.savez(own / OUTPUTS, **columns)
    with pytest.raises(VitalFactoryError, match=r"all_data\.npz: not the file that encoder\.json describes"):
        Encoder(own, "mamba")


def test_weights_are_written_and_read(own: Path) -> None:
    made = read_manifest(own, "mamba")
    network, reading = read_network(own / "main.safetensors", mamba.ARCHITECTURE, made.settings)
    changed = Reading(2.5, -1.0, reading.weight + 1, reading.bias)
    write_network(own / "copy.safetensors", network, changed)
    again, told_again = read_network(own / "copy.safetensors", mamba.ARCHITECTURE, made.settings)
    assert (told_again.slope, told_again.intercept) == (2.5, -1.0)
    assert told_again.weight.tobytes() == changed.weight.tobytes()
    assert all((again.state_dict()[name] == tensor).all() for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"width": 10, "layers": 1}, "not the weights of the mamba"), ({"width": 8, "layers": 2}, "not the weights")],
)
def test_weights_of_another_shape_are_refused(own: Path, options: dict[str, int], words: str) -> None:
    other = tiny().model_copy(update={"options": options})
    with pytest.raises(VitalFactoryError, match=words):
        read_network(own / "main.safetensors", mamba.ARCHITECTURE, other)


def test_weights_that_are_no_safetensors_are_refused(own: Path) -> None:
    path = own / "main.safetensors"
    cut(path)
    with pytest.raises(VitalFactoryError, match=r"not the weights of the mamba that encoder\.json describes"):
        read_network(path, mamba.ARCHITECTURE, tiny())
    path.unlink()
    with pytest.raises(VitalFactoryError, match=r"no such file; make one with python -m vitalfactory\.models\.mamba"):
        read_network(path, mamba.ARCHITECTURE, tiny())


@pytest.mark.parametrize(("fold", "network"), [(0, "without_0"), (1, "without_1"), (2, "main"), (None, "main")])
def test_which_network_tells(trained: Path, fold: int | None, network: str) -> None:
    made = read_manifest(trained, "mamba")
    assert made.network_for(fold) == network
    alone = made.model_copy(update={"networks": {"main": made.networks["main"]}})
    assert alone.network_for(fold) == (None if fold in (0, 1) else "main")


def test_mscnn_trains_as_well(records: Records, tmp_path: Path) -> None:
    made: Manifest = train_tiny(records, tmp_path, "mscnn")
    assert made.architecture == "mscnn"
    assert told(tmp_path)["features"].shape == (COUNT, 64)
    assert find_architecture("mscnn").build is mscnn.build
    again: Iterator[str] = iter(Encoder(tmp_path, "mscnn").manifest.networks)
    assert list(again) == NETWORKS
