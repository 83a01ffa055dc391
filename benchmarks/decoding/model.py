"""The language models that write and score, and the weights that all contestants share."""

from dataclasses import asdict, dataclass

from steps import task
from steps.task import Task, Tensors
from unrolled import cells
from unrolled.engines import LanguageModelWeights
from unrolled.inference.network import weights_from

NUMBER_BYTES = 4  # float32


@dataclass(frozen=True)
class Model:
    """A language model: E = H, untied, with biases, float32."""

    cell: str
    vocabulary: int
    hidden: int
    layers: int

    @property
    def shape(self) -> str:
        """The sizes in the letters of docs/conventions.md."""
        return f"V {self.vocabulary} H {self.hidden} L {self.layers}"

    @property
    def gates(self) -> int:
        """G."""
        return len(cells.get(self.cell).gates)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that the mathematics has to read for one token.

        Of the first layer these are one row of G*H numbers, which is what W x + b comes to for a token and can be had
        from a table, and the recurrent weights; of each other layer both weights and G*H biases, the two biases of a
        gate taken together; of the output layer its weight and its bias.
        """
        square, terms = self.gates * self.hidden * self.hidden, self.gates * self.hidden
        first, other = square + terms, 2 * square + terms
        output = self.vocabulary * self.hidden + self.vocabulary
        return NUMBER_BYTES * (first + (self.layers - 1) * other + output)

    @property
    def task(self) -> Task:
        """The same as those who train take it, a token at a time."""
        return Task(self.cell, self.vocabulary, self.hidden, self.layers, batch=1, times=1)


def initial_weights(model: Model, seed: int = 1) -> Tensors:
    """The weights that everyone uses: those from which `unrolled train` would start."""
    return task.initial_weights(model.task, seed)


def engine_weights(model: Model, tensors: Tensors) -> LanguageModelWeights:
    """The weights as engines take them, by the way that they take out of a model directory."""
    return weights_from({"model": asdict(model.task.model)}, dict(tensors), "float32")
