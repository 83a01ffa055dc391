from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unrolled.errors import CorpusError, UsageError
from unrolled.text import Batch, SentenceReader, StreamReader, TextSettings, train_tokenizer
from unrolled.text import batches as batches_module
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


@given(token_ids, st.integers(1, 9), st.integers(1, 40), st.integers(0, 9))
@example(np.arange(34), 2, 16, 0)  # in these three passes a cut would lie behind the end of the streams
@example(np.arange(34), 2, 16, 1)
@example(np.arange(35), 2, 16, 3)
def test_random_windows_move_the_cuts_and_lose_no_token(ids: Ids, batch_size: int, window: int, number: int) -> None:
    options: dict[str, Any] = {"end_of_line_id": END, "batch_size": batch_size, "window": window}
    reader, plain = StreamReader(ids, random_windows=True, seed=5, **options), StreamReader(ids, **options)
    batches, unmoved = list(reader.batches(number)), list(plain.batches(number))
    assert streams_of(batches) == streams_of(unmoved)  # the same streams, which predict every token once
    assert len(reader) == len(batches) == len(unmoved)
    assert (reader.batch_size, reader.window, reader.tokens) == (plain.batch_size, plain.window, plain.tokens)
    assert reader.tokens == sum(batch.tokens for batch in batches)
    assert [batch.starts for batch in batches] == [True] + [False] * (len(batches) - 1)
    lengths = [len(batch.inputs) for batch in batches]
    assert all(reader.window / 2 <= length <= 3 * reader.window / 2 for length in lengths[:-1])
    assert lengths[-1] <= 5 * reader.window / 4 + 1
    assert all(batch.lengths is None for batch in batches[:-1])
    for length, batch in zip(lengths, batches, strict=True):
        assert batch.rate == (length / reader.window if window >= 4 else 1)  # shorter windows have no quarter
    assert all(batch.rate == 1 for batch in unmoved)


def cuts_of(reader: StreamReader, pass_index: int = 0) -> list[int]:
    return list(accumulate(len(batch.inputs) for batch in reader.batches(pass_index)))


def test_random_windows_are_cut_elsewhere_in_each_pass_and_for_each_seed() -> None:
    def make(seed: int) -> StreamReader:
        ids = np.arange(3 * 500)
        return StreamReader(ids, end_of_line_id=END, batch_size=3, window=20, random_windows=True, seed=seed)

    passes = [cuts_of(make(1), number) for number in range(200)]
    assert [cuts_of(make(1), number) for number in range(200)] == passes
    assert len({tuple(cuts) for cuts in passes}) == 200
    assert cuts_of(make(2)) != passes[0]
    moves = np.array(passes)[:, :-1] - 20 * np.arange(1, 25)
    counts = np.bincount(moves.ravel() + 5)  # from five before to five behind, all alike
    assert len(counts) == 11
    share = 1 / 11
    assert np.abs(counts / moves.size - share).max() < 4 * np.sqrt(share * (1 - share) / moves.size)
    assert np.array(passes)[:, -1].tolist() == [500] * 200
    correlations = np.asarray(np.corrcoef(moves.T)) - np.eye(24)
    assert np.abs(correlations).max() < 5 / np.sqrt(200)  # each by itself


def test_random_windows_by_hand() -> None:
    """Two streams of 9 and 8 tokens in windows of four, each moved by one at most; the last one takes what is left."""
    reader = StreamReader(np.arange(17), end_of_line_id=END, batch_size=2, window=4, random_windows=True, seed=0)
    assert len(reader) == 2
    seen = set()
    for number in range(20):
        first, last = reader.batches(number)
        cut = len(first.inputs)
        seen.add(cut)
        assert first.targets.T.tolist() == [list(range(cut)), list(range(9, 9 + cut))]
        assert last.inputs[:, 0].tolist() == list(range(cut - 1, 8))
        assert last.targets[:, 0].tolist() == list(range(cut, 9))
        assert last.targets[:, 1].tolist() == [*range(9 + cut, 17), 0]
        assert last.lengths is not None
        assert last.lengths.tolist() == [9 - cut, 8 - cut]
        assert (first.rate, last.rate) == (cut / 4, (9 - cut) / 4)
    assert seen == {3, 4, 5}


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
        assert batch.rate == 1
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
        StreamReader(sentences(), end_of_line_id=END, batch_size=3, window=8, random_windows=True, seed=5),
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
                np.testing.assert_array_equal(left.lengths, right.lengths)
                assert (left.starts, left.rate) == (right.starts, right.rate)


def test_a_long_text_is_read_in_sections_of_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.concatenate([sentences(), np.ones(70, dtype=np.int32), [END, END, END], sentences(15)[::-1], [END]])
    whole = SentenceReader(ids, end_of_line_id=END, batch_size=3, seed=5)
    monkeypatch.setattr(batches_module, "_SECTION", 20)
    reader = SentenceReader(ids, end_of_line_id=END, batch_size=3, seed=5)
    assert (reader.lines, reader.tokens, reader.blank_lines) == (whole.lines, whole.tokens, whole.blank_lines)
    passes = [[batch.targets.T.tolist() for batch in reader.batches(number)] for number in (0, 0, 1)]
    assert passes[0] == passes[1] != passes[2]
    assert len(reader) == len(passes[0]) > len(whole)
    for batches in (reader.batches(0), reader.batches(1), whole.batches(0)):
        found = [tuple(targets) for batch in batches for targets in streams_of([batch])[1]]
        assert sorted(found) == lines_of(ids)
    for start in range(len(reader) + 1):
        assert [batch.targets.T.tolist() for batch in reader.batches(0, start)] == passes[0][start:]


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
