r"""Give the log-probability of each line, in nats; its end is counted, each line starts anew.

Prints log-probability, perplexity and text, separated by tabs. --tokens adds a line for each token: log-probability,
rank, surprisal in bits, token. --sort ranks the lines, the most probable first. In a pipe each line is answered as soon
as no other is waiting. To a model that translates or corrects, a line is source, tab and target; one that fills gaps
scores each word by all others.

Example: printf 'the cat sat\nsat cat the\n' | unrolled score novel - --sort
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrolled import model_directory
from unrolled.cli.console import ProgressBar, print_answers, print_json, say
from unrolled.cli.lines import read_chunks
from unrolled.cli.options import EngineName, load_predictor
from unrolled.errors import UsageError
from unrolled.text.word_rules import JOINER

if TYPE_CHECKING:
    from unrolled.inference import Score
    from unrolled.models.predictor import Answer, Predictor

SCORED_AT_ONCE = 256
"""Lines that a model of another task than language scores together."""


def verb(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory.", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Lines to score.", show_default=False)] = "-",
    tokens: Annotated[bool, typer.Option("--tokens", help="Show each token's own score.")] = False,
    sort: Annotated[bool, typer.Option("--sort", help="Most probable line first.")] = False,
    unknown: Annotated[
        str, typer.Option(metavar="score|skip|error", help="Tokens unknown to the model: count, leave out, refuse.")
    ] = "score",
    engine: EngineName = "auto",
    batch: Annotated[
        int | None,
        typer.Option(help="Most lines side by side; scores do not depend on it.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Parse, score, print."""
    from unrolled.inference import LanguageModel
    from unrolled.inference.scoring import LINES_AT_ONCE

    task = model_directory.load_config(directory).get("task")
    if task != "language":
        if tokens or unknown != "score" or batch is not None:
            raise UsageError(f"--tokens, --unknown and --batch are for language models, this one's task is {task}")
        _score_by_task(load_predictor(directory, engine), file, sort=sort, as_json=as_json)
        return
    model = LanguageModel.load(directory, engine=engine)
    chunks = model.score_chunks(
        read_chunks(file, LINES_AT_ONCE),
        unknown=unknown,  # type: ignore[arg-type]  # refused by name where it is none of the three
        details=tokens,
        batch_size=batch,
    )
    with ProgressBar("scoring") as bar:
        results = _counted(_flushed(chunks), bar)
        if sort:
            results = iter(sorted(results, key=lambda score: -score.log_probability))
        for score in results:
            show(score, as_json=as_json)


def _score_by_task(predictor: "Predictor", file: str, *, sort: bool, as_json: bool) -> None:
    """Lines scored by a model of another task than language."""
    number, kept = 0, list["Answer"]()
    with ProgressBar("scoring") as bar:
        for scores in predictor.score_chunks(read_chunks(file, SCORED_AT_ONCE)):
            number += len(scores)
            bar.update(None, f"{number:,} lines")
            if sort:
                kept += scores
            else:
                print_answers(scores, as_json=as_json)
    print_answers(sorted(kept, key=lambda score: -score.as_dict()["log_probability"]), as_json=as_json)
    if number == 0:
        say("there are no lines: nothing to score")


def _flushed(chunks: "Iterator[list[Score]]") -> "Iterator[Score]":
    """The scores one by one; what was printed of some goes out before lines are waited for."""
    for scores in chunks:
        yield from scores
        sys.stdout.flush()


def _counted(scores: "Iterator[Score]", bar: ProgressBar) -> "Iterator[Score]":
    number = 0
    for number, score in enumerate(scores, 1):
        bar.update(None, f"{number:,} lines")
        yield score
    if number == 0:
        say("there are no lines: nothing to score")


def show(score: "Score", *, as_json: bool = False) -> None:
    """Print a line's score and, where there are any, its tokens' scores."""
    if as_json:
        print_json(score.as_dict())
        return
    print(f"{score.log_probability:.4f}\t{score.perplexity:.4f}\t{score.text}")
    for token in score.details or ():
        shown = json.dumps(token.token.replace(JOINER, "‿"), ensure_ascii=False)
        print(f"{token.log_probability:.4f}\t{token.rank}\t{token.surprisal_bits:.3f}\t{shown}")
