"""Mistakes as people make them in writing: what the task "correct" learns to undo.

Words are what stands between blanks. Of the words that are touched, `MISSING` are left out, `DOUBLED` written twice,
`SWAPPED` change places with the next word, and the others, `MISSPELT`, have one mistake in their letters, of four kinds
alike: a letter left out, one written twice, one replaced by another, two neighbours swapped. What is impossible (no
next word, no two different letters) gives way to what is possible, in proportion.
"""

import random
import re
from collections.abc import Callable, Iterable
from itertools import pairwise

from unrolled.errors import UsageError

MISSING, DOUBLED, SWAPPED, MISSPELT = 0.2, 0.1, 0.2, 0.5
"""Shares of the mistakes; a swap counts once, though it touches two words."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_BLANKS = re.compile(r"(\s+)")


def noisy(line: str, rate: float, generator: random.Random) -> str:
    """A copy of a line with mistakes.

    A word that is missing takes the blanks before it along (at the beginning those behind it), a doubled one gets a
    blank between; all other blanks stay. A line that has words keeps at least one.

    Args:
        line: as it should be.
        rate: share of the words that are touched, on the average over many lines, from 0 to 1.
        generator: decides; as much is drawn from it as the line needs.

    Raises:
        UsageError: the rate is not a share.
    """
    _check(rate)
    return _noisy(line, rate, generator)


def noisy_pairs(lines: Iterable[str], rate: float, seed: int) -> list[tuple[str, str]]:
    """Each line with mistakes and as it was; the same pair for the same line, rate and seed, wherever it stands.

    Raises:
        UsageError: the rate is not a share.
    """
    _check(rate)
    return [(_noisy(line, rate, random.Random(f"{seed} {line}")), line) for line in lines]


def _check(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise UsageError(f"rate {rate} is not a share of the words: give a number from 0 to 1")


def _noisy(line: str, rate: float, generator: random.Random) -> str:
    """`noisy`, with the words handled from left to right."""
    pieces = _BLANKS.split(line)  # words at even places, perhaps an empty one at either end
    places = [place for place in range(0, len(pieces), 2) if pieces[place]]
    # Where a mistake begins with probability p and a swap takes two words, (1 + s) p of 1 + s p words are touched.
    begins = rate / (1 + SWAPPED * (1 - rate))
    kept, number = 0, 0
    while number < len(places):
        place, is_last = places[number], number == len(places) - 1
        number += 1
        if generator.random() >= begins:
            kept += 1
            continue
        word, following = pieces[place], "" if is_last else pieces[places[number]]
        mistake = _draw(
            generator,
            (MISSING, "missing", kept > 0 or not is_last),
            (DOUBLED, "doubled", True),
            (SWAPPED, "swapped", following not in {"", word}),
            (MISSPELT, "misspelt", bool(_misspellings(word))),
        )
        if mistake == "missing":
            _leave_out(pieces, place, is_first=kept == 0)
            continue
        kept += 1
        if mistake == "doubled":
            pieces[place] = f"{word} {word}"
        elif mistake == "misspelt":
            pieces[place] = generator.choice(_misspellings(word))(word, generator)
        else:
            pieces[place], pieces[places[number]] = following, word
            kept, number = kept + 1, number + 1
    return "".join(pieces)


def _draw(generator: random.Random, *kinds: tuple[float, str, bool]) -> str:
    """One of the kinds that are possible, each with its share."""
    possible = [(share, name) for share, name, is_possible in kinds if is_possible]
    rest = generator.random() * sum(share for share, _ in possible)
    for share, name in possible:
        rest -= share
        if rest < 0:
            return name
    return possible[-1][1]  # where rounding has left a grain


def _leave_out(pieces: list[str], place: int, *, is_first: bool) -> None:
    """Remove a word with the blanks on one side of it."""
    pieces[place] = ""
    if not is_first:
        pieces[place - 1] = ""
    elif place + 1 < len(pieces):
        pieces[place + 1] = ""


Misspelling = Callable[[str, random.Random], str]


def _misspellings(word: str) -> list[Misspelling]:
    """What can be misspelt in a word so that it is another one, and not an empty one."""
    letters = sum(letter.isalpha() for letter in word)
    if not letters:
        return []
    found: list[Misspelling] = [_double_letter, _replace_letter]
    if len(word) > 1:
        found.append(_drop_letter)
    if _places_to_swap(word):
        found.append(_swap_letters)
    return found


def _places_of_letters(word: str) -> list[int]:
    return [place for place, letter in enumerate(word) if letter.isalpha()]


def _places_to_swap(word: str) -> list[int]:
    """Where a letter stands before another one."""
    pairs = enumerate(pairwise(word))
    return [place for place, (one, next_one) in pairs if one != next_one and one.isalpha() and next_one.isalpha()]


def _drop_letter(word: str, generator: random.Random) -> str:
    place = generator.choice(_places_of_letters(word))
    return word[:place] + word[place + 1 :]


def _double_letter(word: str, generator: random.Random) -> str:
    place = generator.choice(_places_of_letters(word))
    return word[: place + 1] + word[place:]


def _replace_letter(word: str, generator: random.Random) -> str:
    """Another letter from a to z, capital where the old one was; for letters of other kinds one of the word's own."""
    place = generator.choice(_places_of_letters(word))
    letter = word[place]
    own = dict.fromkeys(character for character in word if character.isalpha() and not character.isascii())
    letters = _ALPHABET if letter.isascii() or len(own) < 2 else "".join(own)
    if letter.isascii() and letter.isupper():
        letters = letters.upper()
    return word[:place] + generator.choice([other for other in letters if other != letter]) + word[place + 1 :]


def _swap_letters(word: str, generator: random.Random) -> str:
    place = generator.choice(_places_to_swap(word))
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
