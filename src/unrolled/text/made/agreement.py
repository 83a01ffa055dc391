"""Sentences whose verb agrees in number with its subject, whatever stands nearer to it.

"the keys near the cabinet are old today .": the noun beside the verb would mislead. In other sentences the word that
decides stands to the right of the verb ("were the keys near the cabinet old yesterday ?", "there have been three books
under the lamp since monday .", "the sheep near the gates sees itself behind the table ."), so that a reader needs both
sides. The past stands only beside "yesterday" and the like, which tells "is" from "was"; no verb is taken whose past
looks like its present, as that of "put" does.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.drawing import draw_different

Forms = tuple[str, str]
"""Singular and plural."""

THINGS: tuple[Forms, ...] = (
    ("key", "keys"), ("cabinet", "cabinets"), ("book", "books"), ("box", "boxes"), ("letter", "letters"),
    ("lamp", "lamps"), ("cup", "cups"), ("picture", "pictures"), ("chair", "chairs"), ("shelf", "shelves"),
    ("knife", "knives"), ("table", "tables"), ("window", "windows"), ("gate", "gates"),
)  # fmt: skip
PEOPLE: tuple[Forms, ...] = (
    ("boy", "boys"), ("girl", "girls"), ("teacher", "teachers"), ("doctor", "doctors"), ("farmer", "farmers"),
    ("driver", "drivers"), ("singer", "singers"), ("child", "children"), ("woman", "women"), ("man", "men"),
)  # fmt: skip
UNCHANGED = ("sheep", "deer", "fish")
"""Nouns with one form for both numbers."""
SINGULAR_WORDS = ("this", "that", "one", "every", "each")
PLURAL_WORDS = ("these", "those", "two", "three", "many", "several")
REFLEXIVES: Forms = ("itself", "themselves")

_BE, _WAS, _HAVE = ("is", "are"), ("was", "were"), ("has", "have")
_BELONG, _LOOK, _FALL = ("belongs", "belong"), ("looks", "look"), ("falls", "fall")
_SLEEP, _WORK, _WAIT = ("sleeps", "sleep"), ("works", "work"), ("waits", "wait")
_WITH_OBJECT: tuple[Forms, ...] = (("knows", "know"), ("likes", "like"), ("wants", "want"))
_OF_PLACES: tuple[Forms, ...] = (("stands", "stand"), ("lies", "lie"))
_ON_ITSELF: tuple[Forms, ...] = (("sees", "see"), ("hides", "hide"), ("washes", "wash"), ("warms", "warm"))
VERBS: tuple[Forms, ...] = (
    _BE, _WAS, _HAVE, _BELONG, _LOOK, _FALL, _SLEEP, _WORK, _WAIT, *_WITH_OBJECT, *_OF_PLACES, *_ON_ITSELF,
)  # fmt: skip
"""Every verb that agrees; none of their forms is another word of these sentences."""

_BESIDE = ("near", "behind", "beside", "under")
_QUALITIES = ("old", "new", "clean", "dirty", "missing", "here")
_NOW = ("now", "today", "this morning")
_THEN = ("yesterday", "last week", "a year ago")


@dataclass(frozen=True)
class Agreement:
    """One verb and the word that it agrees with.

    Attributes:
        verb: position of the verb among the tokens.
        clue: position of the word that has the number: a noun; where that has one form only, its article or numeral
            or the reflexive pronoun; the "and" between two subjects.
        is_plural: the number.
        forms: the verb in the singular and in the plural.
    """

    verb: int
    clue: int
    is_plural: bool
    forms: Forms


@dataclass(frozen=True)
class AgreementLine:
    """A sentence and all its verbs that agree."""

    tokens: tuple[str, ...]
    agreements: tuple[Agreement, ...]

    @property
    def text(self) -> str:
        """The sentence, with a blank between two tokens."""
        return " ".join(self.tokens)


def made_agreement(count: int = 6000, seed: int = 1) -> list[AgreementLine]:
    """Different sentences, of all patterns alike.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda line: line.text, count=count, seed=seed)


@cache
def agreement_text() -> str:
    """One sentence a line."""
    return "".join(f"{line.text}\n" for line in made_agreement())


def _draw(generator: random.Random) -> AgreementLine:
    return _read(generator.choice(_PATTERNS)(generator))


