"""Measure sentences a second that a language model scores, against PyTorch and ONNX Runtime.

10,000 sentences of 3 to 60 random words, each from a zero state, its end of line included. Lengths and words are
equally probable, which is the hardest case for tables and caches: real text has few words that are frequent. Ours reads
them in the order given, so many at once as `unrolled score` does. The peers sort all sentences of a turn by length:
PyTorch runs a PackedSequence, ONNX Runtime sequence_lens over padded batches, with or without the rows of padding in
the output layer. Both are tried in several ways, the batch's size first, on sentences of about the median length; the
fastest is compared.

First all have to agree on the log-probabilities of some sentences. Then they take turns of 2,000 sentences, the next
2,000 in each round (five rounds score all of them), and what is stored is each one's median, and the median of the
ratios to the better peer within a round. The rise of peak memory while scoring is measured where no shapes are chosen,
with the model of the first row, each in a process of its own: ours for 10,000 and for 40,000 lines, which shows whether
it grows with their number, and the peers' for the lines of one turn. Ours includes the table of the first layer's input
terms, which fills as words are met.

Writes benchmarks/results/score.json with machine and commit, and prints tables in Markdown.

Example: .venv/bin/python benchmarks/score.py --shape h200 --cell gru --threads 1
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from decoding import pytorch_scorer
from decoding.agreement import check_scorers
from decoding.model import Model, initial_weights
from decoding.pytorch_scorer import PyTorchScorer
from decoding.scorer import Ids, OurScorer, PeerScorer, Scorer, middle, random_sentences
from decoding.timing import fastest, scoring_race, scoring_trial
from measuring import RESULTS, commit, machine, positive, store
from steps.agreement import DisagreementError
from steps.task import Tensors
from unrolled import engines
from unrolled.errors import UnrolledError

CELLS = ("tanh", "gru", "lstm")
SHAPES = {"h200": (10_000, 200, 2), "h650": (10_000, 650, 2)}
"""Vocabulary, units, layers."""
LEAST_RATIOS = {"h200": 2.0, "h650": 1.5}
"""What is aimed at."""
PEERS = ("pytorch", "onnxruntime")
SENTENCES_A_TURN, CHECKED_SENTENCES, TRIAL_SENTENCES = 2000, 64, 256
ROUNDS = 3
MEMORY_LINES = (10_000, 40_000)


def main(words: list[str] | None = None) -> None:
    """Parse, run, store, print."""
    parser = _parser()
    words = sys.argv[1:] if words is None else words
    arguments = parser.parse_args(words)
    if any(find_spec(name) is None for name in ("onnxruntime", "onnx")):
        parser.error("needs ONNX Runtime, which is not installed: pip install onnxruntime onnx")
    try:
        record = {"command": " ".join(["benchmarks/score.py", *words])} | run(arguments)
    except (DisagreementError, UnrolledError) as error:
        sys.exit(f"error: {error}")
    store(arguments.out, record)
    print(json.dumps(record) if arguments.json else table(record))


def _parser() -> argparse.ArgumentParser:
    processors = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--shape", nargs="+", metavar="NAME", choices=SHAPES, help=f"only these: {', '.join(SHAPES)}")
    parser.add_argument("--cell", default="lstm", choices=CELLS, help="cell (default: lstm)")
    parser.add_argument("--sentences", type=positive, default=10_000, help="how many there are (default: 10000)")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"turns of each in a row (default: {ROUNDS})")
    parser.add_argument("--engine", default="auto", choices=("auto", *engines.names()), help="engine of our side")
    counts = sorted({processors, 1}, reverse=True)
    parser.add_argument("--threads", nargs="+", type=positive, default=counts, help="threads (default: all, and one)")
    parser.add_argument("--out", type=Path, default=RESULTS / "score.json", help="file to write")
    return parser


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for; the record that is stored.

    Raises:
        DisagreementError: two contestants do not compute the same.
        UnrolledError: our engine cannot do it.
    """
    versions = {name: version(name) for name in ("torch", "onnxruntime")}
    torch.set_num_threads(max(arguments.threads))
    record: dict[str, Any] = {
        "machine": machine() | versions | {"engine": engines.get(arguments.engine).description()},
        "commit": commit(),
        "sentences": arguments.sentences,
        "rows": [],
        "targets": [],
    }
    for shape in arguments.shape or SHAPES:
        for threads in arguments.threads:
            figures = row(Model(arguments.cell, *SHAPES[shape]), threads, arguments)
            record["rows"].append(figures)
            record["targets"].append(target(figures, LEAST_RATIOS[shape]))
    if arguments.shape is None:
        record["memory"] = memory_of(record["rows"][0], arguments.engine)
    return record


