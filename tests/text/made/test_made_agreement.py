import random
from collections.abc import Sequence

import pytest

from unrolled.text.made.agreement import AgreementLine, agreement_text, made_agreement

SINGULAR = {"is", "was", "has"}
PLURAL = {"are", "were", "have"}
BARE = {
    "belong", "look", "fall", "sleep", "work", "wait", "know", "like", "want", "stand", "lie", "see", "hide", "wash",
    "warm",
}  # fmt: skip
IRREGULAR = {"child": False, "children": True, "woman": False, "women": True, "man": False, "men": True}
SINGULAR_NOUNS = {
    "key", "cabinet", "book", "box", "letter", "lamp", "cup", "picture", "chair", "shelf", "knife", "table", "window",
    "gate", "boy", "girl", "teacher", "doctor", "farmer", "driver", "singer",
}  # fmt: skip
PLURALS = {"boxes": "box", "shelves": "shelf", "knives": "knife"}
UNCHANGED = {"sheep", "deer", "fish"}
ONE = {"this", "that", "one", "every", "each", "a", "itself"}
MORE = {"these", "those", "two", "three", "many", "several", "themselves", "and"}
PREPOSITIONS = {"near", "behind", "beside", "under"}


def verb_is_plural(token: str) -> bool | None:
    """The number of a verb, and nothing for another word."""
    if token in SINGULAR or (token[:-1] in BARE and token[-1] == "s") or (token[:-2] in BARE and token[-2:] == "es"):
        return False
    return True if token in PLURAL or token in BARE else None


def noun_is_plural(token: str) -> bool | None:
    """The number of a noun; nothing for another word, or one that has a single form."""
    if token in IRREGULAR:
        return IRREGULAR[token]
    if token in SINGULAR_NOUNS:
        return False
    return True if PLURALS.get(token, token.removesuffix("s")) in SINGULAR_NOUNS else None


def first_number(tokens: Sequence[str]) -> bool:
    """The number of a noun phrase that begins here: of its article or numeral, or else of its noun."""
    for token in tokens:
        if token in ONE | MORE - {"and"}:
            return token in MORE
        if (number := noun_is_plural(token)) is not None:
            return number
    raise AssertionError(tokens)


def expected(tokens: Sequence[str], verb: int) -> bool:
    """The number of a verb as the grammar of the sentence has it: found from the words alone."""
    if {"itself", "themselves"} & set(tokens):
        return "themselves" in tokens
    if tokens[0] == "there" or tokens[0] in PREPOSITIONS or verb == 0:
        return first_number(tokens[verb + 1 :])
    if tokens[verb - 3 : verb - 1] == ("that", "the"):
        return first_number(tokens[verb - 1 :])
    if "and" in tokens:
        return True
    return first_number(tokens)


def test_every_verb_agrees() -> None:
    lines = made_agreement()
    assert [line.text for line in lines] == agreement_text().splitlines()
    for line in lines:
        verbs = [place for place, token in enumerate(line.tokens) if verb_is_plural(token) is not None]
        assert sorted(agreement.verb for agreement in line.agreements) == verbs, line.text
        for agreement in line.agreements:
            number = verb_is_plural(line.tokens[agreement.verb])
            assert number == agreement.is_plural == expected(line.tokens, agreement.verb), line.text
            assert line.tokens[agreement.verb] == agreement.forms[agreement.is_plural]
            assert [verb_is_plural(form) for form in agreement.forms] == [False, True]


def test_the_clue_has_the_number() -> None:
    for line in made_agreement():
        for agreement in line.agreements:
            clue = line.tokens[agreement.clue]
            number = noun_is_plural(clue)
            assert (clue in MORE if number is None else number) == agreement.is_plural, line.text
            assert number is not None or clue in ONE | MORE


def test_verbs_of_the_other_number_do_not_occur() -> None:
    lines = made_agreement()
    texts = {line.text for line in lines}
    assert len(texts) == len(lines)
    for line in lines:
        for agreement in line.agreements:
            tokens = list(line.tokens)
            tokens[agreement.verb] = agreement.forms[not agreement.is_plural]
            assert " ".join(tokens) not in texts


def nearest_noun(line: AgreementLine, verb: int) -> bool | None:
    """The number of the last noun to the left of a verb, where there is one that has a number."""
    numbers = [noun_is_plural(token) for token in line.tokens[:verb] if token not in UNCHANGED]
    return next((number for number in reversed(numbers) if number is not None), None)


def test_neither_neighbour_nor_side_nor_habit_is_enough() -> None:
    agreements = [(line, agreement) for line in made_agreement() for agreement in line.agreements]
    share = 1 / len(agreements)
    misled = sum(nearest_noun(line, each.verb) == (not each.is_plural) for line, each in agreements)
    assert misled * share > 0.2
    on_the_right = [each for _, each in agreements if each.clue > each.verb]
    assert 0.25 < len(on_the_right) * share < 0.5
    assert 0.4 < sum(each.is_plural for _, each in agreements) * share < 0.6
    assert 0.4 < sum(each.is_plural for each in on_the_right) / len(on_the_right) < 0.6
    far = sum(abs(each.clue - each.verb) >= 4 for _, each in agreements)
    assert far * share > 0.3


@pytest.mark.parametrize(("present", "past"), [("is", "was"), ("are", "were")])
def test_the_tense_is_known_from_the_end(present: str, past: str) -> None:
    for line in made_agreement():
        is_past = any(f" {word} " in line.text for word in ("yesterday", "last week", "a year ago"))
        assert not (present in line.tokens and is_past)
        assert past not in line.tokens or is_past


def test_other_seeds_agree_too() -> None:
    for line in random.Random(3).choices(made_agreement(2000, seed=77), k=500):
        for agreement in line.agreements:
            assert expected(line.tokens, agreement.verb) == agreement.is_plural, line.text