def _read(marked: str) -> AgreementLine:
    """A sentence from one with marks: *1 stands before a word that decides, =1 before each verb that it decides."""
    tokens: list[str] = []
    clues: dict[str, int] = {}
    verbs: list[tuple[str, int]] = []
    for word in marked.split():
        if word[0] == "*":
            clues[word[1]] = len(tokens)
        elif word[0] == "=":
            verbs.append((word[1], len(tokens)))
        tokens.append(word[2:] if word[0] in "*=" else word)
    agreements = []
    for mark, place in verbs:
        forms = next(forms for forms in VERBS if tokens[place] in forms)
        agreements.append(Agreement(place, clues[mark], tokens[place] == forms[1], forms))
    return AgreementLine(tuple(tokens), tuple(agreements))


def _noun(generator: random.Random, nouns: Sequence[Forms]) -> tuple[str, bool]:
    """A noun, and whether it is in the plural."""
    is_plural = generator.random() < 0.5
    return generator.choice(nouns)[is_plural], is_plural


def _between(generator: random.Random) -> str:
    """Up to two phrases that stand between the subject and its verb, each with a noun of any number."""
    nouns = [_noun(generator, THINGS + PEOPLE)[0] for _ in range(generator.choice((0, 1, 1, 2)))]
    return "".join(f"{generator.choice(_BESIDE)} the {noun} " for noun in nouns)


def _about_thing(generator: random.Random, is_plural: bool) -> str:
    """What a thing does, from the verb on."""
    where = f"{generator.choice(_BESIDE)} the {_noun(generator, THINGS)[0]}"
    what = generator.choice((*_QUALITIES, where))
    return generator.choice((
        f"=1{_BE[is_plural]} {what} {generator.choice(_NOW)}",
        f"=1{_WAS[is_plural]} {what} {generator.choice(_THEN)}",
        f"=1{_HAVE[is_plural]} been {what} since monday",
        f"=1{_BELONG[is_plural]} to the {_noun(generator, PEOPLE)[0]}",
        f"=1{_LOOK[is_plural]} {generator.choice(('old', 'new', 'clean', 'dirty'))}",
        f"=1{_FALL[is_plural]} to the floor",
    ))  # fmt: skip


def _about_person(generator: random.Random, is_plural: bool) -> str:
    """What a person does, from the verb on."""
    whom = _noun(generator, PEOPLE)[0]
    return generator.choice((
        f"=1{_BE[is_plural]} in the garden {generator.choice(_NOW)}",
        f"=1{_WAS[is_plural]} in the garden {generator.choice(_THEN)}",
        f"=1{_HAVE[is_plural]} been here since monday",
        f"=1{_SLEEP[is_plural]} all day",
        f"=1{_WORK[is_plural]} every day",
        f"=1{_WAIT[is_plural]} for the {whom}",
        f"=1{generator.choice(_WITH_OBJECT)[is_plural]} the {whom}",
    ))  # fmt: skip


def _thing_first(generator: random.Random) -> str:
    noun, is_plural = _noun(generator, THINGS)
    return f"the *1{noun} {_between(generator)}{_about_thing(generator, is_plural)} ."


def _person_first(generator: random.Random) -> str:
    noun, is_plural = _noun(generator, PEOPLE)
    return f"the *1{noun} {_between(generator)}{_about_person(generator, is_plural)} ."


def _wanted_thing(generator: random.Random) -> str:
    """A relative clause with a subject of its own between subject and verb."""
    (noun, is_plural), (whose, are_several) = _noun(generator, THINGS), _noun(generator, PEOPLE)
    verb = generator.choice(_WITH_OBJECT)[are_several]
    return f"the *1{noun} that the *2{whose} =2{verb} {_about_thing(generator, is_plural)} ."


def _person_who(generator: random.Random) -> str:
    """Two verbs that agree with one noun, the second beyond the object of the first."""
    noun, is_plural = _noun(generator, PEOPLE)
    verb = generator.choice(_WITH_OBJECT)[is_plural]
    return f"the *1{noun} who =1{verb} the {_noun(generator, PEOPLE)[0]} {_about_person(generator, is_plural)} ."


