"""Measure what dropouts, weight drop and penalties cost: a training step with them against the plain step.

Each row is a network; columns are what is added. All take turns in one process, on windows of a text (random words by
Zipf's law, or random characters), with AdamW, as a run takes them: gradients of embeddings for the rows that occur
only, and where a network has a sampled output layer, by that. Writes benchmarks/results/regularized_step.json.

Example: .venv/bin/python benchmarks/regularized_step.py
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from measuring import RESULTS, commit, in_turns, machine, positive, store
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Regularization, Sampler
from unrolled.text.batches import Batch, StreamReader
from unrolled.training import optimizers
from unrolled.training.loop import Limits, train_step

CPU = torch.device("cpu")
RATE, CLIP = 1e-3, 1.0
TOKENS = 200_000


class Case(NamedTuple):
    """A network and its windows."""

    shape: LanguageModelShape
    batch_size: int
    window: int
    samples: int = 0


CASES = (
    Case(LanguageModelShape("gru", 65, 256, 256, 1, tied=False), 32, 64),
    Case(LanguageModelShape("gru", 65, 512, 512, 1, tied=False), 32, 64),
    Case(LanguageModelShape("lstm", 65, 512, 512, 2, tied=False), 32, 64),
    Case(LanguageModelShape("lstm", 8000, 200, 200, 1, tied=True), 16, 35),
    Case(LanguageModelShape("lstm", 10000, 300, 300, 1, tied=True), 20, 35),
    Case(LanguageModelShape("lstm", 10000, 200, 200, 2, tied=False), 20, 35),
    Case(LanguageModelShape("gru", 10000, 384, 384, 1, tied=True), 16, 35, samples=1000),
)
WAYS = {
    "plain": Regularization(),
    "inputs": Regularization(dropout_input=0.3),
    "between and outputs": Regularization(dropout_between=0.3, dropout_output=0.3),
    "embedding": Regularization(dropout_embedding=0.1),
    "weight drop": Regularization(weight_drop=0.3),
    "AR and TAR": Regularization(activation=1.0, temporal_activation=1.0),
    "all": Regularization(dropout=0.3, dropout_embedding=0.1, weight_drop=0.3, activation=1.0, temporal_activation=1.0),
    "a plan's for characters": Regularization(dropout=0.3, dropout_input=0.0, weight_drop=0.3),
    "a plan's for words": Regularization(dropout=0.3, weight_drop=0.3),
}
"""What is added to the plain step."""


def main() -> None:
    """Parse, measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=31, help="turns of each (default: 31)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "commit": commit(), "rows": []}
    for case in CASES:
        record["rows"].append(measure(case, arguments.rounds))
    store(RESULTS / "regularized_step.json", record)
    print(json.dumps(record) if arguments.json else "\n".join(table(record["rows"])))


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Times of the plain step, and the others' ratios to it, turn by turn."""
    times = in_turns([contestant(case, way) for way in WAYS.values()], rounds)[1:]  # the first turn warms up
    plain = [turn[0] for turn in times]
    ratios = {
        name: statistics.median(turn[index] / turn[0] for turn in times) for index, name in enumerate(WAYS) if index
    }
    shape = case.shape
    title = f"{shape.cell} V {shape.vocabulary_size} H {shape.hidden_size} L {shape.layers}"
    name = f"{title} B {case.batch_size} T {case.window}" + (" tied" if shape.tied else "")
    name += f" {case.samples} sampled" if case.samples else ""
    return {"name": name, "plain_seconds": statistics.median(plain), "ratios": ratios}


def contestant(case: Case, way: Regularization) -> Callable[[], float]:
    """What takes one step and tells its seconds."""
    generator = torch.Generator().manual_seed(1)
    network = LanguageModelNetwork(case.shape, regularization=way, sparse_gradients=True, generator=generator)
    optimizer = optimizers.make("adamw", network.parameters(), RATE)
    batches, state = windows(case), None
    sampler = Sampler(often(case), case.samples) if case.samples else None
    limits = Limits(CLIP)

    def step() -> float:
        nonlocal state
        batch = next(batches)
        start = time.perf_counter()
        done = train_step(network, optimizer, batch, state, rate=RATE, limits=limits, device=CPU, sampler=sampler)
        state = done.state
        return time.perf_counter() - start

    return step


def windows(case: Case) -> Iterator[Batch]:
    """Windows of random tokens, frequent ones first, without end."""
    weights = often(case)
    ids = np.random.default_rng(1).choice(len(weights), TOKENS, p=weights / weights.sum())
    reader = StreamReader(ids, end_of_line_id=0, batch_size=case.batch_size, window=case.window)
    for number in count():
        yield from (batch for batch in reader.batches(number) if batch.tokens == case.batch_size * case.window)


def often(case: Case) -> npt.NDArray[np.float64]:
    """How often each token occurs, by Zipf's law."""
    return TOKENS / np.arange(1, case.shape.vocabulary_size + 1)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as a table in Markdown."""
    names = [name for name in WAYS if name != "plain"]
    lines = [f"| network | plain, ms | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for row in rows:
        ratios = " | ".join(f"{row['ratios'][name]:.2f}" for name in names)
        lines.append(f"| {row['name']} | {row['plain_seconds'] * 1e3:.1f} | {ratios} |")
    return lines


if __name__ == "__main__":
    main()
