"""Writing in PyTorch, in all the ways that may be the fastest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from decoding.model import Model
from decoding.writer import FIRST, Doubles, Tokens, Writer
from steps.pytorch import Network
from steps.pytorch import Variant as NetworkVariant
from steps.task import Tensors

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""A token and a state to scores and the state after it."""
Choice = Callable[[Tensor], Tensor]
"""Scores (..., V) to tokens (...)."""
MODULE, FUNCTION, CELLS = "module over one step", "function over one step", "function of one cell a layer"
SEQUENCES: dict[str, Any] = {"tanh": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}
ONE_STEP: dict[str, Any] = {"tanh": torch.rnn_tanh_cell, "gru": torch.gru_cell, "lstm": torch.lstm_cell}
MODES: dict[str, Any] = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


def greedy(scores: Tensor) -> Tensor:
    """The most probable token: the cheapest choice there is."""
    return scores.argmax(-1)


def exponential_race(scores: Tensor) -> Tensor:
    """One draw: the first of V exponential clocks that run as fast as the tokens are probable."""
    probabilities = torch.softmax(scores, -1)
    return probabilities.div_(torch.empty_like(probabilities).exponential_()).argmax(-1)


def multinomial(scores: Tensor) -> Tensor:
    """One draw by torch.multinomial."""
    return torch.multinomial(torch.softmax(scores.view(1, -1), -1), 1).view(scores.shape[:-1])


def cumulative(scores: Tensor) -> Tensor:
    """One draw from the sums of the probabilities."""
    sums = torch.softmax(scores.view(-1), -1).cumsum(-1)
    return torch.searchsorted(sums, torch.rand(1) * sums[-1]).view(scores.shape[:-1])


DRAWS = (exponential_race, multinomial, cumulative)


@dataclass(frozen=True)
class Variant:
    """One way to write.

    Attributes:
        way: MODULE is nn.RNN, nn.GRU or nn.LSTM; the functions are those that it and nn.LSTMCell, for instance, call.
        threads: how many it has.
        mode: how autograd is put to rest.
        choose: how the next token is chosen.
        compiled: whether the step goes through torch.compile.
    """

    way: str = MODULE
    threads: int = 1
    mode: str = "no_grad"
    choose: Choice = greedy
    compiled: bool = False

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        return f"{self.way}, {self.choose.__name__.replace('_', ' ')}, {self.mode}, {threads}" + (
            ", compiled" if self.compiled else ""
        )


def variants(threads: int) -> Iterator[Variant]:
    """All ways with the cheapest choice, for as many threads as there are and for one."""
    for way, count, mode in product((MODULE, FUNCTION, CELLS), sorted({1, threads}), MODES):
        yield Variant(way, count, mode)


def compiled_variants(threads: int) -> Iterator[Variant]:
    """Those worth a try with torch.compile, which may fail."""
    for way, count in product((FUNCTION, CELLS), sorted({1, threads})):
        yield Variant(way, count, compiled=True)


class PyTorchWriter(Writer):
    """Embedding, recurrent stack, linear layer and a choice; tokens stay tensors until all are there.

    Attributes:
        way: the variant.
    """

    name = "pytorch"

    def __init__(self, model: Model, tensors: Tensors, variant: Variant) -> None:
        self.way, self.variant, self.threads = variant, str(variant), variant.threads
        network = Network(model.task, NetworkVariant()).eval().requires_grad_(False)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
        makers = {MODULE: _module, FUNCTION: _function, CELLS: _cells}
        step = makers[variant.way](model, network)
        if variant.compiled:
            torch.compiler.reset()  # it compiles code for so many functions only, and each row brings new ones
            step = torch.compile(step, fullgraph=True)
        self._step, self._choose, self._mode = step, variant.choose, MODES[variant.mode]
        self._zero = _zero_state(model, variant.way)
        self._token_shape = (1,) if variant.way == CELLS else (1, 1)

    def generate(self, count: int) -> Tokens:
        """No token is looked at by Python on its way."""
        made = []
        with self._mode():
            token, state = self._token(FIRST), self._zero
            for _ in range(count):
                scores, state = self._step(token, state)
                token = self._choose(scores)
                made.append(token)
            return torch.cat(made).flatten().numpy()

    def log_probabilities(self, tokens: Tokens) -> Doubles:
        """By the same step."""
        state, rows = self._zero, []
        with self._mode():
            for token in tokens.tolist():
                scores, state = self._step(self._token(token), state)
                rows.append(scores.view(1, -1).double().clone())
            return torch.log_softmax(torch.cat(rows), -1).numpy()

    def _token(self, token: int) -> Tensor:
        return torch.full(self._token_shape, token)


def _module(model: Model, network: Network) -> Step:
    def step(token: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, state = network.recurrent(network.embedding(token), state)
        return network.output(outputs), state

    return step


def _function(model: Model, network: Network) -> Step:
    run, layers = SEQUENCES[model.cell], model.layers
    embedding, output = network.embedding.weight, network.output
    weights = [weight for layer in network.recurrent.all_weights for weight in layer]

    def step(token: Tensor, state: Any) -> tuple[Tensor, Any]:
        x = nn.functional.embedding(token, embedding)
        outputs, *after = run(x, state, weights, True, layers, 0.0, False, False, False)
        return nn.functional.linear(outputs, output.weight, output.bias), after if len(after) > 1 else after[0]

    return step


def _cells(model: Model, network: Network) -> Step:
    run, layers = ONE_STEP[model.cell], network.recurrent.all_weights
    embedding, output = network.embedding.weight, network.output

    def step(token: Tensor, state: Any) -> tuple[Tensor, Any]:
        x, after = nn.functional.embedding(token, embedding), []
        for weights, before in zip(layers, state, strict=True):
            after.append(run(x, before, *weights))
            x = after[-1] if isinstance(after[-1], Tensor) else after[-1][0]
        return nn.functional.linear(x, output.weight, output.bias), after

    return step


def _zero_state(model: Model, way: str) -> Any:
    parts = 2 if model.cell == "lstm" else 1
    if way == CELLS:
        zeros = [tuple(torch.zeros(1, model.hidden) for _ in range(parts)) for _ in range(model.layers)]
        return zeros if parts > 1 else [part for (part,) in zeros]
    whole = tuple(torch.zeros(model.layers, 1, model.hidden) for _ in range(parts))
    return whole if parts > 1 else whole[0]
