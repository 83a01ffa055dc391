"""Short reviews and what they say: good, bad, or neither.

An answer follows from rules that leave no doubt. A word of praise or blame decides; "not", "never", "anything but" and
"far from" turn it round, "really" and "truly" do not. What may mean either, as "not bad" and "not brilliant" without
"at all", does not occur. Where two opinions disagree, the one about the whole decides: the one with "overall", or the
one that "i expected" does not belong to. What is only asked, or is what a story is about, is no opinion, so that these
words occur in neutral texts too.
"""

import csv
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.drawing import draw_different

LABELS = ("positive", "negative", "neutral")
PRAISE = ("good", "great", "wonderful", "excellent", "brilliant", "delightful", "superb", "lovely")
BLAME = ("bad", "terrible", "horrible", "awful", "unpleasant", "dreadful", "disappointing", "atrocious")
_WEAK_PRAISE = ("good", "great")
"""Nobody calls "not good" what is well enough; with the stronger words "not" alone might be only that."""
_WEAK_BLAME = ("bad", "disappointing")
"""What "not ... at all" makes praise."""

_TOPICS = (
    ("film", ("film", "plot", "music", "ending", "dialogue")),
    ("hotel", ("hotel", "room", "breakfast", "view", "garden")),
    ("restaurant", ("restaurant", "food", "service", "menu", "wine")),
    ("concert", ("concert", "singer", "orchestra", "sound", "hall")),
)
_STORIES = ("film", "book", "play", "song", "story")
_HEROES = ("doctor", "queen", "teacher", "sailor", "winter", "war", "journey", "summer")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LEADS = ("", "", "", "to be honest, ", "for me, ", "i think ", "we all agreed that ")


@dataclass(frozen=True)
class Opinion:
    """A word of praise or blame in a text; turned round where `is_negated`; one of a text `decides`."""

    word: str
    is_negated: bool
    decides: bool


@dataclass(frozen=True)
class SentimentLine:
    """A review, its label, and the opinions that it utters, in order; a neutral one utters none."""

    text: str
    label: str
    opinions: tuple[Opinion, ...]


def made_sentiment(count: int = 3000, seed: int = 1) -> list[SentimentLine]:
    """Different texts, about as many of each label.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda line: line.text, count=count, seed=seed)


@cache
def sentiment_text() -> str:
    """CSV with the header "text,label"."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("text", "label"))
    writer.writerows((line.text, line.label) for line in made_sentiment())
    return table.getvalue()


def _draw(generator: random.Random) -> SentimentLine:
    label = generator.choice(LABELS)
    if label == "neutral":
        return SentimentLine(generator.choice(_NEUTRAL)(generator), label, ())
    text, opinions = generator.choice(_OPINIONATED)(generator, label == "positive")
    return SentimentLine(text, label, opinions)


def _judged(generator: random.Random, is_praise: bool, *, decides: bool = True) -> tuple[str, Opinion]:
    """Words behind "is" or "was" that praise or blame."""
    how = generator.choice(("", "", "really ", "truly "))
    if generator.random() < 0.5:
        word = generator.choice(PRAISE if is_praise else BLAME)
        return how + word, Opinion(word, False, decides)
    word = generator.choice(BLAME if is_praise else PRAISE)
    turned = [f"anything but {word}", f"far from {word}"]
    if not is_praise:
        turned.append(f"never {how}{word}")
    if word in _WEAK_PRAISE:
        turned.append(f"not {how}{word}")
    if word in PRAISE + _WEAK_BLAME:
        turned += [f"not {word} at all", f"not at all {word}"]
    return generator.choice(turned), Opinion(word, True, decides)


def _plain(generator: random.Random, is_praise: bool) -> tuple[str, tuple[Opinion, ...]]:
    _, parts = generator.choice(_TOPICS)
    words, opinion = _judged(generator, is_praise)
    return f"{generator.choice(_LEADS)}the {generator.choice(parts)} was {words}.", (opinion,)


