import csv
import io
import json
import re
from dataclasses import astuple
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError, UsageError
from unrolled.text.tables import LabelledText, read_table

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=12)
TEXTS = (ANY_TEXT | st.text(' "\n\t,;x', min_size=1, max_size=8)).filter(lambda text: bool(text.strip()))
LABELS = TEXTS.map(str.strip)
ROWS = st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=6)


def read(text: str, text_column: str = "text", label_column: str | None = "label") -> list[tuple[str, str, int]]:
    rows = read_table(text, "table", text_column=text_column, label_column=label_column)
    assert all(isinstance(row, LabelledText) for row in rows)
    return [astuple(row)[:3] for row in rows]


def refused(text: str, message: str, text_column: str = "text", label_column: str | None = "label") -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(message)}") as caught:
        read(text, text_column, label_column)
    assert "\n" not in str(caught.value)


def test_rows_of_csv_by_hand() -> None:
    table = 'label,number, text \npos,1,good one\n\nneg,2,"bad, ""very""\nbad"\n pos ,3, so so \n'
    assert read(table) == [("good one", "pos", 2), ('bad, "very"\nbad', "neg", 4), (" so so ", "pos", 6)]
    assert read(table, "number", None) == [("1", "", 2), ("2", "", 4), ("3", "", 6)]


