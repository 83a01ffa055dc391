"""`unrolled score`: one line a line, tokens, ranking, JSON."""

import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import LanguageModel
from unrolled.cli import console

from .conftest import Call

LINES = ["the cat sees a dog.", "dog a sees cat the.", "", "Zoë won't see a giraffe"]
TEXT = "".join(f"{line}\n" for line in LINES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_each_line_with_log_probability_perplexity_and_text(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path
) -> None:
    expected = LanguageModel.load(tiny_model("word")).score(LINES)
    outcome = unrolled("score", tiny_model("word"), file)
    assert (outcome.status, outcome.errors) == (0, "")
    rows = [line.split("\t") for line in outcome.lines]
    assert [row[2] for row in rows] == LINES
    for (log_probability, perplexity, _), score in zip(rows, expected, strict=True):
        assert float(log_probability) == pytest.approx(score.log_probability, abs=5.1e-5)
        assert float(perplexity) == pytest.approx(score.perplexity, abs=5.1e-5)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", [["-"], []])
def test_lines_may_come_from_standard_input(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path, compressed: bool, name: list[str]
) -> None:
    data = "\ufeff".encode() + TEXT.replace("\n", "\r\n").encode().removesuffix(b"\r\n")
    piped = unrolled("score", tiny_model("word"), *name, stdin=gzip.compress(data, mtime=0) if compressed else data)
    assert piped == unrolled("score", tiny_model("word"), file)
    file.write_bytes(gzip.compress(data, mtime=0))
    assert piped == unrolled("score", tiny_model("word"), file)


def test_sort_ranks_by_total_log_probability(tiny_model: Callable[[str], Path], unrolled: Call, file: Path) -> None:
    plain = [line.split("\t") for line in unrolled("score", tiny_model("word"), file).lines]
    ranked = [line.split("\t") for line in unrolled("score", tiny_model("word"), file, "--sort").lines]
    assert ranked == sorted(plain, key=lambda row: -float(row[0]))
    assert ranked != plain
    texts = [row[2] for row in ranked]
    assert texts.index("the cat sees a dog.") < texts.index("dog a sees cat the.")


def test_json_is_one_object_a_line_with_these_keys(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path
) -> None:
    outcome = unrolled("score", tiny_model("word"), file, "--json")
    records = [json.loads(line) for line in outcome.lines]
    assert [list(record) for record in records] == [
        ["text", "tokens", "log_probability", "perplexity", "unknown"]
    ] * len(LINES)
    assert [record["text"] for record in records] == LINES
    assert [record["tokens"] for record in records] == [7, 7, 1, 6]
    assert [record["unknown"] for record in records] == [0, 0, 0, 1]
    for record in records:
        assert record["perplexity"] == pytest.approx(math.exp(-record["log_probability"] / record["tokens"]))
    assert "Zoë" in outcome.output, "text stays readable"


def test_tokens_are_shown_below_their_line(tiny_model: Callable[[str], Path], unrolled: Call, file: Path) -> None:
    records = [json.loads(line) for line in unrolled("score", tiny_model("word"), file, "--json", "--tokens").lines]
    assert list(records[0]["details"][0]) == ["token", "log_probability", "rank", "surprisal_bits"]
    assert [detail["token"] for detail in records[3]["details"]] == ["Zoë", "won't", "see", "a", "<unk>", "\n"]
    shown = unrolled("score", tiny_model("word"), file, "--tokens").lines
    assert len(shown) == sum(1 + len(record["details"]) for record in records)
    for line, detail in zip(shown[1:], records[0]["details"], strict=False):
        log_probability, rank, surprisal, token = line.split("\t")
        assert float(log_probability) == pytest.approx(detail["log_probability"], abs=5.1e-5)
        assert int(rank) == detail["rank"]
        assert float(surprisal) == pytest.approx(-detail["log_probability"] / math.log(2), abs=5.1e-4)
        assert json.loads(token) == detail["token"]


def test_unknown_tokens_are_scored_skipped_or_refused(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path
) -> None:
    model = LanguageModel.load(tiny_model("word"))
    for policy in ("score", "skip"):
        outcome = unrolled("score", tiny_model("word"), file, "--unknown", policy, "--json")
        assert json.loads(outcome.lines[3]) == model.score(LINES, unknown=policy)[3].as_dict()
    assert unrolled("score", tiny_model("word"), file, "--unknown", "error").error(2, lines=3) == (
        "line 4 has tokens that the model does not know: 'giraffe'; choose unknown=score or unknown=skip to go on"
    )


def test_the_batch_changes_nothing(tiny_model: Callable[[str], Path], unrolled: Call, file: Path) -> None:
    file.write_text(TEXT * 40, encoding="utf-8")
    assert unrolled("score", tiny_model("char"), file, "--batch", 1) == unrolled("score", tiny_model("char"), file)


def test_nothing_in_is_nothing_out_and_said(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    outcome = unrolled("score", tiny_model("word"), "-", stdin=b"")
    assert (outcome.status, outcome.output) == (0, "")
    assert outcome.errors == "there are no lines: nothing to score\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nnot \xff fine\n", "line 2, byte offset 9: is not UTF-8 (invalid start byte): convert the file"),
        ("fine\n".encode("utf-16"), "line 1, byte offset 0: is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x80\x81", "line 1, byte offset 8: is not UTF-8"),
        (gzip.compress(TEXT.encode() * 999, mtime=0)[:90], "cannot be read (Compressed file ended before"),
        (gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 20, "cannot be read (Error -3 while decompressing data"),
    ],
)
def test_what_is_no_text_is_an_error(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    for outcome, name in (
        (unrolled("score", tiny_model("word"), path), str(path)),
        (unrolled("score", tiny_model("word"), stdin=content), "standard input"),
    ):
        error = outcome.error(1, lines=content.startswith(b"fine"))
        assert error.startswith(name)
        assert message in error


def test_wrong_paths_and_options_are_one_line(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    model = tiny_model("word")
    assert "No such file or directory" in unrolled("score", model, tmp_path / "none").error(1)
    assert "Is a directory" in unrolled("score", model, tmp_path).error(1)
    assert unrolled("score", model, "--batch", 0).error(2).startswith("batch_size is 0: give a whole number")
    assert unrolled("score", model, "--unknown", "maybe").error(2) == (
        'unknown is "maybe": choose one of score, skip, error'
    )
    assert unrolled("score", model, "--engine", "steam").error(2).startswith('engine "steam" is not known: choose')


# A progress bar that must not swallow results


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_on_the_terminal_leaves_standard_output_alone(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(console, "SECONDS_BEFORE_PROGRESS", -1.0)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    outcome = unrolled("score", tiny_model("word"), file)
    assert [line.split("\t")[2] for line in outcome.lines] == LINES
    shown = terminal.getvalue()
    assert "scoring" in shown
    assert "the cat" not in shown


def test_without_a_terminal_progress_is_plain_lines(
    tiny_model: Callable[[str], Path], unrolled: Call, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BEFORE_PROGRESS", -1.0)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    outcome = unrolled("score", tiny_model("word"), file)
    assert outcome.errors.splitlines() == [f"scoring: {n} lines" for n in range(1, 5)]
    assert "\x1b" not in outcome.errors + outcome.output
