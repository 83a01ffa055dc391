"""Repeat published experiments and print our figures beside the published ones.

ptb-small: language models of the Penn Treebank with 10,000 words, from ptb.train.txt, ptb.valid.txt and ptb.test.txt in
--data, as everybody has them (one sentence a line, words between blanks, <unk>). Once as in Zaremba et al. 2014, the
network of 2 x 200 without dropout; once by our recipe within a time and a number of weights; both with a continuous
cache, too. The corpus is not shipped; any other text in that form does for a try, which is stored by itself and means
nothing beside the published figures.

Example: .venv/bin/python benchmarks/reproduce.py ptb-small --data ptb
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from measuring import RESULTS, commit, machine, store


class Experiment(NamedTuple):
    """A way to train, and what it has come to elsewhere.

    Attributes:
        title: for the table.
        options: of `unrolled train`.
        elsewhere: test perplexity to compare with.
        source: of that figure.
    """

    title: str
    options: str
    elsewhere: float
    source: str


PARTS = ("train", "valid", "test")
TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}
"""Of the Penn Treebank in this form, with the ends of lines."""
CLASSIC = (
    "--cell lstm --hidden 200 --layers 2 --batch 20 --window 20 --initial-range 0.1 --forget-bias 0 "
    # there the loss is a sum over the 20 steps of a window: 20 times the rate of 1, a twentieth of the norm of 5
    "--optimizer sgd --learning-rate 20 --clip 0.25 --warm-up 0 --schedule halving --hold 0.30769231"
)
"""The small network of Zaremba et al., arXiv:1409.2329, section 4.1: 4 passes at the full rate, then 9 at halves."""
MOST_WEIGHTS = 5_000_000
CACHE = 2000
"""Tokens that the evaluations with a cache look back at (Grave et al. 2017)."""


def experiments(minutes: float, epochs: float) -> tuple[Experiment, ...]:
    """The experiments of ptb-small."""
    return (
        Experiment(
            "2 x 200 LSTM without dropout",
            f"{CLASSIC} --epochs {epochs:g}",
            114.5,
            "Zaremba et al. 2014 (arXiv:1409.2329), table 1",
        ),
        Experiment(
            f"our recipe, {MOST_WEIGHTS / 1e6:.0f} million weights, {minutes:g} minutes",
            f"--minutes {minutes:g} --most-parameters {MOST_WEIGHTS}",
            87.4,
            "the aim: n-grams, cache and LSTM together, in this time on 4 cores; best of 200 units alone 82.7",
        ),
    )


def main() -> None:
    """Parse, run, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["ptb-small"])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with ptb.train.txt, ptb.valid.txt, ptb.test.txt"
    )
    parser.add_argument("--minutes", type=float, default=27, help="wall time of the recipe's run (default: 27)")
    parser.add_argument("--epochs", type=float, default=13, help="passes of the classic run (default: 13)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    missing = [path for part in PARTS if not (path := arguments.data / f"ptb.{part}.txt").is_file()]
    if missing:
        parser.error(f"{missing[0]}: not there; put the three files of the corpus into --data")
    record: dict[str, Any] = {"machine": machine(), "commit": commit(), "data": described(arguments.data), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        for number, experiment in enumerate(experiments(arguments.minutes, arguments.epochs)):
            record["rows"].append(measure(experiment, arguments.data, Path(folder) / str(number)))
            store(RESULTS / f"reproduce_{'ptb_small' if record['data'] == TOKENS else 'another_text'}.json", record)
    print(json.dumps(record) if arguments.json else "\n".join(table(record)))


def described(data: Path) -> dict[str, int]:
    """Tokens of each part, with the ends of lines."""
    texts = {part: (data / f"ptb.{part}.txt").read_text(encoding="utf-8") for part in PARTS}
    return {part: sum(len(line.split()) + 1 for line in text.splitlines()) for part, text in texts.items()}


def measure(experiment: Experiment, data: Path, out: Path) -> dict[str, Any]:
    """Train and evaluate one."""
    texts = ["ptb.train.txt", "--validation", "ptb.valid.txt"]
    options = ["--pre-tokenized", "--vocabulary-size", "10000", *experiment.options.split()]
    paths = [str(data / word) if word.endswith(".txt") else word for word in texts]
    start = time.perf_counter()
    trained = json.loads(unrolled("train", *paths, *options, "--out", str(out), "--json"))
    seconds = time.perf_counter() - start
    test = str(data / "ptb.test.txt")
    ways = {"validation": (), "test": (test,), "cached": (test, "--cache", str(CACHE))}
    results = {name: json.loads(unrolled("evaluate", str(out), *way, "--json")) for name, way in ways.items()}
    return {
        "title": experiment.title,
        "command": " ".join(["unrolled train", *texts, *options, "--out DIR"]),
        "repeat": trained["repeat"],
        "seconds": round(seconds, 1),
        "parameters": parameters(out),
        "validation_perplexity": results["validation"]["perplexity"],
        "test_perplexity": results["test"]["perplexity"],
        "test_perplexity_with_cache": results["cached"]["perplexity"],
        "test_tokens": results["test"]["tokens"],
        "test_perplexity_elsewhere": experiment.elsewhere,
        "elsewhere": experiment.source,
    }


def parameters(directory: Path) -> int:
    """Number of weights in a model directory."""
    from unrolled import model_directory

    return sum(tensor.size for tensor in model_directory.load(directory).tensors.values())


def table(record: dict[str, Any]) -> list[str]:
    """The results for a person."""
    rows = [
        f"{row['title']:50} {row['parameters'] / 1e6:6.2f}M {row['seconds'] / 60:8.1f} "
        f"{row['validation_perplexity']:11.2f} {row['test_perplexity']:8.2f} {row['test_perplexity_with_cache']:11.2f} "
        f"{row['test_perplexity_elsewhere']:10.1f}  {row['elsewhere']}"
        for row in record["rows"]
    ]
    heading = f"{'':50} weights  minutes  validation     test  with cache  elsewhere"
    note = f"tokens: {record['data']}; figures of elsewhere are of the Penn Treebank, with {TOKENS}"
    return [heading, *rows, note]


def unrolled(*words: str) -> str:
    """The standard output of an `unrolled` command; its progress goes to the screen."""
    command = [sys.executable, "-m", "unrolled", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
