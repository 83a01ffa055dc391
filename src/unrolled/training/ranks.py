"""One run in several processes: what each takes, what they have in common, and what they tell each other.

Each process takes some columns of every batch. Gradients are averaged by DistributedDataParallel, each process's loss
weighted by its share of the batch's tokens, so that the sum is that of one process with all of the batch. Whatever
depends on a clock, on a signal or on a file is decided by the first process, which alone writes.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import Store

from unrolled.errors import TrainingError, UnrolledError, UsageError
from unrolled.models.network import Objective, TaskNetwork
from unrolled.models.task import Batch
from unrolled.nn.recurrent import HiddenState
from unrolled.training.checks import device_of
from unrolled.training.settings import TrainingSettings

Value = TypeVar("Value")
AnyBatch = TypeVar("AnyBatch", bound=Batch)
SILENCE = timedelta(seconds=50)
"""A process that takes no part in a step for so long is taken for dead, so that the run ends within a minute."""
SOON_OUT_OF_NCCL = "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "500"
"""Where another process is gone, torch waits four times so long for reports before it ends this one, else a minute."""
BEGUN = "unrolled/begun"
"""In torchrun's store, which outlives the processes."""


class Ranks:
    """The processes of a run; by default there is one, and nothing is exchanged.

    Attributes:
        rank: number of this process, from 0.
        count: of processes.
    """

    def __init__(
        self,
        rank: int = 0,
        count: int = 1,
        store: Store | None = None,
        patient: distributed.ProcessGroup | None = None,
    ) -> None:
        self.rank, self.count = rank, count
        self._store, self._patient = store, patient
        self._wrapped: nn.Module | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def threads(self) -> int:
        """Threads for each process of a host, so that together they use it whole."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1
        return max(1, len(os.sched_getaffinity(0)) // here)

    def device(self, options: TrainingSettings) -> torch.device:
        """Where this process trains: of the GPUs of a host each process takes its own.

        Raises:
            UsageError: it cannot be used here, or there is no GPU for each process.
        """
        device = device_of(options)
        if self.count == 1 or device.type == "cpu":
            return device
        here, local = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
        if options.device != "cuda":
            raise UsageError(f'--device is "{options.device}": several processes train on cpu or cuda, each on a GPU')
        if here > torch.cuda.device_count():
            raise UsageError(f"{here} processes of this host share {torch.cuda.device_count()} GPUs: start fewer")
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def columns(self, size: int) -> slice:
        """The columns of a batch of this size that this process takes; those of all processes are about as many."""
        edges = [size * rank // self.count for rank in (self.rank, self.rank + 1)]
        return slice(*edges)

    def part(self, batch: AnyBatch) -> tuple[AnyBatch, float]:
        """The part of a batch that this process takes, and its share of the batch's tokens.

        A batch with fewer columns than there are processes gives some of them a column that counts nothing.
        """
        if self.count == 1:
            return batch, 1.0
        columns = self.columns(batch.width)
        counts = columns.stop > columns.start
        part = batch.columns(columns if counts else slice(0, 1))
        return part, part.tokens / batch.tokens if counts else 0.0

    def part_of_state(self, state: HiddenState | None) -> HiddenState | None:
        """The columns of this process, of a state of all columns."""
        if state is None or self.count == 1:
            return state
        parts = (state,) if isinstance(state, Tensor) else state
        columns = self.columns(parts[0].shape[1])
        mine = tuple(part[:, columns].contiguous() for part in parts)
        return mine[0] if isinstance(state, Tensor) else mine

    def objective(self, network: TaskNetwork) -> Callable[..., Objective]:
        """`network.objective`, with gradients that are averaged over the processes, on GPUs by NCCL."""
        if self.count == 1:
            return network.objective
        if self._wrapped is None:
            device = next(network.parameters()).device
            on_gpu = device.type == "cuda"
            os.environ.setdefault(*SOON_OUT_OF_NCCL)
            group = distributed.new_group(backend="nccl", timeout=SILENCE) if on_gpu else None
            self._wrapped = nn.parallel.DistributedDataParallel(
                _Objective(network), device_ids=[device] if on_gpu else None, process_group=group
            )
        wrapped = self._wrapped
        return lambda *arguments, **options: Objective(*wrapped(*arguments, **options))

    def sums(self, *numbers: float) -> list[float]:
        """Sums over the processes; their bits are the same in all of them."""
        if self.count == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        with peers_explained():
            distributed.all_reduce(total)
        sums: list[float] = total.tolist()
        return sums

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What the first process makes, in all of them; what it raises, too."""
        if self.count == 1:
            return make()
        outcome: list[Any] = [None]
        if self.is_first:
            try:
                outcome = [("made", make())]
            except UnrolledError as error:
                outcome = [("raised", error)]
        with peers_explained():
            distributed.broadcast_object_list(outcome, src=0, group=self._patient)
        kind, value = outcome[0]
        if kind == "raised":
            if not self.is_first:
                value.is_told = True
            raise value
        made: Value = value
        return made

    def wait(self) -> None:
        """Until the first process has come here too: what it does before may take longer than a step."""
        self.from_first(lambda: None)

    def agree(self, own: str, error: UnrolledError | None = None) -> None:
        """Wait until all have come here, and see to it that all have read the same and none has failed.

        Raises:
            UnrolledError: the error of one of them, or what they have differs.
        """
        if self.count == 1:
            if error is not None:
                raise error
            return
        found: list[Any] = [None] * self.count
        with peers_explained():
            distributed.all_gather_object(found, (own, error), group=self._patient)
        for rank, (_, failure) in enumerate(found):
            if failure is not None:
                failure.is_told = rank != self.rank
                raise failure
        for rank, (theirs, _) in enumerate(found):
            if theirs != found[0][0]:
                raise UsageError(f"process {rank} reads another text than the first: give all of them the same files")

    @property
    def has_begun(self) -> bool:
        """Whether an earlier start of the same run, by the same torchrun, has left a checkpoint."""
        return self._store is not None and bool(self._store.check([BEGUN]))

    def begin(self) -> None:
        """From here on there is a checkpoint, to go on from if torchrun starts the processes anew."""
        if self.is_first and self._store is not None:
            self._store.set(BEGUN, "yes")

    def gathered(self, value: Value) -> list[Value]:
        """The values of all processes, in the first; nothing elsewhere."""
        if self.count == 1:
            return [value]
        values: list[Any] | None = [None] * self.count if self.is_first else None
        with peers_explained():
            distributed.gather_object(value, values)
        return values or []


class _Objective(nn.Module):
    """A network whose forward is its objective, for that is what DistributedDataParallel watches."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, *arguments: Any, **options: Any
    ) -> tuple[Tensor, Tensor | None, HiddenState | None, Tensor | None]:
        return tuple(self.network.objective(*arguments, **options))  # type: ignore[return-value]


@contextmanager
def peers_explained() -> Iterator[None]:
    """Turn what torch says when another process is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error).lower()):
            raise
        reason = re.sub(r"\[\S*\] ?", "", str(error)).strip().partition("\n")[0].partition(". ")[0][:120]
        raise TrainingError(
            f"another process of this run has ended or cannot be reached ({reason}): "
            "--resume goes on from the last checkpoint, if there is one"
        ) from error


def joined_states(states: Sequence[HiddenState | None]) -> HiddenState | None:
    """The state of all columns from those of the processes, on the CPU."""
    if not states or states[0] is None:
        return None
    tuples = [(state,) if isinstance(state, Tensor) else state for state in states if state is not None]
    parts = tuple(torch.cat([part.cpu() for part in parts], dim=1) for parts in zip(*tuples, strict=True))
    return parts[0] if isinstance(states[0], Tensor) else parts
