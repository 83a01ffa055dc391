import re
from collections import Counter
from datetime import date

from unrolled.text.made.dates import dates_text, made_dates

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth", "twenty-sixth",
    "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip


def read_date(text: str) -> date:
    """What a person reads in a date; refuses what can be read in two ways, or contradicts itself."""
    words = re.findall(r"[a-z]+-[a-z]+|[a-z]+|\d+(?:st|nd|rd|th)?", text.lower().replace("-", " - ", 0))
    years = [int(word) for word in words if re.fullmatch(r"\d{4}", word)]
    months = [MONTHS.index(word[:3]) + 1 for word in words if word[:3] in MONTHS]
    figures = [int(word) for word in words if re.fullmatch(r"\d{1,2}", word)]
    days = [int(word[:-2]) for word in words if re.fullmatch(r"\d{1,2}[a-z]+", word)]
    days += [ORDINALS.index(word) + 1 for word in words if word in ORDINALS]
    if not months:
        low, high = sorted(figures)
        assert low <= 12, text
        assert high > 12 or low == high, f"{text}: day or month?"
        months, figures = [low], [high]
    (year,), (month,), (day,) = years, months, days + figures
    found = date(year, month, day)
    for word in words:
        if word[:3] in WEEKDAYS and word not in ORDINALS:
            assert WEEKDAYS[found.weekday()] == word[:3], text
        if nth := re.fullmatch(r"(\d+)(st|nd|rd|th)", word):
            last, teens = int(nth[1]) % 10, int(nth[1]) // 10 == 1
            assert nth[2] == ("th" if teens or not 1 <= last <= 3 else ("st", "nd", "rd")[last - 1]), text
    return found


def test_every_date_is_the_one_that_is_written() -> None:
    for line in dates_text().splitlines():
        source, target = line.split("\t")
        assert read_date(source).isoformat() == target


def test_items_say_the_day_that_is_meant() -> None:
    lines = made_dates(3000, seed=9)
    assert all(line.date == read_date(line.source) and line.target == line.date.isoformat() for line in lines)
    assert len({line.source.lower() for line in lines}) == 3000


def test_forms_are_many() -> None:
    """Letters for words and figures for numbers leave the form; each occurs often."""
    names = re.compile(r"(?:" + "|".join([*MONTHS, *WEEKDAYS]) + r")[a-z]*")
    forms = Counter(
        re.sub(r"\d+", "9", names.sub("x", re.sub("|".join(sorted(ORDINALS, key=len, reverse=True)), "nth", source)))
        for source in (line.source.lower() for line in made_dates())
    )
    common = {form for form, count in forms.items() if count >= 50}
    assert len(common) >= 20
    assert {"x 9, 9", "9/9/9", "9.9.9", "9-9-9", "the nth of x 9", "x 9 x 9"} <= common


def test_days_cover_two_centuries() -> None:
    days = [line.date for line in made_dates()]
    assert {day.year for day in days} == set(range(1900, 2100))
    assert {day.day for day in days} == set(range(1, 32))
    assert any((day.month, day.day) == (2, 29) for day in days)
