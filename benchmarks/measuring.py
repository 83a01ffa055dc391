"""What all benchmarks share: machine and commit, quartiles, contestants taking turns, matrix peak, memory bandwidth."""

import argparse
import gc
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REST_SECONDS, IDLE_SHARE, MOST_RESTS = 0.01, 0.1, 50
"""A pause, the share of it that threads may work in one that counts as idle, and how many there are at most."""
PRODUCT_SIZES = (1024, 2048, 3072)
"""Rows and columns of the square products from which the matrix peak is told; smaller ones do not reach it."""
READ_BYTES = 2**29
"""Size of the array from whose reading the memory bandwidth is told: many times the last cache."""
CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


class Quartiles(NamedTuple):
    """The middle of some measurements and how far they spread."""

    lower: float
    median: float
    upper: float


def rest() -> None:
    """Wait until no thread of this process works any more: some spin on after their work, ONNX Runtime's for 40 ms."""
    for _ in range(MOST_RESTS):
        before = time.process_time()
        time.sleep(REST_SECONDS)
        if time.process_time() - before < IDLE_SHARE * REST_SECONDS:
            return


def quartiles(values: list[float]) -> Quartiles:
    """Quartiles of one value or more, interpolated linearly."""
    return Quartiles(*np.quantile(values, (0.25, 0.5, 0.75)).tolist())


def interleaved(first: Callable[[], float], second: Callable[[], float], pairs: int) -> list[tuple[float, float]]:
    """What two contestants measure of themselves, taking turns; see `in_turns`."""
    return [(a, b) for a, b in in_turns([first, second], pairs)]


def in_turns(contestants: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """What contestants measure of themselves, taking turns, so that a machine that slows down slows all: by round.

    Python's garbage collector rests meanwhile: its pauses would hit one of them by chance.
    """
    gc.collect()
    gc.disable()
    try:
        return [[contestant() for contestant in contestants] for _ in range(rounds)]
    finally:
        gc.enable()


def product_peaks() -> dict[str, float]:
    """The most that large float32 products reach here, in operations a second, by who does them."""
    import torch

    from unrolled import engines

    peaks = dict.fromkeys(("torch.mm", "native"), 0.0)
    for size in PRODUCT_SIZES:
        left, right = torch.rand(size, size), torch.rand(size, size)
        product = torch.empty(size, size)
        ways: dict[str, Callable[[], Any]] = {"torch.mm": lambda: torch.mm(left, right, out=product)}  # noqa: B023
        if "native" in engines.names():
            native = engines.get("native")
            ways["native"] = lambda: native.linear(left, right, None, keep=False)  # noqa: B023
        for name, way in ways.items():
            peaks[name] = max(peaks[name], 2 * size**3 / _least_seconds(way))
    return peaks


def read_bandwidths() -> dict[str, float]:
    """The most bytes a second at which a large array is read with all threads, by what reads it.

    Each way reads every number once and writes next to nothing. One that reads two parts of the array at once is often
    the fastest, for memory serves several streams better than one.
    """
    import torch

    from unrolled.engines.native import update

    numbers = torch.ones(READ_BYTES // 4)
    first, second = numbers.view(2, -1)
    matrix = numbers.view(-1, min(2**14, len(numbers)))
    vector = torch.ones(matrix.shape[1])
    left, right = first.numpy(), second.numpy()
    ways: dict[str, Callable[[], Any]] = {
        "torch.sum": lambda: torch.sum(numbers),
        "torch.dot": lambda: torch.dot(first, second),
        "torch.mv": lambda: torch.mv(matrix, vector),
        "numpy.dot": lambda: np.dot(left, right),
    }
    if update.is_available():
        ways["native sum_of_squares"] = lambda: update.sum_of_squares([numbers])
    return {name: READ_BYTES / _least_seconds(way) for name, way in ways.items()}


def last_cache_bytes() -> int | None:
    """Size of the last cache, all cores' together, or None where Linux does not tell it."""
    levels = sorted(CPU_CACHES.glob("index*/size"))
    return int(levels[-1].read_text(encoding="ascii").strip().removesuffix("K")) * 1024 if levels else None


def _least_seconds(run: Callable[[], Any], repetitions: int = 5) -> float:
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def positive(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least 1")
    return number


def store(path: Path, record: dict[str, Any]) -> None:
    """Write a record where results lie."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    return {"processor": model, "threads": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def commit() -> str:
    """The commit that is measured: of when this program began, marked where more than stored results differed."""
    return _COMMIT


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def _commit_now() -> str:
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return _git("describe", "--always") + ("-dirty" if changed else "")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


_COMMIT = _commit_now()
