"""Dates as people write them in English, and the same days as ISO 8601 writes them.

Only what can be read in one way is written: figures alone ("25/03/1999", "03/25/1999") stand only where the day cannot
be taken for the month, or is the same number. A weekday is always the right one, so that it tells nothing new.
"""

import random
from dataclasses import dataclass
from datetime import date
from functools import cache

from unrolled.text.made.drawing import draw_different

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)

FORMS = (
    "{month} {day}, {year}",
    "{month} {nth}, {year}",
    "{month} the {nth}, {year}",
    "{month} the {ordinal}, {year}",
    "{day} {month} {year}",
    "{nth} of {month} {year}",
    "the {nth} of {month}, {year}",
    "the {ordinal} of {month} {year}",
    "{year}, {month} {day}",
    "{mon} {day}, {year}",
    "{mon} {nth} {year}",
    "{day} {mon} {year}",
    "{nth} of {mon} {year}",
    "{day:02}-{mon}-{year}",
    "{year} {mon} {day:02}",
    "{weekday} {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{weekday} the {nth} of {month} {year}",
    "{weekday}, {nth} {mon} {year}",
    "{week}, {day:02} {mon} {year}",
    "{week} {mon} {day} {year}",
)
"""With the month in letters."""
FORMS_IN_FIGURES = (
    "{day:02}.{number:02}.{year}",
    "{day}/{number}/{year}",
    "{number:02}/{day:02}/{year}",
    "{number}-{day}-{year}",
)
"""With the month as a number, before the day or behind it."""

_TO_NINETEENTH = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
)  # fmt: skip


@dataclass(frozen=True)
class DateLine:
    """A date as somebody wrote it, and the day that is meant."""

    source: str
    date: date

    @property
    def target(self) -> str:
        """As ISO 8601 writes it: 1999-03-03."""
        return self.date.isoformat()


def made_dates(count: int = 8000, seed: int = 1) -> list[DateLine]:
    """Dates of two centuries; no source occurs twice, not even in other capitals.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda line: line.source.lower(), count=count, seed=seed)


@cache
def dates_text() -> str:
    """A date, a tab and its ISO form a line."""
    return "".join(f"{line.source}\t{line.target}\n" for line in made_dates())


def _draw(generator: random.Random) -> DateLine:
    day = date.fromordinal(FIRST_DAY.toordinal() + generator.randrange((LAST_DAY - FIRST_DAY).days + 1))
    is_clear_in_figures = day.day > len(MONTHS) or day.day == day.month
    form = generator.choice(FORMS + FORMS_IN_FIGURES if is_clear_in_figures else FORMS)
    capitals = generator.choice((str, str, str.lower, str.upper))
    return DateLine(capitals(form.format_map(_parts(day))), day)


def _parts(day: date) -> dict[str, str | int]:
    """What a form may be put together from."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    return {
        "day": day.day,
        "nth": f"{day.day}{_ending(day.day)}",
        "ordinal": _ordinal(day.day),
        "number": day.month,
        "month": month,
        "mon": month[:3],
        "weekday": weekday,
        "week": weekday[:3],
        "year": day.year,
    }


def _ending(day: int) -> str:
    if day in {11, 12, 13}:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _ordinal(day: int) -> str:
    tens, ones = divmod(day, 10)
    if day <= len(_TO_NINETEENTH):
        return _TO_NINETEENTH[day - 1]
    whole, begun = {2: ("twentieth", "twenty"), 3: ("thirtieth", "thirty")}[tens]
    return f"{begun}-{_TO_NINETEENTH[ones - 1]}" if ones else whole
