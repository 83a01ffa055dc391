r"""Answer each line: a label, labels of words, words for gaps, a translation, a correction.

What DIR was trained for decides what a line is and what comes of it (see --task of unrolled train). In a pipe each line
is answered as soon as no other is waiting. A classifier reads a file whose name ends with .csv, .tsv or .jsonl as the
table it is, its texts from the column that it was trained on. Options that mean nothing to the model are refused.

Example: echo 'the keys to the cabinet ___ on the table .' | unrolled predict agreement -
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrolled import model_directory
from unrolled.cli.console import ProgressBar, print_answers, say
from unrolled.cli.lines import read_chunks
from unrolled.cli.options import EngineName, load_predictor, with_settings
from unrolled.errors import CorpusError, LineError, UsageError
from unrolled.models.predictor import LINES_AT_ONCE, PredictionSettings

if TYPE_CHECKING:
    from unrolled.text.tables import LabelledText

TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}
"""How the names of files end that are read as tables by a model whose data were tables."""


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
    column = predictor.text_column if Path(file).suffix.lower() in TABLES else None
    rows = [] if column is None else _rows(file, column)
    number = 0
    try:
        with ProgressBar("predicting") as bar:
            chunks = read_chunks(file, LINES_AT_ONCE) if column is None else _chunks(rows)
            for answers in predictor.answer_chunks(chunks, prediction):
                print_answers(answers, as_json=as_json)
                number += len(answers)
                bar.update(None, f"{number:,} lines")
    except LineError as error:
        if column is None:
            raise
        raise CorpusError(f"{rows[error.number - 1].place} {error.fault}") from error
    if number == 0:
        say("there are no lines: nothing to predict")


def _rows(file: str, column: str) -> "list[LabelledText]":
    """The rows of a table, whose labels nobody knows yet."""
    from unrolled.text.corpus import read_corpus
    from unrolled.text.tables import read_table

    return read_table(read_corpus(file).text, file, text_column=column, label_column=None)


def _chunks(rows: "list[LabelledText]") -> Iterator[list[str]]:
    for start in range(0, len(rows), LINES_AT_ONCE):
        yield [row.text for row in rows[start : start + LINES_AT_ONCE]]
