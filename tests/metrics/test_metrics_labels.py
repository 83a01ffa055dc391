from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled import metrics
from unrolled.errors import UsageError

EXPECTED = ["cat", "cat", "cat", "dog", "dog", "owl"]
FOUND = ["cat", "dog", "cat", "dog", "cat", "eel"]

BIO = st.sampled_from(["O", "B", "I", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-LOC-city", "I-LOC-city"])
LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("bcde")), min_size=1, max_size=12)
SENTENCES = st.lists(st.lists(st.tuples(BIO, BIO), max_size=9), max_size=5)


def test_accuracy_by_hand() -> None:
    assert metrics.accuracy(EXPECTED, FOUND) == pytest.approx(3 / 6)
    assert metrics.accuracy(EXPECTED, EXPECTED) == 1
    assert metrics.accuracy(["a", "b"], ["b", "a"]) == 0


def test_confusion_has_a_row_for_each_label_expected() -> None:
    assert metrics.confusion(EXPECTED, FOUND, ["cat", "dog", "owl", "eel"]) == [
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]
    assert metrics.confusion(["b", "a", "a"], ["a", "a", "b"], ["b", "z", "a"]) == [[0, 0, 1], [0, 0, 0], [1, 0, 1]]


def test_f1_by_hand() -> None:
    scores = metrics.f1_by_label(EXPECTED, FOUND)
    assert list(scores) == ["cat", "dog", "eel", "owl"]
    # cat: P = R = 2/3; dog: P = R = 1/2; eel is never expected, owl never found
    assert scores == pytest.approx({"cat": 2 / 3, "dog": 1 / 2, "eel": 0, "owl": 0})
    assert metrics.macro_f1(EXPECTED, FOUND) == pytest.approx((2 / 3 + 1 / 2) / 4)
    # a: P = 2/2, R = 2/3; b: P = 1/2, R = 1/1
    assert metrics.f1_by_label(["a", "a", "a", "b"], ["a", "a", "b", "b"]) == pytest.approx({"a": 4 / 5, "b": 2 / 3})


def harmonic_mean(precision: Fraction, recall: Fraction) -> Fraction:
    return 2 * precision * recall / (precision + recall) if precision + recall else Fraction(0)


@given(LABELS)
def test_macro_f1_is_the_mean_of_harmonic_means(pairs: list[tuple[str, str]]) -> None:
    expected, found = zip(*pairs, strict=True)
    scores = {}
    for label in {*expected, *found}:
        when_found = [one == label for one, other in pairs if other == label]
        when_expected = [other == label for one, other in pairs if one == label]
        precision = Fraction(sum(when_found), len(when_found)) if when_found else Fraction(0)
        recall = Fraction(sum(when_expected), len(when_expected)) if when_expected else Fraction(0)
        scores[label] = harmonic_mean(precision, recall)
    assert metrics.f1_by_label(expected, found) == pytest.approx({label: float(scores[label]) for label in scores})
    assert metrics.macro_f1(expected, found) == pytest.approx(float(sum(scores.values()) / len(scores)))


@given(LABELS)
def test_the_diagonal_of_the_confusion_is_the_accuracy(pairs: list[tuple[str, str]]) -> None:
    expected, found = zip(*pairs, strict=True)
    table = metrics.confusion(expected, found, "edcba")
    assert sum(map(sum, table)) == len(pairs)
    assert [sum(row) for row in table] == [expected.count(label) for label in "edcba"]
    assert [sum(column) for column in zip(*table, strict=True)] == [found.count(label) for label in "edcba"]
    assert metrics.accuracy(expected, found) == sum(table[n][n] for n in range(5)) / len(pairs)


def test_labels_that_cannot_be_compared() -> None:
    for score in (metrics.accuracy, metrics.f1_by_label, metrics.macro_f1):
        with pytest.raises(UsageError, match="there are 0 labels: a mean over them is not defined: give more data"):
            score([], [])
        with pytest.raises(UsageError, match="labels: 2 are expected and 1 found: give as many of both"):
            score(["a", "b"], ["a"])
    with pytest.raises(UsageError, match="there are 0 labels"):
        metrics.confusion([], [], ["a"])
    with pytest.raises(UsageError, match="labels: 1 are expected and 2 found"):
        metrics.confusion(["a"], ["a", "b"], ["a", "b"])
    with pytest.raises(UsageError, match='confusion: label "c" is not among the 2 listed: list it too'):
        metrics.confusion(["a"], ["c"], ["a", "b"])
    with pytest.raises(UsageError, match='confusion: label "a" is listed twice: list each once'):
        metrics.confusion(["a"], ["b"], ["a", "b", "a"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["O", "B-PER", "I-PER", "O"], {(1, 3, "PER")}),
        (["B-PER", "B-PER", "I-PER"], {(0, 1, "PER"), (1, 3, "PER")}),
        (["I-PER", "I-PER", "O", "I-LOC"], {(0, 2, "PER"), (3, 4, "LOC")}),  # conlleval: I- without B- begins a span
        (["B-PER", "I-LOC", "I-LOC"], {(0, 1, "PER"), (1, 3, "LOC")}),
        (["I-PER", "B-PER", "I-PER"], {(0, 1, "PER"), (1, 3, "PER")}),
        (["B-PER", "O", "I-PER"], {(0, 1, "PER"), (2, 3, "PER")}),
        (["B-LOC-city", "I-LOC-city", "I-LOC"], {(0, 2, "LOC-city"), (2, 3, "LOC")}),
        (["B", "I", "B", "O", "I"], {(0, 2, ""), (2, 3, ""), (4, 5, "")}),
        (["O", "O"], set()),
        ([], set()),
    ],
)
def test_spans_by_hand(labels: list[str], expected: set[tuple[int, int, str]]) -> None:
    assert metrics.spans(labels) == expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["PER", "LOC", ""])), max_size=5))
