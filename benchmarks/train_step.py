"""Measure a whole training step of a language model, ours against PyTorch's and, with --jax, JAX's.

A step is forward, backward, clipping by norm and SGD, on new random tokens and with the state carried over. Ours is the
function that `unrolled train` calls. The others are tried in several ways, and the fastest is compared. First both have
to agree on loss, gradients and whole steps. Then they take turns, and what is stored is the median of each and the
median of the ratios within the pairs of turns. share_of_floor is the time that the products which the mathematics asks
for would take at the matrix peak, the fastest that large products ran in the same run, over our median. The rise of
peak memory over one step is measured where no shapes or cells are chosen.

Writes benchmarks/results/train_step.json with machine and commit, and prints a table in Markdown.

Example: .venv/bin/python benchmarks/train_step.py --shape h128 --cell gru lstm
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import step_memory
from measuring import RESULTS, commit, machine, product_peaks, store
from steps import pytorch
from steps.agreement import DisagreementError, check_agreement
from steps.ours import Ours
from steps.task import Task, Tensors, Tokens, TrainingStep, initial_weights
from steps.timing import Maker, fastest, race
from unrolled import engines
from unrolled.errors import UnrolledError

CELLS = ("tanh", "gru", "lstm")
SHAPES = {
    "h100": (8000, 100, 1, 1, 45),
    "h128": (65, 128, 1, 50, 50),
    "h512": (65, 512, 2, 50, 50),
    "h200": (10_000, 200, 2, 20, 20),
    "h650": (10_000, 650, 2, 20, 35),
}
"""Vocabulary, units, layers, sequences side by side, time steps."""


def main(words: list[str] | None = None) -> None:
    """Parse, run, store, print."""
    parser = _parser()
    words = sys.argv[1:] if words is None else words
    arguments = parser.parse_args(words)
    if arguments.jax and find_spec("jax") is None:
        parser.error("--jax needs JAX, which is not installed: pip install jax, or leave the option out")
    if arguments.threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])  # holds for everyone
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        record = {"command": " ".join(["benchmarks/train_step.py", *words])} | run(arguments)
    except (DisagreementError, UnrolledError) as error:
        sys.exit(f"error: {error}")
    store(arguments.out, record)
    print(json.dumps(record) if arguments.json else table(record))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--jax", action="store_true", help="compare with JAX as well, which has to be installed")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too, which takes minutes a row")
    parser.add_argument("--shape", nargs="+", metavar="NAME", choices=SHAPES, help=f"only these: {', '.join(SHAPES)}")
    parser.add_argument("--cell", nargs="+", metavar="NAME", choices=CELLS, help=f"only these: {', '.join(CELLS)}")
    parser.add_argument("--pairs", type=_positive, help="pairs of turns a row (default: what takes 8 seconds)")
    parser.add_argument("--engine", default="auto", choices=("auto", *engines.names()), help="engine of our side")
    parser.add_argument("--threads", type=_positive, help="processors to use, by everyone (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS / "train_step.json", help="file to write")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least 1")
    return number


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for; the record that is stored.

    Raises:
        DisagreementError: two contestants do not compute the same.
        UnrolledError: our engine cannot do it.
    """
    versions = {name: version(name) for name in (("torch", "jax") if arguments.jax else ("torch",))}
    record: dict[str, Any] = {
        "machine": machine() | versions | {"engine": engines.get(arguments.engine).description()},
        "commit": commit(),
    }
    peaks: dict[str, float] = {}
    measured = []
    for task in tasks(arguments.shape or SHAPES, arguments.cell or CELLS):
        for peer in ("pytorch", "jax") if arguments.jax else ("pytorch",):
            for name, speed in product_peaks().items():
                peaks[name] = max(speed, peaks.get(name, 0.0))
            measured.append((task, row(task, peer, arguments)))
    peak = max(peaks.values())
    for task, figures in measured:
        figures["share_of_floor"] = round(task.operations / peak / (figures["ours_ms"] / 1e3), 4)
    record["peak_gigaflops"] = {name: round(speed / 1e9, 1) for name, speed in peaks.items()}
    record["rows"] = [figures for _, figures in measured]
    record["geometric_mean_of_ratios"] = _geometric_means(record["rows"])
    if arguments.shape is None and arguments.cell is None:
        record["memory"] = step_memory.figures(arguments.engine)
    return record


