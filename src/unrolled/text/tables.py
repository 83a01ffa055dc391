r"""Reads texts and their labels from a table: CSV with a header, or JSON lines.

What is a name (a column, a label) loses the blanks around it; a text is kept as it stands. Lines end at "\n" only, as
`read_corpus` gives them.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from unrolled.errors import CorpusError, UsageError

DELIMITERS = (",", "\t", ";")
_FIRST_ROW = re.compile(r'\n*((?:[^"\n]|"[^"]*")*)')
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class LabelledText:
    """A text and what it is an example of. Two are equal where text and label are, on whatever line they stand.

    Attributes:
        text: as it stands in the table.
        label: without blanks around it; "" where no label was asked for.
        line: of the file, from 1, on which the row begins.
        file: its name, for messages.
    """

    text: str
    label: str
    line: int = field(compare=False)
    file: str = field(compare=False, default="")

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}, line {self.line}"


def read_table(text: str, name: str, *, text_column: str, label_column: str | None) -> list[LabelledText]:
    """The rows of a table, in order.

    A table whose first character other than white space is "{" is JSON lines: one object a line, flat, blank lines
    skipped. Its texts are strings; a label may be a number, and is then what Python writes for it. Any other table is
    CSV as Python's csv module reads it: the first row names the columns, fields stand between commas, or between tabs
    or else semicolons where the header has these and no comma; a field in double quotes may hold anything, newlines
    too, with each quote in it doubled. Lines with nothing on them are skipped.

    Args:
        text: the whole table.
        name: of the file, for messages.
        text_column: the column with the texts.
        label_column: the column with the labels; None for texts whose labels are to be predicted.

    Raises:
        CorpusError: no rows; a column that is not there, or is there twice; a row with too few or too many fields; a
            text or label that is empty, no string, or has a lone surrogate; invalid CSV or JSON; a field of CSV that
            is longer than the csv module allows. All but the first with the number of the line.
        UsageError: text and label are asked for from the same column.
    """
    if text_column == label_column:
        raise UsageError(f'text and label are both asked for from column "{text_column}": name two columns')
    columns = [text_column] if label_column is None else [text_column, label_column]
    read = _json_rows if re.match(r"\s*\{", text) else _csv_rows
    rows = []
    for line, values in read(text, name, columns):
        for column, value in zip(columns, values, strict=True):
            if not value.strip():
                raise CorpusError(
                    f'{name}, line {line}: column "{column}" is empty: fill it in, or take the row out of the file'
                )
        rows.append(LabelledText(values[0], "" if label_column is None else values[1].strip(), line, name))
    if not rows:
        raise CorpusError(f"{name}: the table has no rows: give one with a header, then a row for each text")
    return rows


def _csv_rows(text: str, name: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its fields in the columns asked for."""
    if not text.strip():
        return
    rows = _numbered_rows(text, name)
    header_line, fields = next(rows)
    header = [field.strip() for field in fields]
    for column in columns:
        _check_column(column, header, f"{name}, line {header_line}")
    places = [header.index(column) for column in columns]
    for line, row in rows:
        if len(row) != len(header):
            raise CorpusError(
                f"{name}, line {line}: the row has {_counted(len(row))}, the header {len(header)}: put a field that "
                f"holds the delimiter or a newline into double quotes, or complete the row"
            )
        yield line, [row[place] for place in places]


def _numbered_rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line on which it begins."""
    # strict, or a quote that is left open would take in all lines behind it without a word
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=_delimiter(text), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _explained(error, f"{name}, line {line}") from None
        if row:
            yield line, row


def _explained(error: csv.Error, where: str) -> CorpusError:
    if "field limit" in str(error):
        return CorpusError(
            f"{where}: a field is longer than the {csv.field_size_limit():,} characters that CSV is read with: close "
            f"its quote if it has an open one, else give such long texts as JSON lines"
        )
    return CorpusError(
        f"{where}: the row is not valid CSV ({error}): a field that begins with a double quote ends with one, and has "
        f"each quote in between doubled"
    )


def _delimiter(text: str) -> str:
    """What stands between the fields of the header, quoted ones left out."""
    first_row = _FIRST_ROW.match(text)
    header = re.sub('"[^"]*"', "", first_row[1]) if first_row else ""
    return next((mark for mark in DELIMITERS if mark in header), DELIMITERS[0])


def _json_rows(text: str, name: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The line of each object, and its values in the columns asked for."""
    for line, written in enumerate(text.split("\n"), start=1):
        if written.strip():
            where = f"{name}, line {line}"
            row = _object(written, where)
            yield line, [_string(row, column, where, may_be_number=column != columns[0]) for column in columns]


def _object(written: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(written, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{where}, character {error.colno}: this is not valid JSON ({error.msg}): write one object a line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: this is not valid JSON ({error}): write one object a line") from None
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: this is {_kind(row)}, expected an object: write one in braces on each line")
    return row


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON's")


def _string(row: dict[str, Any], column: str, where: str, *, may_be_number: bool) -> str:
    _check_column(column, list(row), where)
    value = row[column]
    if may_be_number and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        expected = "a string or a number" if may_be_number else "a string"
        raise CorpusError(f'{where}: column "{column}" is {_kind(value)}, expected {expected}: put it into quotes')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise CorpusError(
            f'{where}: column "{column}" has half a character, the lone surrogate \\u{code:04x}: take it out'
        ) from None
    return value


def _check_column(column: str, columns: list[str], where: str) -> None:
    if column not in columns:
        raise CorpusError(f'{where}: there is no column "{column}": choose one of {", ".join(columns) or "no columns"}')
    if columns.count(column) > 1:
        raise CorpusError(f'{where}: column "{column}" is there {columns.count(column)} times: rename all but one')


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a string")


def _counted(fields: int) -> str:
    return f"{fields} field{'s' * (fields != 1)}"
