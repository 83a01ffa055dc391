"""The `unrolled` commands of README.md, run in the order in which they stand there, with little text and time.

Commands are the lines of ```sh blocks, and the lines of ```console blocks that start with "$ ". Those that run
`unrolled` are tried as they stand, pipes and redirections too, except that training stops early. The text files
that they name are parts of the embedded corpus.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

import pytest

README = Path(__file__).parents[1] / "README.md"
UNROLLED = re.compile(r"(?:^|(?<=[|&;(] ))(?:\./)?(?:\.venv/bin/)?unrolled(?= )")
MINUTES = "0.1"
TEXT_CHARACTERS = 60_000
LONGEST_RUN = 120  # seconds


def commands_in(markdown: str) -> Iterator[str]:
    """The commands of all sh and console blocks, each on one line."""
    for language, block in re.findall(r"^```(sh|console)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "sh":
                yield line.strip()
            elif line.startswith("$ "):
                yield line.removeprefix("$ ").strip()


def unrolled_commands(markdown: str) -> list[str]:
    """The commands that run `unrolled`, found on the path instead of in .venv."""
    return [UNROLLED.sub("unrolled", command) for command in commands_in(markdown) if UNROLLED.search(command)]


def with_small_budget(command: str) -> str:
    """The same command, except that what trains stops after a few seconds."""
    if not re.search(r"\bunrolled (train|demo)\b", command):
        return command
    command, replaced = re.subn(r"--(minutes|epochs)[ =]\S+", f"--minutes {MINUTES}", command)
    return command if replaced else re.sub(r"\bunrolled (train|demo)\b", rf"unrolled \1 --minutes {MINUTES}", command)


def texts_of(commands: list[str]) -> set[str]:
    """The text files, below the folder one is in, that the commands name."""
    return {name for command in commands for name in re.findall(r"(?<![\w./~-])\w[\w./-]*\.txt\b", command)}


def part_of_corpus(number: int) -> str:
    """Text that differs from number to number."""
    text = "\n".join(islice(topics.values(), number, None))
    return text[:TEXT_CHARACTERS]


COMMANDS = unrolled_commands(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands run, one after the other."""
    folder = tmp_path_factory.mktemp("readme folder")
    for number, name in enumerate(sorted(texts_of(COMMANDS))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(part_of_corpus(number), encoding="utf-8")
    return folder


def test_readme_has_commands() -> None:
    assert {"demo", "train", "evaluate", "score", "generate"} <= {command.split()[-1] for command in verbs(COMMANDS)}


def verbs(commands: list[str]) -> list[str]:
    return [match for command in commands for match in re.findall(r"\bunrolled [a-z]+", command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_readme(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", with_small_budget(command)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout or finished.stderr or ">" in command, "a command that the README shows prints something"


def test_commands_are_found_and_shortened() -> None:
    markdown = """
```sh
git clone somewhere          # not ours
make demo
.venv/bin/unrolled train yourtext.txt --out my-model --minutes 3  # a comment
echo "He left." | .venv/bin/unrolled score my-model -
.venv/bin/unrolled train a/b.txt \\
    --out other --epochs=20 && .venv/bin/unrolled info other
```
```console
$ unrolled demo
unrolled is what this prints
$ ls unrolled
```
```python
unrolled train not-shell.txt
```
"""
    commands = unrolled_commands(markdown)
    assert [with_small_budget(command) for command in commands] == [
        f"unrolled train yourtext.txt --out my-model --minutes {MINUTES}  # a comment",
        'echo "He left." | unrolled score my-model -',
        f"unrolled train a/b.txt      --out other --minutes {MINUTES} && unrolled info other",
        f"unrolled demo --minutes {MINUTES}",
    ]
    assert texts_of(commands) == {"yourtext.txt", "a/b.txt"}
    assert len({part_of_corpus(number) for number in range(3)}) == 3
