"""Small data with known answers, made when it is asked for: tests, examples and a first try need no download.

`MADE` says which sources there are. Wherever a corpus is named, so may be one of them: `read_corpus(":dates:")`. Each
is the same text on every machine and with every Python, shuffled, without an item that occurs twice; the modules hand
out the items behind it too, with what each answer follows from, for any seed and in any number that there is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from unrolled.text.made.agreement import agreement_text
from unrolled.text.made.brackets import brackets_text
from unrolled.text.made.counting import counting_text
from unrolled.text.made.dates import dates_text
from unrolled.text.made.numbers import numbers_text, words_text
from unrolled.text.made.patterns import patterns_text
from unrolled.text.made.sentiment import sentiment_text


@dataclass(frozen=True)
class MadeSource:
    """A text that comes with Unrolled.

    Attributes:
        task: what it is for.
        about: what it holds, in a few words.
        text: makes it.
    """

    task: str
    about: str
    text: Callable[[], str]


MADE = {
    ":dates:": MadeSource("translate", "English dates and a tab and the same day as 1999-03-03", dates_text),
    ":numbers:": MadeSource("translate", "numbers up to 999,999 and a tab and their English words", numbers_text),
    ":words:": MadeSource("translate", "English words of numbers and a tab and their digits", words_text),
    ":agreement:": MadeSource("fill", "sentences whose verbs agree with subjects far away", agreement_text),
    ":brackets:": MadeSource("fill", "well-nested brackets of three kinds", brackets_text),
    ":counting:": MadeSource("language", "numbers that count by ones, twos or threes", counting_text),
    ":sentiment:": MadeSource("classify", "CSV of short reviews: positive, negative, neutral", sentiment_text),
    ":patterns:": MadeSource("tag", "tokens with labels of dates, times, money, people, places", patterns_text),
}
"""Every source by its name."""
