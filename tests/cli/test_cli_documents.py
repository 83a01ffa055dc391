"""Commands in the documentation: each names a verb and options that there are."""

import re
import shlex
from pathlib import Path

import pytest

from .conftest import Call

DOCS = Path(__file__).parents[2] / "docs"
INLINE = re.compile(r"`([^`\n]*\bunrolled [a-z][^`]*)`")


def commands_of(text: str) -> list[list[str]]:
    """The words of each command that runs `unrolled`, as inline code has them; pipes and lists are taken apart."""
    found = []
    for code in INLINE.findall(text):
        for command in re.split(r"[|;]", " ".join(code.split())):
            words = shlex.split(command.strip(" `"))
            if words[:1] == ["unrolled"] and len(words) > 1:
                found.append(words)
    return found


COMMANDS = [
    pytest.param(words, id=f"{path.stem}: {' '.join(words)}")
    for path in sorted(DOCS.glob("*.md"))
    for words in commands_of(path.read_text(encoding="utf-8"))
]


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 40
    assert commands_of("`printf 'a\\n' | unrolled score novel - --sort` and `unrolled lab\nflow x`, `ours`") == [
        ["unrolled", "score", "novel", "-", "--sort"],
        ["unrolled", "lab", "flow", "x"],
    ]


@pytest.mark.parametrize("words", COMMANDS)
def test_verb_and_options_exist(words: list[str], unrolled: Call) -> None:
    verb = words[1:3] if words[1] == "lab" and len(words) > 2 else words[1:2]
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    shown = unrolled(*verb, "--help")
    assert shown.status == 0, shown.errors
    assert options <= set(re.findall(r"--[a-z][a-z-]*", shown.output))
