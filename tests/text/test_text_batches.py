from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unrolled.errors import CorpusError, UsageError
from unrolled.text import Batch, SentenceReader, StreamReader, TextSettings, train_tokenizer
from unrolled.text.batches import without_blank_lines

END = 7
Ids = NDArray[np.int32]
token_ids = st.lists(st.sampled_from([1, 2, 3, END, END]), min_size=1, max_size=120).map(
    lambda ids: np.array(ids, dtype=np.int32)
)


def streams_of(batches: Iterable[Batch]) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and targets that count, stream by stream, over the windows of a pass."""
    inputs: list[list[int]] = []
    targets: list[list[int]] = []
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape
        assert batch.inputs.dtype == batch.targets.dtype == np.int64
        steps, size = batch.inputs.shape
        lengths = [steps] * size if batch.lengths is None else batch.lengths.tolist()
        assert max(lengths) == steps
        assert min(lengths) >= 1
        assert batch.tokens == sum(lengths)
        inputs = inputs or [[] for _ in range(size)]
        targets = targets or [[] for _ in range(size)]
        for column, length in enumerate(lengths):
            inputs[column] += batch.inputs[:length, column].tolist()
            targets[column] += batch.targets[:length, column].tolist()
    return inputs, targets


@given(token_ids, st.integers(1, 9), st.integers(1, 11))
def test_a_stream_predicts_every_token_once_from_the_one_before(ids: Ids, batch_size: int, window: int) -> None:
    reader = StreamReader(ids, end_of_line_id=END, batch_size=batch_size, window=window)
    batches = list(reader.batches())
    inputs, targets = streams_of(batches)
    assert [token for stream in targets for token in stream] == ids.tolist()
    assert [token for stream in inputs for token in stream] == [END, *ids.tolist()][:-1]
    lengths = [len(stream) for stream in targets]
    assert max(lengths) - min(lengths) <= 1
    assert len(reader) == len(batches)
    assert reader.tokens == len(ids) == sum(batch.tokens for batch in batches)
    assert [batch.starts for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert all(len(batch.inputs) == reader.window for batch in batches[:-1])
    assert len(batches[-1].inputs) <= reader.window + 1


def test_streams_by_hand() -> None:
    reader = StreamReader(np.arange(10, 20), end_of_line_id=END, batch_size=3, window=3)
    first, *rest = reader.batches()
    assert rest == []  # 4, 3 and 3 tokens: the one left over does not make a window
    assert first.inputs.T.tolist() == [[END, 10, 11, 12], [13, 14, 15, 0], [16, 17, 18, 0]]
    assert first.targets.T.tolist() == [[10, 11, 12, 13], [14, 15, 16, 0], [17, 18, 19, 0]]
    assert first.lengths is not None
    assert first.lengths.tolist() == [4, 3, 3]


def test_a_text_too_small_shrinks_the_window_and_the_batch() -> None:
    reader = StreamReader(np.arange(1, 51), end_of_line_id=END, batch_size=32, window=20)
    assert (reader.batch_size, reader.window) == (2, 20)
    assert reader.notes == ("batch 32 -> 2: the text has only 50 tokens",)
    reader = StreamReader(np.arange(1, 6), end_of_line_id=END, batch_size=2, window=20)
    assert (reader.batch_size, reader.window) == (1, 5)
    assert reader.notes[1] == "window 20 -> 5: the text has only 5 tokens"
    assert StreamReader(np.arange(40), end_of_line_id=END, batch_size=2, window=20).notes == ()


def lines_of(ids: Ids) -> list[tuple[int, ...]]:
    lines: list[list[int]] = [[]]
    for token in ids.tolist():
        lines[-1].append(token)
        if token == END:
            lines.append([])
    if lines[-1]:
        lines[-1].append(END)
    return sorted(tuple(line) for line in lines if line not in ([], [END]))


@given(token_ids, st.integers(1, 9), st.integers(0, 3))
def test_sentences_are_read_once_each_from_a_zero_state(ids: Ids, batch_size: int, pass_index: int) -> None:
    expected = lines_of(ids)
    if not expected:
        with pytest.raises(CorpusError, match="every line is blank"):
            SentenceReader(ids, end_of_line_id=END, batch_size=batch_size, seed=5)
        return
    reader = SentenceReader(ids, end_of_line_id=END, batch_size=batch_size, seed=5)
    batches = list(reader.batches(pass_index))
    found = []
    for batch in batches:
        assert batch.starts
        for inputs, targets in zip(*streams_of([batch]), strict=True):
            assert inputs == [END, *targets[:-1]]
            found.append(tuple(targets))
    assert sorted(found) == expected
    assert len(reader) == len(batches)
    assert (reader.lines, reader.tokens) == (len(expected), sum(map(len, expected)))
    assert max(batch.inputs.shape[1] for batch in batches) == reader.batch_size <= batch_size


def sentences(count: int = 40) -> Ids:
    generator = np.random.default_rng(2)
    lines = [[*generator.integers(0, END, generator.integers(1, 9)), END] for _ in range(count)]
    return np.concatenate(lines).astype(np.int32)


def test_sentences_of_about_equal_length_meet_in_an_order_that_changes_with_the_pass() -> None:
    reader = SentenceReader(sentences(), end_of_line_id=END, batch_size=4, seed=5)
    passes = [[batch.targets.T.tolist() for batch in reader.batches(n)] for n in (0, 0, 1)]
    assert passes[0] == passes[1]
    assert passes[0] != passes[2]
    other = SentenceReader(sentences(), end_of_line_id=END, batch_size=4, seed=6)
    assert [batch.targets.T.tolist() for batch in other.batches(0)] != passes[0]
    widths = [batch.targets.shape[0] for batch in reader.batches(0)]
    assert widths != sorted(widths)  # not from short to long
    padded = sum(batch.targets.size - batch.tokens for batch in reader.batches(0))
    assert padded < 0.1 * reader.tokens
    together = [{tuple(sorted(map(tuple, batch))) for batch in every} for every in passes[1:]]
    assert together[0] != together[1]  # other neighbours, not only another order


def test_a_pass_can_begin_in_its_middle() -> None:
    readers = (
        StreamReader(sentences(), end_of_line_id=END, batch_size=3, window=5),
        SentenceReader(sentences(), end_of_line_id=END, batch_size=3, seed=5),
    )
    for reader in readers:
        whole = list(reader.batches(2))
        for start in (0, 1, 4, len(reader)):
            rest = list(reader.batches(2, start=start))
            assert len(rest) == len(whole) - start
            for left, right in zip(rest, whole[start:], strict=True):
                np.testing.assert_array_equal(left.inputs, right.inputs)
                np.testing.assert_array_equal(left.targets, right.targets)
                assert left.starts == right.starts


def test_notes_of_sentences() -> None:
    ids = np.array([END, 1, 2, END, END, 3, END], dtype=np.int32)
    reader = SentenceReader(ids, end_of_line_id=END, batch_size=9, seed=0)
    assert (reader.batch_size, reader.blank_lines) == (2, 2)
    assert [note.split(":")[0] for note in reader.notes] == ["batch 9 -> 2", "2 blank lines are left out"]
    long = SentenceReader(np.ones(3000, dtype=np.int32), end_of_line_id=END, batch_size=1, seed=0)
    assert long.notes == ("the longest line has 3,001 tokens: reading as a stream takes less memory",)


def test_equal_lengths_need_no_lengths() -> None:
    batch = next(StreamReader(np.arange(8), end_of_line_id=END, batch_size=2, window=2).batches())
    assert batch.lengths is None
    assert batch.tokens == 4


def test_what_cannot_be_read() -> None:
    ids = np.array([1, 2], dtype=np.int32)
    with pytest.raises(UsageError, match="batch_size 0"):
        StreamReader(ids, end_of_line_id=END, batch_size=0, window=3)
    with pytest.raises(UsageError, match="window 0"):
        StreamReader(ids, end_of_line_id=END, batch_size=1, window=0)
    with pytest.raises(UsageError, match="batch_size -1"):
        SentenceReader(ids, end_of_line_id=END, batch_size=-1, seed=0)
    for wrong in (ids[:0], ids[None]):
        with pytest.raises(CorpusError, match="cannot be read"):
            StreamReader(wrong, end_of_line_id=END, batch_size=1, window=3)
        with pytest.raises(CorpusError, match="cannot be read"):
            SentenceReader(wrong, end_of_line_id=END, batch_size=1, seed=0)


def test_without_blank_lines_keeps_text_and_ids_together() -> None:
    tokenizer = train_tokenizer("a b\nb\n", TextSettings())
    text = "\na b\n \n\nb\n"
    ids = tokenizer.encode(text)
    kept, kept_ids = without_blank_lines(text, ids, tokenizer.end_of_line_id)
    assert kept == "a b\nb\n"
    np.testing.assert_array_equal(kept_ids, tokenizer.encode(kept))
