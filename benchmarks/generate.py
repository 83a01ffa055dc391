"""Measure microseconds a token of a language model that writes at batch 1, against PyTorch and ONNX Runtime.

Ours is `Predictor.decode` as `unrolled generate` calls it: feeding, stepping, softmax and one draw a token. The peers
are tried in several ways, of which the fastest is compared, and are granted the cheapest choice of a token that there
is: they feed back the most probable one, which needs neither softmax nor random numbers, and Python never looks at it
on its way. ONNX Runtime's session is warm, and its token and state are bound once, so that nothing is copied.
pytorch_drawing_us is what the same loop in PyTorch took in a trial where it draws each token, as ours does.

First all have to agree: on the distributions along fixed tokens, and on what each then chose by itself. Then they take
turns, each long enough that the caches are its own, and what is stored is each one's median and the median of the
ratios within a round. weight_bytes counts the weights that the mathematics has to read for one token: of the first
layer one row of G*H numbers from the table of W x + b, and its recurrent weights; of other layers both weights; biases;
the output layer. bandwidth_share is weight_bytes over our median, as a share of the memory bandwidth measured in the
same run; it may pass 1 where weights fit the last cache, whose size is stored too.

Writes benchmarks/results/generate.json with machine and commit, and prints a table in Markdown.

Example: .venv/bin/python benchmarks/generate.py --shape h128 --cell gru lstm
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from decoding import pytorch_writer
from decoding.agreement import check_writers
from decoding.model import Model, initial_weights
from decoding.pytorch_writer import DRAWS, PyTorchWriter
from decoding.timing import fastest, race, trial
from decoding.writer import OurWriter, Writer
from measuring import RESULTS, commit, last_cache_bytes, machine, positive, read_bandwidths, store
from steps.agreement import DisagreementError
from steps.task import Tensors
from unrolled import engines
from unrolled.errors import UnrolledError

CELLS = ("tanh", "gru", "lstm")
SHAPES = {"h128": (65, 128, 1), "h100": (8000, 100, 1), "h512": (65, 512, 2), "h650": (10_000, 650, 2)}
"""Vocabulary, units, layers."""
PEERS = ("pytorch", "onnxruntime")
SMALL, MIDDLE = 10**6, 20 * 10**6
"""Bytes of weights below which there is a target for both peers, and for ONNX Runtime."""
LEAST_PYTORCH, LEAST_ONNX, LEAST_ONNX_MIDDLE, LEAST_BANDWIDTH = 10.0, 3.0, 1.5, 0.9


def main(words: list[str] | None = None) -> None:
    """Parse, run, store, print."""
    parser = _parser()
    words = sys.argv[1:] if words is None else words
    arguments = parser.parse_args(words)
    if any(find_spec(name) is None for name in ("onnxruntime", "onnx")):
        parser.error("needs ONNX Runtime, which is not installed: pip install onnxruntime onnx")
    if arguments.threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])  # holds for everyone
    try:
        record = {"command": " ".join(["benchmarks/generate.py", *words])} | run(arguments)
    except (DisagreementError, UnrolledError) as error:
        sys.exit(f"error: {error}")
    store(arguments.out, record)
    print(json.dumps(record) if arguments.json else table(record))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too, which takes minutes a row")
    parser.add_argument("--shape", nargs="+", metavar="NAME", choices=SHAPES, help=f"only these: {', '.join(SHAPES)}")
    parser.add_argument("--cell", nargs="+", metavar="NAME", choices=CELLS, help=f"only these: {', '.join(CELLS)}")
    parser.add_argument("--rounds", type=positive, help="turns of each in a row (default: what takes 6 seconds)")
    parser.add_argument("--engine", default="auto", choices=("auto", *engines.names()), help="engine of our side")
    parser.add_argument("--threads", type=positive, help="processors to use, by everyone (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS / "generate.json", help="file to write")
    return parser


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for; the record that is stored.

    Raises:
        DisagreementError: two contestants do not compute the same.
        UnrolledError: our engine cannot do it.
    """
    torch.set_num_threads(_processors())
    versions = {name: version(name) for name in ("torch", "onnxruntime")}
    record: dict[str, Any] = {
        "machine": machine() | versions | {"engine": engines.get(arguments.engine).description()},
        "last_cache_bytes": last_cache_bytes(),
        "commit": commit(),
    }
    bandwidths: dict[str, float] = {}
    rows = []
    for model in models(arguments.shape or SHAPES, arguments.cell or CELLS):
        torch.set_num_threads(_processors())
        for name, speed in read_bandwidths().items():
            bandwidths[name] = max(speed, bandwidths.get(name, 0.0))
        rows.append(row(model, arguments))
    bandwidth = max(bandwidths.values())
    for figures in rows:
        figures["bandwidth_share"] = round(figures["weight_bytes"] / (figures["ours_us"] / 1e6) / bandwidth, 4)
    record["bandwidth_gigabytes"] = {name: round(speed / 1e9, 2) for name, speed in bandwidths.items()}
    record["rows"] = rows
    record["targets"] = [target for figures in rows for target in targets(figures)]
    return record


