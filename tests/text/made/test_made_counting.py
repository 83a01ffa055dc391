from collections import Counter
from itertools import pairwise

from unrolled.text.made.counting import counting_text, made_counting

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS = [*UNITS, *(f"{tens}-{unit}".removesuffix("-zero") for tens in TENS for unit in UNITS[:10])]


def test_every_line_counts_by_its_step() -> None:
    lines = made_counting()
    assert [line.text for line in lines] == counting_text().splitlines()
    for line in lines:
        words = line.text.split(" ")
        numbers = [WORDS.index(word) if line.in_words else int(word) for word in words]
        assert numbers[0] == line.start
        assert {after - before for before, after in pairwise(numbers)} == {line.step}
        assert tuple(numbers) == line.numbers
        assert all(word.isdecimal() != line.in_words for word in words)


def test_kinds_are_mixed() -> None:
    lines = made_counting()
    assert set(Counter(line.step for line in lines)) == {1, 2, 3}
    assert min(Counter(line.step for line in lines).values()) > 0.25 * len(lines)
    assert set(Counter(line.length for line in lines)) == set(range(4, 13))
    assert 0.2 < sum(line.in_words for line in lines) / len(lines) < 0.4
    assert max(line.numbers[-1] for line in lines if line.in_words) <= 99
    assert max(line.numbers[-1] for line in lines) > 490
