"""The networks of emotion codes as files: safetensors with a JSON of their layers, or Keras models.

Nothing that a file holds is run: weights are read as numbers, layers are rebuilt from a list of known ones, and what
either claims is held against limits before memory is taken. Keras' own ``safe_mode`` is not enough for that.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Shape = tuple[int, ...]
Network = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Takes standardised inputs of shape (n, 10, 1), returns the probabilities of both classes, shape (n, 2)."""

INPUTS = 10
CLASSES = 2
FORMS = ((".safetensors", ".json"), (".keras",), (".h5",))
ACCEPTED = "NAME.safetensors with NAME.json, or NAME.keras, or NAME.h5"
EXTRA = 'pip install "vitalfactory[emotion]"'
MAX_BYTES = 2**28
MAX_JSON_BYTES = 2**20
MAX_WEIGHTS = 2**24
MAX_LAYERS = 64
MAX_WIDTH = 2048
"""Units of a layer; with no layer that lengthens its input, a batch never takes more than some 300 MB."""
MAX_STEPS = 16
"""Length of a kernel, a pool or a stride over the ten inputs."""


class Strict(BaseModel):
    """A form that has no other fields than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_network(files: tuple[Path, ...]) -> Network:
    """Open one network.

    Parameters
    ----------
    files : tuple of Path
        One of :data:`FORMS`.

    Raises
    ------
    VitalFactoryError
        It is not a file of its form, may run code when it is opened, is too large, or is of another input or output;
        or Keras is needed and missing.
    """
    if files[0].suffix == ".safetensors":
        return _read_safetensors(*files)
    return _read_keras(files[0])


def check_size(path: Path) -> None:
    """Refuse a file that is larger than a small network can be."""
    limit = MAX_JSON_BYTES if path.suffix == ".json" else MAX_BYTES
    if path.stat().st_size > limit:
        raise VitalFactoryError(f"{path}: larger than the {limit >> 20} MiB that a small network may have")


def first_fault(error: ValidationError) -> str:
    """Tell where the first fault of a JSON file is, and what it is."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def first_line(error: BaseException) -> str:
    """Give the first line of an error's text, not longer than a line may be."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
TensorName = Annotated[str, Field(min_length=1, max_length=200)]
Activation = Literal["linear", "relu", "elu", "tanh", "sigmoid", "softmax"]
Padding = Literal["valid", "same"]


class _Layer(Strict):
    """A layer over one input: of shape (steps, channels) or (channels,), with the batch before it.

    What it cannot take is raised as a ``ValueError``.
    """

    layer: str

    def weights(self, shape: Shape) -> list[tuple[str, Shape]]:
        """Name its tensors and their shapes for an input of ``shape``."""
        return []

    def output(self, shape: Shape) -> Shape:
        """Give the shape of its output."""
        return shape

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Compute its output; the network's tensors stand in ``weights``."""
        return data


class _Conv1D(_Layer):
    layer: Literal["Conv1D"]
    filters: Width
    kernel_size: Steps
    strides: Steps = 1
    padding: Padding = "valid"
    activation: Activation = "linear"
    kernel: TensorName
    bias: TensorName | None = None

    def weights(self, shape: Shape) -> list[tuple[str, Shape]]:
        _, channels = _sequence(shape)
        return [(self.kernel, (self.kernel_size, channels, self.filters)), *_bias(self.bias, self.filters)]

    def output(self, shape: Shape) -> Shape:
        steps, _ = _sequence(shape)
        return _windows(steps, self.kernel_size, self.strides, self.padding), self.filters

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import conv1d

        padded = _pad(data, self.kernel_size, self.strides, self.padding, 0.0).transpose(1, 2)
        kernel = weights[self.kernel].permute(2, 1, 0)
        bias = weights[self.bias] if self.bias else None
        return _activate(self.activation, conv1d(padded, kernel, bias, stride=self.strides).transpose(1, 2))


class _Dense(_Layer):
    layer: Literal["Dense"]
    units: Width
    activation: Activation = "linear"
    kernel: TensorName
    bias: TensorName | None = None

    def weights(self, shape: Shape) -> list[tuple[str, Shape]]:
        return [(self.kernel, (shape[-1], self.units)), *_bias(self.bias, self.units)]

    def output(self, shape: Shape) -> Shape:
        return *shape[:-1], self.units

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        sums = data @ weights[self.kernel]
        return _activate(self.activation, sums + weights[self.bias] if self.bias else sums)


