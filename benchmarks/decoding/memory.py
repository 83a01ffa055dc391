"""How much memory scoring takes: the rise of a process's peak of resident memory while a contestant scores lines.

Each contestant has a process of its own, which has made its model ready and scored a few lines with a tiny one before.
Lines lie in memory before the measurement. Needs Linux. `score.py` starts these processes and stores the figures.
"""

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from decoding import pytorch_scorer
from decoding.model import Model, initial_weights
from decoding.scorer import OurScorer, Scorer, random_sentences
from step_memory import peak_memory

TINY = Model("lstm", 50, 16, 1)
TINY_LINES = 20
OURS = "unrolled"
Maker = Callable[[Model], Scorer]


def main() -> None:
    """Measure one contestant in this process and print its bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell")
    parser.add_argument("sizes", nargs=3, type=int, help="V H L")
    parser.add_argument("--lines", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only", metavar="NAME", required=True, help="name and variant of the contestant")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    make = makers(arguments.threads, arguments.engine)[arguments.only]
    print(rise(make, Model(arguments.cell, *arguments.sizes), arguments.lines))


def makers(threads: int, engine: str) -> dict[str, Maker]:
    """All contestants by name."""
    from decoding import onnx_scorer

    def ours(model: Model) -> Scorer:
        return OurScorer(model, initial_weights(model), threads, engine)

    def pytorch(model: Model, variant: pytorch_scorer.Variant) -> Scorer:
        return pytorch_scorer.PyTorchScorer(model, initial_weights(model), variant, threads)

    def onnx(model: Model, variant: onnx_scorer.Variant) -> Scorer:
        return onnx_scorer.OnnxScorer(model, initial_weights(model), variant, threads)

    peers: dict[str, Maker] = {}
    for way in pytorch_scorer.variants():
        peers[name_of("pytorch", str(way))] = partial(pytorch, variant=way)
    for other in onnx_scorer.variants():
        peers[name_of("onnxruntime", str(other))] = partial(onnx, variant=other)
    return {OURS: ours, **peers}


def name_of(peer: str, variant: str) -> str:
    """The name of a peer in one of its variants."""
    return f"{peer}: {variant}"


def figures(model: Model, lines: Mapping[str, list[int]], threads: int, engine: str) -> dict[str, Any]:
    """Mebibytes by contestant and lines.

    Args:
        model: what scores.
        lines: for each contestant the numbers of lines.
        threads: how many each has.
        engine: of our side.
    """
    rises = {
        name: {str(count): round(in_its_own_process(model, name, count, threads, engine), 1) for count in counts}
        for name, counts in lines.items()
    }
    return {"cell": model.cell, "shape": model.shape, "threads": threads, "rise_mebibytes": rises}


def in_its_own_process(model: Model, name: str, lines: int, threads: int, engine: str) -> float:
    """Mebibytes of one contestant."""
    sizes = [str(size) for size in (model.vocabulary, model.hidden, model.layers)]
    options = ["--lines", str(lines), "--threads", str(threads), "--engine", engine, "--only", name]
    command = [sys.executable, "-m", "decoding.memory", model.cell, *sizes, *options]
    folder = Path(__file__).parents[1]  # from where Python finds this module
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder)
    return int(finished.stdout) / 2**20


def rise(make: Maker, model: Model, lines: int) -> int:
    """Bytes by which scoring lifts this process's peak of resident memory above what it holds before."""
    make(TINY).score(random_sentences(TINY, TINY_LINES))  # libraries, threads and their buffers are not the model's
    sentences, scorer = random_sentences(model, lines), make(model)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew from what is resident now
    before = peak_memory()
    scorer.score(sentences)
    return peak_memory() - before


def table(record: Mapping[str, Any]) -> str:
    """The figures for a person, in Markdown."""
    lines = [f"| scoring with {record['cell']} {record['shape']} | lines | rise of peak memory, MiB |", "|---|---|---|"]
    for name, rises in record["rise_mebibytes"].items():
        lines += [f"| {name} | {int(count):,} | {mebibytes:,.0f} |" for count, mebibytes in rises.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
