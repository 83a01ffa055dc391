"""Pieces of a text that are encoded once: where they are cut, what is remembered, and that nothing else changes."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.text import repetition
from unrolled.text.chunks import line_chunks
from unrolled.text.repetition import Repetition, counted_pieces, text_pieces

from .test_text_pieces import ANY_TEXT
from .test_text_tokenizer import SETTINGS, library, trained


@pytest.mark.parametrize("name", [name for name in SETTINGS if SETTINGS[name].unit != "char"])
@given(text=st.lists(ANY_TEXT, max_size=4).map("".join))
def test_pieces_have_the_tokens_that_the_library_finds_in_the_whole(name: str, text: str) -> None:
    unit = trained(name).unit
    pieces = text_pieces(text, unit)
    if unit == "bpe":
        assert "".join(pieces) == text
        assert all(pieces)
    of_pieces = [token for encoding in library(name).encode_batch(pieces) for token in encoding.ids]
    assert of_pieces == library(name).encode(text).ids
    assert trained(name).encode(text).tolist() == of_pieces


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("bpe", "the cat\n", ["the", " cat", "\n"]),
        ("bpe", "  two  blanks  \n\n", ["  two", "  blanks", "  ", "\n", "\n"]),
        ("bpe", "x\t y z", ["x\t y", " z"]),
        ("bpe", "x\t", ["x\t"]),
        ("bpe", "a \u3000  b", ["a", " \u3000  b"]),
        ("word", "the cat\n", ["the", "cat", "\n", ""]),
        ("word", " a\tb ", ["", "a\tb", ""]),
    ],
)
def test_where_a_text_is_cut(unit: str, text: str, expected: list[str]) -> None:
    assert text_pieces(text, unit) == expected


class Lengths:
    """A library whose tokens are the lengths of lines, and 0 for their ends; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[SimpleNamespace]:
        lines = [text.removesuffix("\n").split("\n") for text in texts]
        self.asked += [line for each in lines for line in each]
        return [SimpleNamespace(ids=[n for line in each for n in (len(line), 0)]) for each in lines]


def test_what_repeats_is_encoded_once() -> None:
    encode = Lengths()
    known = Repetition(encode, 0)
    for _ in range(3):
        ids = known.encode(["the", " cat", " cat", "\n"])
        assert ids.dtype == np.int32
        assert ids.tolist() == [3, 4, 4, 0]
        ids[0] = 7  # theirs, not ours
    assert sorted(encode.asked) == [" cat", "the"]
    assert known.encode([]).tolist() == []


@given(texts=st.lists(st.lists(st.text("ab", min_size=1, max_size=5), max_size=6), max_size=12))
def test_memory_is_bounded_and_answers_are_the_same(texts: list[list[str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repetition, "REMEMBERED", 9)
        known, largest = Repetition(Lengths(), 0), 0
        for pieces in texts:
            assert known.encode(pieces).tolist() == [len(piece) for piece in pieces]
            largest = max(largest, sum(map(len, pieces)))
            assert sum(map(len, known._known)) <= 1 + 9 + largest  # a newline is always known


@given(text=st.text("abc \n", max_size=300))
@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_counts_in_several_tables_add_up(unit: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repetition, "REMEMBERED", 20)
        tables = [Counter(table) for table in counted_pieces(line_chunks(text, 10), unit)]
    assert sum(tables, Counter()) == sum(
        (Counter(text_pieces(chunk, unit)) for chunk in line_chunks(text, 10)), Counter()
    )
    assert all(tables)