class _BatchNormalization(_Layer):
    layer: Literal["BatchNormalization"]
    mean: TensorName
    variance: TensorName
    gamma: TensorName | None = None
    beta: TensorName | None = None
    epsilon: float = Field(default=1e-3, gt=0)

    def weights(self, shape: Shape) -> list[tuple[str, Shape]]:
        names = (self.mean, self.variance, self.gamma, self.beta)
        return [(name, shape[-1:]) for name in names if name is not None]

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        scaled = (data - weights[self.mean]) / (weights[self.variance] + self.epsilon).sqrt()
        if self.gamma:
            scaled = scaled * weights[self.gamma]
        return scaled + weights[self.beta] if self.beta else scaled


class _MaxPooling1D(_Layer):
    layer: Literal["MaxPooling1D"]
    pool_size: Steps = 2
    strides: Steps | None = None
    padding: Padding = "valid"

    def output(self, shape: Shape) -> Shape:
        steps, channels = _sequence(shape)
        return _windows(steps, self.pool_size, self.strides or self.pool_size, self.padding), channels

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import max_pool1d

        strides = self.strides or self.pool_size
        padded = _pad(data, self.pool_size, strides, self.padding, -math.inf).transpose(1, 2)
        pooled: Tensor = max_pool1d(padded, self.pool_size, strides).transpose(1, 2)
        return pooled


class _GlobalAveragePooling1D(_Layer):
    layer: Literal["GlobalAveragePooling1D"]

    def output(self, shape: Shape) -> Shape:
        return _sequence(shape)[1:]

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        return data.mean(dim=1)


