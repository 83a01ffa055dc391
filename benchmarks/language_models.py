"""Measure how good and how fast the models are that `unrolled train` makes in a few minutes.

Trains a character model and a word model as a person would, by the command line, and evaluates each on its held-out
parts; then each cell for a minute, which is where the default cells come from; then the demonstration's training, and
how long short commands take. Writes benchmarks/results/language_models.json with commands, machine and commit.

Example: .venv/bin/python benchmarks/language_models.py ../shared/data
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import RESULTS, commit, machine, store

CHARACTERS = "shakespeare.txt --unit char"
WORDS = "war-and-peace.txt --unit word --split 90/5/5"
RUNS = (
    *(f"{CHARACTERS} --minutes 3 --seed {seed}" for seed in (1, 2, 3)),
    f"{WORDS} --minutes 3",
    *(f"{text} --minutes 1 --cell {cell}" for text in (CHARACTERS, WORDS) for cell in ("lstm", "gru", "tanh")),
    ":embedded: --min-count 2 --tied --dropout 0.5 --minutes 1.5",
)


def main() -> None:
    """Parse, run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with shakespeare.txt and war-and-peace.txt")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "commit": commit(), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(RUNS):
            record["rows"].append(measure(arguments.data, options, Path(folder) / str(number)))
        last = Path(folder) / str(len(RUNS) - 1)
        record["seconds_of_short_commands"] = {
            "unrolled --help": seconds_of("--help"),
            "unrolled score MODEL LINE, the demonstration's model": seconds_of("score", str(last), str(one_line(last))),
        }
    store(RESULTS / "language_models.json", record)
    print(json.dumps(record) if arguments.json else "\n".join(str(row) for row in record["rows"]))


def measure(data: Path, options: str, out: Path) -> dict[str, Any]:
    """One training by the command line, and what its model is worth."""
    text, *words = options.split()
    start = time.perf_counter()
    unrolled("train", text if text == ":embedded:" else str(data / text), *words, "--out", str(out))
    seconds = time.perf_counter() - start
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    parts = [part for part in config["data"]["parts"] if part != "train"]
    evaluations = {part: json.loads(unrolled("evaluate", str(out), "--part", part, "--json")) for part in parts}
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
        "microseconds_a_generated_token": generation_speed(out),
    }


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
