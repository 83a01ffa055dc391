"""`unrolled train`: what it says, what it prints to go on with, and what it refuses."""

import gzip
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from unrolled import engines
from unrolled.cli import console
from unrolled.cli import train as verb
from unrolled.engines.portable import Portable
from unrolled.training import learner
from unrolled.training import output as output_module
from unrolled.training.loop import train_steps

from .conftest import SMALL, Call, printed, weights_of

FEW = (*SMALL, "--epochs", 0.2)


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training so small a network."""
    monkeypatch.setattr(output_module, "draw_curve", lambda records, **_: b"no picture")


def test_results_go_nowhere_and_all_that_is_said_to_standard_error(
    unrolled: Call, corpus: Path, tmp_path: Path
) -> None:
    outcome = unrolled("train", corpus, "--out", tmp_path / "model", *SMALL, "--epochs", 2)
    assert (outcome.status, outcome.output) == (0, "")
    said = outcome.errors.splitlines()
    starts = [line.split()[0] for line in said]
    assert [s for s in starts if s in {"corpus", "train", "validation", "vocabulary", "before", "after"}] == starts[:6]
    for pattern in (
        r"corpus +\S*corpus\.txt",
        r"train +[\d,]+ characters, \d+ lines, [\d,]+ tokens, 0\.00% unknown",
        r"vocabulary +\d+ tokens \(unit word\); rarest kept: \S+ \(count 1\)",
        r"model +1 x 6 lstm, embedding 6: [\d,]+ parameters",
        r"engine +native \(.*, 1 threads\), device cpu, \d+ steps a pass",
        r"pass +1\.00  validation: [\d.]+ nats/token, perplexity [\d.]+ \(uniform \d+, unigram [\d.]+\), .+ bits/.+",
        r"pass +2\.00  validation: .* best so far",
        r"finished +\d+ steps in \d+ s; best weights in .*model",
    ):
        assert sum(re.fullmatch(pattern, line) is not None for line in said) == 1, pattern


def test_sizes_that_had_to_shrink_are_said_below_the_model(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    options = ("--hidden", 6, "--threads", 1, "--epochs", 1, "--batch", 5000, "--window", 16)
    said = unrolled("train", corpus, "--out", tmp_path / "model", *options).errors.splitlines()
    (place,) = (number for number, line in enumerate(said) if line.startswith("batch 5000 -> "))
    assert re.fullmatch(r"batch 5000 -> \d+: the text has only [\d,]+ tokens", said[place])
    assert (said[place - 1].split()[0], said[place + 1].split()[0]) == ("model", "engine")


def test_a_corpus_comes_from_files_folders_pipes_and_python(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    content = corpus.read_bytes()
    (tmp_path / "folder" / "below").mkdir(parents=True)
    half = content.index(b"\n", len(content) // 2) + 1
    (tmp_path / "folder" / "a.txt").write_bytes(content[:half].replace(b"\n", b"\r\n"))
    (tmp_path / "folder" / "below" / "b.gz").write_bytes(gzip.compress(content[half:]))
    (tmp_path / "folder" / ".hidden").write_bytes(b"\xff")
    sources: dict[str, tuple[object, ...]] = {
        "file": (corpus,),
        "folder": (tmp_path / "folder",),
        "files": (tmp_path / "folder" / "a.txt", tmp_path / "folder" / "below" / "b.gz"),
        "-": ("-",),
    }
    for name, source in sources.items():
        piped = gzip.compress(content) if name == "-" else b""
        outcome = unrolled("train", *source, "--out", tmp_path / name, *FEW, stdin=piped)
        assert outcome.status == 0, outcome.errors
    assert len({weights_of(tmp_path / name) for name in sources}) == 1
    error = unrolled("evaluate", tmp_path / "-").error(1)
    assert error == "the validation part was read from standard input, which cannot be read again: give the corpus"
    assert unrolled("evaluate", tmp_path / "-", "-", "--part", "validation", stdin=content).status == 0


def test_a_run_of_minutes_counts_from_when_the_command_began(
    unrolled: Call, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "STARTED", time.perf_counter() - 3600)
    options = ("--hidden", 6, "--threads", 1, "--minutes", 1)
    assert "finished    2 steps in 1:0" in unrolled("train", corpus, "--out", tmp_path / "late", *options).errors


def interrupt_at(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the signal to this process at that step of the next run."""

    def interrupted(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(learner, "train_steps", train_steps)
        for each in train_steps(*arguments, **options):
            if each.number == step:
                os.kill(os.getpid(), number)
            yield each

    monkeypatch.setattr(learner, "train_steps", interrupted)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_text_is_read_ends_at_once_and_leaves_nothing(
    number: signal.Signals,
    status: int,
    unrolled: Call,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def read_for_ever(sources: Any, text: Any, report: Any) -> None:
        report("reading", 0.5)
        os.kill(os.getpid(), number)
        go_on.wait(60)

    monkeypatch.setattr("unrolled.models.language.data.prepare", read_for_ever)
    outcome = unrolled("train", corpus, "--out", tmp_path / "model", *FEW)
    go_on.set()
    assert outcome.status == status
    assert outcome.errors.endswith("stopped     before training began: nothing has been written\n")
    assert not (tmp_path / "model").exists()


def test_ctrl_c_saves_and_what_it_prints_goes_on(
    unrolled: Call, tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = tmp_path / "my corpus.txt", tmp_path / "my model"
    corpus.write_text(tiny_text, encoding="utf-8")
    interrupt_at(5, signal.SIGINT, monkeypatch)
    stopped = unrolled("train", corpus, "--out", out, *SMALL, "--epochs", 1)
    assert (stopped.status, stopped.output) == (130, "")
    assert f"stopped     after 5 steps; {out} can be used as it is\n" in stopped.errors
    assert printed(stopped, "resume") == ["train", str(corpus), "--out", str(out), "--resume"]
    assert unrolled("score", out, stdin=b"the cat\n").status == 0
    interrupt_at(7, signal.SIGTERM, monkeypatch)
    terminated = unrolled(*printed(stopped, "resume"))
    assert terminated.status == 143
    assert "resuming    after 5 steps\n" in terminated.errors
    finished = unrolled("train", "--out", out, "--resume")
    assert finished.status == 0
    assert "resuming    after 7 steps\n" in finished.errors
    assert printed(finished, "repeat")[:2] == ["train", str(corpus)], "the corpus is known although it was not given"
    assert unrolled("train", corpus, "--out", tmp_path / "undisturbed", *SMALL, "--epochs", 1).status == 0
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")


# What it refuses


def test_what_cannot_be_meant_is_refused(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert unrolled("train", corpus).error(2).startswith("--out is missing: name the model directory to write")
    assert unrolled("train", "--out", out).error(2).startswith("DATA is missing: give a file, a folder, - for")
    for options, message in (
        (("--epochs", 1, "--minutes", 2), "epochs, minutes and anneal exclude each other: give one of them"),
        (("--epochs", -1), "epochs is -1.0: give a number above 0"),
        (("--hidden", 0), "hidden is 0: give a whole number of at least 1"),
        (("--cell", "lstmm"), 'cell is "lstmm": choose one of tanh, relu, sigmoid, gru, gru_reset_before, lstm'),
        (("--unit", "phoneme"), 'unit is "phoneme": choose one of word, char, bpe'),
        (("--split", "50/20"), 'split "50/20" is not two or three percentages that sum to 100'),
        (("--tied", "--hidden", 5, "--embedding", 6), "tied weights need equal sizes: embedding is 6, hidden is 5"),
        (("--device", "nowhere"), '--device is "nowhere", which cannot be used here'),
        (("--anneal", "9:5"), 'anneal is "9:5": give step:end pairs as a run prints them'),
        (("--dropout", 1), "dropout is 1.0: give a share of at least 0 and below 1"),
        (("--activation", -1), "activation is -1.0: give a factor of at least 0"),
        (("--initial-range", 0), "initial_range is 0.0: give a number above 0"),
        (("--schedule", "steps"), 'schedule is "steps": choose one of linear, cosine, halving, constant'),
        (("--hold", 1), "hold is 1.0: give a share of at least 0 and below 1"),
        (("--average", "always"), 'average is "always": choose one of none, triggered'),
        (("--clip-value", "inf"), "clip_value is inf: give a size above 0, or 0 to leave gradients alone"),
        (("--signal-norm", 1), "signal_norm is for the cells tanh, relu, sigmoid, not for lstm: leave it out"),
        (("--initialization", "identity"), "initialization identity is for cells with one gate"),
        (("--engine", "steam"), 'engine is "steam": choose one of auto, portable, native'),
        (("--resume",), f"{out}: there is no run to resume: leave out --resume to start one"),
        (("--resume", "--overwrite"), "--resume and --overwrite exclude each other: give one of them"),
    ):
        outcome = unrolled("train", corpus, "--out", out, *options)
        if options[0] in {"--anneal", "--signal-norm", "--initialization"}:  # found out once the text has been read
            assert outcome.status == 2
            assert outcome.errors.splitlines()[-1].startswith(f"unrolled: error: {message}")
        else:
            assert outcome.error(2).startswith(message)
    assert not (out / "config.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the corpus is empty: give a file with text in it"),
        (b"word", "the corpus has only one word"),
        (b"\x7fELF\x02\x01\x01\x00\x80\x81", "it looks like a binary file: give a text file"),
        ("the cat\n".encode("utf-16"), "it begins with a UTF-16 byte order mark: give --encoding utf-16"),
        (b"the cat\n\xff\n", "line 2, byte offset 8: byte 0xff is not utf-8 (invalid start byte): give its --encoding"),
    ],
)
def test_what_is_no_text_is_one_line(unrolled: Call, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    error = unrolled("train", path, "--out", tmp_path / "model").error(1)
    assert error.startswith(str(path))
    assert message in error
    assert not (tmp_path / "model").exists()


def test_a_wrong_path_is_one_line(unrolled: Call, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "model")
    assert unrolled("train", tmp_path / "none.txt", *out).error(1) == (
        f"{tmp_path / 'none.txt'}: there is no such file or directory: check the path"
    )
    (tmp_path / "empty").mkdir()
    assert "the directory holds no files" in unrolled("train", tmp_path / "empty", *out).error(1)
    assert "no such file" in unrolled("train", __file__, *out, "--validation", tmp_path / "none.txt").error(1)


def test_a_model_is_replaced_only_when_told_so(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert unrolled("train", corpus, "--out", out, *FEW).status == 0
    before = weights_of(out)
    assert unrolled("train", corpus, "--out", out, *FEW).error(2) == (
        f"{out}: holds a model: give --overwrite to replace it, --resume to go on, or another --out"
    )
    assert "there is nothing to resume, for the run is finished" in unrolled("train", "--out", out, "--resume").error(2)
    assert weights_of(out) == before
    assert unrolled("train", corpus, "--out", out, *FEW, "--seed", 4, "--overwrite").status == 0
    assert weights_of(out) != before


def test_progress_is_plain_lines_without_a_terminal(
    unrolled: Call, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BEFORE_PROGRESS", -1.0)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    outcome = unrolled("train", corpus, "--out", tmp_path / "model", *SMALL, "--epochs", 1)
    lines = re.findall(r"^training: +\d+%  loss \d+\.\d{3}  [\d,]+ tokens/s  \d+ s left$", outcome.errors, re.MULTILINE)
    steps = json.loads((tmp_path / "model" / "config.json").read_text())["training"]["results"]["steps"]
    assert len(lines) == steps
    assert "\x1b" not in outcome.errors


class Picky(Portable):
    """An engine that runs anything but the LSTM."""

    name = "picky"

    def obstacle(self, cell: Any, device: str, dtype: str) -> str | None:
        return "no C++ compiler found" if cell.name == "lstm" else None


def test_an_engine_that_cannot_run_the_cell_is_passed_over_with_one_line(
    unrolled: Call, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, empty in (("_makers", {"portable": Portable}), ("_made", {}), ("_chosen", {}), ("_told", set())):
        monkeypatch.setattr(engines, name, empty)
    engines.register("picky", Picky)
    outcome = unrolled("train", corpus, "--out", tmp_path / "model", *FEW)
    assert outcome.status == 0, outcome.errors
    (told,) = [line for line in outcome.errors.splitlines() if "picky" in line]
    assert told == "unrolled: warning: engine portable: picky cannot run cell lstm: no C++ compiler found"
    assert re.search(r"^engine +portable \(", outcome.errors, re.MULTILINE)
    outcome = unrolled("train", corpus, "--out", tmp_path / "other", *FEW, "--cell", "gru")
    assert "warning" not in outcome.errors