def _agreeing(generator: random.Random, is_praise: bool) -> tuple[str, tuple[Opinion, ...]]:
    """Two opinions, one way; the second is as good as the first."""
    _, parts = generator.choice(_TOPICS)
    (words, first), (others, second) = _judged(generator, is_praise, decides=False), _judged(generator, is_praise)
    joint = generator.choice((" and", ", and", ", and in the end"))
    return f"the {parts[1]} was {words}{joint} the {generator.choice(parts[2:])} was {others}.", (first, second)


def _contrast(generator: random.Random, is_praise: bool) -> tuple[str, tuple[Opinion, ...]]:
    """Two opinions against each other; the one about the whole decides."""
    whole, parts = generator.choice(_TOPICS)
    words, opinion = _judged(generator, is_praise)
    others, other = _judged(generator, not is_praise, decides=False)
    part = generator.choice(parts[1:])
    if generator.random() < 0.5:
        return f"the {part} was {others}, but overall the {whole} was {words}.", (other, opinion)
    if generator.random() < 0.5:
        return f"overall the {whole} was {words}, although the {part} was {others}.", (opinion, other)
    return f"although the {part} was {others}, the {whole} was {words} overall.", (other, opinion)


def _despite(generator: random.Random, is_praise: bool) -> tuple[str, tuple[Opinion, ...]]:
    whole, parts = generator.choice(_TOPICS)
    words, opinion = _judged(generator, is_praise)
    other = Opinion(generator.choice(BLAME if is_praise else PRAISE), False, decides=False)
    part = generator.choice(parts[1:])
    if generator.random() < 0.5:
        return f"despite the {other.word} {part}, the {whole} was {words} overall.", (other, opinion)
    return f"overall the {whole} was {words}, despite the {other.word} {part}.", (opinion, other)


def _expected(generator: random.Random, is_praise: bool) -> tuple[str, tuple[Opinion, ...]]:
    whole, _ = generator.choice(_TOPICS)
    words, opinion = _judged(generator, is_praise)
    other = Opinion(generator.choice(BLAME if is_praise else PRAISE), False, decides=False)
    who = generator.choice(("i", "we", "my friends"))
    article = "an" if other.word[0] in "aeiou" else "a"
    return f"{who} expected {article} {other.word} {whole}, but it was {words}.", (other, opinion)


def _asked(generator: random.Random) -> str:
    _, parts = generator.choice(_TOPICS)
    who = generator.choice(("my sister", "my brother", "a friend", "our guide", "somebody"))
    asks = generator.choice(("asked me whether", "wants to know whether", "is going to find out whether"))
    return f"{who} {asks} the {generator.choice(parts)} is {generator.choice(PRAISE + BLAME)}."


def _story(generator: random.Random) -> str:
    one, other = generator.choice(PRAISE + BLAME), generator.choice(PRAISE + BLAME)
    heroes = f"the {one} {generator.choice(_HEROES)} and the {other} {generator.choice(_HEROES)}"
    return f"the {generator.choice(_STORIES)} {generator.choice(('is about', 'tells of'))} {heroes}."


def _fact(generator: random.Random) -> str:
    whole, parts = generator.choice(_TOPICS)
    number, day = 2 + generator.randrange(58), generator.choice(_DAYS)
    return generator.choice((
        f"the {whole} opened on a {day}, {number} years ago.",
        f"we went to the {whole} on {day}, with {number} others.",
        f"on {day} they changed the {generator.choice(parts[1:])} of the {whole}.",
        f"the next {whole} is {number} minutes away.",
        f"{number} people were at the {whole} on {day}.",
    ))  # fmt: skip


_OPINIONATED: tuple[Callable[[random.Random, bool], tuple[str, tuple[Opinion, ...]]], ...] = (
    _plain,
    _agreeing,
    _contrast,
    _despite,
    _expected,
)
_NEUTRAL: tuple[Callable[[random.Random], str], ...] = (_asked, _story, _fact)
