import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.text.made.numbers import NumberLine, made_numbers, made_words, number_in_words, numbers_text, words_text

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip


def read_words(words: str) -> int:
    """The number, read from left to right: units add up, "hundred" and "thousand" multiply what stands before them."""
    total = current = 0
    for word in re.split(r"[ -]", words):
        if word == "thousand":
            total, current = total + 1000 * current, 0
        elif word == "hundred":
            current *= 100
        elif word != "and":
            current += TENS[word] if word in TENS else SMALL.index(word)
    return total + current


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (21, "twenty-one"),
        (100, "one hundred"),
        (101, "one hundred and one"),
        (1004, "one thousand and four"),
        (1204, "one thousand two hundred and four"),
        (10_400, "ten thousand four hundred"),
        (204_017, "two hundred and four thousand and seventeen"),
        (300_000, "three hundred thousand"),
        (999_999, "nine hundred and ninety-nine thousand nine hundred and ninety-nine"),
    ],
)
def test_words_as_the_grammar_book_has_them(number: int, words: str) -> None:
    assert number_in_words(number) == words


def test_american_words_without_hyphen() -> None:
    assert number_in_words(204_317, has_and=False, hyphen=" ") == "two hundred four thousand three hundred seventeen"
    assert number_in_words(1021, has_and=False, hyphen=" ") == "one thousand twenty one"


@given(st.integers(0, 999_999), st.booleans(), st.sampled_from("- "))
def test_words_are_read_back(number: int, has_and: bool, hyphen: str) -> None:
    assert read_words(number_in_words(number, has_and=has_and, hyphen=hyphen)) == number


def test_every_number_has_its_words() -> None:
    for line in numbers_text().splitlines():
        source, target = line.split("\t")
        assert re.fullmatch(r"\d{1,3}(,\d{3})?|\d{4,6}", source)
        assert read_words(target) == int(source.replace(",", ""))
        assert re.search(r"\d", target) is None
        assert re.search(r"hundred (?!thousand|and )", target) is None
        _, _, rest = target.partition("thousand ")
        assert not rest or rest.startswith("and ") == ("hundred" not in rest)


def test_every_words_have_their_number() -> None:
    lines = [line.split("\t") for line in words_text().splitlines()]
    assert all(target == str(read_words(source)) for source, target in lines)
    compound = [source for source, _ in lines if re.search("ty[ -](one|two|three)", source)]
    assert 0.4 < sum("-" in source for source in compound) / len(compound) < 0.6


@pytest.mark.parametrize("make", [made_numbers, made_words])
def test_lengths_are_mixed_and_no_number_occurs_twice(make: Callable[[], list[NumberLine]]) -> None:
    lines = make()
    lengths = Counter(len(str(line.number)) for line in lines)
    assert lengths[1] == 10
    assert lengths[2] == 90
    assert lengths[3] > 750
    assert all(1800 < lengths[length] < 2800 for length in (4, 5, 6))
    assert len({line.number for line in lines}) == len(lines)
    assert sum("0" in str(line.number)[1:] for line in lines) > 0.5 * len(lines)


def test_half_of_the_long_numbers_have_a_comma() -> None:
    long = [line.source for line in made_numbers() if line.number >= 1000]
    assert 0.45 < sum("," in source for source in long) / len(long) < 0.55
