"""Measure how good and how fast the tasks beside the language model are.

"made" trains each task on the data with known answers that come with Unrolled, as a person would, by the command line,
and evaluates on items that were not trained on. "length" does so with and without attention, and tells the share of
exact answers by the length of the source. "fill" asks for the held-out words of a text from both sides, and from the
left alone by a language model of equal size. "beam" holds batched beam search against one sentence at a time. Writes
benchmarks/results/tasks.json, group by group, with commands, machine and commit.

Example: .venv/bin/python benchmarks/tasks.py made length fill beam --data ../shared/data
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measuring import RESULTS, commit, machine, store

if TYPE_CHECKING:
    from unrolled import LanguageModel

MADE = (
    ":dates: --task translate --minutes 2",
    ":numbers: --task translate --minutes 2",
    ":words: --task translate --minutes 2",
    ":agreement: --task fill --minutes 2",
    ":brackets: --task fill --minutes 1",
    ":sentiment: --task classify --minutes 0.5",
    ":patterns: --task tag --minutes 0.5",
    ":agreement: --task correct --minutes 2",
)
COUNTING = ":counting: --read sentences --pre-tokenized --minutes 1"
"""Numbers that count by ones, twos or threes: does a language model go on with each?"""
LENGTH = tuple(
    f"joined.tsv --task translate --minutes 3 --attention {others}"
    for others in ("additive", "none", "none --no-bidirectional", "none --no-bidirectional --reverse-source")
)
"""With attention; without; and the remedy from before attention, beside the same without it."""
MOST_JOINED = 4
"""Dates that stand side by side in a line of joined.tsv, one to so many."""
TEXT = "war-and-peace.txt --unit word --vocabulary-size 10000 --split 90/5/5 --samples 1000"
FILL = (
    f"{TEXT} --task fill --epochs 8",
    f"{TEXT} --cell gru --layers 2 --hidden 208 --tied --dropout 0.3 --batch 32 --window 35 --learning-rate 0.003 "
    "--epochs 8",
)
"""Both sides, and the left alone, with at least as many weights and all of the text before."""
BEAM = ":dates: --task translate --unit char --epochs 1"
BEAM_WIDTH, BEAM_BATCH, BEAM_LINES = 5, 32, 256
STORED = RESULTS / "tasks.json"


def main() -> None:
    """Parse, run, store, print."""
    groups = {"made": made, "length": length, "fill": fill, "beam": beam}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=[*groups])
    parser.add_argument("--data", type=Path, default=Path(), help="folder with war-and-peace.txt")
    arguments = parser.parse_args()
    record: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    for name in arguments.groups:
        with tempfile.TemporaryDirectory() as folder:
            rows = groups[name](Path(folder), arguments.data)
        record[name] = {"machine": machine(), "commit": commit(), "rows": rows}
        store(STORED, record)
        for row in rows:
            print(json.dumps(row), flush=True)


def made(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Each task on made data."""
    rows = []
    for number, options in enumerate(MADE):
        seconds = train(options, folder / str(number), data)
        rows.append({"options": options, "seconds": seconds, "result": unrolled("evaluate", folder / str(number))})
    seconds = train(COUNTING, folder / "counting", data)
    rows.append({"options": COUNTING, "seconds": seconds, "result": {"continued": continued(folder / "counting")}})
    return rows


def continued(directory: Path) -> dict[str, float]:
    """Share of the held-out sequences whose last number is the model's first guess, given those before; by step."""
    from unrolled import LanguageModel
    from unrolled.inference.evaluation_text import find_text
    from unrolled.text.made.counting import STEPS, made_counting

    model = LanguageModel.load(directory)
    text, _ = find_text(model.config, None, "validation")
    steps = {line.text: line.step for line in made_counting()}
    right: dict[int, list[bool]] = {step: [] for step in STEPS}
    for score in model.score(text.splitlines(), details=True):
        if score.details:
            right[steps[score.text]].append(score.details[-2].rank == 1)
    return {str(step): float(np.mean(found)) for step, found in right.items()}


