"""A cell of one's own in ten lines of equations, checked and trained: `python examples/own_cell.py`.

The cell is the update-gate RNN (Collins, Sohl-Dickstein and Sussillo 2017, arXiv:1611.09913): a candidate and a gate
from one product. Its backward is left out, so that it is derived. Where the native engine and a C++ compiler are found
its lines are compiled, once, and it trains at the speed of the cells that are built in.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import unrolled
from unrolled import cells, reference
from unrolled.cells import Cell
from unrolled.cells.cell import Operands
from unrolled.cells.elementwise import sigmoid, tanh
from unrolled.training.events import Event, Finished, Prepared, Validated

Parameters = Mapping[str, NDArray[np.float64]]


class UpdateGate(Cell):
    """h = g * h_prev + (1 - g) * c: the gate g = 1 keeps the past, g = 0 takes the candidate c."""

    name = "ugrnn"
    gates = ("candidate", "gate")

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        """One time step; the second value, what a backward written by hand would need, stays empty."""
        (a_c, a_g), (h_prev,) = a, state
        c = tanh(a_c)
        g = sigmoid(a_g)
        h = g * h_prev + (1 - g) * c
        return (h,), ()


def check_gradient(cell: Cell) -> reference.GradientReport:
    """Hold the derived backward, over five time steps of two sequences, against central differences."""
    random = np.random.default_rng(1)
    inputs, hidden, rows = 3, 4, 4 * len(cell.gates)
    x, d_outputs = random.normal(size=(5, 2, inputs)), random.normal(size=(5, 2, hidden))
    parameters = {
        "weight_ih": random.normal(size=(rows, inputs)),
        "weight_hh": random.normal(size=(rows, hidden)),
        "bias_ih": random.normal(size=rows),
    }

    def unroll(parameters: Parameters) -> reference.Unrolling:
        return reference.unroll(cell, x, reference.Weights(**parameters))

    def loss(parameters: Parameters) -> float:
        return float((unroll(parameters).outputs * d_outputs).sum())

    gradients = reference.unroll_backward(unroll(parameters).tape, d_outputs).weights
    return reference.gradient_check(loss, parameters, {name: getattr(gradients, name) for name in parameters})


def tell(event: Event) -> None:
    """Print what training says."""
    match event:
        case Prepared():
            print(f"Training {event.description} on the engine {event.engine}, {event.steps_a_pass} steps a pass")
        case Validated():
            perplexity = event.figures["perplexity"]
            print(f"  pass {event.passes:.2f}  {event.loss:.3f} nats per character, perplexity {perplexity:.2f}")
        case Finished():
            print(f"  {event.steps} steps in {event.seconds:.0f} s")
        case _:
            pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Register the cell, check its gradient, train with it, write a line with it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=float, help="passes over the text (default: what fits into 15 seconds)")
    options = parser.parse_args(arguments)
    cell = cells.register(UpdateGate())
    report = check_gradient(cell)
    print(f"Gradient of {cell.name}: {report.share_checked:.0%} of {report.elements} elements checked, {report.worst}")
    minutes = None if options.epochs else 0.25
    with tempfile.TemporaryDirectory() as folder:
        unrolled.train(
            ":embedded:",
            folder,
            text=unrolled.TextSettings(unit="char"),
            model=unrolled.ModelSettings(cell.name, hidden=96),
            training=unrolled.TrainingSettings(epochs=options.epochs, minutes=minutes, learning_rate=0.02),
            watch=tell,
        )
        print(unrolled.LanguageModel.load(folder).generate("The ", max_tokens=60, seed=1)[0])


if __name__ == "__main__":
    main()
