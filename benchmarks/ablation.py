"""Measure which option of the recipe does how much: one row a switch, several seeds, all else equal.

Each row trains with the recipe but for one switch, for the same number of passes over the same text, with one thread,
so that no row depends on the speed of the machine and several may run side by side; what a switch costs in time is
told by regularized_step.py. Writes benchmarks/results/ablation_UNIT.json.

Example: .venv/bin/python benchmarks/ablation.py :embedded: --jobs 2
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from measuring import RESULTS, commit, machine, positive, store

RECIPE = {
    "word": "--min-count 2 --cell gru --hidden 200 --tied --dropout 0.27 --weight-drop 0.21 --batch 16 --window 35 "
    "--learning-rate 0.0048",
    "char": "--cell gru --hidden 256 --dropout 0.1 --dropout-input 0 --weight-drop 0.1 --batch 32 --window 64 "
    "--learning-rate 0.007",
}
"""What a plan comes to for a network of this size, and six passes over words or twelve over characters.

But for sums and samples, which are rows: so all other rows are of one optimizer and one network.
"""
SWITCHES = {
    "the recipe": "",
    "LSTM": "--cell lstm",
    "LSTM, forget bias 0": "--cell lstm --forget-bias 0",
    "tanh": "--cell tanh",
    "weights not tied": "--no-tied",
    "dropout of other elements at each step": "--no-locked",
    "no dropout of token vectors": "--dropout-input 0",
    "no dropout of outputs": "--dropout-output 0",
    "no weight drop": "--weight-drop 0",
    "nothing dropped": "--dropout 0 --weight-drop 0",
    "embedding dropout too": "--dropout-embedding 0.05",
    "200 sampled words until the last fifth": "--samples 200",
    "words as sums": "--factored --learning-rate 0.0032",
    "words as sums, 200 sampled until the last fifth": "--factored --learning-rate 0.0032 --samples 200",
    "AR and TAR too": "--activation 1 --temporal-activation 0.5",
    "random windows": "--random-windows",
    "no weight decay": "--weight-decay 0",
    "mean of gradients in AdamW, as for characters": "--beta1 0.9 --beta2 0.99",
    "weights averaged from the first pause on": "--average triggered",
    "RMSprop": "--optimizer rmsprop --learning-rate 0.003",
    "Adagrad": "--optimizer adagrad --learning-rate 0.05",
    "momentum": "--optimizer momentum --learning-rate 2 --clip 0.25",
    "SGD": "--optimizer sgd --learning-rate 20 --clip 0.25",
    "SGD, constant rate, averaged (NT-ASGD)": "--optimizer sgd --learning-rate 20 --clip 0.25 --schedule constant "
    "--average triggered",
    "no clipping": "--clip 0",
    "clipping by value": "--clip 0 --clip-value 0.01",
    "no warm-up": "--warm-up 0",
    "cosine": "--schedule cosine",
    "halving": "--schedule halving",
    "constant rate": "--schedule constant",
    "orthogonal initialisation": "--initialization orthogonal",
    "scaled initialisation": "--initialization scaled",
    "all weights within 0.1": "--initial-range 0.1",
    "tanh, norm of the backward signal kept": "--cell tanh --signal-norm 0.01",
    "relu": "--cell relu",
    "relu, identity initialisation": "--cell relu --initialization identity",
}
"""What each row changes."""
OF_WORDS = {"tied", "words"}
"""Rows with these in their names mean nothing to characters."""


def main() -> None:
    """Parse, run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="file, or :embedded:")
    parser.add_argument("--unit", choices=sorted(RECIPE), default="word")
    parser.add_argument("--epochs", type=float, default=6, help="passes over the text (default: 6)")
    parser.add_argument("--seeds", type=positive, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--jobs", type=positive, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--only", help="rows whose names contain this, beside the recipe")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    rows = [
        (name, switch)
        for name, switch in SWITCHES.items()
        if not switch
        or ((arguments.only or "") in name and (arguments.unit == "word" or not OF_WORDS & {*name.split()}))
    ]
    text = arguments.text if arguments.text.startswith(":") else Path(arguments.text).name
    record: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "command": f"unrolled train {text} --unit {arguments.unit} {RECIPE[arguments.unit]} "
        f"--epochs {arguments.epochs:g} --threads 1",
        "rows": [],
    }
    common = [arguments.text, "--unit", arguments.unit, *RECIPE[arguments.unit].split()]
    runs = [
        [*common, *switch.split(), "--epochs", f"{arguments.epochs:g}", "--seed", str(seed)]
        for _, switch in rows
        for seed in range(1, arguments.seeds + 1)
    ]
    stored = RESULTS / f"ablation_{arguments.unit}.json"
    if arguments.only and stored.exists():  # other rows stay
        record["rows"] = json.loads(stored.read_text(encoding="utf-8"))["rows"]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        losses = pool.map(validation_loss, runs)
        for name, switch in rows:
            of_row = list(islice(losses, arguments.seeds))
            row = {"name": name, "options": switch, "validation_losses": of_row}
            record["rows"] = [each for each in record["rows"] if each["name"] != name] + [row]
            store(stored, record)  # what is broken off leaves what it has
    record["rows"].sort(key=lambda row: [*SWITCHES].index(row["name"]))
    store(stored, record)
    print(json.dumps(record) if arguments.json else "\n".join(table(record["rows"])))


def validation_loss(words: list[str]) -> float | None:
    """The best validation loss of one training with these options, in nats per token; None of one that broke off."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unrolled", "train", *words, "--threads", "1", "--out", folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if "lowered its rate, in vain" in done.stderr:
            return None
        done.check_returncode()
        log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses: list[float] = [record["validation_loss"] for record in log if "validation_loss" in record]
    return min(losses)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as a table in Markdown."""
    recipe = statistics.mean(rows[0]["validation_losses"])
    lines = ["| switch | validation, nats (least to most) | against the recipe |", "|---|---|---|"]
    for row in rows:
        losses = row["validation_losses"]
        if None in losses:
            lines.append(f"| {row['name']} | {losses.count(None)} of {len(losses)} broke off | |")
            continue
        mean = statistics.mean(losses)
        change = "" if row is rows[0] else f"{mean - recipe:+.3f}"
        lines.append(f"| {row['name']} | {mean:.3f} ({min(losses):.3f} to {max(losses):.3f}) | {change} |")
    return lines


if __name__ == "__main__":
    main()
