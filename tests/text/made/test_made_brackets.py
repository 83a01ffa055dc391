from collections import Counter

from unrolled.text.made.brackets import DEEPEST, MOST_PAIRS, brackets_text, made_brackets

CLOSING = {")": "(", "]": "[", "}": "{"}


def partners_of(tokens: list[str]) -> list[int] | None:
    """Which bracket belongs to which, or nothing where they are not well nested."""
    partners, stack = [0] * len(tokens), list[int]()
    for place, token in enumerate(tokens):
        if token not in CLOSING:
            stack.append(place)
            continue
        if not stack or tokens[stack[-1]] != CLOSING[token]:
            return None
        partners[place] = stack.pop()
        partners[partners[place]] = place
    return None if stack else partners


def test_every_line_is_well_nested() -> None:
    lines = made_brackets()
    assert [line.text for line in lines] == brackets_text().splitlines()
    for line in lines:
        assert list(line.partners) == partners_of(line.text.split(" "))


def test_a_missing_bracket_is_determined() -> None:
    for line in made_brackets()[:400]:
        tokens = list(line.tokens)
        for place, token in enumerate(tokens):
            fits = [
                other for other in "()[]{}" if partners_of([*tokens[:place], other, *tokens[place + 1 :]]) is not None
            ]
            assert fits == [token]


def test_one_side_is_not_enough() -> None:
    """After the same beginning, other brackets follow in other lines, mostly."""
    following: dict[tuple[str, ...], set[str]] = {}
    lines = made_brackets()
    for line in lines:
        for place, token in enumerate(line.tokens[:6]):
            following.setdefault(line.tokens[:place], set()).add(token)
    assert sum(len(tokens) > 1 for tokens in following.values()) > 0.5 * len(following)


def test_depths_and_lengths_are_bounded_and_mixed() -> None:
    depths, lengths = Counter[int](), Counter[int]()
    for line in made_brackets():
        depth = deepest = 0
        for token in line.tokens:
            depth += -1 if token in CLOSING else 1
            deepest = max(deepest, depth)
        depths[deepest] += 1
        lengths[len(line.tokens)] += 1
    assert set(depths) == set(range(1, DEEPEST + 1))
    assert set(lengths) == set(range(2, 2 * MOST_PAIRS + 1, 2))
    assert (lengths[2], lengths[4]) == (3, 18)
    assert max(lengths.values()) < 500
