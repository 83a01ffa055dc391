"""Train on a text that comes with Python, then evaluate, score and generate.

The text is the English of Python's own language reference. Everything is written to --out.

Example: unrolled demo
"""

import random
import shlex
from pathlib import Path
from typing import Annotated

import typer

from unrolled.cli import evaluate, generate
from unrolled.cli.console import program, say
from unrolled.cli.score import show
from unrolled.cli.train import train
from unrolled.models.settings import ModelSettings
from unrolled.settings import command_line
from unrolled.text.corpus import EMBEDDED
from unrolled.text.settings import TextSettings
from unrolled.training.settings import Settings, TrainingSettings

SENTENCES = (
    "The value of the expression is converted to a string.",
    "If the object is not found, an exception is raised.",
)
PERMUTATIONS = 4


def verb(
    out: Annotated[Path, typer.Option(help="Model directory to write; a model that is there is replaced.")] = Path(
        "demo-model"
    ),
    minutes: Annotated[float, typer.Option(help="Wall time of the training.")] = 1.5,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", show_default=False)] = None,
) -> None:
    """Go through the verbs, each with the command that does the same."""
    unrolled, folder = program(), shlex.quote(str(out))
    settings = Settings(
        TextSettings(min_count=2),
        ModelSettings(),
        TrainingSettings(minutes=minutes, threads=threads),
    )
    options = command_line(settings.text, settings.training)
    _announce(f"{unrolled} train {EMBEDDED} --out {folder} --overwrite {options}")
    train([EMBEDDED], out, settings, overwrite=True)
    _announce(f"{unrolled} evaluate {folder}")
    evaluate.verb(out)
    for name, sentence in zip(("first.txt", "second.txt"), SENTENCES, strict=True):
        path, lines = out / name, _with_permutations(sentence)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        _announce(f"{unrolled} score {folder} {shlex.quote(str(path))} --sort")
        _compare(out, lines)
    _announce(f'{unrolled} generate {folder} --prompt "The" --max-tokens 60 --temperature 0.7 --seed 1')
    generate.verb(out, prompt="The", max_tokens=60, temperature=0.7, seed=1)
    say(f"\nEverything lies in {out.absolute()}: the model, log.jsonl, and the loss curve in curve.png. Try next:")
    for command in (
        f'generate {folder} --prompt "If the" --temperature 0.7 --max-tokens 60 --count 3',
        f"score {folder} {shlex.quote(str(out / 'first.txt'))} --tokens",
        f"info {folder}",
        f"train {EMBEDDED} --out demo-characters --unit char --minutes 3",
    ):
        say(f"  {unrolled} {command}")


def _announce(command: str) -> None:
    say(f"\n$ {command}")


def _with_permutations(sentence: str) -> list[str]:
    """The sentence, and its words in other orders, the full stop staying at the end."""
    order = random.Random(1)
    lines = [sentence]
    while len(lines) <= PERMUTATIONS:
        words = sentence.removesuffix(".").split()
        order.shuffle(words)
        line = " ".join(words) + "."
        if line not in lines:
            lines.append(line)
    return lines


def _compare(directory: Path, lines: list[str]) -> None:
    """Score the lines, show the most probable first, and say where the first of them came out."""
    from unrolled.inference import LanguageModel

    ranked = sorted(LanguageModel.load(directory).score(lines), key=lambda score: -score.log_probability)
    for score in ranked:
        show(score)
    place = [score.text for score in ranked].index(lines[0]) + 1
    say(f"the sensible order is number {place} of {len(ranked)}")
