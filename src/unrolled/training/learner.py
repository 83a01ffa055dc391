"""What learns: network, optimizer and all else that an update changes, taken out and put back as arrays and numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.errors import DivergenceError, ModelDirectoryError
from unrolled.models.network import TaskNetwork
from unrolled.models.task import Data, Reader
from unrolled.nn import Sampler
from unrolled.nn.recurrent import HiddenState
from unrolled.training.averaging import Average
from unrolled.training.building import make_network, make_optimizer, make_sampler, make_schedule
from unrolled.training.loop import Limits, Position, Step, train_steps
from unrolled.training.ranks import Ranks, joined_states
from unrolled.training.schedule import Schedule, legs_from_plan
from unrolled.training.settings import Settings

Tensors = dict[str, npt.NDArray[Any]]
APART = 1_000_003
"""How far the seeds of two processes lie apart."""


@dataclass
class Learner:
    """A network in training.

    Attributes:
        network, optimizer, schedule, limits, device: of the run.
        generator: source of the network's randomness.
        average: the mean of the weights, if wanted.
        sampler: draws tokens that stand for the vocabulary; None: all do.
        ranks: the processes that learn together.
        position: where the run is, with this process's part of the carried state.
    """

    network: TaskNetwork
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    generator: torch.Generator
    average: Average
    limits: Limits
    device: torch.device
    sampler: Sampler | None
    ranks: Ranks
    position: Position

    @classmethod
    def make(cls, settings: Settings, data: Data, steps_a_pass: int, ranks: Ranks) -> "Learner":
        """One that has learnt nothing yet.

        Args:
            settings: without an open choice.
            data: what it is to learn from.
            steps_a_pass: batches in a pass.
            ranks: the processes of the run.

        Raises:
            UsageError: what the cell or the device cannot have.
        """
        options = settings.training
        device = ranks.device(options)
        network, generator = make_network(settings, data, device, is_alone=ranks.count == 1)
        if ranks.rank:  # the same weights in all processes, other masks in each
            generator.manual_seed(options.seed + ranks.rank * APART)
        return cls(
            network,
            make_optimizer(options, network),
            make_schedule(options, steps_a_pass),
            generator,
            Average(list(network.parameters()), triggered=options.average == "triggered"),
            Limits(options.clip, options.clip_value),
            device,
            make_sampler(options, data.counts, device),
            ranks,
            Position(),
        )

    def steps(self, reader: Reader) -> Iterator[Step]:
        """Learn until the schedule ends.

        Raises:
            DivergenceError: loss or gradient is not a finite number; the weights are those before the update.
        """
        steps = train_steps(
            self.network,
            reader,
            self.optimizer,
            self.schedule,
            self.position,
            limits=self.limits,
            device=self.device,
            sampler=self.sampler,
            ranks=self.ranks,
        )
        for step in steps:
            self.average.stepped()
            yield step

    def capture(self) -> tuple[dict[str, Any], Tensors]:
        """All that the next step depends on: plain data, and arrays by name; complete in the first process alone.

        Raises:
            DivergenceError: a weight, or what the optimizer remembers of one, is no longer a finite number.
        """
        tensors = {f"network.{name}": array for name, array in self.network.learnt().items()}
        for index, memory in self.optimizer.state_dict()["state"].items():
            for name, value in memory.items():
                if value is not None:
                    tensors[f"optimizer.{index}.{name}"] = _array(torch.as_tensor(value))
        for name, array in tensors.items():
            if not np.isfinite(array).all():
                reason = f'step {self.position.steps}: "{name}" is no longer finite'
                raise DivergenceError(f"{reason}: give a lower --learning-rate or a smaller --clip")
        ranks = self.ranks
        carried = joined_states(ranks.gathered(_on_cpu(self.position.state)))
        if carried is not None:
            parts = carried if isinstance(carried, tuple) else (carried,)
            tensors |= {f"state.{index}": _array(part) for index, part in enumerate(parts)}
        for rank, generator in enumerate(ranks.gathered(self.generator.get_state())):
            tensors[_generator(rank)] = _array(generator)
        average = self.average
        tensors |= {f"average.mean.{index:04}": _array(mean) for index, mean in enumerate(average.means)}
        tensors["average.losses"], tensors["average.count"] = np.array(average.losses), np.array(average.count)
        schedule = self.schedule
        state = {"steps": self.position.steps, "plan": schedule.plan(), "highest_rate": schedule.highest}
        return state, tensors

    def restore(self, state: Mapping[str, Any], tensors: Tensors) -> None:
        """Put back what `capture` took out of one that was made with the same settings.

        Raises:
            ModelDirectoryError: what was stored does not fit this network.
        """
        try:
            self._restore(state, tensors)
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            reason = shorten(str(error), 200, placeholder="...")  # torch names each weight
            raise ModelDirectoryError(f"training/: does not fit the model beside it ({reason}): train anew") from error

    def _restore(self, state: Mapping[str, Any], tensors: Tensors) -> None:
        groups: dict[str, Tensors] = {"network": {}, "optimizer": {}, "state": {}, "average": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            if group in groups:
                groups[group][rest] = array
        self.network.load_tensors(groups["network"])
        memory: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in groups["optimizer"].items():
            index, _, rest = name.partition(".")
            memory.setdefault(int(index), {})[rest] = torch.from_numpy(np.array(array))
            shape = tuple(self.average.parameters[int(index)].shape)
            if array.shape not in {(), shape}:
                raise ValueError(f"optimizer.{name} has shape {array.shape}, its weight {shape}")
        self.optimizer.load_state_dict({"state": memory, "param_groups": self.optimizer.state_dict()["param_groups"]})
        if sum(name.startswith("generator") for name in tensors) == self.ranks.count:
            self.generator.set_state(torch.from_numpy(np.array(tensors[_generator(self.ranks.rank)])))
        else:  # another number of processes: other masks
            self.generator.manual_seed(self.generator.initial_seed() + state["steps"] + 1)
        means = {name: array for name, array in groups["average"].items() if name.startswith("mean.")}
        if [array.shape for _, array in sorted(means.items())] not in [[], [p.shape for p in self.average.parameters]]:
            raise ValueError("average.mean has other shapes than the weights")
        self.average.means = [self._tensor(array) for _, array in sorted(means.items())]
        self.average.losses = groups["average"]["losses"].tolist()
        self.average.count = int(groups["average"]["count"])
        parts = tuple(self._tensor(array) for _, array in sorted(groups["state"].items()))
        self.position.steps = state["steps"]
        whole = None if not parts else parts if len(parts) > 1 else parts[0]
        self.position.state = self.ranks.part_of_state(whole)
        self.schedule.highest = state["highest_rate"]
        self.schedule.legs = legs_from_plan(state["plan"]) if state["plan"] else []

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)


def _on_cpu(state: HiddenState | None) -> HiddenState | None:
    if state is None or isinstance(state, torch.Tensor):
        return state if state is None else state.cpu()
    return tuple(part.cpu() for part in state)


def _generator(rank: int) -> str:
    return f"generator.{rank}" if rank else "generator"


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy())
