"""The example of a keyboard: by itself, in a pipe and on a terminal."""

import importlib.util
import io
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from unrolled import LanguageModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "keyboard.py"


@pytest.fixture(scope="module")
def keyboard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keyboard_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_a_line_is_what_was_typed_and_the_session_has_read_its_whole_words(
    keyboard: ModuleType, tiny_model: Callable[[str], Path]
) -> None:
    for kind in ("word", "char", "bpe"):
        model = LanguageModel.load(tiny_model(kind), dtype="float64")
        typed = start = keyboard.Typed(model.session())
        for key, read in (
            ("the ca", "the"),
            ("t", "the"),
            (" ", "the cat"),
            (" 3.1", "the cat"),
            (" a.", "the cat 3.1 a."),
        ):
            for character in key:
                typed = typed.press(character)
            assert typed.session.tokens == tuple(model.tokenizer.encode(read).tolist())
        assert typed.text == "the cat 3.1 a. "
        typed = typed.take("dog").take(",").take("no")
        assert typed.text == "the cat 3.1 a. dog, no "
        ended = typed.press("\n")
        assert ended.text == ""
        assert ended.session.tokens == tuple(model.tokenizer.encode("the cat 3.1 a. dog, no\n").tolist())
        assert (start.session.tokens, start.text) == ((), ""), "what was before stays as it was"


def test_lines_of_a_pipe_are_answered(
    keyboard: ModuleType,
    tiny_model: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ["the cat ", "the c", "a dog sees the café", "a dog sees the café,", "", "the cat sees a dog.", "zzz"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    keyboard.main([str(tiny_model("word"))])
    answers = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == len(lines)
    assert answers[0][0] == "sees"
    assert set(answers[1]) == {"cat", "café"}
    assert answers[2] == ["café"]
    assert "again" in answers[3]
    assert "⏎" in answers[5]
    assert answers[6] == [""]


def test_without_a_model_it_trains_one(
    keyboard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("The value of th\n"))
    keyboard.main(["--epochs", "0.5"])
    said = capsys.readouterr()
    assert said.out.startswith("the\t")
    assert said.err.startswith("training a small model first")
    assert list(tmp_path.iterdir()) == []


def shown_at(terminal: int, until: str) -> str:
    """What is written to a terminal, without its commands, until a text has come."""
    shown, end = "", time.monotonic() + 30
    while not re.search(until, shown):
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += re.sub(r"\x1b\[\d*[A-Za-z]|\r", "", os.read(terminal, 1 << 16).decode())
    return shown


@pytest.mark.parametrize("leave", [b"\x04", b"\x03"])
def test_on_a_terminal_keys_act_at_once_and_it_is_left_as_it_was(
    tiny_model: Callable[[str], Path], leave: bytes
) -> None:
    terminal, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    command = [sys.executable, str(EXAMPLE), str(tiny_model("word"))]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True) as running:
        try:
            shown_at(terminal, "Ctrl-D: leave\n\n\n1 ")
            for keys, expected in (
                ("the ", "the \n1 .*"),
                ("ca", "the ca\n1 (cat|café) "),
                ("x\x1b[D\x7f\x7f\x7f", "the \n1 "),
                ("cat \t", "the cat sees \n1 "),
                ("no", "the cat sees no\n1 no "),
                ("1", "the cat sees no \n1 "),
                ("\x7f", "the cat sees no\n1 no "),
                (" one.\r", "the cat sees no one.\n\n1 "),
                ("Zo", "Zo\n1 Zoë"),
            ):
                os.write(terminal, keys.encode())
                shown_at(terminal, expected)
            if leave == b"\x03":  # without a controlling terminal nobody makes a signal of it
                running.send_signal(2)
            else:
                os.write(terminal, leave)
            assert running.wait(timeout=30) == 0
        finally:
            running.kill()  # or a failure would be waited for
    assert termios.tcgetattr(inner) == before
    os.close(terminal)
    os.close(inner)
