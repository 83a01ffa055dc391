"""Measure how much memory one training step takes: the rise of the process's peak resident memory over it.

The network is an LSTM with a large vocabulary (V 50000 H 512 L 1 B 32 T 64, untied), whose logits and gradients are
large. Our step and PyTorch's each run in a process of their own that has trained a tiny network before, but nothing of
that size. Needs Linux. `train_step.py` stores the figures with its own.

Example: .venv/bin/python benchmarks/step_memory.py
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from steps.ours import Ours
from steps.pytorch import PLAIN, PyTorch, variants
from steps.task import Task, Tokens, TrainingStep, initial_weights

TASK = Task("lstm", 50_000, 512, 1, 32, 64)
TINY = Task("lstm", 50, 16, 1, 2, 3)
OURS = "unrolled"


def main() -> None:
    """Parse, and measure all or, in a process of its own, one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--engine", default="auto", help="engine of our side (default: auto)")
    parser.add_argument("--only", metavar="NAME", help="measure this one here and print its bytes")
    arguments = parser.parse_args()
    if arguments.only is not None:
        contestants = makers(arguments.engine)
        if arguments.only not in contestants:
            parser.error(f'--only is "{arguments.only}": choose one of {"; ".join(contestants)}')
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        print(rise(contestants[arguments.only], TASK))
        return
    record = figures(arguments.engine)
    print(json.dumps(record, indent=2) if arguments.json else table(record))


def makers(engine: str) -> dict[str, Callable[[Task], TrainingStep]]:
    """Ours and PyTorch's variants by name; which optimizer applies the gradients makes no difference."""
    names = {str(variant): partial(_pytorch, variant=variant) for variant in variants() if variant.optimizer == "fused"}
    return {OURS: lambda task: Ours(task, initial_weights(task), engine), **names}


def _pytorch(task: Task, variant: Any) -> TrainingStep:
    return PyTorch(task, initial_weights(task), variant)


def figures(engine: str = "auto", mebibytes: Callable[[str, str], float] | None = None) -> dict[str, Any]:
    """Mebibytes of all, and ours as a share of the least of PyTorch's: of the plain ones, and of all.

    Args:
        engine: of our side.
        mebibytes: measures one by engine and name; in a new process if None.
    """
    measure = mebibytes or _in_its_own_process
    return summary({name: round(measure(engine, name), 1) for name in makers(engine)})


def summary(rises: dict[str, float]) -> dict[str, Any]:
    """The record, from mebibytes by name."""
    theirs = {name: rise for name, rise in rises.items() if name != OURS}
    plain = [rise for name, rise in theirs.items() if name.startswith(PLAIN)]
    return {
        "cell": TASK.cell,
        "shape": TASK.shape,
        "rise_mebibytes": rises,
        "ours_over_least_plain_pytorch": round(rises[OURS] / min(plain), 3),
        "ours_over_least_pytorch": round(rises[OURS] / min(theirs.values()), 3),
    }


def _in_its_own_process(engine: str, name: str) -> float:
    command = [sys.executable, str(Path(__file__)), "--engine", engine, "--only", name]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(finished.stdout) / 2**20


def rise(make: Callable[[Task], TrainingStep], task: Task) -> int:
    """Bytes by which one step lifts this process's peak of resident memory above what it holds before."""
    _train(make(TINY), TINY)  # libraries, threads and their buffers are not the step's
    contestant = make(task)
    ready = contestant.ready(Tokens(task).take(1)[0])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew from what is resident now
    before = peak_memory()
    contestant.step(ready)
    contestant.finish()
    return peak_memory() - before


def _train(contestant: TrainingStep, task: Task) -> None:
    for batch in Tokens(task).take(2):
        contestant.step(contestant.ready(batch))
    contestant.finish()


def peak_memory() -> int:
    """The most bytes that were resident at once (VmHWM of proc(5))."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


def table(record: Mapping[str, Any]) -> str:
    """The figures for a person, in Markdown."""
    lines = [f"| one step of {record['cell']} {record['shape']} | rise of peak memory, MiB |", "|---|---|"]
    lines += [f"| {name} | {rise:,.0f} |" for name, rise in record["rise_mebibytes"].items()]
    plain, least = record["ours_over_least_plain_pytorch"], record["ours_over_least_pytorch"]
    return "\n".join([*lines, "", f"Ours is {plain:.2f} of the least of plain PyTorch's and {least:.2f} of the least."])


if __name__ == "__main__":
    main()
