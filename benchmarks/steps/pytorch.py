"""The training step as it is written in PyTorch, in the ways that may be the fastest."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.ours import gradients_of
from steps.task import CLIP, RATE, Task, Tensors, TrainingStep
from unrolled.text.batches import Batch

Ready = tuple[Tensor, Tensor]
PLAIN, FUSED, CHUNKED = "cross_entropy", "linear_cross_entropy", "linear_cross_entropy in chunks"
MODULES: dict[str, Any] = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class Variant:
    """One way to write the step.

    Attributes:
        head: how the loss is had from the last outputs.
        sparse: whether the embedding's gradient holds only the rows used.
        optimizer: SGD's implementation, "fused" or "foreach".
        compiled: what goes through torch.compile: "", "head" or "all".
    """

    head: str = PLAIN
    sparse: bool = False
    optimizer: str = "fused"
    compiled: str = ""

    def __str__(self) -> str:
        embedding = "sparse" if self.sparse else "dense"
        return f"{self.head}, {embedding} embedding, {self.optimizer} SGD" + (
            f", {self.compiled} compiled" if self.compiled else ""
        )


COMPILED = tuple(Variant(sparse=sparse, compiled=part) for part in ("head", "all") for sparse in (False, True))
"""To be tried as well, and may fail. What calculates the loss in chunks cannot be compiled."""


def variants() -> Iterator[Variant]:
    """All that this version of PyTorch offers without torch.compile."""
    heads = (PLAIN, FUSED, CHUNKED) if hasattr(functional, "linear_cross_entropy") else (PLAIN,)
    for head, sparse, optimizer in product(heads, (False, True), ("fused", "foreach")):
        yield Variant(head, sparse, optimizer)


class Network(nn.Module):
    """Embedding, PyTorch's own recurrent stack, linear layer and loss; parameters are named as ours."""

    def __init__(self, task: Task, variant: Variant) -> None:
        super().__init__()
        self.head = variant.head
        self.embedding = nn.Embedding(task.vocabulary, task.hidden, sparse=variant.sparse)
        self.recurrent = MODULES[task.cell](task.hidden, task.hidden, task.layers)
        self.output = nn.Linear(task.hidden, task.vocabulary)

    def forward(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Tokens (T, B) and what is to follow them to the mean loss in nats, and the state after them."""
        outputs, state = self.recurrent(self.embedding(inputs), state)
        return self.loss(outputs.flatten(0, 1), targets.flatten()), state

    def loss(self, rows: Tensor, targets: Tensor) -> Tensor:
        """Last outputs (N, H) and targets (N,) to their mean loss."""
        if self.head == PLAIN:
            return functional.cross_entropy(self.output(rows), targets)
        options = nn.LinearCrossEntropyOptions() if self.head == CHUNKED else None
        weight, bias = self.output.weight, self.output.bias
        return functional.linear_cross_entropy(rows, weight, targets, linear_bias=bias, options=options)

    def compile_parts(self, parts: str) -> None:
        """Have torch.compile take over the head or all; as whole graphs, or it would leave parts out in silence."""
        torch.compiler.reset()  # it compiles code for so many modules only, and each row brings new ones
        torch._dynamo.config.allow_rnn = True  # otherwise nothing that has a nn.RNN in it is compiled
        if parts == "head":
            self.loss = torch.compile(self.loss, fullgraph=True)  # type: ignore[method-assign]
        else:
            self.compile(fullgraph=True)


class PyTorch(TrainingStep):
    """nn.RNN, nn.GRU or nn.LSTM between nn.Embedding and nn.Linear, with torch's clipping and SGD."""

    name = "pytorch"

    def __init__(self, task: Task, weights: Tensors, variant: Variant) -> None:
        self.variant = str(variant)
        self.network = Network(task, variant)
        self.network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        if variant.compiled:
            self.network.compile_parts(variant.compiled)
        rows = [self.network.embedding.weight] if variant.sparse else []
        self._dense = [parameter for parameter in self.network.parameters() if all(parameter is not r for r in rows)]
        options: Any = {variant.optimizer: True}
        self._optimizers = [torch.optim.SGD(self._dense, lr=RATE, **options)]
        self._sparse = self.network.embedding.weight if variant.sparse else None
        if self._sparse is not None:
            self._optimizers.append(torch.optim.SGD([self._sparse], lr=RATE))
        part = torch.zeros(task.layers, task.batch, task.hidden)
        self._zero: Any = (part, part.clone()) if task.cell == "lstm" else part
        self._state, self._loss = self._zero, torch.tensor(torch.nan)

    def ready(self, batch: Batch) -> Ready:
        return torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)

    def step(self, ready: Ready) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss, state = self.network(*ready, self._state)
        loss.backward()
        self._clip()
        for optimizer in self._optimizers:
            optimizer.step()
        self._loss = loss.detach()
        self._state = state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)

    def _clip(self) -> None:
        """Clip by the norm over all gradients; of a sparse one the rows that it holds, each of them once."""
        if self._sparse is None:
            nn.utils.clip_grad_norm_(self._dense, CLIP, foreach=True)
            return
        assert self._sparse.grad is not None
        self._sparse.grad = self._sparse.grad.coalesce()
        values = self._sparse.grad.values()
        gradients = [parameter.grad for parameter in self._dense if parameter.grad is not None]
        norm = nn.utils.get_total_norm([*gradients, values], foreach=True)
        nn.utils.clip_grads_with_norm_(self._dense, CLIP, norm, foreach=True)
        values.mul_(torch.clamp(CLIP / (norm + 1e-6), max=1.0))  # the same factor as of the line above

    def loss(self) -> float:
        return self._loss.item()

    def gradients(self, batch: Batch) -> tuple[float, Tensors]:
        self.network.zero_grad(set_to_none=True)
        loss, _ = self.network(*self.ready(batch), self._zero)
        loss.backward()
        return loss.item(), gradients_of(self.network)

    def weights(self) -> Tensors:
        return {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
