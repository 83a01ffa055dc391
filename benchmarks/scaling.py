"""Measure how much text one and two processes train on in a second, and estimate what many would.

Each row trains on the cores of this machine by the command line, in turns: one process with one thread, one with two,
and two processes with one thread each, which exchange their gradients by gloo. The estimate is that of a ring: each
process sends and receives 2 (n - 1) / n times the gradients, after the backward pass, as if nothing of it overlapped.
Writes benchmarks/results/scaling.json.

Example: .venv/bin/python benchmarks/scaling.py --data ../shared/data
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import RESULTS, commit, machine, positive, store

STEPS = 150
SHAPES = {
    "characters": "shakespeare.txt --unit char --cell gru --hidden 512 --batch 64 --window 64",
    "words": "war-and-peace.txt --unit word --vocabulary-size 10000 --cell gru --hidden 256 --tied --batch 32 "
    "--window 35",
}
WAYS = {"one process, one thread": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}
BYTES_A_WEIGHT = 4
BANDWIDTHS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
"""Of the network between hosts, bytes a second each way."""
COUNTS = (2, 4, 8, 16, 64)


def main() -> None:
    """Parse, measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with shakespeare.txt and war-and-peace.txt")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each way (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "commit": commit(), "rows": []}
    for name, options in SHAPES.items():
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        parameters = 0
        for _ in range(arguments.rounds):
            for way, (processes, threads) in WAYS.items():
                speed, parameters = trained(arguments.data, options, processes, threads)
                speeds[way].append(speed)
        medians = {way: statistics.median(found) for way, found in speeds.items()}
        words = options.split()
        tokens = int(words[words.index("--batch") + 1]) * int(words[words.index("--window") + 1])
        record["rows"].append(
            {
                "shape": name,
                "options": options,
                "parameters": parameters,
                "tokens_a_step": tokens,
                "tokens_a_second": medians,
                "estimate": {
                    bandwidth: {
                        count: speedup(count, parameters, tokens / medians["one process, two threads"], bytes_a_second)
                        for count in COUNTS
                    }
                    for bandwidth, bytes_a_second in BANDWIDTHS.items()
                },
            }
        )
    store(RESULTS / "scaling.json", record)
    print(json.dumps(record) if arguments.json else "\n".join(summary(row) for row in record["rows"]))


def trained(data: Path, options: str, processes: int, threads: int) -> tuple[float, int]:
    """Tokens a second of a short run, by the last lines of its log, and how many weights it learns."""
    text, *others = options.split()
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        command = [*start, "unrolled", "train", str(data / text), *others, "--anneal", f"0:{STEPS}"]
        command += ["--threads", str(threads), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    speeds = [line["tokens_per_second"] for line in log if "tokens_per_second" in line]
    return statistics.median(speeds[len(speeds) // 2 :]), weights(config["model"])


def weights(shape: dict[str, Any]) -> int:
    """Weights of a GRU language model of one layer."""
    vocabulary, embedding, hidden = shape["vocabulary_size"], shape["embedding_size"], shape["hidden_size"]
    table = vocabulary * embedding + (0 if shape["tied"] else vocabulary * hidden) + vocabulary
    return int(table + 3 * hidden * (embedding + hidden + 2))


def speedup(count: int, parameters: int, seconds_a_step: float, bytes_a_second: float) -> float:
    """How many times as fast `count` hosts are, each with the batch of one, with gradients sent around a ring."""
    exchange = 2 * (count - 1) / count * BYTES_A_WEIGHT * parameters / bytes_a_second
    return count * seconds_a_step / (seconds_a_step + exchange)


def summary(row: dict[str, Any]) -> str:
    """Lines for a person."""
    lines = [f"{row['shape']}: {row['parameters']:,} weights, {row['tokens_a_step']:,} tokens a step"]
    lines += [f"  {way:26} {speed:10,.0f} tokens/s" for way, speed in row["tokens_a_second"].items()]
    for bandwidth, found in row["estimate"].items():
        times = ", ".join(f"{count}: {factor:.1f}" for count, factor in found.items())
        lines.append(f"  estimate at {bandwidth:10} {times} times")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