def row(model: Model, threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One comparison."""
    weights, sentences = initial_weights(model), random_sentences(model, arguments.sentences)
    ours = OurScorer(model, weights, threads, arguments.engine)
    peers = [
        pytorch_rival(model, weights, sentences, threads),
        onnx_rival(model, weights, sentences, threads),
    ]
    torch.set_num_threads(threads)
    for peer in peers:
        check_scorers(ours, peer, sentences[:CHECKED_SENTENCES])
    parts = parts_of(sentences)
    result = scoring_race([ours, *peers], parts, arguments.rounds)
    figures: dict[str, Any] = {"cell": model.cell, "shape": model.shape, "threads": threads}
    for index, name in enumerate(("ours", *PEERS)):
        upper, median, lower = (round(1 / seconds, 1) for seconds in result.seconds(index))
        figures |= {f"{name}_per_second": median, f"{name}_quartiles_per_second": [lower, upper]}
    better = min((1, 2), key=lambda index: result.seconds(index).median)
    lower, median, upper = (round(ratio, 3) for ratio in result.ratio(better))
    figures |= {"ratio": median, "ratio_quartiles": [lower, upper], "better_peer": PEERS[better - 1]}
    figures |= {f"{peer.name}_variant": peer.variant for peer in peers}
    figures |= {"rounds": len(result.rounds), "sentences_a_turn": len(parts[0])}
    line = "{cell} {shape}, {threads} threads: {ours_per_second} sentences a second, {ratio} of {better_peer}"
    print(line.format_map(figures), file=sys.stderr)
    return figures


def parts_of(sentences: list[Ids]) -> list[list[Ids]]:
    """What is scored in one turn, in the next, and so on; all where they are few. What is left over is not used."""
    starts = range(0, len(sentences) - SENTENCES_A_TURN + 1, SENTENCES_A_TURN)
    return [sentences[start : start + SENTENCES_A_TURN] for start in starts] or [sentences]


def pytorch_rival(model: Model, weights: Tensors, sentences: Sequence[Ids], threads: int) -> Scorer:
    """PyTorch in its fastest way: of the batch's sizes, then of the heads."""

    def quickest(variants: Sequence[pytorch_scorer.Variant]) -> PyTorchScorer:
        makers = [partial(PyTorchScorer, model, weights, variant, threads) for variant in variants]
        return fastest(makers, trial_of(sentences))

    best = quickest([pytorch_scorer.Variant(size) for size in pytorch_scorer.BATCH_SIZES]).way
    return quickest([replace(best, head=head) for head in pytorch_scorer.heads(best.batch)])


def onnx_rival(model: Model, weights: Tensors, sentences: Sequence[Ids], threads: int) -> Scorer:
    """ONNX Runtime in its fastest way: of the batch's sizes, then of the graph's ends, then spinning or not."""
    from decoding import onnx_scorer

    def quickest(variants: Sequence[onnx_scorer.Variant]) -> onnx_scorer.OnnxScorer:
        makers = [partial(onnx_scorer.OnnxScorer, model, weights, variant, threads) for variant in variants]
        return fastest(makers, trial_of(sentences))

    spinning = threads > 1  # one thread has nobody to wait for
    best = quickest([onnx_scorer.Variant(size, spinning=spinning) for size in onnx_scorer.BATCH_SIZES]).way
    ends = [replace(best, head=head, live=live) for head, live in onnx_scorer.HEADS]
    if not spinning:
        return quickest(ends)
    best = quickest(ends).way
    return quickest([best, replace(best, spinning=False)])


def trial_of(sentences: Sequence[Ids]) -> Callable[[PeerScorer, float], float]:
    """What tells the seconds of a variant: from sentences like those of its batches, at least one batch."""

    def measure(scorer: PeerScorer, best: float) -> float:
        return scoring_trial(scorer, middle(sentences, max(TRIAL_SENTENCES, scorer.batch)))

    return measure


def target(figures: dict[str, Any], least: float) -> dict[str, Any]:
    """What is aimed at in a row, and whether it is met."""
    named = {key: figures[key] for key in ("cell", "shape", "threads")}
    return named | {"figure": "ratio", "at_least": least, "value": figures["ratio"], "met": figures["ratio"] >= least}


def memory_of(figures: dict[str, Any], engine: str) -> dict[str, Any]:
    """Rises of peak memory with the model of a row: ours, and each peer's in the way that was its fastest there."""
    from decoding import memory

    _, vocabulary, _, hidden, _, layers = figures["shape"].split()
    lines = {memory.OURS: list(MEMORY_LINES)}
    lines |= {memory.name_of(peer, figures[f"{peer}_variant"]): [SENTENCES_A_TURN] for peer in PEERS}
    model = Model(figures["cell"], int(vocabulary), int(hidden), int(layers))
    return memory.figures(model, lines, figures["threads"], engine)


def table(record: dict[str, Any]) -> str:
    """The results for a person, in Markdown."""
    lines = [
        "| cell | shape | threads | ours, sentences/s | PyTorch | ONNX Runtime | ratio to the better "
        "| PyTorch's fastest way | ONNX Runtime's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for figures in record["rows"]:
        speeds = " | ".join(_with_quartiles(figures, name) for name in ("ours", *PEERS))
        lines.append(
            f"| {figures['cell']} | {figures['shape']} | {figures['threads']} | {speeds} | {figures['ratio']:.2f} "
            f"| {figures['pytorch_variant']} | {figures['onnxruntime_variant']} |"
        )
    missed = [
        f"{aim['shape']}, {aim['threads']} threads: {aim['value']:.2f}, not {aim['at_least']}"
        for aim in record["targets"]
        if not aim["met"]
    ]
    lines += ["", f"Targets missed: {'; '.join(missed) or 'none'}."]
    if "memory" in record:
        from decoding import memory

        lines += ["", memory.table(record["memory"])]
    return "\n".join(lines)


def _with_quartiles(figures: dict[str, Any], name: str) -> str:
    lower, upper = figures[f"{name}_quartiles_per_second"]
    return f"{figures[f'{name}_per_second']:.0f} ({lower:.0f} to {upper:.0f})"


if __name__ == "__main__":
    main()