def tasks(shapes: Iterable[str], cells: Iterable[str]) -> list[Task]:
    """All cells in all shapes, in order."""
    return [Task(cell, *SHAPES[shape]) for shape in shapes for cell in cells]


def row(task: Task, peer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One comparison; share_of_floor is added where the peak is known."""
    weights, tokens = initial_weights(task), Tokens(task)
    theirs = rival(peer, task, weights, tokens, compiled=arguments.compile)
    ours = Ours(task, weights, arguments.engine)
    check_agreement(ours, theirs, tokens)
    result = race(ours, theirs, tokens, arguments.pairs)
    figures = {
        "cell": task.cell,
        "shape": task.shape,
        "ours_ms": round(1e3 * result.ours.median, 4),
        "peer_ms": round(1e3 * result.theirs.median, 4),
        "peer": peer,
        "variant": theirs.variant,
        "ratio": round(result.ratio.median, 3),
        "ours_quartiles_ms": [round(1e3 * second, 4) for second in (result.ours.lower, result.ours.upper)],
        "peer_quartiles_ms": [round(1e3 * second, 4) for second in (result.theirs.lower, result.theirs.upper)],
        "ratio_quartiles": [round(result.ratio.lower, 3), round(result.ratio.upper, 3)],
        "pairs": result.pairs,
        "steps_a_turn": result.steps,
    }
    print("{cell} {shape}: {ours_ms} ms, {peer} {peer_ms} ms, {ratio} ({variant})".format_map(figures), file=sys.stderr)
    return figures


def rival(peer: str, task: Task, weights: Tensors, tokens: Tokens, *, compiled: bool) -> TrainingStep:
    """The fastest way in which a peer takes this step."""
    if peer == "jax":
        from steps import jax

        return fastest([partial(jax.Jax, task, weights, unroll) for unroll in jax.UNROLLED_STEPS], tokens)
    certain: list[Maker] = [partial(pytorch.PyTorch, task, weights, variant) for variant in pytorch.variants()]
    attempts: list[Maker] = [partial(pytorch.PyTorch, task, weights, variant) for variant in pytorch.COMPILED]
    return fastest(certain, tokens, attempts if compiled else [])


def _geometric_means(rows: list[dict[str, Any]]) -> dict[str, float]:
    peers = dict.fromkeys(row["peer"] for row in rows)
    ratios = {peer: [row["ratio"] for row in rows if row["peer"] == peer] for peer in peers}
    return {peer: round(statistics.geometric_mean(values), 3) for peer, values in ratios.items()}


def table(record: dict[str, Any]) -> str:
    """The results for a person, in Markdown."""
    lines = [
        "| cell | shape | peer | ours, ms | theirs, ms | ratio | share of floor | their fastest way |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for figures in record["rows"]:
        ours, theirs = _with_quartiles(figures, "ours"), _with_quartiles(figures, "peer")
        lines.append(
            f"| {figures['cell']} | {figures['shape']} | {figures['peer']} | {ours} | {theirs} "
            f"| {figures['ratio']:.2f} | {figures['share_of_floor']:.0%} | {figures['variant']} |"
        )
    means = ", ".join(f"{mean:.2f} ({peer})" for peer, mean in record["geometric_mean_of_ratios"].items())
    peaks = ", ".join(f"{speed:.0f} ({name})" for name, speed in record["peak_gigaflops"].items())
    lines += ["", f"Geometric mean of the ratios: {means}. Matrix peak, GFLOP/s: {peaks}."]
    return "\n".join([*lines, *(["", step_memory.table(record["memory"])] if "memory" in record else [])])


def _with_quartiles(figures: dict[str, Any], side: str) -> str:
    lower, upper = figures[f"{side}_quartiles_ms"]
    return f"{figures[f'{side}_ms']:.2f} ({lower:.2f} to {upper:.2f})"


if __name__ == "__main__":
    main()
