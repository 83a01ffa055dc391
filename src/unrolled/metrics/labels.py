"""Accuracy, confusion, F1 of labels, and of the spans that labels mark: derived here and nowhere else.

A share whose denominator is 0 counts as 0, scikit-learn's `zero_division=0`
(https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html).

Spans are marked by BIO labels: B-kind for the first token, I-kind for those inside, O outside of every span; B and I
alone mark spans of one nameless kind.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from unrolled.errors import UsageError

OUTSIDE = "O"
MARKS = {"B", "I", OUTSIDE}


class SpanScores(NamedTuple):
    """Scores of the spans that were found, each in [0, 1].

    Attributes:
        precision: the share of the spans found that were expected.
        recall: the share of the spans expected that were found.
        f1: their harmonic mean.
    """

    precision: float
    recall: float
    f1: float


def accuracy(expected: Sequence[str], found: Sequence[str]) -> float:
    """The share of labels that were found as expected.

    Args:
        expected: (N,) labels.
        found: (N,) labels.

    Raises:
        UsageError: unequal numbers of labels, or none.
    """
    _check(expected, found)
    return sum(one == other for one, other in zip(expected, found, strict=True)) / len(expected)


def confusion(expected: Sequence[str], found: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """How often each label was found where each was expected.

    Args:
        expected: (N,) labels.
        found: (N,) labels.
        labels: (C,) all labels that may occur, each once, in the order of rows and columns.

    Returns:
        (C, C) counts: a row for each label expected, a column for each found.

    Raises:
        UsageError: unequal numbers of labels, or none; a label that is not among `labels`, or twice there.
    """
    _check(expected, found)
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise UsageError(f'confusion: label "{twice[0]}" is listed twice: list each once')
    unknown = sorted({*expected, *found}.difference(labels))
    if unknown:
        raise UsageError(f'confusion: label "{unknown[0]}" is not among the {len(labels)} listed: list it too')
    counts = Counter(zip(expected, found, strict=True))
    return [[counts[row, column] for column in labels] for row in labels]


def f1_by_label(expected: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """The F1 score of each label that is expected or found anywhere, sorted by label.

        F1 = 2 P R / (P + R) = 2 hits / (expected + found)

    P is the share of a label's findings that were expected, R the share of its expected places where it was found. A
    label that is never expected, or never found, has an F1 of 0; one that is neither has none, as in scikit-learn where
    no `labels` are given.

    Args:
        expected: (N,) labels.
        found: (N,) labels.

    Raises:
        UsageError: unequal numbers of labels, or none.
    """
    _check(expected, found)
    hits = Counter(one for one, other in zip(expected, found, strict=True) if one == other)
    places = Counter(expected) + Counter(found)
    return {label: 2 * hits[label] / places[label] for label in sorted(places)}


def macro_f1(expected: Sequence[str], found: Sequence[str]) -> float:
    """The mean of `f1_by_label`: rare labels count as much as frequent ones.

    Raises:
        UsageError: unequal numbers of labels, or none.
    """
    scores = f1_by_label(expected, found)
    return sum(scores.values()) / len(scores)


def is_bio(labels: Iterable[str]) -> bool:
    """Whether all of the labels are BIO labels and one of them at least marks a span."""
    marks = {_parts(label)[0] for label in labels}
    return marks <= MARKS and marks != {OUTSIDE} and bool(marks)


def spans(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    """The spans that BIO labels mark, each as its first token, the one behind its last, and its kind.

    An I- that follows O, another kind or nothing begins a span, as if it were a B-. So counts conlleval, the program of
    the CoNLL shared tasks (Tjong Kim Sang and Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking", 2000,
    https://aclanthology.org/W00-0726).

    Args:
        labels: (T,) of one sentence.

    Raises:
        UsageError: a label is not a BIO label.
    """
    found: set[tuple[int, int, str]] = set()
    start, open_kind = 0, None
    for place, label in enumerate([*labels, OUTSIDE]):
        mark, kind = _parts(label)
        if mark not in MARKS:
            raise UsageError(f'label "{label}" marks no span: expected O, or B- or I- and a kind, such as B-PER')
        if mark == "I" and kind == open_kind:
            continue
        if open_kind is not None:
            found.add((start, place, open_kind))
        start, open_kind = place, None if mark == OUTSIDE else kind
    return found


def span_scores(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> SpanScores:
    """Precision, recall and F1 of the spans of all sentences together (micro-averaged), as conlleval gives them.

    A span is right where start, end and kind are all as expected.

    Args:
        expected: BIO labels of each sentence.
        found: as many labels of each sentence.

    Raises:
        UsageError: unequal numbers of sentences, or of labels in one; a label that is not a BIO label.
    """
    if len(expected) != len(found):
        raise UsageError(f"sentences: {len(expected)} are expected and {len(found)} found: give as many of both")
    right = wanted = given = 0
    for number, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
        if len(one) != len(other):
            raise UsageError(
                f"labels of sentence {number}: {len(one)} are expected and {len(other)} found: give one for each token"
            )
        of_one, of_other = spans(one), spans(other)
        right, wanted, given = right + len(of_one & of_other), wanted + len(of_one), given + len(of_other)
    return SpanScores(_share(right, given), _share(right, wanted), _share(2 * right, wanted + given))


def _parts(label: str) -> tuple[str, str]:
    """What stands before the first hyphen, and what behind it; O takes no hyphen."""
    mark, _, kind = label.partition("-")
    return (label, "") if label.startswith("O-") else (mark, kind)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _check(expected: Sequence[str], found: Sequence[str]) -> None:
    if len(expected) != len(found):
        raise UsageError(f"labels: {len(expected)} are expected and {len(found)} found: give as many of both")
    if not expected:
        raise UsageError("there are 0 labels: a mean over them is not defined: give more data")
