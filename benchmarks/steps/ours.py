"""Our training step: network, optimizer and `train_step` as `unrolled train` puts them together."""

import torch

from steps.task import CLIP, RATE, Task, Tensors, TrainingStep
from unrolled.models import LanguageModelNetwork
from unrolled.text.batches import Batch
from unrolled.training import optimizers
from unrolled.training.loop import Limits, Trained, train_step

CPU = torch.device("cpu")
LIMITS = Limits(CLIP)


class Ours(TrainingStep):
    """`training.loop.train_step` with an engine."""

    name = "unrolled"

    def __init__(self, task: Task, weights: Tensors, engine: str = "auto") -> None:
        self.variant = engine
        sparse = optimizers.takes_sparse_gradients("sgd")
        self.network = LanguageModelNetwork(task.model, engine=engine, sparse_gradients=sparse)
        self.network.load_tensors(dict(weights))
        self._optimizer = optimizers.make("sgd", self.network.parameters(), RATE, engine=engine)
        self._last: Trained | None = None

    def ready(self, batch: Batch) -> Batch:
        return batch

    def step(self, ready: Batch) -> None:
        state = None if self._last is None else self._last.state
        self._last = train_step(self.network, self._optimizer, ready, state, rate=RATE, limits=LIMITS, device=CPU)

    def loss(self) -> float:
        assert self._last is not None, "no step yet"
        return self._last.loss

    def gradients(self, batch: Batch) -> tuple[float, Tensors]:
        self.network.zero_grad(set_to_none=True)
        outputs, _ = self.network(torch.from_numpy(batch.inputs))
        loss = self.network.losses(outputs, torch.from_numpy(batch.targets)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), gradients_of(self.network)

    def weights(self) -> Tensors:
        return self.network.tensors()


def gradients_of(network: torch.nn.Module) -> Tensors:
    """The gradients that lie in a module's parameters: copies, dense."""
    return {
        name: parameter.grad.to_dense().numpy().copy()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
