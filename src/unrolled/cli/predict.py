r"""Answer each line: a label, labels of words, words for gaps, a translation, a correction.

What DIR was trained for decides what a line is and what comes of it (see --task of unrolled train). In a pipe each line
is answered as soon as no other is waiting. Options that mean nothing to the model are refused.

Example: echo 'the keys to the cabinet ___ on the table .' | unrolled predict agreement -
"""

from pathlib import Path
from typing import Annotated

import typer

from unrolled import model_directory
from unrolled.cli.console import ProgressBar, print_answers, say
from unrolled.cli.lines import read_chunks
from unrolled.cli.options import EngineName, load_predictor, with_settings
from unrolled.errors import UsageError
from unrolled.models.predictor import LINES_AT_ONCE, PredictionSettings


@with_settings
def verb(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory.", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Lines to answer.", show_default=False)] = "-",
    engine: EngineName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    *,
    prediction: PredictionSettings,
) -> None:
    """Parse, predict, print."""
    if model_directory.load_config(directory).get("task") == "language":
        raise UsageError(f"{directory}: is a language model: see unrolled generate and unrolled score")
    predictor = load_predictor(directory, engine)
    number = 0
    with ProgressBar("predicting") as bar:
        for answers in predictor.answer_chunks(read_chunks(file, LINES_AT_ONCE), prediction):
            print_answers(answers, as_json=as_json)
            number += len(answers)
            bar.update(None, f"{number:,} lines")
    if number == 0:
        say("there are no lines: nothing to predict")