def _two_subjects(generator: random.Random) -> str:
    people = list(PEOPLE)
    generator.shuffle(people)
    one, other = _noun(generator, people[:1])[0], _noun(generator, people[1:])[0]
    return f"the {one} *1and the {other} {_between(generator)}{_about_person(generator, True)} ."


def _some_of_them(generator: random.Random) -> str:
    is_plural = generator.random() < 0.5
    how_many = generator.choice(("two", "three", "many", "several") if is_plural else ("one", "each"))
    noun = generator.choice(THINGS)[True]
    return f"*1{how_many} of the {noun} {_between(generator)}{_about_thing(generator, is_plural)} ."


def _unchanged_noun(generator: random.Random) -> str:
    is_plural = generator.random() < 0.5
    word = generator.choice(PLURAL_WORDS if is_plural else SINGULAR_WORDS)
    return f"*1{word} {generator.choice(UNCHANGED)} {_between(generator)}{_about_animal(generator, is_plural)} ."


def _about_animal(generator: random.Random, is_plural: bool) -> str:
    """What an animal does, from the verb on."""
    where = f"{generator.choice(_BESIDE)} the {_noun(generator, THINGS)[0]}"
    return generator.choice((
        f"=1{_BE[is_plural]} {where} {generator.choice(_NOW)}",
        f"=1{_WAS[is_plural]} {where} {generator.choice(_THEN)}",
        f"=1{_HAVE[is_plural]} been {where} since monday",
        f"=1{_SLEEP[is_plural]} all day",
    ))  # fmt: skip


def _reflexive(generator: random.Random) -> str:
    """Only the pronoun behind the verb has the number."""
    is_plural = generator.random() < 0.5
    verb = generator.choice(_ON_ITSELF)[is_plural]
    rest = f"{generator.choice(_BESIDE)} the {_noun(generator, THINGS)[0]}"
    noun = generator.choice(UNCHANGED)
    return f"the {noun} {_between(generator)}=1{verb} *1{REFLEXIVES[is_plural]} {rest} ."


def _counted_subject(generator: random.Random) -> tuple[str, bool]:
    """A subject that has not been mentioned, such as "a book" or "three sheep", with its mark."""
    is_plural = generator.random() < 0.5
    if generator.random() < 0.25:
        word = generator.choice(("two", "three", "many", "several") if is_plural else ("one",))
        return f"*1{word} {generator.choice(UNCHANGED)}", is_plural
    word = generator.choice(("no", "two", "three", "many") if is_plural else ("no", "one", "a"))
    return f"{word} *1{generator.choice(THINGS + PEOPLE)[is_plural]}", is_plural


def _there(generator: random.Random) -> str:
    subject, is_plural = _counted_subject(generator)
    where = f"{generator.choice(_BESIDE)} the {_noun(generator, THINGS)[0]}"
    return generator.choice((
        f"there =1{_BE[is_plural]} {subject} {where} {generator.choice(_NOW)} .",
        f"there =1{_WAS[is_plural]} {subject} {where} {generator.choice(_THEN)} .",
        f"there =1{_HAVE[is_plural]} been {subject} {where} since monday .",
    ))  # fmt: skip


def _place_first(generator: random.Random) -> str:
    subject, is_plural = _counted_subject(generator)
    place = f"{generator.choice(_BESIDE)} the {_noun(generator, THINGS)[0]} {_between(generator)}"
    return f"{place}=1{generator.choice(_OF_PLACES)[is_plural]} {subject} ."


def _question(generator: random.Random) -> str:
    noun, is_plural = _noun(generator, THINGS)
    subject, what = f"the *1{noun} {_between(generator)}", generator.choice(_QUALITIES)
    return generator.choice((
        f"=1{_BE[is_plural]} {subject}{what} {generator.choice(_NOW)} ?",
        f"=1{_WAS[is_plural]} {subject}{what} {generator.choice(_THEN)} ?",
        f"=1{_HAVE[is_plural]} {subject}been {what} since monday ?",
    ))  # fmt: skip


_PATTERNS: tuple[Callable[[random.Random], str], ...] = (
    _thing_first,
    _person_first,
    _wanted_thing,
    _person_who,
    _two_subjects,
    _some_of_them,
    _unchanged_noun,
    _reflexive,
    _there,
    _place_first,
    _question,
)
