"""Lines come as soon as no more are waiting, whole and in order; so do the answers of `unrolled score` in a pipe."""

import gzip
import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled import LanguageModel
from unrolled.cli import lines
from unrolled.cli.lines import read_chunks
from unrolled.errors import CorpusError

from .conftest import PROGRAM, Call


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.FileIO]:
    """The end to write to, unbuffered, of the pipe that is standard input."""
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as end, open(reading, encoding="utf-8") as stream:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stream)
        yield end


# What is in a chunk


def test_a_file_comes_in_full_chunks(tmp_path: Path) -> None:
    path, expected = tmp_path / "lines.txt", [f"line {number}" * (number % 50) for number in range(2500)]
    for write in (Path.write_bytes, lambda path, data: path.write_bytes(gzip.compress(data))):
        write(path, "\n".join(expected).encode())
        chunks = list(read_chunks(str(path), 1000))
        assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]
        assert list(chain.from_iterable(chunks)) == expected


def test_what_was_written_before_a_pause_comes_before_more_is_waited_for(pipe: io.FileIO) -> None:
    chunks = read_chunks("-", 1000)
    for text, expected in (
        ("one\n", ["one"]),
        ("two\nthree\n", ["two", "three"]),
        ("four\nfi", ["four"]),
        ("ve\n", ["five"]),
        ("\n\r\n", ["", ""]),
    ):
        pipe.write(text.encode())
        assert next(chunks) == expected
    pipe.write(b"at the ")
    pipe.write(b"end")
    pipe.close()
    assert list(chunks) == [["at the end"]]


def test_lines_of_a_fast_pipe_come_in_full_chunks(pipe: io.FileIO) -> None:
    def write() -> None:
        for start in range(0, 5000, 10):  # in many small pieces, as another program's buffer gives them
            pipe.write("".join(f"line {number}\n" for number in range(start, start + 10)).encode())
        pipe.close()

    writer = threading.Thread(target=write)
    writer.start()
    chunks = list(read_chunks("-", 1000))
    writer.join()
    assert list(chain.from_iterable(chunks)) == [f"line {number}" for number in range(5000)]
    assert len(chunks) < 100, "5, unless this machine did something else for a while; 500 were written"


@given(
    text=st.text(st.sampled_from("aé日\r\n\0\ufeff"), max_size=40),
    block=st.integers(1, 9),
    at_once=st.integers(1, 4),
    longest=st.integers(1, 20),
)
def test_chunks_joined_are_the_lines_wherever_blocks_are_cut(text: str, block: int, at_once: int, longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        patch.setattr(lines, "BYTES_AT_ONCE", longest)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))
        chunks = list(read_chunks("-", at_once))
    expected = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    expected[:1] = [line.removeprefix("\ufeff") for line in expected[:1]]
    assert list(chain.from_iterable(chunks)) == expected
    assert all(1 <= len(chunk) <= at_once for chunk in chunks)


def test_very_long_lines_are_read_quickly_and_go_on_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(4):
            file.write("é" * 5_000_000 + "\n")
        file.write("short\n" * 3)
    began = time.perf_counter()
    chunks = list(read_chunks(str(path), 1000))
    assert time.perf_counter() - began < 5
    assert [[len(line) for line in chunk] for chunk in chunks] == [[5_000_000] * 2, [5_000_000] * 2, [5, 5, 5]]


def test_an_error_names_the_line_though_others_came_before(pipe: io.FileIO) -> None:
    chunks = read_chunks("-", 1000)
    pipe.write("Zoë\nsees\n".encode())
    assert next(chunks) == ["Zoë", "sees"]
    pipe.write(b"the\nca\xfft\n")
    assert next(chunks) == ["the"], "which is whole"
    with pytest.raises(CorpusError, match=r"^standard input, line 4, byte offset 16: is not UTF-8"):
        next(chunks)


# The verb as a filter


@pytest.fixture
def coprocess(tiny_model: Callable[[str], Path]) -> Iterator[subprocess.Popen[bytes]]:
    command = [PROGRAM, "score", tiny_model("word"), "-", "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, bufsize=0, **pipes) as running:  # type: ignore[call-overload]
        yield running
        running.kill()


def answer(running: subprocess.Popen[bytes], seconds: float) -> bytes:
    """One line of output, which has to come within a time."""
    assert running.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([running.stdout], [], [], seconds)[0], f"no answer within {seconds} seconds"
        read = os.read(running.stdout.fileno(), 1 << 16)
        assert read, "the output has ended"
        line += read
    return line


def test_who_writes_a_line_and_waits_gets_an_answer(
    coprocess: subprocess.Popen[bytes], tiny_model: Callable[[str], Path]
) -> None:
    asked = ["the cat sees a dog.", "", "a giraffe \0 sees", "the dog " * 20_000, "no\r", "Zoë won't see 日本"]
    scores = LanguageModel.load(tiny_model("word")).score([line.removesuffix("\r") for line in asked])
    assert coprocess.stdin is not None
    for number, (line, score) in enumerate(zip(asked, scores, strict=True)):
        coprocess.stdin.write(f"{line}\n".encode())
        assert json.loads(answer(coprocess, 60 if number == 0 else 20)) == score.as_dict()
    coprocess.stdin.write(b"the end")
    coprocess.stdin.close()
    assert json.loads(answer(coprocess, 20))["text"] == "the end"
    assert coprocess.wait(timeout=20) == 0
    assert coprocess.stderr is not None
    assert coprocess.stderr.read() == b""


def test_plain_answers_are_not_held_back_either(process: Call, tiny_model: Callable[[str], Path]) -> None:
    """Each line is asked for with the answer to the one before."""
    script = """
coproc SCORE { unrolled score "$1" -; }
for line in "the cat" "a dog" "no one"; do
  echo "$line" >&"${SCORE[1]}"
  read -r -t 60 answer <&"${SCORE[0]}" || exit 9
  echo "$answer"
done
"""
    outcome = process(script, tiny_model("word"))
    assert outcome.status == 0, outcome.errors
    assert [line.split("\t")[2] for line in outcome.lines] == ["the cat", "a dog", "no one"]


def test_a_filter_gives_what_a_file_gives(process: Call, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path, count = tmp_path / "lines.txt", 9000
    path.write_text("".join(f"the cat sees {number} a dog.\n" for number in range(count)), encoding="utf-8")
    by_file = process('unrolled score "$1" "$2"', tiny_model("word"), path)
    assert by_file.status == 0, by_file.errors
    assert [line.split("\t")[2] for line in by_file.lines] == path.read_text().splitlines()
    slow = '(head -c 100003 "$2"; sleep 0.3; tail -c +100004 "$2") | unrolled score "$1" - | cat'
    assert process(slow, tiny_model("word"), path) == by_file
    assert process('gzip -c "$2" | unrolled score "$1"', tiny_model("word"), path) == by_file
    assert process('unrolled score "$1" < "$2"', tiny_model("word"), path) == by_file


def test_who_stops_reading_ends_it_quietly_while_the_input_stays_open(
    process: Call, tiny_model: Callable[[str], Path]
) -> None:
    script = """
set +o pipefail
(for number in $(seq 1200); do echo "the cat $number" || exit; sleep 0.05; done) 2>&- | unrolled score "$1" - | head -2
"""
    began = time.monotonic()
    outcome = process(script, tiny_model("word"))
    assert (outcome.status, outcome.errors, len(outcome.lines)) == (0, "", 2)
    assert time.monotonic() - began < 40
