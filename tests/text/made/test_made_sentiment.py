import re
from collections import Counter

from unrolled.text.made.sentiment import BLAME, LABELS, PRAISE, made_sentiment

POLARITY = dict.fromkeys(PRAISE, 1) | dict.fromkeys(BLAME, -1)
TURNS = r"\b(?:not|never|anything but|far from)\b"


def judgement(clause: str) -> int:
    """What one clause says: its word, turned round by a negation."""
    (word,) = [word for word in re.findall(r"[a-z]+", clause) if word in POLARITY]
    return POLARITY[word] * (-1 if re.search(TURNS, clause) else 1)


def read_label(text: str) -> str:
    """The label as a careful reader gives it, from the text alone."""
    text = text.removesuffix(".")
    if "whether" in text or " is about " in text or " tells of " in text:
        return "neutral"
    if not set(re.findall(r"[a-z]+", text)) & set(POLARITY):
        return "neutral"
    clauses = re.split(r", but |, (?=although|despite)|(?<=[a-z]), (?=the )|,? and (?=in the end |the )", text)
    clauses = [clause for clause in clauses if not re.match("although|despite|(i|we|my friends) expected", clause)]
    clauses = [clause for clause in clauses if set(re.findall("[a-z]+", clause)) & set(POLARITY)]
    if any("overall" in clause for clause in clauses):
        clauses = [clause for clause in clauses if "overall" in clause]
    judgements = {judgement(clause) for clause in clauses}
    assert len(judgements) == 1, text
    return "positive" if judgements == {1} else "negative"


def test_words_of_praise_and_blame() -> None:
    assert len(POLARITY) == len(PRAISE) + len(BLAME)
    assert {"good", "excellent"} <= set(PRAISE)
    assert {"bad", "terrible"} <= set(BLAME)


def test_every_label_follows_from_the_text() -> None:
    for line in made_sentiment():
        assert read_label(line.text) == line.label, line.text


def test_every_opinion_is_in_the_text() -> None:
    for line in made_sentiment():
        words = [word for word in re.findall(r"[a-z]+", line.text) if word in POLARITY]
        assert line.label == "neutral" or [opinion.word for opinion in line.opinions] == words
        deciding = [POLARITY[each.word] * (-1 if each.is_negated else 1) for each in line.opinions if each.decides]
        assert {1: "positive", -1: "negative", 0: "neutral"}[sum(deciding)] == line.label
        assert len(deciding) == (line.label != "neutral")


def test_opinions_disagree_where_one_gives_way() -> None:
    for line in made_sentiment():
        is_contrast = re.search(r"\b(but overall|although|despite|expected)\b", line.text) is not None
        judgements = [POLARITY[each.word] * (-1 if each.is_negated else 1) for each in line.opinions]
        assert (len(set(judgements)) == 2) == is_contrast, line.text


def test_labels_are_balanced() -> None:
    counts = Counter(line.label for line in made_sentiment())
    assert set(counts) == set(LABELS)
    assert all(900 < count < 1100 for count in counts.values())


def test_counting_words_is_not_enough() -> None:
    """Who adds up the words without their order and negations is wrong about many."""
    lines = made_sentiment()
    right = 0
    for line in lines:
        total = sum(POLARITY.get(word, 0) for word in re.findall(r"[a-z]+", line.text))
        right += line.label == ("positive" if total > 0 else "negative" if total < 0 else "neutral")
    assert right < 0.55 * len(lines)


def test_what_may_mean_either_does_not_occur() -> None:
    for line in made_sentiment():
        for word in POLARITY:
            for found in re.finditer(rf"\b(not at all|not|never)( really| truly)? {word}\b( at all)?", line.text):
                is_strong = "at all" in found[0] or found[1] == "never"
                assert word in {"good", "great"} or (is_strong and word in PRAISE) or word in {"bad", "disappointing"}
                assert word in PRAISE or "at all" in found[0]
