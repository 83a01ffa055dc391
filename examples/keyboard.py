"""Suggestions for the next word, as a phone's keyboard has them: `python examples/keyboard.py [DIR]`.

On a terminal three words are offered below what is typed: Tab takes the first, 1, 2 and 3 take theirs, Backspace takes
back, Enter ends the line, Ctrl-D or Ctrl-C leaves. In a pipe each line is answered with the words that are offered at
its end, separated by tabs; a word that no blank follows is still being typed. Without the model directory DIR a small
model is trained first.

The session has read whole words; the one being typed is the prefix of what it is asked for. Going back costs nothing,
because each key reads with a branch of the session and leaves the session before it as it was.
"""

import argparse
import codecs
import os
import re
import shutil
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import unrolled

TAKES = "\t123"
"""Keys that take a suggestion: the first, and each by its number."""
BACK, ENDS, LEAVES = "\x7f\b", "\r\n", "\x04"
CLOSING = frozenset(".,;:!?")
"""Symbols that stand at the end of a word, without a blank."""
DIM, PLAIN, CLEAR, UP = "\x1b[2m", "\x1b[0m", "\r\x1b[J", "\x1b[A"


@dataclass(frozen=True)
class Typed:
    """A line so far, as a value: all before it and `line`, which the session has read, and the word being typed."""

    session: unrolled.Session
    line: str = ""
    word: str = ""

    @property
    def text(self) -> str:
        """The line as it is shown."""
        return f"{self.line} {self.word}" if self.line else self.word

    def suggest(self) -> list[str]:
        """Up to three words, closing symbols or ends of the line to go on with."""
        found = [suggestion.text for suggestion in self.session.suggest(9, self.word)]
        return [text for text in found if text in CLOSING or text[0].isalnum() or text == "\n"][:3]

    def press(self, key: str) -> "Typed":
        """With one more character: a blank or a closing symbol ends the word, a newline the line."""
        if key == "\n":
            return replace(self._read(f"{self.text.rstrip()}\n"), line="")
        if key == " ":
            return self._read(self.text) if self.word else self
        typed = replace(self, word=self.word + key)
        return typed._read(typed.text) if key in CLOSING and self.word.isalpha() else typed

    def take(self, word: str) -> "Typed":
        """With a suggestion in place of the word being typed."""
        if word == "\n":
            return self.press("\n")
        return self._read(self.line + word if word in CLOSING else replace(self, word=word).text)

    def _read(self, text: str) -> "Typed":
        session = self.session.branch()
        session.feed(text.removeprefix(self.line))
        return Typed(session, text)


def answer_lines(start: Typed) -> None:
    """Without a terminal: for each line what is offered at its end."""
    for line in sys.stdin:
        typed = start
        for key in line.rstrip("\r\n"):
            typed = typed.press(key)
        print("\t".join(typed.suggest()).replace("\n", "⏎"), flush=True)


def keys() -> Iterator[str]:
    """What is typed, character by character, without arrows and their like."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    while burst := os.read(sys.stdin.fileno(), 1024):
        yield from re.sub(r"\x1b(\[[\d;]*.|O.|.)?", "", decoder.decode(burst))


def draw(typed: Typed, offered: list[str]) -> None:
    """The line, what is offered below it, and the cursor back at the line's end; long lines show their end."""
    width = shutil.get_terminal_size().columns - 1
    text = typed.text[-width:]
    offers = "   ".join(f"{number} {word}" for number, word in enumerate(offered, 1)).replace("\n", "⏎")
    print(f"{CLEAR}{text}\n{DIM}{offers[:width]}{PLAIN}{UP}\r", end=f"\x1b[{len(text)}C" if text else "", flush=True)


def after_key(typed: Typed, key: str, offered: list[str]) -> Typed:
    """The line with a key pressed; itself where the key does nothing."""
    place = max(0, TAKES.find(key) - 1)
    if key in TAKES and place < len(offered):
        return typed.take(offered[place])
    if key in ENDS:
        return typed.press("\n")
    return typed.press(key) if key.isprintable() else typed


def type_line_after_line(typed: Typed) -> None:
    """Key by key, until one leaves."""
    before = list[Typed]()  # the same line, as it was before each of its keys
    draw(typed, offered := typed.suggest())
    for key in keys():
        if key in LEAVES:
            return
        if key in BACK:
            typed = before.pop() if before else typed
        elif (now := after_key(typed, key, offered)) is not typed:
            before.append(typed)
            if not now.text:  # the line has ended: it stays as it stands
                print(f"{CLEAR}{typed.text.rstrip()}")
                before.clear()
            typed = now
        draw(typed, offered := typed.suggest())


def run_on_terminal(typed: Typed) -> None:
    """Without echo and without waiting for Enter; however it ends, the terminal is again what it was."""
    settings = termios.tcgetattr(sys.stdin)
    print("Tab, 1, 2, 3: take a word   Backspace: take back   Enter: end the line   Ctrl-D: leave\n")
    try:
        tty.setcbreak(sys.stdin)
        type_line_after_line(typed)
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        print(f"\n{CLEAR}", end="")


def train_small_model(folder: str, epochs: float | None) -> None:
    """A model of the English of Python's language reference."""
    print("training a small model first" + ("" if epochs else ", for 20 seconds"), file=sys.stderr)
    unrolled.train(
        ":embedded:",
        folder,
        text=unrolled.TextSettings(min_count=2),
        model=unrolled.ModelSettings(hidden=128, tied=True),
        training=unrolled.TrainingSettings(epochs=epochs, minutes=None if epochs else 1 / 3),
        regularization=unrolled.Regularization(dropout=0.3),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Load or train, then suggest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", nargs="?", metavar="DIR", help="model directory (default: train a small model)")
    parser.add_argument("--epochs", type=float, help="passes over the text (default: what fits into 20 seconds)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.directory is None:
            train_small_model(folder, options.epochs)
        model = unrolled.LanguageModel.load(options.directory or folder)
    start = Typed(model.session())
    if sys.stdin.isatty():
        run_on_terminal(start)
    else:
        answer_lines(start)


if __name__ == "__main__":
    main()