def models(shapes: Iterable[str], cells: Iterable[str]) -> list[Model]:
    """All cells in all shapes, in order."""
    return [Model(cell, *SHAPES[shape]) for shape in shapes for cell in cells]


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def row(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """One comparison; bandwidth_share is added where the bandwidth is known."""
    weights = initial_weights(model)
    ours = OurWriter(model, weights, _processors(), arguments.engine)
    pytorch, onnx = pytorch_rival(model, weights, compiled=arguments.compile), onnx_rival(model, weights)
    for peer in (pytorch, onnx):
        check_writers(ours, peer)
    drawing = {draw.__name__: trial(PyTorchWriter(model, weights, replace(pytorch.way, choose=draw))) for draw in DRAWS}
    result = race([ours, pytorch, onnx], arguments.rounds)
    figures: dict[str, Any] = {"cell": model.cell, "shape": model.shape, "weight_bytes": model.weight_bytes}
    for index, name in enumerate(("ours", *PEERS)):
        lower, median, upper = (round(1e6 * seconds, 2) for seconds in result.seconds(index))
        figures |= {f"{name}_us": median, f"{name}_quartiles_us": [lower, upper]}
    for index, name in enumerate(PEERS, start=1):
        lower, median, upper = (round(ratio, 3) for ratio in result.ratio(index))
        figures |= {f"{name}_ratio": median, f"{name}_ratio_quartiles": [lower, upper]}
    figures |= {"pytorch_variant": pytorch.variant, "onnxruntime_variant": onnx.variant}
    draw = min(drawing, key=drawing.__getitem__)
    figures |= {"pytorch_drawing_us": round(1e6 * drawing[draw], 2), "pytorch_draw": draw}
    figures["rounds"] = len(result.rounds)
    line = "{cell} {shape}: {ours_us} us, pytorch {pytorch_us} us, onnxruntime {onnxruntime_us} us"
    print(line.format_map(figures), file=sys.stderr)
    return figures


def pytorch_rival(model: Model, weights: Tensors, *, compiled: bool) -> PyTorchWriter:
    """PyTorch in its fastest way."""
    threads = _processors()
    attempts = pytorch_writer.compiled_variants(threads) if compiled else []
    return fastest(
        [partial(PyTorchWriter, model, weights, variant) for variant in pytorch_writer.variants(threads)],
        trial,
        [partial(PyTorchWriter, model, weights, variant) for variant in attempts],
    )


def onnx_rival(model: Model, weights: Tensors) -> Writer:
    """ONNX Runtime in its fastest way."""
    from decoding import onnx_writer

    variants = onnx_writer.variants(_processors())
    return fastest([partial(onnx_writer.OnnxWriter, model, weights, variant) for variant in variants], trial)


def targets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What is aimed at in a row, and whether it is met."""
    size = figures["weight_bytes"]
    if size >= MIDDLE:
        aims = [("bandwidth_share", LEAST_BANDWIDTH)]
    elif size >= SMALL:
        aims = [("onnxruntime_ratio", LEAST_ONNX_MIDDLE)]
    else:
        aims = [("pytorch_ratio", LEAST_PYTORCH), ("onnxruntime_ratio", LEAST_ONNX)]
    named = {"cell": figures["cell"], "shape": figures["shape"]}
    return [
        named | {"figure": key, "at_least": least, "value": figures[key], "met": figures[key] >= least}
        for key, least in aims
    ]


def table(record: dict[str, Any]) -> str:
    """The results for a person, in Markdown."""
    lines = [
        "| cell | shape | weights, MB | ours, us | PyTorch, us | ONNX Runtime, us | ratios | share of bandwidth "
        "| PyTorch's fastest way | ONNX Runtime's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for figures in record["rows"]:
        times = " | ".join(_with_quartiles(figures, name) for name in ("ours", *PEERS))
        lines.append(
            f"| {figures['cell']} | {figures['shape']} | {figures['weight_bytes'] / 1e6:.2f} | {times} "
            f"| {figures['pytorch_ratio']:.2f}, {figures['onnxruntime_ratio']:.2f} | {figures['bandwidth_share']:.0%} "
            f"| {figures['pytorch_variant']} | {figures['onnxruntime_variant']} |"
        )
    speeds = ", ".join(f"{speed:.1f} ({name})" for name, speed in record["bandwidth_gigabytes"].items())
    cache = record["last_cache_bytes"]
    size = "unknown" if cache is None else f"{cache / 1e6:.1f} MB"
    missed = [
        f"{target['cell']} {target['shape']}: {target['figure']} {target['value']:.2f}, not {target['at_least']}"
        for target in record["targets"]
        if not target["met"]
    ]
    lines += ["", f"Memory bandwidth, GB/s: {speeds}. Last cache: {size}."]
    lines.append(f"Targets missed: {'; '.join(missed) or 'none'}.")
    return "\n".join(lines)


def _with_quartiles(figures: dict[str, Any], name: str) -> str:
    lower, upper = figures[f"{name}_quartiles_us"]
    return f"{figures[f'{name}_us']:.1f} ({lower:.1f} to {upper:.1f})"


if __name__ == "__main__":
    main()
