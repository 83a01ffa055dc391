"""Say how well a model predicts a text, or how good it is on the data of its task.

Without DATA those the model was trained with are found again; --part names which part of them (validation if none).

Example: unrolled evaluate novel --part test
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrolled import model_directory
from unrolled.cli.console import ProgressBar, print_json, say
from unrolled.cli.options import EngineName, load_predictor
from unrolled.errors import UsageError

if TYPE_CHECKING:
    from unrolled.models.predictor import Predictor


def verb(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory.", show_default=False)],
    data: Annotated[list[str] | None, typer.Argument(help="Text or data.", show_default=False)] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="train|validation|test", help="Part of the data as split for training."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of DATA.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(metavar="strict|replace", help="What to do with bytes that are not in the encoding.")
    ] = "strict",
    cache: Annotated[
        int | None,
        typer.Option(
            help="Look back at the text's last so many tokens, too: what came once may come again (Grave et al. 2017).",
            show_default=False,
        ),
    ] = None,
    engine: EngineName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Parse, evaluate, print."""
    task = model_directory.load_config(directory).get("task")
    if task != "language":
        if (encoding, errors) != ("utf-8", "strict"):
            raise UsageError(f"--encoding and --errors of the task {task} are as in training: leave them out")
        if cache is not None:
            raise UsageError(f"--cache is for language models, this one's task is {task}: leave it out")
        _evaluate_by_task(load_predictor(directory, engine), data or [], part, as_json=as_json)
        return
    from unrolled.inference import LanguageModel
    from unrolled.inference.evaluation_text import find_text

    model = LanguageModel.load(directory, engine=engine, dtype="float32")  # a mean needs no more
    text, name = find_text(model.config, data, part, encoding=encoding, errors=errors)
    with ProgressBar("evaluating") as bar:
        result = model.evaluate(
            text, cache=cache, progress=lambda done, of: bar.update(done / of, f"{done:,} of {of:,} tokens")
        )
    if as_json:
        print_json(result.as_dict())
        return
    say(f"text                {name}")
    if cache is not None:
        say(f"cache               the last {cache:,} tokens")
    print(f"tokens              {result.tokens:,}")
    print(f"nats per token      {result.nats_per_token:.4f}")
    print(f"perplexity          {result.perplexity:,.3f}   (comparable only with the same tokens)")
    print(f"bits per character  {result.bits_per_character:.4f}")
    print(f"bits per byte       {result.bits_per_byte:.4f}")
    print(f"unknown tokens      {result.unknown_rate:.3%}")
    print(f"tokens per second   {result.tokens_per_second:,.0f}")


def _evaluate_by_task(predictor: "Predictor", data: list[str], part: str | None, *, as_json: bool) -> None:
    """A model of another task than language."""
    with ProgressBar("evaluating") as bar:
        result = predictor.evaluate(data, part, tell=lambda share: bar.update(share, ""))
    if as_json:
        print_json(result.as_dict())
        return
    say(f"data                {result.name}")
    print("\n".join(result.lines()))