@pytest.mark.parametrize("mark", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_the_delimiter_is_the_one_of_the_header(mark: str, end: str) -> None:
    table = f'text{mark}label\n"a,b;c\td"{mark}x{end}'
    assert read(table) == [("a,b;c\td", "x", 2)]


def test_a_comma_counts_before_a_tab_before_a_semicolon() -> None:
    assert read("text;x,label\na,b\n", "text;x") == [("a", "b", 2)]
    assert read("text;x\tlabel\na;1\tb\n", "text;x") == [("a;1", "b", 2)]


def test_delimiters_inside_quotes_of_the_header_are_none() -> None:
    assert read('\n"a, ""b"",\nc"\tlabel\none, two\tx\n', 'a, "b",\nc') == [("one, two", "x", 4)]


def test_only_the_newline_ends_a_line() -> None:
    assert read('text,label\n"a\r\nb\u2028\x85",x\nc\x0bd\x1ce,y\n') == [
        ("a\r\nb\u2028\x85", "x", 2),
        ("c\x0bd\x1ce", "y", 4),
    ]
    assert read('{"text": "a\u2028b", "label": "x"}\n') == [("a\u2028b", "x", 1)]


def test_a_table_of_one_column() -> None:
    assert read("text\none\n\n\ntwo\n", label_column=None) == [("one", "", 2), ("two", "", 5)]


@given(ROWS, st.sampled_from(",\t;"), st.booleans(), st.sampled_from(["\n", "\n\n"]))
def test_what_the_csv_module_writes_is_read_again(
    rows: list[tuple[str, str]], mark: str, quote_all: bool, end: str
) -> None:
    file = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerow(["label", "text"])
    lines = []
    for text, label in rows:
        lines.append(file.getvalue().count("\n") + 1)
        writer.writerow([label, text])
    assert read(file.getvalue()) == [(*row, line) for row, line in zip(rows, lines, strict=True)]


@given(ROWS, st.booleans(), st.sampled_from(["", "\n", " \n \n"]))
def test_what_the_json_module_writes_is_read_again(
    rows: list[tuple[str, str]], ensure_ascii: bool, between: str
) -> None:
    table = between
    lines = []
    for text, label in rows:
        lines.append(table.count("\n") + 1)
        table += json.dumps({"label": label, "more": [1], "text": text}, ensure_ascii=ensure_ascii) + "\n" + between
    assert read(table) == [(*row, line) for row, line in zip(rows, lines, strict=True)]


def test_labels_of_json_may_be_numbers() -> None:
    table = '{"text": "a", "label": 3}\n{"text": "b", "label": -0.5}\n{"label": " x ", "text": " c\\n"}'
    assert read(table) == [("a", "3", 1), ("b", "-0.5", 2), (" c\n", "x", 3)]
    assert [row[:2] for row in read(table, label_column=None)] == [("a", ""), ("b", ""), (" c\n", "")]


def test_rows_are_equal_as_examples() -> None:
    assert LabelledText("a", "x", 1) == LabelledText("a", "x", 2)
    assert len({LabelledText("a", "x", 1), LabelledText("a", "x", 2), LabelledText("a", "y", 1)}) == 2


@pytest.mark.parametrize("table", ["", "\n \n", "text,label\n", "\ntext,label\n\n"])
def test_no_rows(table: str) -> None:
    refused(table, "table: the table has no rows: give one with a header")


def test_columns_that_are_not_there() -> None:
    refused("\nid, text\n1,a\n", 'table, line 2: there is no column "label": choose one of id, text')
    refused("id,label\n1,a\n", 'table, line 1: there is no column "text": choose one of id, label')
    refused(
        '{"text": "a", "label": "x"}\n\n{"text": "b", "id": 1}\n', 'table, line 3: there is no column "label": choos'
    )
    refused("{}\n", 'table, line 1: there is no column "text": choose one of no columns')
    refused("label,text,label\na,b,c\n", 'table, line 1: column "label" is there 2 times: rename all but one')


def test_rows_with_too_few_or_too_many_fields() -> None:
    refused('text,label\n"a\nb",x\nc\n', "table, line 4: the row has 1 field, the header 2: put a field that holds")
    refused("text,label\na, b,x\n", "table, line 2: the row has 3 fields, the header 2: ")
    refused("text\none, two\n", "table, line 2: the row has 2 fields, the header 1: ", label_column=None)


def test_empty_texts_and_labels() -> None:
    refused('text,label\na,x\n" \n",x\n', 'table, line 3: column "text" is empty: fill it in, or take the row out')
    refused("text,label\na,x\nb, \n", 'table, line 3: column "label" is empty: fill it in, or take the row out')
    refused('{"text": "a", "label": ""}\n', 'table, line 1: column "label" is empty: ')
    assert read("text,label\na,\n", label_column=None) == [("a", "", 2)]


def test_quotes_that_are_not_as_csv_has_them() -> None:
    refused(
        'text,label\na,x\n"b,x\nc,x\n', "table, line 3: the row is not valid CSV (unexpected end of data): a field th"
    )
    refused('text,label\n"b\n"c,x\n', "table, line 2: the row is not valid CSV (")
    refused('"text,label\na,x\n', "table, line 1: the row is not valid CSV (")
    assert read('text,label\nthe "b" c,x\n') == [('the "b" c', "x", 2)]


def test_a_field_longer_than_the_csv_module_reads_is_explained() -> None:
    limit = csv.field_size_limit()
    assert read(f"text,label\n{'a' * limit},x\n")[0][0] == "a" * limit
    refused(
        f"text,label\na,x\n{'a' * (limit + 1)},x\n",
        f"table, line 3: a field is longer than the {limit:,} characters that CSV is read with: close its quote if",
    )
    long = "a" * (limit + 1)
    assert read(json.dumps({"text": long, "label": "x"})) == [(long, "x", 1)]
    assert csv.field_size_limit() == limit


def test_lines_that_are_not_json() -> None:
    good = '{"text": "a", "label": "x"}\n'
    refused(good + "\n{'text': 1}\n", "table, line 3, character 2: this is not valid JSON (Expecting property name")
    refused(
        good + "text\n", "table, line 2, character 1: this is not valid JSON (Expecting value): write one object a li"
    )
    refused(good + '{"text": "a", "label": NaN}', "table, line 2: this is not valid JSON (NaN is no number of JSON's)")
    refused(good + '{"text": ' + "[" * 10**5, "table, line 2: this is not valid JSON (")
    refused(
        good + '["a", "x"]\n', "table, line 2: this is a list, expected an object: write one in braces on each line"
    )
    refused(good + '"a"\n', "table, line 2: this is a string, expected an object")


@pytest.mark.parametrize(
    ("value", "kind"), [("null", "null"), ("true", "true or false"), ("[1]", "a list"), ('{"a": 1}', "an object")]
)
def test_values_of_json_that_are_no_strings(value: str, kind: str) -> None:
    for column, other, expected in (("text", "label", "a string: "), ("label", "text", "a string or a number: ")):
        table = f'{{"text": "a", "label": "x"}}\n{{"{column}": {value}, "{other}": "a"}}\n'
        refused(table, f'table, line 2: column "{column}" is {kind}, expected {expected}put it into quotes')


def test_a_text_of_json_is_no_number() -> None:
    refused(
        '{"text": 3, "label": 3}', 'table, line 1: column "text" is a number, expected a string: put it into quotes'
    )


def test_half_a_character_of_json() -> None:
    assert read('{"text": "\\ud83d\\ude00", "label": "x"}') == [("\U0001f600", "x", 1)]
    refused(
        '\n{"text": "a\\ud83d", "label": "x"}',
        'table, line 2: column "text" has half a character, the lone surrogate \\ud83d',
    )


def test_text_and_label_are_two_columns() -> None:
    with pytest.raises(UsageError, match='text and label are both asked for from column "a": name two columns'):
        read("a,b\n1,2\n", "a", "a")
