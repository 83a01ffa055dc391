"""Measure how good the models are that `unrolled train` makes in a given time, and how fast they then are.

Runs are grouped: "characters" and "words" train as a person would, by the command line with --minutes; "classic" trains
two well-known networks on the same words and time; "elsewhere-word" and "elsewhere-char" hold the recipe against plain
settings on --texts; "cells" tries each cell for a minute; "demonstration" is what `unrolled demo` trains. Each run is
evaluated on its held-out parts. Writes benchmarks/results/language_models.json, group by group, with commands, machine
and commit.

Example: .venv/bin/python benchmarks/language_models.py characters words classic --data ../shared/data
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import RESULTS, commit, machine, store

CHARACTERS = "shakespeare.txt --unit char"
WORDS = "war-and-peace.txt --unit word --vocabulary-size 10000 --split 90/5/5"
PLAIN = {
    "word": "--hidden 200 --batch 16 --window 32 --layers 1 --no-tied --dropout 0 --weight-drop 0 --learning-rate 0.01 "
    "--samples 0 --no-factored --activation 0 --temporal-activation 0",
    "char": "--hidden 256 --batch 32 --window 64 --layers 1 --no-tied --dropout 0 --weight-drop 0 --learning-rate 0.01",
}
"""What the settings are without a plan, by unit, beside the cell."""
PLAIN_CELL = {"word": "lstm", "char": "gru"}
CLASSIC = (
    "--cell lstm --hidden 200 --layers 2 --no-tied --no-factored --batch 20 --window 20 --initial-range 0.1 "
    "--forget-bias 0 --weight-drop 0 --activation 0 --temporal-activation 0 --samples 0 --optimizer sgd "
    "--learning-rate 20 --clip 0.25 --warm-up 0 --schedule halving --hold 0.30769231"
)
"""The small network of Zaremba et al., arXiv:1409.2329, with their schedule stretched over the time (reproduce.py)."""
GROUPS = {
    "characters": (f"{CHARACTERS} --minutes 3", f"{CHARACTERS} --minutes 15"),
    "words": (f"{WORDS} --minutes 15",),
    "classic": (
        f"{WORDS} --minutes 15 {CLASSIC} --dropout 0",
        f"{WORDS} --minutes 15 {CLASSIC} --dropout 0.25 --no-locked",
    ),
    "cells": tuple(
        f"{text} --minutes 1 --cell {cell} {PLAIN[unit]}"
        for unit, text in (("char", CHARACTERS), ("word", WORDS))
        for cell in ("lstm", "gru", "tanh")
    ),
    "demonstration": (":embedded: --min-count 2 --minutes 1.5",),
}
ELSEWHERE = {"elsewhere-word": "word", "elsewhere-char": "char"}
"""Groups that take --texts, by their unit."""
ELSEWHERE_MINUTES = 2
CACHE = 2000
"""Tokens of a text of words that an evaluation looks back at, beside one by the model alone."""
STORED = RESULTS / "language_models.json"


def main() -> None:
    """Parse, run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=[*GROUPS, *ELSEWHERE])
    parser.add_argument("--data", type=Path, default=Path(), help="folder with shakespeare.txt and war-and-peace.txt")
    parser.add_argument("--texts", nargs="*", default=[], help="of elsewhere: files in --data, or :embedded:")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    if ELSEWHERE.keys() & arguments.groups and not arguments.texts:
        parser.error("elsewhere: name the texts by --texts")
    groups = GROUPS | {name: elsewhere(arguments.texts, unit) for name, unit in ELSEWHERE.items()}
    record = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    for group in arguments.groups:
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                measure(arguments.data, options, Path(folder) / str(number))
                for number, options in enumerate(groups[group])
            ]
            record[group] = {"machine": machine(), "commit": commit(), "rows": rows}
            if group == "demonstration":
                record[group]["seconds_of_short_commands"] = short_commands(Path(folder) / "0")
        store(STORED, record)
        for row in rows:
            print(json.dumps(row) if arguments.json else summary(row), flush=True)


def elsewhere(texts: Sequence[str], unit: str) -> tuple[str, ...]:
    """The recipe and plain settings on other texts."""
    return tuple(
        f"{text} --unit {unit} --minutes {ELSEWHERE_MINUTES}{how}"
        for text in texts
        for how in ("", f" --cell {PLAIN_CELL[unit]} {PLAIN[unit]}")
    )


def short_commands(directory: Path) -> dict[str, dict[str, float]]:
    """How long commands take that hardly do anything."""
    return {
        "unrolled --help": seconds_of("--help"),
        "unrolled score MODEL LINE": seconds_of("score", str(directory), str(one_line(directory))),
    }


def summary(row: dict[str, Any]) -> str:
    """One run in a line."""
    parts = ", ".join(
        f"{part} {result['nats_per_token']:.4f} nats, perplexity {result['perplexity']:.2f}{kind}"
        for kind, results in (("", row["evaluations"]), (" with cache", row["evaluations_with_cache"]))
        for part, result in results.items()
    )
    return f"{row['seconds']:7.1f} s  {parts}  {row['command']}"


def measure(data: Path, options: str, out: Path) -> dict[str, Any]:
    """One training by the command line, and what its model is worth."""
    text, *words = options.split()
    start = time.perf_counter()
    unrolled("train", text if text == ":embedded:" else str(data / text), *words, "--out", str(out))
    seconds = time.perf_counter() - start  # of the whole command
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    parts = [part for part in config["data"]["parts"] if part != "train"]
    evaluations = {part: evaluated(out, part) for part in parts}
    looked_back = {part: evaluated(out, part, "--cache", str(CACHE)) for part in parts if "--unit word" in options}
    return {
        "command": f"unrolled train {options} --out DIR",
        "seconds": round(seconds, 1),
        "steps": config["training"]["results"]["steps"],
        "repeat": config["training"]["results"]["repeat"],
        "model": config["model"],
        "uniform_nats": config["training"]["results"]["uniform_loss"],
        "unigram_nats": config["training"]["results"]["unigram_loss"],
        "estimated_validation_nats": config["training"]["results"]["validation_loss"],
        "evaluations": evaluations,
        "evaluations_with_cache": looked_back,
        "microseconds_a_generated_token": generation_speed(out),
    }


def evaluated(directory: Path, part: str, *options: str) -> dict[str, Any]:
    """What `unrolled evaluate` says of a part of the text that a model was trained on."""
    result: dict[str, Any] = json.loads(unrolled("evaluate", str(directory), "--part", part, *options, "--json"))
    return result


def generation_speed(directory: Path, tokens: int = 2000) -> float:
    """Microseconds a token of one continuation, the process's start included in neither count."""
    from unrolled import LanguageModel

    model = LanguageModel.load(directory)
    for _ in model.stream(max_tokens=50, seed=0):
        pass
    start = time.perf_counter()
    for _ in model.stream(max_tokens=tokens, seed=1):
        pass
    return round((time.perf_counter() - start) / tokens * 1e6, 1)


def seconds_of(*words: str, times: int = 9) -> dict[str, float]:
    """Wall time of a command from start to end: the first time, and the median of all."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        unrolled(*words)
        seconds.append(time.perf_counter() - start)
    return {"first": round(seconds[0], 3), "median": round(statistics.median(seconds), 3)}


def one_line(folder: Path) -> Path:
    """A file with one line to score."""
    path = folder / "line.txt"
    path.write_text("The value of the expression is converted to a string.\n", encoding="utf-8")
    return path


def unrolled(*words: str) -> str:
    """The standard output of an `unrolled` command; its progress goes to the screen."""
    command = [sys.executable, "-m", "unrolled", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