def test_spans_that_are_written_are_found(pieces: list[tuple[int, int, str]]) -> None:
    labels: list[str] = []
    expected = set()
    for outside, length, kind in pieces:
        labels += ["O"] * outside
        expected.add((len(labels), len(labels) + length, kind))
        labels += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    assert metrics.spans(labels) == expected


@given(st.lists(BIO, max_size=12))
def test_each_token_that_is_not_outside_is_in_one_span_of_its_kind(labels: list[str]) -> None:
    found = metrics.spans(labels)
    inside = sorted((place, kind) for start, end, kind in found for place in range(start, end))
    assert inside == [(n, label[2:]) for n, label in enumerate(labels) if label != "O"]
    begun = {
        n
        for n, (one, two) in enumerate(zip(["O", *labels], labels, strict=False))
        if two[0] == "B" or (two[0] == "I" and (one == "O" or one[2:] != two[2:]))
    }
    assert {start for start, _, _ in found} == begun


def test_labels_that_are_bio() -> None:
    assert metrics.is_bio(["O", "B-PER", "I-PER", "B-well-known"])
    assert metrics.is_bio(iter(["I-PER"]))
    assert metrics.is_bio({"B", "I", "O"})
    for others in (
        [],
        ["O"],
        ["O", "NOUN"],
        ["B-PER", "E-PER", "O"],
        ["b-PER"],
        ["BPER", "O"],
        ["O-PER", "B-PER"],
        [""],
    ):
        assert not metrics.is_bio(others)
    for other in ("NOUN", "E-PER", "O-PER", ""):
        with pytest.raises(
            UsageError, match=f'^label "{other}" marks no span: expected O, or B- or I- and a kind, such as'
        ):
            metrics.spans(["O", other])


def test_span_scores_by_hand() -> None:
    expected = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"], ["B-LOC", "O"]]
    found = [["B-PER", "I-PER", "B-PER", "B-ORG"], ["O", "I-ORG"], ["O", "O"]]
    # expected 4; found 4; right: PER of the first sentence, ORG of the second
    assert metrics.span_scores(expected, found) == pytest.approx((2 / 4, 2 / 4, 2 / 4))
    # expected 3, found 4, still two right
    precision, recall, f1 = metrics.span_scores(expected[:2], found[:2])
    assert (precision, recall, f1) == pytest.approx((2 / 4, 2 / 3, 2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3)))
    scores = metrics.span_scores(found[:2], expected[:2])
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((recall, precision, f1))


def test_a_span_is_right_only_as_a_whole_and_in_its_sentence() -> None:
    right = ["O", "B-PER", "I-PER", "O"]
    assert metrics.span_scores([right], [right]) == (1, 1, 1)
    for wrong in (["O", "B-PER", "O", "O"], ["O", "B-PER", "I-PER", "I-PER"], ["O", "B-LOC", "I-LOC", "O"]):
        assert metrics.span_scores([right], [wrong]) == (0, 0, 0)
    outside = ["O"] * 4
    assert metrics.span_scores([right, outside], [outside, right]) == (0, 0, 0)


def test_scores_without_spans_are_zero() -> None:
    one, none = [["B-PER"]], [["O"]]
    assert metrics.span_scores(one, none) == (0, 0, 0)
    assert metrics.span_scores(none, one) == (0, 0, 0)
    assert metrics.span_scores(none, none) == (0, 0, 0)
    assert metrics.span_scores([], []) == (0, 0, 0)


@given(SENTENCES)
def test_f1_of_spans_is_the_harmonic_mean(sentences: list[list[tuple[str, str]]]) -> None:
    expected = [[one for one, _ in sentence] for sentence in sentences]
    found = [[other for _, other in sentence] for sentence in sentences]
    precision, recall, f1 = metrics.span_scores(expected, found)
    assert f1 == pytest.approx(float(harmonic_mean(Fraction(precision), Fraction(recall))), rel=1e-12)


def test_sentences_that_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="sentences: 2 are expected and 1 found: give as many of both"):
        metrics.span_scores([["O"], ["O"]], [["O"]])
    with pytest.raises(UsageError, match="labels of sentence 2: 1 are expected and 2 found: give one for each token"):
        metrics.span_scores([["O"], ["O"]], [["O"], ["O", "O"]])
