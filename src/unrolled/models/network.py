"""What the networks of all tasks have in common."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unrolled import engines
from unrolled.cells import Cell
from unrolled.errors import ModelDirectoryError, UsageError
from unrolled.model_directory import ModelFiles
from unrolled.nn.recurrent import HiddenState


class Shape(Protocol):
    """Sizes of a network, a dataclass; what config.json says under "model"."""

    def describe(self) -> str:
        """Cell and sizes in words."""


class Objective(NamedTuple):
    """What a batch asks a network to make small.

    Attributes:
        losses: of the targets that count, in nats, (N,).
        penalty: what regularisation adds to their mean; None where it adds nothing.
        state: after the batch's last tokens; None where nothing is carried to the next batch.
        correct: whether each target would have been the answer, (N,); None where nobody asks.
    """

    losses: Tensor
    penalty: Tensor | None = None
    state: HiddenState | None = None
    correct: Tensor | None = None


class TaskNetwork(nn.Module, ABC):
    """A trainable network of a task; subclasses have `shape` and `objective`.

    Attributes:
        shape: the sizes.
        engine: name of the engine, or "auto".
    """

    shape: Any
    engine: str

    @abstractmethod
    def objective(self, *arguments: Any, **arrays: Any) -> Objective:
        """Read a batch and say what is to be made small.

        Args:
            arguments: none; subclasses may name some.
            arrays: of the batch, by the names that `Batch.arrays` gives them; and `state` to start from.
        """

    @property
    @abstractmethod
    def cell(self) -> Cell:
        """The cell that the network is made of."""

    def engine_in_use(self) -> engines.Engine:
        """What runs the cell on these weights.

        Raises:
            EngineError: it cannot.
        """
        return engines.choose(self.engine, self.cell, next(self.parameters()))

    def parameter_count(self) -> int:
        """Number of weights of the model; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The weights as stored in a model directory: a copy of each, tied ones once."""
        return self.learnt()

    def learnt(self) -> dict[str, npt.NDArray[Any]]:
        """What learning changes, for a run that goes on: a copy of each; a model in use may need less."""
        shared = self._shared()
        return {
            name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items() if name not in shared
        }

    def load_tensors(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over weights in the form that `learnt` gives them."""
        state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
        self.load_state_dict(state | {name: state[other] for name, other in self._shared().items()})

    def _shared(self) -> dict[str, str]:
        """Names of weights that are another's, and of that other."""
        return {}


def refuse_other_shapes(
    network: TaskNetwork, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Hold tensors against a network of the shape that config.json declares; it may live on torch's "meta" device.

    Raises:
        ModelDirectoryError: a tensor is missing, superfluous or of another shape.
    """
    if asdict(network.shape) != config.get("model"):
        raise ModelDirectoryError('config.json: "model" does not have the sizes of its task: train again')
    shared = network._shared()
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items() if name not in shared}
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelDirectoryError(f'model.safetensors: has no "{name}", which config.json calls for: train again')
        found = tensors[name].shape
        if found != shape:
            raise ModelDirectoryError(
                f'model.safetensors: "{name}" has shape {found}, config.json calls for {shape}: train again'
            )
    for name in tensors:
        if name not in expected:
            raise ModelDirectoryError(f'model.safetensors: "{name}" is not part of the model in config.json')


def check_files(files: ModelFiles, shape: type[Any], network: type[Any]) -> None:
    """Hold the tensors of a model directory against its sizes, on torch's "meta" device, where nothing takes memory.

    Args:
        files: of the model directory.
        shape: the dataclass of the sizes.
        network: made of it.

    Raises:
        ModelDirectoryError: they do not fit.
    """
    try:
        sizes = shape(**files.config["model"])
    except (KeyError, TypeError, UsageError) as error:
        raise ModelDirectoryError(f'config.json: "model" does not have the sizes of its task ({error!r})') from error
    layers = max((getattr(sizes, each.name) for each in fields(sizes) if each.name.endswith("layers")), default=0)
    if layers > len(files.tensors):  # each has several; not one is made, for there may be more than can be counted
        raise ModelDirectoryError(
            f"model.safetensors: has {len(files.tensors)} tensors, too few for the {layers} layers in config.json"
        )
    try:
        with torch.device("meta"), _Undrawn():
            empty = network(sizes)
    except (RuntimeError, OverflowError, UsageError) as error:
        reason = str(error).splitlines()[0]
        raise ModelDirectoryError(f'config.json: no model has the sizes under "model" ({reason})') from error
    refuse_other_shapes(empty, files.config, files.tensors)


class _Undrawn(TorchFunctionMode):
    """Leaves out to draw values for tensors that have none: torch loads its compiler for it, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in {"uniform_", "normal_"}:
            return args[0] if args else (kwargs or {})["tensor"]  # of torch.nn.init
        return func(*args, **(kwargs or {}))


def load_network(network: TaskNetwork, files: ModelFiles) -> None:
    """Put the weights of a model directory into a network of its shape, ready for use."""
    network.load_tensors(files.tensors)
    network.eval()


def check_sizes(shape: Any, may_be_zero: Collection[str] = ()) -> None:
    """Refuse a shape with a size that is not a whole number of at least 1.

    Raises:
        UsageError: names the size.
    """
    for each in fields(shape):
        value = getattr(shape, each.name)
        least = 0 if each.name in may_be_zero else 1
        if each.type is int and (type(value) is not int or value < least):
            raise UsageError(f"{each.name} is {value!r}: give a whole number of at least {least}")
        if each.type in {str, bool} and type(value) is not each.type:
            raise UsageError(f"{each.name} is {value!r}: expected {each.type.__name__}")
