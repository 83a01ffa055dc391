"""Sentences with labels of dates, times, amounts of money, names after titles, and places after "in", "to" or "from".

A label begins with B- at the first token of a stretch and with I- at the others; O is all the rest. Many tokens say
nothing alone: "May" is a month, a name, or asks for leave ("May 5 of us come ?"); "5" belongs to a time, a date, an
amount, or to none of them; "pounds" are money unless something weighs them; "Washington" is a place after "in", "to" or
"from" and a name after "Dr.".
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.dates import MONTHS, WEEKDAYS
from unrolled.text.made.drawing import draw_different

KINDS = ("DATE", "TIME", "MONEY", "PERSON", "PLACE")
OUTSIDE = "O"
TITLES = ("Mr.", "Mrs.", "Ms.", "Dr.", "Professor")
FIRST_NAMES = ("Anna", "Peter", "April", "August", "Paris", "Jordan", "Will", "Grace")
LAST_NAMES = ("May", "March", "Washington", "Lincoln", "London", "Stone", "Miller", "Park", "Smith", "Monday")
PLACES = (
    "Paris", "London", "Washington", "Lincoln", "Jordan", "Berlin", "Lisbon", "New York", "San Marino", "Cape Town",
)  # fmt: skip
CURRENCIES = ("dollars", "euros", "pounds", "cents")
SIGNS = ("$", "€", "£")

_GOODS = ("books", "boxes", "chairs", "lamps", "apples", "tickets")

TEMPLATES = (
    "{person} paid {money} for {count} {goods} in {place} .",
    "{person} bought {count} {goods} at {time} for {money} .",
    "On {date} {person} met {person} in {place} .",
    "The meeting with {person} begins at {time} on {date} .",
    "May I pay {money} at {time} ?",
    "May {count} of us come to {place} on {date} ?",
    "Will {person} be in {place} in {month} ?",
    "Will you sell {count} {goods} for {money} in {month} ?",
    "{person} may leave from {place} at {time} .",
    "March to {place} at {time} with {count} others !",
    "They will march from {place} to {place} in {month} .",
    "In {month} {person} moved from {place} to {place} .",
    "In {place} {person} waited until {time} for {count} {goods} .",
    "This box weighs {count} pounds and costs {money} .",
    "{person} , who weighs {count} pounds , paid {money} .",
    "It was {count} degrees in {place} at {time} .",
    "Room {count} costs {money} from {date} to {date} .",
    "Bus {count} leaves at {time} and costs {money} .",
    "On {date} at {time} {count} {goods} came from {place} .",
    "{person} owes {person} {money} since {date} .",
)
"""In braces what is drawn; all else is O. What decides a stretch's kind stands in it or beside it."""


@dataclass(frozen=True)
class Span:
    """A stretch of tokens, from `start` to before `end`, that is a `kind`."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class TaggedSentence:
    """Tokens, and the stretches among them that have a kind, in order."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A label a token."""
        labels = [OUTSIDE] * len(self.tokens)
        for span in self.spans:
            labels[span.start : span.end] = [f"B-{span.kind}"] + [f"I-{span.kind}"] * (span.end - span.start - 1)
        return tuple(labels)

    @property
    def text(self) -> str:
        """A token, a tab and its label a line."""
        return "".join(f"{token}\t{label}\n" for token, label in zip(self.tokens, self.labels, strict=True))


def made_patterns(count: int = 1500, seed: int = 1) -> list[TaggedSentence]:
    """Different sentences, of all templates alike.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda sentence: sentence.text, count=count, seed=seed)


@cache
def patterns_text() -> str:
    """A token and its label a line, a blank line between two sentences."""
    return "\n".join(sentence.text for sentence in made_patterns())


def _draw(generator: random.Random) -> TaggedSentence:
    tokens: list[str] = []
    spans = []
    for word in generator.choice(TEMPLATES).split():
        if word[0] != "{":
            tokens.append(word)
            continue
        before, words, kind = _DRAWN[word[1:-1]](generator)
        tokens += before.split()
        start = len(tokens)
        tokens += words.split()
        if kind != OUTSIDE:
            spans.append(Span(start, len(tokens), kind))
    return TaggedSentence(tuple(tokens), tuple(spans))


Drawn = tuple[str, str, str]
"""Words that stand before the stretch, those of the stretch, and its kind."""


def _person(generator: random.Random) -> Drawn:
    first = generator.choice(("", f"{generator.choice(FIRST_NAMES)} "))
    return generator.choice(TITLES), first + generator.choice(LAST_NAMES), "PERSON"


def _place(generator: random.Random) -> Drawn:
    return "", generator.choice(PLACES), "PLACE"


def _year(generator: random.Random) -> int:
    return 1980 + generator.randrange(60)


def _month(generator: random.Random) -> Drawn:
    month = generator.choice((*MONTHS, "May", "March", "April", "August"))
    return "", generator.choice((month, month, f"{month} {_year(generator)}", str(_year(generator)))), "DATE"


def _date(generator: random.Random) -> Drawn:
    day, month, year = 1 + generator.randrange(28), generator.choice(MONTHS), _year(generator)
    written = (f"{day} {month}", f"{day} {month} {year}", f"{month} {day}", f"{month} {day} , {year}")
    return "", generator.choice((*written, generator.choice(WEEKDAYS))), "DATE"


def _time(generator: random.Random) -> Drawn:
    hour, minute = 1 + generator.randrange(12), generator.randrange(60)
    clock = (f"{hour} o'clock", f"{hour} a.m.", f"{hour} p.m.", f"half past {hour}", f"{hour}:{minute:02}", "noon")
    return "", generator.choice(clock), "TIME"


def _money(generator: random.Random) -> Drawn:
    number = str(2 + generator.randrange(39))
    amount = generator.choice((number, number, f"{number}.{generator.randrange(100):02}"))
    return (
        "",
        generator.choice((f"{generator.choice(SIGNS)} {amount}", f"{amount} {generator.choice(CURRENCIES)}")),
        "MONEY",
    )


def _count(generator: random.Random) -> Drawn:
    return "", str(2 + generator.randrange(39)), OUTSIDE


def _goods(generator: random.Random) -> Drawn:
    return "", generator.choice(_GOODS), OUTSIDE


_DRAWN: dict[str, Callable[[random.Random], Drawn]] = {
    "person": _person,
    "place": _place,
    "month": _month,
    "date": _date,
    "time": _time,
    "money": _money,
    "count": _count,
    "goods": _goods,
}
