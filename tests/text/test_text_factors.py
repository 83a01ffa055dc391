"""What words have in common in their spelling."""

import numpy as np

from unrolled.text.factors import spelling_factors


def shared(one: str, other: str, words: list[str]) -> int:
    """How many factors two of some words have in common."""
    table = spelling_factors(tuple(words))
    sets = [set(table[words.index(word)].tolist()) - {0} for word in (one, other)]
    return len(sets[0] & sets[1])


def test_words_share_form_beginnings_ends_and_capitals() -> None:
    words = ["The", "the", "walking", "talking", "walked", "Walked", "NATO", "NASA", "1805", "1812", ",", "\n", "<unk>"]
    assert shared("The", "the", words) == 4, "form, beginning of three letters, ends of one and two"
    assert shared("walking", "talking", words) == 4, "ends"
    assert shared("walking", "walked", words) == 2, "beginnings of three and four letters"
    assert shared("walked", "Walked", words) == 9, "all but the capital"
    assert shared("The", "Walked", words) == 1, "a capital"
    assert shared("NATO", "NASA", words) == 1, "several capitals"
    assert shared("The", "NASA", words) == 0
    assert shared("1805", "1812", words) == 1
    assert shared(",", "\n", words) == shared(",", "1805", words) == 0
    assert shared("Zoë", "zoë", ["Zoë", "zoë"]) == 4
    assert shared("ÜBER", "Über", ["ÜBER", "Über"]) == 6, "letters of any script have capitals"


def test_a_factor_of_one_word_is_none() -> None:
    table = spelling_factors(("pear", "the", "The", "apricot", "!"))
    assert table.shape == (5, 4)
    assert table.dtype == np.int64
    assert table[[0, 3, 4]].max() == 0
    assert sorted(set(table.flatten().tolist())) == list(range(table.max() + 1))


def test_no_words_and_nothing_in_common() -> None:
    assert spelling_factors(()).shape == (0, 0)
    assert spelling_factors(("one", "two")).shape == (2, 0)
