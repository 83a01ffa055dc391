import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UsageError
from unrolled.text.noise import DOUBLED, MISSING, MISSPELT, SWAPPED, noisy, noisy_pairs

LINES = st.text(st.sampled_from("ab Zé日ß1.,-\t\u2028"), max_size=40)
RATES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
MANY = 40_000
"""Words that shares are counted on: three standard deviations of a share of one half are 0.0075."""


def words_apart(number: int) -> str:
    """A word of letters that no single mistake turns into another of them: each letter stands three times."""
    return "".join(3 * letter for letter in f"{number:05}".translate(str.maketrans("0123456789", "abcdefghij")))


@given(LINES, RATES, SEEDS)
def test_a_line_with_words_keeps_one(line: str, rate: float, seed: int) -> None:
    changed = noisy(line, rate, random.Random(seed))
    assert bool(changed.split()) == bool(line.split())
    assert line.split() or changed == line
    assert "\n" not in changed


@given(LINES, SEEDS)
def test_without_a_rate_nothing_changes(line: str, seed: int) -> None:
    assert noisy(line, 0, random.Random(seed)) == line


@given(LINES, RATES, SEEDS)
def test_the_same_seed_gives_the_same(line: str, rate: float, seed: int) -> None:
    assert noisy(line, rate, random.Random(seed)) == noisy(line, rate, random.Random(seed))
    assert noisy_pairs([line, line], rate, seed) == noisy_pairs([line, line], rate, seed)


@given(st.lists(LINES, max_size=5), RATES, SEEDS)
def test_pairs_are_noisy_and_clean(lines: list[str], rate: float, seed: int) -> None:
    """And equal lines have equal mistakes, wherever they stand."""
    pairs = noisy_pairs(iter(lines), rate, seed)
    assert [line for _, line in pairs] == lines
    assert noisy_pairs(lines[::-1], rate, seed) == pairs[::-1]
    assert pairs == [(noisy(line, rate, random.Random(f"{seed} {line}")), line) for line in lines]


@given(st.lists(st.sampled_from(["12", "--", "x", "Ah", "été", "日本", "it's"]), min_size=1, max_size=12), SEEDS)
def test_at_rate_one_hardly_a_word_stands_where_it_stood(words: list[str], seed: int) -> None:
    """One mistake a word: with one word, what comes out is never what went in."""
    for word in words:
        assert noisy(word, 1, random.Random(seed)) != word
    changed = noisy(" ".join(words), 1, random.Random(seed))
    assert len(changed.split()) <= 2 * len(words)


BLANKS = st.text("\t\u3000", min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), BLANKS), min_size=1), SEEDS)
def test_blanks_stay(pairs: list[tuple[str, str]], seed: int) -> None:
    """Each missing word takes one stretch of blanks along, each doubled one brings a blank, and that is all."""
    line = "\t" + "".join(word + blanks for word, blanks in pairs)
    changed = noisy(line, 0.5, random.Random(seed))
    before, after = re.findall(r"[\t\u3000]+", line), re.findall(r"[\t\u3000]+", changed)
    missing, doubled = len(before) - len(after), changed.count(" ")
    assert len(changed.split()) == len(pairs) - missing + doubled
    rest = iter(before)
    assert all(any(blanks == other for other in rest) for blanks in after), "those that stay are in order"
    assert (after[0], after[-1]) == (before[0], before[-1])


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_shares(rate: float) -> None:
    words = [words_apart(number) for number in range(MANY)]
    places = {word: place for place, word in enumerate(words)}
    after = noisy(" ".join(words), rate, random.Random(8)).split()
    counts = Counter(after)
    doubled = sum(counts[word] == 2 for word in words)
    misspelt = sum(word not in places for word in after)
    missing = sum(word not in counts for word in words) - misspelt
    order = [places[word] for word in after if word in places]
    swaps = sum(later < earlier for earlier, later in pairwise(order))
    mistakes = doubled + misspelt + missing + swaps
    for found, share in ((doubled, DOUBLED), (misspelt, MISSPELT), (missing, MISSING), (swaps, SWAPPED)):
        assert found / mistakes == pytest.approx(share, abs=0.025)
    assert (mistakes + swaps) / MANY == pytest.approx(rate, abs=0.01)
    assert sum((MISSING, DOUBLED, SWAPPED, MISSPELT)) == pytest.approx(1)


def kind_of_misspelling(word: str, wrong: str) -> str:
    """What happened to one letter, or two, of a word."""
    if len(wrong) == len(word) - 1:
        assert any(word[:place] + word[place + 1 :] == wrong for place in range(len(word)))
        return "left out"
    if len(wrong) == len(word) + 1:
        assert any(word[: place + 1] + word[place:] == wrong for place in range(len(word)))
        return "doubled"
    different = [place for place in range(len(word)) if word[place] != wrong[place]]
    if len(different) == 1:
        return "replaced"
    first, second = different
    assert second == first + 1
    assert (word[first], word[second]) == (wrong[second], wrong[first])
    return "swapped"


@pytest.mark.parametrize("word", ["abcdefg", "Straße", "день", "Zoë-Anne", "a1b2cd"])
def test_misspellings_are_of_four_kinds_alike(word: str) -> None:
    kinds = Counter[str]()
    for wrong in (noisy(word, 1, random.Random(seed)) for seed in range(6000)):
        if " " not in wrong:
            kinds[kind_of_misspelling(word, wrong)] += 1
    total = sum(kinds.values())
    assert total > 4000
    assert set(kinds) == {"left out", "doubled", "replaced", "swapped"}
    assert all(count / total == pytest.approx(0.25, abs=0.03) for count in kinds.values())


def test_a_letter_is_replaced_by_one_that_could_stand_there() -> None:
    for seed in range(300):
        wrong = noisy("HELP", 1, random.Random(seed))
        assert re.fullmatch("[A-Z ]+", wrong)
        assert not set(noisy("день", 1, random.Random(seed))) - set("день ")
        assert re.sub(r"\D", "", noisy("a12b", 1, random.Random(seed))) in {"12", "1212"}


def test_what_has_no_letters_is_not_misspelt() -> None:
    for seed in range(200):
        assert set(noisy("12 , 34", 1, random.Random(seed)).split()) <= {"12", ",", "34"}
        assert noisy("12", 1, random.Random(seed)) == "12 12"


def test_two_equal_words_do_not_change_places() -> None:
    """Missing and doubled words change the blanks; nothing else may happen to them."""
    assert "12  12" not in {noisy("12  12", 1, random.Random(seed)) for seed in range(300)}


def test_a_word_of_one_letter_stays_a_word() -> None:
    assert all(noisy("x", 1, random.Random(seed)).split() for seed in range(300))


def test_what_is_missing_at_the_beginning_leaves_the_indentation() -> None:
    found = {noisy(" 1  2\t3", 1, random.Random(seed)) for seed in range(2000)}
    assert " 3 3" in found
    assert not any(line.startswith(("  ", " \t")) for line in found)


def test_swapped_words_leave_blanks_where_they_are() -> None:
    found = {noisy("12  34\t, ", 0.5, random.Random(seed)) for seed in range(400)}
    assert {"34  12\t, ", "12  ,\t34 ", "34\t, ", "12\t, ", "12  34 ", "12 12  34\t, "} <= found


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_share(rate: float) -> None:
    with pytest.raises(UsageError, match=r"^rate .* is not a share of the words: give a number from 0 to 1$"):
        noisy("a b", rate, random.Random(0))
    with pytest.raises(UsageError, match="is not a share"):
        noisy_pairs([], rate, 0)
