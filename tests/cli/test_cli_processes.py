"""What only a process of its own can show: pipes, signals, locales, what is imported, how much may be written."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled.cli.app import VERBS
from unrolled.version import VERSION

from .conftest import PROGRAM, Call

PROMPT = "Zoë — 日本"


def test_python_runs_the_package_and_prints_commands_that_do_so_too(process: Call) -> None:
    outcome = process('"$1" -m unrolled --version', sys.executable)
    assert (outcome.status, outcome.output) == (0, f"unrolled {VERSION}\n")
    code = "import sys; from unrolled.cli.console import program; sys.argv[0] = {!r}; print(program())"
    called = {
        "/somewhere/unrolled/__main__.py": f"{shlex.quote(sys.executable)} -m unrolled",
        str(PROGRAM): "unrolled",
        "/some where/unrolled": "'/some where/unrolled'",
    }
    for name, expected in called.items():
        assert process('"$1" -c "$2"', sys.executable, code.format(name)).output == f"{expected}\n"


def test_verbs_without_training_import_neither_torch_nor_matplotlib(
    process: Call, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    code = """
import shlex, sys
from unrolled.cli.app import run
for line in sys.argv[1:]:
    assert run(shlex.split(line)) == 0, line
print(sorted({"torch", "matplotlib", "rich.progress"} & set(sys.modules)), file=sys.stderr)
"""
    (tmp_path / "lines.txt").write_text("the cat sees\n")
    model, lines = shlex.quote(str(tiny_model("word"))), shlex.quote(str(tmp_path / "lines.txt"))
    commands = (
        f"score {model} {lines} --tokens",
        f"evaluate {model}",
        f"generate {model} --prompt 'the cat' --max-tokens 5",
        f"info {model}",
        "info",
        "train --help",
    )
    outcome = process('"$@"', sys.executable, "-W", "error", "-c", code, *commands)
    assert outcome.status == 0, outcome.errors
    assert outcome.errors.splitlines()[-1] == "[]"


def test_a_closed_pipe_ends_quietly(process: Call, tiny_model: Callable[[str], Path]) -> None:
    for command in (
        'yes "the cat sees" | head -3000 | unrolled score "$1" - | head -1',
        'unrolled generate "$1" --max-tokens 30000 --count 2 | head -1',
    ):
        outcome = process(f"set +o pipefail; {command}", tiny_model("word"))
        assert (outcome.status, outcome.errors) == (0, ""), command
        assert len(outcome.lines) == 1
    outcome = process('unrolled info "$1" | true; echo "${PIPESTATUS[0]}"', tiny_model("word"))
    assert (outcome.output, outcome.errors) == ("0\n", "")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "LANG": ""}])
def test_text_is_utf_8_whatever_the_locale(
    process: Call, tiny_model: Callable[[str], Path], environment: dict[str, str]
) -> None:
    command = 'printf "%s\\n" "$2" | unrolled score "$1" - --json; unrolled generate "$1" --prompt "$2" --max-tokens 2'
    outcome = process(command, tiny_model("char"), PROMPT, **environment)
    assert (outcome.status, outcome.errors) == (0, "")
    assert json.loads(outcome.lines[0])["text"] == PROMPT
    assert f'"text": "{PROMPT}"' in outcome.lines[0]
    assert outcome.lines[1].startswith(PROMPT)


def test_a_prompt_that_is_no_text_is_one_line(process: Call, tiny_model: Callable[[str], Path]) -> None:
    outcome = process("unrolled generate \"$1\" --prompt $'the \\xff cat' --max-tokens 3", tiny_model("word"))
    assert outcome.error(1).startswith("text: character 4 is a lone surrogate (U+DCFF), no character at all")
    outcome = process("unrolled generate \"$1\" --prompt $'the \\xff cat' --max-tokens 3 --json", tiny_model("char"))
    assert outcome.status == 0
    assert json.loads(outcome.output)["prompt"] == "the \udcff cat"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_may_be_closed(process: Call, tiny_model: Callable[[str], Path], redirection: str) -> None:
    outcome = process(f'unrolled generate "$1" --seed 1 --max-tokens 5 {redirection}', tiny_model("word"))
    assert (outcome.status, outcome.errors) == (0, "")
    assert bool(outcome.output) is (">&-" not in redirection.replace("2>&-", ""))


def test_a_closed_standard_input_is_one_line(process: Call, tiny_model: Callable[[str], Path]) -> None:
    for command in ('unrolled score "$1" - <&-', 'unrolled evaluate "$1" - <&-'):
        assert process(command, tiny_model("word")).error(1) == "standard input is closed: name a file"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_device_behind_standard_output_is_one_line(process: Call, tiny_model: Callable[[str], Path]) -> None:
    for verb in ("info", "generate"):
        outcome = process(f'unrolled {verb} "$1" > /dev/full', tiny_model("word"))
        assert outcome.error(1).startswith("input or output: No space left on device")


SMALL = "--hidden 6 --batch 8 --window 16 --threads 1"


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_leaves_the_earlier_model(
    process: Call, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """The shell's limit on the size of a file stands in for the disk; Python ignores the signal and sees an error."""
    model = Path(shutil.copytree(tiny_model("word"), tmp_path / "model"))
    before = {path.name: path.read_bytes() for path in model.iterdir() if path.suffix in {".json", ".safetensors"}}
    command = f'ulimit -f 8; unrolled train "$1" --out "$2" {SMALL} --hidden 200 --epochs 0.2 --overwrite'
    outcome = process(command, tiny_model("word").parent / "corpus.txt", model)
    assert outcome.status == 1
    assert outcome.errors.splitlines()[-1].startswith(f"unrolled: error: {model}")
    assert "File too large" in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors
    assert {name: (model / name).read_bytes() for name in before} == before
    assert process('echo "the cat" | unrolled score "$1"', model).status == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_says_how_to_go_on_and_going_on_works(
    number: signal.Signals, status: int, unrolled: Call, tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus.txt").write_text(tiny_text * 20, encoding="utf-8")
    command = [str(PROGRAM), "train", "corpus.txt", "--out", "my model", *SMALL.split(), "--epochs", "40"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if line.startswith("pass "):
                running.send_signal(number)
        assert running.wait(timeout=60) == status
        assert running.stdout is not None
        assert running.stdout.read() == ""
    assert re.match(r"stopped +after \d+ steps; my model can be used as it is$", said[-2])
    program = "unrolled" if shutil.which("unrolled") == str(PROGRAM) else shlex.quote(str(PROGRAM))
    assert said[-1] == f"resume with {program} train corpus.txt --out 'my model' --resume\n"
    if number == signal.SIGTERM:
        return
    steps = int(said[-2].split()[2].replace(",", ""))
    state = json.loads((tmp_path / "my model" / "training" / "state.json").read_text())
    assert state["steps"] == steps
    plan = f"{steps}:{steps + 3}"  # or going on would take long
    _end_early(tmp_path / "my model", plan)
    monkeypatch.chdir(tmp_path)
    outcome = unrolled(*shlex.split(said[-1].removeprefix("resume with "))[1:])
    assert outcome.status == 0, outcome.errors
    assert f"resuming    after {steps:,} steps\n" in outcome.errors
    assert f"finished    {steps + 3:,} steps" in outcome.errors


def _end_early(directory: Path, plan: str) -> None:
    from unrolled import model_directory

    found = model_directory.load_training(directory)
    assert found is not None
    model_directory.save_training(directory, state={**found[0], "plan": plan}, tensors=found[1])


@pytest.mark.slow
def test_a_command_of_given_minutes_takes_as_long(process: Call, tiny_text: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(tiny_text * 20, encoding="utf-8")
    began = time.monotonic()
    command = f'unrolled train "$1" --out "$2" {SMALL} --minutes 0.4'
    outcome = process(command, tmp_path / "corpus.txt", tmp_path / "model")
    assert outcome.status == 0, outcome.errors
    assert 0.95 * 24 < time.monotonic() - began < 1.05 * 24


def test_the_demo_prints_commands_that_work_as_printed(process: Call, unrolled: Call, tmp_path: Path) -> None:
    outcome = process('cd "$1"; unrolled demo --out "my demo" --minutes 0.06 --threads 1', tmp_path)
    assert outcome.status == 0, outcome.errors
    folder = tmp_path / "my demo"
    shown = re.findall(r"^\$ unrolled (.*)$", outcome.errors, re.MULTILINE)
    to_try = re.findall(r"^  unrolled (.*)$", outcome.errors, re.MULTILINE)
    assert [line.split()[0] for line in shown] == ["train", "evaluate", "score", "score", "generate"]
    assert [line.split()[0] for line in to_try] == ["generate", "score", "info", "train"]
    assert {line.split()[0] for line in [*shown, *to_try]} < set(VERBS)
    assert f"Everything lies in {folder}" in outcome.errors
    assert len(re.findall(r"the sensible order is number \d of 5", outcome.errors)) == 2
    results = {
        line: _run_as_printed(line, unrolled, tmp_path) for line in [*shown[1:], *to_try[:3], to_try[3], shown[0]]
    }
    said = outcome.output
    for line in shown[2:]:  # what the demo showed is what the command gives
        assert results[line] in said


def _run_as_printed(line: str, unrolled: Call, folder: Path) -> str:
    """What a command puts out; one that trains is given less to do."""
    words = shlex.split(line)
    if words[0] == "train":
        words[words.index("--minutes") : words.index("--minutes") + 2] = ["--epochs", "0.01", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = unrolled(*words)
    assert outcome.status == 0, (line, outcome.errors)
    return outcome.output
