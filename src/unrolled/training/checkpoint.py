"""All that the next step of a run depends on, as arrays and plain data: taken from a run and put back into one."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.models import LanguageModelNetwork
from unrolled.training.averaging import Average
from unrolled.training.loop import Position

Tensors = dict[str, npt.NDArray[Any]]


def capture(
    network: LanguageModelNetwork,
    optimizer: torch.optim.Optimizer,
    position: Position,
    generator: torch.Generator,
    average: Average,
) -> Tensors:
    """Weights, the optimizer's memory, the carried state, the generator and the average as named arrays."""
    tensors = {f"network.{name}": array for name, array in network.tensors().items()}
    for index, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = _array(torch.as_tensor(value))
    if position.state is not None:
        parts = position.state if isinstance(position.state, tuple) else (position.state,)
        tensors |= {f"state.{index}": _array(part) for index, part in enumerate(parts)}
    tensors["generator"] = _array(generator.get_state())
    tensors |= {f"average.mean.{index:04}": _array(mean) for index, mean in enumerate(average.means)}
    tensors["average.losses"], tensors["average.count"] = np.array(average.losses), np.array(average.count)
    return tensors


def restore(
    tensors: Tensors,
    steps: int,
    network: LanguageModelNetwork,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    average: Average,
    device: torch.device,
) -> Position:
    """Put what `capture` took into a network, optimizer and generator made with the same settings."""
    groups: dict[str, Tensors] = {"network": {}, "optimizer": {}, "state": {}, "average": {}}
    for name, array in tensors.items():
        group, _, rest = name.partition(".")
        if group in groups:
            groups[group][rest] = array
    network.load_tensors(groups["network"])
    memory: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in groups["optimizer"].items():
        index, _, rest = name.partition(".")
        memory.setdefault(int(index), {})[rest] = torch.from_numpy(np.array(array))
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    generator.set_state(torch.from_numpy(np.array(tensors["generator"])))
    means = {name: array for name, array in groups["average"].items() if name.startswith("mean.")}
    average.means = [torch.from_numpy(np.array(array)).to(device) for _, array in sorted(means.items())]
    average.losses, average.count = groups["average"]["losses"].tolist(), int(groups["average"]["count"])
    parts = tuple(torch.from_numpy(np.array(array)).to(device) for _, array in sorted(groups["state"].items()))
    return Position(steps, None if not parts else parts if len(parts) > 1 else parts[0])


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy())
