import re
from collections import defaultdict
from collections.abc import Sequence

from unrolled.text.made.patterns import KINDS, made_patterns, patterns_text

MONTHS = {
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
}  # fmt: skip
WEEKDAYS = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
TITLES = {"Mr.", "Mrs.", "Ms.", "Dr.", "Professor"}
CURRENCIES = {"dollars", "euros", "pounds", "cents"}


def is_year(token: str) -> bool:
    return re.fullmatch(r"(19|20)\d\d", token) is not None


def is_number(token: str) -> bool:
    return re.fullmatch(r"\d+(\.\d\d)?", token) is not None


def is_capital(token: str) -> bool:
    return token[:1].isupper() and token not in TITLES


def stretch_at(tokens: Sequence[str], place: int) -> tuple[str, int] | None:
    """Kind and length of what begins here, found from the tokens and their neighbours alone."""
    before = tokens[place - 1] if place else ""
    token, second, third, fourth = [*tokens[place : place + 4], "", "", ""][:4]
    is_date = is_number(second) and not is_year(second) and third != "of"
    rules = (
        ("PERSON", 2 if is_capital(second) else 1, before in TITLES),
        ("MONEY", 2, token in {"$", "€", "£"} or (second in CURRENCIES and before != "weighs")),
        ("TIME", 2, second in {"o'clock", "a.m.", "p.m."}),
        ("TIME", 3, (token, second) == ("half", "past")),
        ("TIME", 1, token == "noon" or re.fullmatch(r"\d+:\d\d", token) is not None),
        ("DATE", 3 if is_year(third) else 2, is_number(token) and second in MONTHS),
        ("DATE", 4, token in MONTHS and third == "," and is_year(fourth)),
        ("DATE", 2, token in MONTHS and is_date),
        ("DATE", 2, before.lower() == "in" and token in MONTHS and is_year(second)),
        ("DATE", 1, before.lower() == "in" and (token in MONTHS or is_year(token))),
        ("DATE", 1, token in WEEKDAYS),
        ("PLACE", 2 if is_capital(second) else 1, before.lower() in {"in", "to", "from"} and is_capital(token)),
    )
    return next(((kind, length) for kind, length, holds in rules if holds), None)


def read_labels(tokens: Sequence[str]) -> list[str]:
    labels: list[str] = []
    while len(labels) < len(tokens):
        if found := stretch_at(tokens, len(labels)):
            kind, length = found
            labels += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        else:
            labels.append("O")
    return labels


def test_every_label_follows_from_the_tokens() -> None:
    sentences = patterns_text()[:-1].split("\n\n")
    for sentence in sentences:
        tokens, labels = zip(*(line.split("\t") for line in sentence.split("\n")), strict=True)
        assert read_labels(tokens) == list(labels), sentence


def test_items_are_the_text() -> None:
    sentences = made_patterns()
    assert patterns_text() == "\n".join(sentence.text for sentence in sentences)
    for sentence in sentences:
        spans = {(span.start, span.end, span.kind) for span in sentence.spans}
        starts = [place for place, label in enumerate(sentence.labels) if label.startswith("B-")]
        assert sorted(start for start, _, _ in spans) == starts
        for start, end, kind in spans:
            assert sentence.labels[start:end] == (f"B-{kind}", *[f"I-{kind}"] * (end - start - 1))
            assert sentence.labels[end : end + 1] != (f"I-{kind}",)
        assert sum(label == "O" for label in sentence.labels) == len(sentence.tokens) - sum(e - s for s, e, _ in spans)


def test_tokens_alone_do_not_say_their_label() -> None:
    labels = defaultdict[str, set[str]](set)
    for sentence in made_patterns():
        for token, label in zip(sentence.tokens, sentence.labels, strict=True):
            labels[token].add(label)
    assert labels["May"] >= {"O", "B-DATE", "I-DATE", "B-PERSON", "I-PERSON"}
    assert labels["March"] >= {"O", "B-DATE", "B-PERSON"}
    assert labels["5"] >= {"O", "B-DATE", "I-DATE", "B-TIME", "I-TIME", "B-MONEY", "I-MONEY"}
    assert labels["pounds"] == {"O", "I-MONEY"}
    assert labels["Washington"] >= {"B-PLACE", "B-PERSON", "I-PERSON"}
    assert labels["Paris"] >= {"B-PLACE", "B-PERSON"}
    assert labels["Monday"] >= {"B-DATE", "I-PERSON"}
    assert labels["Will"] == {"O", "B-PERSON"}


def test_all_kinds_are_frequent() -> None:
    spans = [span for sentence in made_patterns() for span in sentence.spans]
    for kind in KINDS:
        assert sum(span.kind == kind for span in spans) > 400
    assert {span.kind for span in spans} == set(KINDS)
