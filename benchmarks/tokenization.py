"""Measure how fast a large text becomes tokens, and in how much memory, for each unit.

Makes a text of random words by Zipf's law, with lines of ordinary lengths, one line of 100 MB and a stretch of one-word
lines, then reads it as `unrolled train` does, once with an empty cache and once from it, each in a process of its own.
Beside it the `tokenizers` library encodes a part of the same text with the same tokenizer, in batches of the size at
which it is fastest here. Needs Linux, and disk for text and tokens. Writes benchmarks/results/tokenization.json, a row
a unit.

Not called tokenize.py, for that is a module of Python's own that others import. Example:
.venv/bin/python benchmarks/tokenization.py --megabytes 2000 --folder /tmp
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from measuring import RESULTS, commit, machine, positive, store

UNITS = ("char", "word", "bpe")
WORDS = 200_000
LONG_LINE = 100_000_000
"""Bytes of the one long line, in texts that have room for it."""
SHORT_LINES = 1_000_000
LIBRARY_CHARACTERS = 1 << 25
"""How much of the text the library is tried with."""


def main() -> None:
    """Parse, make the text, measure, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=positive, default=2000, help="size of the text (default: 2000)")
    parser.add_argument("--folder", type=Path, help="where text and cache are made (default: the system's)")
    parser.add_argument("--units", nargs="*", choices=UNITS, default=UNITS)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "UNIT"), help="do this one here and print its figures")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return
    stored = RESULTS / "tokenization.json"
    record: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {"rows": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        text = Path(folder) / "text.txt"
        make_text(text, arguments.megabytes * 1_000_000)
        for unit in arguments.units:
            cache = {"UNROLLED_CACHE": str(Path(folder) / "cache")}
            fresh, again = (in_a_process(text, unit, cache) for _ in range(2))
            row = {"unit": unit, "machine": machine(), "commit": commit(), "bytes": text.stat().st_size}
            row |= {"fresh": fresh, "from_cache": again, "library_bytes_a_second": library_speed(text, unit)}
            record["rows"] = [each for each in record["rows"] if each["unit"] != unit] + [row]
            store(stored, record)
    print(json.dumps(record) if arguments.json else "\n".join(table(record["rows"])))


def make_text(path: Path, size: int) -> None:
    """Write a text of about so many bytes."""
    with path.open("w", encoding="utf-8") as file:
        written = 0
        for number, words in enumerate(many_words(size)):
            is_long = number == 1 and size > 10 * LONG_LINE
            if is_long:
                line = " ".join(words)
                file.write((line + " ") * (LONG_LINE // len(line)) + "\n")
                written += LONG_LINE
                file.writelines(f"{word}\n" for word in (words * (SHORT_LINES // len(words) + 1))[:SHORT_LINES])
            for start in range(0, len(words), 12):
                written += file.write(" ".join(words[start : start + 12]) + ".\n")
            if written >= size:
                return


def many_words(seed: int) -> Iterator[list[str]]:
    """Lists of random words, frequent ones first, without end."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    shapes = generator.integers(2, 11, WORDS)
    kinds = np.array(["".join(letters[generator.zipf(1.4, n) % 26]) for n in shapes])
    weights = 1 / np.arange(1, WORDS + 1)
    weights /= weights.sum()
    while True:
        yield kinds[generator.choice(WORDS, 1_000_000, p=weights)].tolist()


def in_a_process(text: Path, unit: str, environment: dict[str, str]) -> dict[str, float]:
    """Reading the text in a process of its own."""
    command = [sys.executable, __file__, "--one", str(text), unit]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def one(text: str, unit: str) -> dict[str, float]:
    """Seconds and peak resident memory of reading the text here."""
    from unrolled.models.language.data import prepare
    from unrolled.text.settings import TextSettings

    start = time.perf_counter()
    data = prepare([text], TextSettings(unit=unit))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak, "tokens": sum(len(ids) for ids in data.ids.values())}


def library_speed(text: Path, unit: str) -> float:
    """Bytes a second at which the library encodes, the fastest of some sizes of its batches; 0 for characters."""
    import tokenizers

    from unrolled.text import TextSettings, train_tokenizer

    if unit == "char":
        return 0.0  # ours do not come from it
    with text.open(encoding="utf-8") as file:
        some = file.read(LIBRARY_CHARACTERS)
    library = tokenizers.Tokenizer.from_str(train_tokenizer(some, TextSettings(unit=unit)).to_json())
    lines = some.splitlines(keepends=True)
    speeds = []
    for at_once in (1, 100, 1000, 10_000):
        batches = ["".join(lines[i : i + at_once]) for i in range(0, len(lines), at_once)]
        start = time.perf_counter()
        for first in range(0, len(batches), 64):
            library.encode_batch_fast(batches[first : first + 64])
        speeds.append(len(some.encode()) / (time.perf_counter() - start))
    return max(speeds)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as a table in Markdown."""
    lines = [
        "| unit | text, MB | first time, s | MB/s | from the cache, s | peak memory, MB | library alone, MB/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        fresh, size = row["fresh"], row["bytes"]
        peak = max(row[way]["peak_bytes"] for way in ("fresh", "from_cache"))
        lines.append(
            f"| {row['unit']} | {size / 1e6:.0f} | {fresh['seconds']:.1f} | {size / fresh['seconds'] / 1e6:.1f} | "
            f"{row['from_cache']['seconds']:.1f} | {peak / 1e6:.0f} | {row['library_bytes_a_second'] / 1e6:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
