"""Examples to batches: each once a pass, by length, the same for the same seed and pass."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unrolled.errors import CorpusError, UsageError
from unrolled.text.examples import (
    ExampleBatch,
    ExampleReader,
    Integers,
    Sequences,
    bounded_ends,
    even_ends,
    grouped_by_length,
)

LENGTHS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], dtype=np.int64)
COUNTS = 10 * LENGTHS + np.arange(len(LENGTHS))


def reader_of(lengths: Integers = LENGTHS, *, batch_size: int = 4, seed: int = 1) -> ExampleReader:
    def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
        return {"rows": rows, "both": np.stack([rows, rows + 100 * pass_index])}

    return ExampleReader(lengths, 10 * lengths + np.arange(len(lengths)), make, batch_size=batch_size, seed=seed)


def rows_of(batches: list[ExampleBatch]) -> list[list[int]]:
    return [batch.values["rows"].tolist() for batch in batches]


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=40),
    st.integers(1, 45),
    st.integers(0, 2**40),
    st.integers(0, 3),
)
def test_every_example_once_a_pass(lengths: list[int], batch_size: int, seed: int, pass_index: int) -> None:
    reader = reader_of(np.array(lengths), batch_size=batch_size, seed=seed)
    batches = list(reader.batches(pass_index))
    assert len(batches) == len(reader)
    assert sorted(row for rows in rows_of(batches) for row in rows) == list(range(len(lengths)))
    assert sum(batch.tokens for batch in batches) == reader.tokens
    sizes = sorted((batch.width for batch in batches), reverse=True)
    assert set(sizes[:-1]) <= {reader.batch_size}
    assert 0 < sizes[-1] <= reader.batch_size
    spans = sorted((min(lengths[row] for row in rows), max(lengths[row] for row in rows)) for rows in rows_of(batches))
    assert all(one[1] <= other[0] for one, other in pairwise(spans)), "of about equal length"


def test_seed_and_pass_decide_alone() -> None:
    passes = [rows_of(list(reader_of(seed=seed).batches(number))) for seed in (1, 2) for number in (0, 1)]
    assert len({str(each) for each in passes}) == 4
    again = reader_of(seed=1)
    assert rows_of(list(again.batches(1))) == passes[1], "whatever was read before"
    assert rows_of(list(again.batches(0))) == passes[0]


@pytest.mark.parametrize("start", range(4))
def test_a_pass_goes_on_where_it_was_left(start: int) -> None:
    whole = list(reader_of().batches(2))
    rest = list(reader_of().batches(2, start))
    assert rows_of(rest) == rows_of(whole)[start:]
    assert [batch.counts.tolist() for batch in rest] == [batch.counts.tolist() for batch in whole[start:]]


def test_a_batch_is_made_of_its_rows_and_the_pass() -> None:
    for batch in reader_of().batches(3):
        rows = batch.values["rows"]
        np.testing.assert_array_equal(batch.values["both"], [rows, rows + 300])
        np.testing.assert_array_equal(batch.counts, COUNTS[rows])
        assert (batch.width, batch.tokens) == (len(rows), COUNTS[rows].sum())
        assert (batch.starts, batch.rate) == (True, 1.0)
        assert batch.arrays() == batch.values


def test_columns_cut_arrays_and_counts() -> None:
    values = {"ids": np.arange(12).reshape(3, 4), "lengths": np.arange(4), "letters": np.arange(24).reshape(2, 3, 4)}
    batch = ExampleBatch(values, np.array([5, 6, 7, 8]))
    part = batch.columns(slice(1, 3))
    assert {name: array.shape for name, array in part.values.items()} == {
        "ids": (3, 2),
        "lengths": (2,),
        "letters": (2, 3, 2),
    }
    for name, array in part.values.items():
        np.testing.assert_array_equal(array, values[name][..., 1:3])
        assert array.flags.c_contiguous
    assert (part.width, part.tokens, part.counts.tolist()) == (2, 13, [6, 7])
    assert batch.width == 4, "the whole is as it was"


def test_what_differs_from_what_was_asked_is_said() -> None:
    assert reader_of(batch_size=11).notes == ()
    reader = reader_of(batch_size=64)
    assert reader.notes == ("batch 64 -> 11: there are no more examples",)
    assert len(reader) == 1


def test_no_examples_and_no_batch_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"^there are no examples to learn from: give more data$"):
        reader_of(np.array([], dtype=np.int64))
    with pytest.raises(UsageError, match=r"^batch_size 0 is too small: give at least 1$"):
        reader_of(batch_size=0)


def test_equal_lengths_meet_in_other_groups() -> None:
    same = np.full(12, 5)
    groups = [
        {frozenset(group.tolist()) for group in grouped_by_length(same, even_ends(len(same), 3), [seed])}
        for seed in (1, 2)
    ]
    assert groups[0] != groups[1]


# Sequences


def test_padded_by_hand() -> None:
    sequences = Sequences([np.array([7, 8, 9]), np.array([5]), np.array([3, 4])])
    assert len(sequences) == 3
    assert sequences.lengths.tolist() == [3, 1, 2]
    assert sequences.padded(np.array([2, 0])).tolist() == [[3, 7], [4, 8], [0, 9]]
    assert sequences.padded(np.array([1])).tolist() == [[5]]
    assert sequences.padded(np.array([1, 1, 2])).tolist() == [[5, 5, 3], [0, 0, 4]]


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=9), st.data())
def test_padded_is_each_sequence_and_then_zeros(written: list[list[int]], data: st.DataObject) -> None:
    sequences = Sequences([np.array(ids, dtype=np.int32) for ids in written])
    rows = data.draw(st.lists(st.integers(0, len(written) - 1), min_size=1, max_size=12))
    found = sequences.padded(np.array(rows))
    assert found.dtype == np.int64
    assert found.shape == (max(len(written[row]) for row in rows), len(rows))
    for column, row in zip(found.T, rows, strict=True):
        assert column.tolist() == written[row] + [0] * (len(found) - len(written[row]))


def test_an_empty_sequence_beside_others_is_padding() -> None:
    sequences = Sequences([np.empty(0, np.int32), np.array([5, 6]), np.empty(0, np.int32)])
    assert sequences.padded(np.array([0, 1, 2])).tolist() == [[0, 5, 0], [0, 6, 0]]
    assert len(Sequences([])) == 0


def test_some_of_them() -> None:
    sequences = Sequences([np.array([7, 8, 9]), np.array([5]), np.array([3, 4])]).taken(np.array([2, 0]))
    assert sequences.lengths.tolist() == [2, 3]
    assert sequences.padded(np.array([0, 1])).tolist() == [[3, 7], [4, 8], [0, 9]]


@pytest.mark.parametrize(
    ("ids", "lines"),
    [
        ([1, 2, 0, 3, 0], [[1, 2], [3]]),
        ([1, 2, 0, 3], [[1, 2], [3]]),
        ([0, 1, 0, 0, 2, 2, 0, 0], [[1], [2, 2]]),
        ([0, 0], []),
        ([], []),
    ],
)
def test_lines_of_a_text(ids: list[int], lines: list[list[int]]) -> None:
    found = Sequences.lines(np.array(ids, dtype=np.int32), 0)
    assert found.lengths.tolist() == [len(line) for line in lines]
    for number, line in enumerate(lines):
        assert found.padded(np.array([number])).T.tolist() == [line]


def test_groups_of_long_examples_are_small_and_of_usual_ones_whole() -> None:
    usual = np.full(100, 10)
    assert bounded_ends(usual, 8).tolist() == even_ends(100, 8).tolist() == [*range(8, 100, 8), 100]
    lengths = np.concatenate([[500, 70, 60], usual, [1000]])
    ends = bounded_ends(lengths, 8)
    groups = np.split(np.sort(lengths), ends[:-1])
    most = 3 * 8 * lengths.mean()
    assert sum(map(len, groups)) == len(lengths)
    assert all(len(group) == 1 or len(group) * group.max() <= most for group in groups)
    assert [len(group) for group in groups[:12]] == [8] * 12
    assert len(groups[-1]) == 1