class _Flatten(_Layer):
    layer: Literal["Flatten"]

    def output(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        return data.flatten(1)


class _Dropout(_Layer):
    """Does nothing: the networks are asked, not trained."""

    layer: Literal["Dropout"]
    rate: float = Field(default=0.5, ge=0, lt=1)


class _Activation(_Layer):
    layer: Literal["Activation"]
    activation: Activation

    def run(self, data: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        return _activate(self.activation, data)


AnyLayer = Annotated[
    _Conv1D
    | _Dense
    | _BatchNormalization
    | _MaxPooling1D
    | _GlobalAveragePooling1D
    | _Flatten
    | _Dropout
    | _Activation,
    Field(discriminator="layer"),
]


class _Description(Strict):
    """The content of a network's JSON file."""

    input: tuple[Literal[10], Literal[1]]
    layers: list[AnyLayer] = Field(min_length=1, max_length=MAX_LAYERS)


def _sequence(shape: Shape) -> Shape:
    if len(shape) != 2:
        raise ValueError(f"takes (steps, channels), but its input is {shape}")
    return shape


def _bias(name: str | None, width: int) -> list[tuple[str, Shape]]:
    return [] if name is None else [(name, (width,))]


def _windows(steps: int, size: int, stride: int, padding: Padding) -> int:
    """Count the places of a kernel or pool over ``steps``."""
    if padding == "same":
        return -(-steps // stride)
    if steps < size:
        raise ValueError(f"takes at least {size} steps, but its input has {steps}")
    return (steps - size) // stride + 1


def _pad(data: Tensor, size: int, stride: int, padding: Padding, value: float) -> Tensor:
    """Pad (batch, steps, channels) as Keras does: of an odd number of steps, one more at the end."""
    from torch.nn.functional import pad

    if padding == "valid":
        return data
    steps = data.shape[1]
    total = max((-(-steps // stride) - 1) * stride + size - steps, 0)
    padded: Tensor = pad(data, (0, 0, total // 2, total - total // 2), value=value)
    return padded


def _activate(name: Activation, data: Tensor) -> Tensor:
    import torch

    if name == "linear":
        return data
    if name == "softmax":
        return torch.softmax(data, dim=-1)
    functions = {"relu": torch.relu, "elu": torch.nn.functional.elu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    return functions[name](data)


def _read_safetensors(path: Path, layers: Path) -> Network:
    """Read a network from its weights and the JSON file of its layers, whose shapes are compared before any weight."""
    try:
        description = _Description.model_validate(read_json(layers))
    except ValidationError as error:
        raise VitalFactoryError(f"{layers}: {first_fault(error)}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists
        raise VitalFactoryError(f"{layers}: not the layers of a network ({first_line(error)})") from None
    weights = _read_tensors(path, _expected(description, layers), layers.name)

    def run(inputs: NDArray[np.float32]) -> NDArray[Any]:
        import torch

        with torch.inference_mode():
            data = torch.from_numpy(np.ascontiguousarray(inputs))
            for layer in description.layers:
                data = layer.run(data, weights)
            said: NDArray[Any] = data.numpy()
        return said

    return run


def _expected(description: _Description, path: Path) -> dict[str, Shape]:
    """Follow the shapes through the layers; return those of the tensors that they name."""
    shape: Shape = description.input
    expected: dict[str, Shape] = {}
    for place, layer in enumerate(description.layers):
        where = f"{path}: layers.{place} ({layer.layer})"
        try:
            tensors = layer.weights(shape)
            shape = layer.output(shape)
        except ValueError as error:
            raise VitalFactoryError(f"{where}: {error}") from None
        for name, size in tensors:
            if expected.setdefault(name, size) != size:
                raise VitalFactoryError(f"{where}: {name} would be {size}, and {expected[name]} elsewhere")
    if shape != (CLASSES,):
        raise VitalFactoryError(f"{path}: its output is {shape}; expected ({CLASSES},)")
    _check_weights(path, sum(map(math.prod, expected.values())))
    return expected


def _check_weights(path: Path, count: int) -> None:
    if count > MAX_WEIGHTS:
        raise VitalFactoryError(f"{path}: {count} weights; a small network has at most {MAX_WEIGHTS}")


def _read_tensors(path: Path, expected: Mapping[str, Shape], layers: str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file once their names, shapes and types are those of the layers."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
            if differing := sorted(set(shapes.items()) ^ set(expected.items())):
                name = differing[0][0]
                raise VitalFactoryError(
                    f"{path}: {name}: {layers} says {expected.get(name, 'nothing of it')}, the file "
                    f"{shapes.get(name, 'does not hold it')}"
                )
            for name, part in found.items():
                if part.get_dtype() not in ("F16", "BF16", "F32", "F64"):
                    raise VitalFactoryError(f"{path}: {name}: is {part.get_dtype()}; expected floating point")
            return {name: file.get_tensor(name).float() for name in found}
    except SafetensorError as error:
        raise VitalFactoryError(f"{path}: not a safetensors file ({first_line(error)})") from None


KERAS_LAYERS = (
    "InputLayer Conv1D Dense BatchNormalization LayerNormalization Flatten MaxPooling1D AveragePooling1D "
    "GlobalMaxPooling1D GlobalAveragePooling1D Dropout SpatialDropout1D Activation ReLU LeakyReLU ELU Softmax LSTM GRU"
)
KERAS_PARTS = (
    "Sequential Functional Model DTypePolicy __keras_tensor__ __tuple__ Zeros Ones Constant RandomNormal RandomUniform "
    "TruncatedNormal VarianceScaling GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Orthogonal "
    "Identity L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm"
)
KERAS_KNOWN = frozenset(f"{KERAS_LAYERS} {KERAS_PARTS}".split())
KERAS_CODE = ("Lambda", "__lambda__", "function")
KERAS_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
KERAS_LIMITS = {
    **dict.fromkeys(("units", "filters"), MAX_WIDTH),
    **dict.fromkeys(("kernel_size", "pool_size", "strides", "dilation_rate"), MAX_STEPS),
}


def _read_keras(path: Path) -> Network:
    """Read a Keras file after everything in it that Keras would build has been looked at.

    ``safe_mode`` guards against Python code in Lambda layers alone, so only known layers are let through. The network
    is first built without memory, to count its weights.
    """
    keras = _import_keras(path)
    config = _keras_config(path)
    _check_keras_config(config, path)
    model = _load_keras(keras, path, "meta")
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if shapes != ((None, INPUTS, 1), (None, CLASSES)):
        raise VitalFactoryError(
            f"{path}: takes {shapes[0]} and gives {shapes[1]}; expected (None, {INPUTS}, 1) and (None, {CLASSES})"
        )
    _check_weights(path, int(model.count_params()))
    model = _load_keras(keras, path, "cpu")

    def run(inputs: NDArray[np.float32]) -> NDArray[Any]:
        import torch

        with torch.no_grad(), keras.device("cpu"):
            said: NDArray[Any] = model(torch.from_numpy(np.ascontiguousarray(inputs)), training=False).numpy()
        return said

    return run


def _import_keras(path: Path) -> Any:
    import os
    import sys

    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        keras = importlib.import_module("keras")
        importlib.import_module("h5py")
    except ImportError:
        raise VitalFactoryError(
            f"{path}: reading a Keras file needs Keras, which is not installed: {EXTRA}; or bring the network as "
            "safetensors and JSON"
        ) from None
    if keras.backend.backend() != "torch":
        raise VitalFactoryError(
            f"{path}: Keras has been imported over {keras.backend.backend()}; expected torch: set KERAS_BACKEND=torch"
        )
    return keras


def _load_keras(keras: Any, path: Path, device: str) -> Any:
    try:
        with keras.device(device):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a file that is not what it says makes Keras raise errors of every kind
        raise VitalFactoryError(f"{path}: Keras cannot read it ({first_line(error)})") from None


def _keras_config(path: Path) -> Any:
    """Read the description of the layers out of a Keras file whose weights are in it and of bearable size."""
    import json
    import zipfile
    import zlib

    try:
        text = _zip_config(path) if path.suffix == ".keras" else _hdf5_config(path)
        return json.loads(text)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise VitalFactoryError(f"{path}: not a Keras file ({first_line(error)})") from None


def _zip_config(path: Path) -> bytes:
    import io
    import zipfile

    h5py = importlib.import_module("h5py")
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member.file_size for member in archive.infolist()}
        if set(members) != KERAS_MEMBERS or len(archive.infolist()) > len(members):
            raise VitalFactoryError(f"{path}: holds {sorted(members)[:5]}; expected {sorted(KERAS_MEMBERS)}")
        if sum(members.values()) > MAX_BYTES or members["config.json"] > MAX_JSON_BYTES:
            raise VitalFactoryError(f"{path}: unpacked, larger than a small network may be")
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            _check_hdf5(file, path)
        return archive.read("config.json")


def _hdf5_config(path: Path) -> str | bytes:
    h5py = importlib.import_module("h5py")
    with h5py.File(path, "r") as file:
        _check_hdf5(file, path)
        config = file.attrs.get("model_config")
    if not isinstance(config, str | bytes):
        raise VitalFactoryError(f"{path}: holds weights without their layers; save the whole model with model.save")
    return config


def _check_hdf5(file: Any, path: Path) -> None:
    """Refuse HDF5 that reaches into other files, or whose arrays are larger than the file lets expect."""
    h5py = importlib.import_module("h5py")
    sizes = []

    def elsewhere(_: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            sizes.append((item.size or 0) * item.dtype.itemsize)
            return True if item.external or item.is_virtual else None
        return None if isinstance(item, h5py.Group | h5py.HardLink) else True

    if file.visititems_links(elsewhere) or file.visititems(elsewhere):
        raise VitalFactoryError(f"{path}: holds links or arrays that lie outside of it, and is refused")
    if sum(sizes) > MAX_BYTES:
        raise VitalFactoryError(
            f"{path}: unpacked, larger than the {MAX_BYTES >> 20} MiB that a small network may have"
        )


def _check_keras_config(config: Any, path: Path) -> None:
    """Look at every object that Keras would build; how the model was trained is left out, as Keras leaves it."""
    if not isinstance(config, dict):
        raise VitalFactoryError(f"{path}: not a Keras file (its layers are no JSON object)")
    waiting = [value for key, value in config.items() if key != "compile_config"]
    _check_keras_object(config, path)
    layers = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            _check_keras_object(value, path)
            layers += value.get("class_name") in KERAS_LAYERS.split()
    if layers > MAX_LAYERS:
        raise VitalFactoryError(f"{path}: {layers} layers; a small network has at most {MAX_LAYERS}")


def _check_keras_object(value: dict[str, Any], path: Path) -> None:
    """Refuse one object of a description that is of an unknown class or too large."""
    if "class_name" in value:
        name, module = value["class_name"], value.get("module") or "keras"
        if name in KERAS_CODE:
            raise VitalFactoryError(
                f"{path}: holds a Lambda layer or a function of its own, which is code that would be run, and is "
                "refused; replace it with layers that Keras has"
            )
        known = isinstance(name, str) and name in KERAS_KNOWN
        if not known or str(module).split(".")[0] != "keras":
            raise VitalFactoryError(f"{path}: {module}.{name}: not among the layers that are read ({KERAS_LAYERS})")
    for key, limit in KERAS_LIMITS.items():
        found = value.get(key)
        for number in found if isinstance(found, list) else [found]:
            if isinstance(number, int | float) and not number <= limit:
                raise VitalFactoryError(f"{path}: {key} is {number}; a small network has at most {limit}")
