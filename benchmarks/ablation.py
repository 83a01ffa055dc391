"""Measure which option of the recipe does how much: one row a switch, several seeds, all else equal.

Each row trains with the recipe but for one switch, for the same number of passes over the same text (so that no row
depends on the speed of the machine), and tells validation loss and time of a step beside the recipe's own. Writes
benchmarks/results/ablation_UNIT.json.

Example: .venv/bin/python benchmarks/ablation.py :embedded: --unit word --epochs 12
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

RECIPE = {
    "word": "--min-count 2 --cell lstm --hidden 200 --tied --dropout 0.4 --dropout-embedding 0.05 --weight-drop 0.3 "
    "--activation 0.5 --temporal-activation 0.5 --random-windows --batch 16 --window 35 --learning-rate 0.008",
    "char": "--cell gru --hidden 256 --dropout-output 0.3 --dropout-embedding 0.02 --weight-drop 0.2 --activation 0.5 "
    "--temporal-activation 0.5 --random-windows --batch 32 --window 64 --learning-rate 0.006",
}
"""All that the recipe is made of, at once."""
SWITCHES = {
    "the recipe": "",
    "weights not tied": "--no-tied",
    "dropout: other elements at each step (Zaremba 2014)": "--no-locked",
    "no dropout of inputs, between layers and of outputs": "--dropout 0 --dropout-output 0",
    "no dropout of inputs": "--dropout-input 0",
    "no dropout of outputs": "--dropout-output 0",
    "no embedding dropout": "--dropout-embedding 0",
    "no weight drop": "--weight-drop 0",
    "no AR and TAR": "--activation 0 --temporal-activation 0",
    "nothing dropped, nothing penalised": "--dropout 0 --dropout-output 0 --dropout-embedding 0 --weight-drop 0 "
    "--activation 0 --temporal-activation 0",
    "RMSprop": "--optimizer rmsprop --learning-rate 0.003",
    "SGD": "--optimizer sgd --learning-rate 20 --clip 0.25",
    "SGD, constant rate, averaged when triggered (NT-ASGD)": "--optimizer sgd --learning-rate 20 --clip 0.25 "
    "--schedule constant --average triggered",
    "no clipping": "--clip 0",
    "clipping by value": "--clip 0 --clip-value 0.01",
    "no warm-up": "--warm-up 0",
    "cosine": "--schedule cosine",
    "constant rate": "--schedule constant",
    "windows of one length": "--no-random-windows",
    "orthogonal initialisation": "--initialization orthogonal",
    "scaled initialisation": "--initialization scaled",
    "forget bias 0": "--forget-bias 0",
}
"""What each row changes."""


def main() -> None:
    """Parse, run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="file, or :embedded:")
    parser.add_argument("--unit", choices=sorted(RECIPE), default="word")
    parser.add_argument("--epochs", type=float, default=12, help="passes over the text (default: 12)")
    parser.add_argument("--seeds", type=positive, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--only", help="rows whose names contain this, beside the recipe")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    rows = {
        name: switch for name, switch in SWITCHES.items() if not switch or not arguments.only or arguments.only in name
    }
    text = arguments.text if arguments.text.startswith(":") else Path(arguments.text).name
    record: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "command": f"unrolled train {text} --unit {arguments.unit} {RECIPE[arguments.unit]} "
        f"--epochs {arguments.epochs:g}",
        "rows": [],
    }
    for name, switch in rows.items():
        if arguments.unit == "char" and ("tied" in name or "forget" in name):
            continue  # the characters' recipe has neither
        words = [*RECIPE[arguments.unit].split(), *switch.split(), "--epochs", f"{arguments.epochs:g}"]
        runs = [measure(arguments.text, arguments.unit, words, seed) for seed in range(1, arguments.seeds + 1)]
        record["rows"].append({"name": name, "options": switch, **summary(runs)})
        store(RESULTS / f"ablation_{arguments.unit}.json", record)  # a long run that is broken off leaves what it has
    print(json.dumps(record) if arguments.json else "\n".join(table(record["rows"])))


def measure(text: str, unit: str, words: list[str], seed: int) -> dict[str, float]:
    """One training: its best validation loss, and the median time of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unrolled", "train", text, "--unit", unit, *words, "--seed", str(seed)]
        subprocess.run([*command, "--out", folder, "--overwrite"], check=True, capture_output=True)
        log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [record["validation_loss"] for record in log if record.get("validation_loss") is not None]
    speeds = [record["tokens_per_second"] for record in log if record.get("tokens_per_second")]
    return {"validation_loss": min(losses), "tokens_per_second": statistics.median(speeds)}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and extremes over the seeds."""
    losses = [run["validation_loss"] for run in runs]
    return {
        "validation_losses": losses,
        "mean": statistics.mean(losses),
        "least": min(losses),
        "most": max(losses),
        "tokens_per_second": statistics.median(run["tokens_per_second"] for run in runs),
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as a table in Markdown."""
    first = rows[0]
    lines = ["| switch | validation, nats (least to most) | against the recipe | time of a step |", "|---|---|---|---|"]
    for row in rows:
        change = "" if row is first else f"{row['mean'] - first['mean']:+.3f}"
        seconds = first["tokens_per_second"] / row["tokens_per_second"]
        spread = f"{row['mean']:.3f} ({row['least']:.3f} to {row['most']:.3f})"
        lines.append(f"| {row['name']} | {spread} | {change} | {seconds:.2f} |")
    return lines


if __name__ == "__main__":
    main()