def length(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Exact answers by the length of the source, with attention and without."""
    from unrolled import Translator

    (folder / "joined.tsv").write_text(joined_dates(), encoding="utf-8")
    rows = []
    for number, options in enumerate(LENGTH):
        seconds = train(options, folder / str(number), folder)
        model = Translator.load(folder / str(number))
        pairs, _ = model.task.rows_of(model.config, (), None)
        answers = model.translate([pair.source for pair in pairs])
        right = np.array([answer.text == pair.target for answer, pair in zip(answers, pairs, strict=True)])
        counts = np.array([pair.target.count(" ") + 1 for pair in pairs])
        by_dates = {str(n): float(right[counts == n].mean()) for n in range(1, MOST_JOINED + 1)}
        rows.append({"options": options, "seconds": seconds, "exact": float(right.mean()), "exact_by_dates": by_dates})
    return rows


def joined_dates() -> str:
    """The dates that Unrolled makes, one to `MOST_JOINED` of them in a line, as many lines of each."""
    from unrolled.text import read_corpus

    pairs = [line.split("\t") for line in read_corpus(":dates:").text.splitlines()]
    lines, start, count = [], 0, 1
    while start + count <= len(pairs):
        sides = zip(*pairs[start : start + count], strict=True)
        lines.append("\t".join(" ".join(side) for side in sides))
        start, count = start + count, count % MOST_JOINED + 1
    return "".join(f"{line}\n" for line in lines)


def fill(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Perplexity of the words of the test part, ends of lines left out."""
    from unrolled import LanguageModel

    rows = []
    for number, options in enumerate(FILL):
        directory = folder / str(number)
        seconds = train(options, directory, data)
        row = {"options": options, "seconds": seconds, "parameters": unrolled("info", directory)["parameters"]}
        if number == 0:
            row["perplexity"] = unrolled("evaluate", directory, "--part", "test")["perplexity"]
        else:
            row["perplexity"] = word_perplexity(LanguageModel.load(directory))
        rows.append(row)
    return rows


def word_perplexity(model: "LanguageModel") -> float:
    """Of a language model that reads the test part as one text; only words count."""
    from unrolled.inference.evaluation_text import find_text
    from unrolled.inference.scoring import stream_losses

    text, _ = find_text(model.config, None, "test")
    ids, end = model.tokenizer.encode(text), model.tokenizer.end_of_line_id
    losses = np.concatenate(list(stream_losses(model.predictor, ids, end_of_line_id=end)))
    return float(np.exp(losses[ids != end].mean()))


def beam(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Sentences a second, batched and one at a time, of the same model in turns; the median of five."""
    from unrolled import Translator

    train(BEAM, folder / "model", data)
    model = Translator.load(folder / "model")
    pairs, _ = model.task.rows_of(model.config, (), None)
    lines = [pair.source for pair in pairs][:BEAM_LINES]
    speeds: dict[int, list[float]] = {BEAM_BATCH: [], 1: []}
    for _ in range(5):
        for batch, found in speeds.items():
            some = lines if batch > 1 else lines[: BEAM_LINES // 8]
            start = time.perf_counter()
            model.translate(some, beam=BEAM_WIDTH, batch=batch)
            found.append(len(some) / (time.perf_counter() - start))
    return [
        {"options": BEAM, "beam": BEAM_WIDTH, "batch": batch, "sentences_per_second": float(np.median(found))}
        for batch, found in speeds.items()
    ]


def train(options: str, out: Path, data: Path) -> float:
    """Train by the command line; the wall time of the whole command in seconds."""
    first, *others = options.split()
    source = first if first.startswith(":") else str(data / first)
    start = time.perf_counter()
    command = [sys.executable, "-m", "unrolled", "train", source, *others, "--out", str(out)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def unrolled(verb: str, directory: Path, *options: str) -> dict[str, Any]:
    """What a verb says of a model."""
    command = [sys.executable, "-m", "unrolled", verb, str(directory), *options, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    main()
