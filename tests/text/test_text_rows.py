from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError
from unrolled.text import TextSettings
from unrolled.text.rows import split_rows
from unrolled.text.tables import LabelledText

SPLITS = st.sampled_from(["50/50", "90/10", "60/20/20", "34/33/33", "1/99"])


def shares(split: str) -> tuple[Fraction, ...]:
    return TextSettings(split=split).shares


def may_be_empty(rows: list[int], split: str) -> bool:
    """Whether the cuts on both sides of a part may meet: each is off by half of the most frequent row at most."""
    return min(shares(split)) * len(rows) <= max(Counter(rows).values())


def test_parts_by_hand() -> None:
    rows = [f"row {number}" for number in range(10)]
    parts = split_rows(rows, shares("60/20/20"), seed=3)
    # random.Random(3).random() ten times: .238 .544 .370 .604 .626 .066 .013 .837 .259 .234
    order = [6, 5, 9, 0, 8, 2, 1, 3, 4, 7]
    expected = [sorted(order[:6]), sorted(order[6:8]), sorted(order[8:])]
    assert list(parts) == ["train", "validation", "test"]
    assert list(parts.values()) == [[rows[number] for number in part] for part in expected]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), SPLITS, st.integers())
def test_nothing_is_lost_or_doubled_and_equal_rows_stay_together(rows: list[int], split: str, seed: int) -> None:
    examples = [LabelledText(str(row), "x", line) for line, row in enumerate(rows, start=1)]
    try:
        parts = split_rows(examples, shares(split), seed)
    except CorpusError:
        assert may_be_empty(rows, split)
        return
    assert list(parts) == ["train", "validation", "test"][: len(shares(split))]
    lines = [[row.line for row in part] for part in parts.values()]
    assert sorted(line for part in lines for line in part) == list(range(1, len(rows) + 1))
    assert all(part == sorted(part) and part for part in lines)
    texts = [{row.text for row in part} for part in parts.values()]
    assert sum(map(len, texts)) == len(set(rows))


@given(st.lists(st.integers(0, 9), min_size=60, max_size=120), SPLITS, st.integers(0, 9))
def test_cuts_are_as_near_to_the_shares_as_equal_rows_allow(rows: list[int], split: str, seed: int) -> None:
    try:
        parts = split_rows(rows, shares(split), seed)
    except CorpusError:
        assert may_be_empty(rows, split)
        return
    most = max(Counter(rows).values())
    end, ends = 0, [sum(shares(split)[:number], Fraction(0)) * len(rows) for number in range(1, len(shares(split)) + 1)]
    for part, wanted in zip(parts.values(), ends, strict=True):
        end += len(part)
        assert 2 * abs(end - wanted) <= most


@pytest.mark.parametrize(("rows", "train"), [(10, 9), (100, 90), (15, 13), (16, 14), (5, 4)])
def test_different_rows_are_cut_at_the_nearest_number_and_of_two_the_lower(rows: int, train: int) -> None:
    parts = split_rows(range(rows), shares("90/10"), seed=1)
    assert [len(part) for part in parts.values()] == [train, rows - train]


def test_the_seed_alone_decides() -> None:
    rows = [f"row {number}" for number in range(50)]
    one, same, other = (split_rows(rows, shares("80/20"), seed) for seed in (1, 1, 2))
    assert one == same != other
    chosen = Counter(row for seed in range(200) for row in split_rows(rows, shares("80/20"), seed)["validation"])
    assert len(chosen) == 50  # 40 times on average
    assert 15 < min(chosen.values()) <= max(chosen.values()) < 70  # 4.4 standard deviations and more


def test_rows_do_not_go_by_where_they_stand() -> None:
    rows = list(range(40))
    validation = split_rows(rows, shares("75/25"), seed=5)["validation"]
    assert validation not in (rows[:10], rows[-10:])


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(
        CorpusError,
        match=r"^a.csv: the validation part would be empty, there are only 4 rows: give more data, or another --split$",
    ):
        split_rows(range(4), shares("90/10"), 0, name="a.csv")
    with pytest.raises(CorpusError, match=r"^the data: the validation part .* only 1 row: give more data"):
        split_rows(["one"], shares("90/10"), 0)
    with pytest.raises(
        CorpusError, match="validation part would be empty, there are only 1,000 rows, 1 of them different"
    ):
        split_rows(["one"] * 1000, shares("90/10"), 0)
    with pytest.raises(CorpusError, match="the train part would be empty, there are only 0 rows"):
        split_rows([], shares("50/25/25"), 0)
    with pytest.raises(CorpusError, match="the test part would be empty, there are only 20 rows"):
        split_rows(range(20), shares("49/49/2"), 0)
