"""Texts with labels, and what a classifier that was trained on them answers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import models
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.classify import TASK, ClassificationSettings
from unrolled.models.classify.data import ClassificationData, weights_of
from unrolled.models.classify.predictor import Classification, Classifier, ClassifierResult
from unrolled.models.predictor import PredictionSettings
from unrolled.models.rows import ExampleSettings
from unrolled.text.settings import TextSettings

TEXTS = [
    "the film is lovely",
    "Zoë's naïve “play” is dreadful , and nothing else !",
    "a",
    "item 7 is unheard of",
    "zzz qqq",
    "好",
    "the film is lovely , and nothing else ! the film is dreadful , and nothing else !",
]


@pytest.fixture
def classifier(task_model: Callable[[str], Path]) -> Classifier:
    return Classifier.load(task_model("classify"))


def log_probabilities(classifier: Classifier, ids: list[int]) -> torch.Tensor:
    """Of one text alone, by its network."""
    network = classifier._network
    with torch.no_grad():
        return network.log_probabilities(torch.tensor(ids)[:, None], torch.tensor([len(ids)]))[0]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_answers_do_not_depend_on_what_stands_beside(classifier: Classifier, batch: int) -> None:
    answers = classifier.classify(TEXTS, batch=batch)
    for text, answer in zip(TEXTS, answers, strict=True):
        logs = log_probabilities(classifier, [*classifier.tokenizer.encode(text + "\n")])
        expected = dict(zip(classifier.labels, logs.exp().tolist(), strict=True))
        assert answer.text == text
        assert answer.probabilities == pytest.approx(expected, abs=1e-6)
        assert list(answer.probabilities) == sorted(expected, key=lambda label: -expected[label])
        assert answer.label == next(iter(answer.probabilities))
        assert answer.probability == answer.probabilities[answer.label]
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert answer.moved == ()
    assert len({answer.label for answer in answers}) > 1


def test_engines_agree_and_top_leaves_out_the_least(task_model: Callable[[str], Path], classifier: Classifier) -> None:
    portable = Classifier.load(task_model("classify"), engine="portable")
    for one, other in zip(classifier.classify(TEXTS), portable.classify(TEXTS), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    full, short = classifier.classify(TEXTS[:1])[0], classifier.classify(TEXTS[:1], top=2)[0]
    assert list(short.probabilities.items()) == list(full.probabilities.items())[:2]
    assert classifier.classify([]) == []


def test_what_words_moved_is_the_difference_that_reading_them_as_unknown_makes(classifier: Classifier) -> None:
    unknown = classifier.tokenizer.unknown_id
    assert unknown is not None
    for answer in classifier.classify(TEXTS, explain=True, batch=3):
        ids = [int(n) for n in classifier.tokenizer.encode(answer.text + "\n")]
        label = classifier.labels.index(answer.label)
        whole = float(log_probabilities(classifier, ids)[label])
        assert whole == pytest.approx(math.log(answer.probability), abs=1e-5)
        assert len(answer.moved) == len(ids) - 1
        for place, (word, nats) in enumerate(answer.moved):
            without = [*ids[:place], unknown, *ids[place + 1 :]]
            assert nats == pytest.approx(whole - float(log_probabilities(classifier, without)[label]), abs=1e-5)
            assert word in answer.text, "as it stands there, known or not"
            if ids[place] == unknown:
                assert nats == pytest.approx(0, abs=1e-6)


def test_the_word_that_decides_moves_most(classifier: Classifier) -> None:
    for text, word in (("the film is lovely", "lovely"), ("a book is awful .", "awful")):
        (answer,) = classifier.classify([text], explain=True)
        assert answer.label == {"lovely": "good", "awful": "bad"}[word]
        strongest = max(answer.moved, key=lambda pair: abs(pair[1]))
        assert (strongest[0], strongest[1] > 0) == (word, True)
        assert answer.lines()[1].endswith(f"\t{word}")


@pytest.mark.parametrize("unit", ["char", "bpe"])
def test_explanations_of_letters_and_subwords(unit: str, tmp_path: Path, tiny_reviews: str) -> None:
    classifier = trained(tmp_path, tiny_reviews, unit=unit, vocabulary_size=280)
    text = "Zoë  is 好"
    (answer,) = classifier.classify([text], explain=True)
    ids = [int(n) for n in classifier.tokenizer.encode(text + "\n")]
    unknown, label = classifier.tokenizer.unknown_id, classifier.labels.index(answer.label)
    for place, (word, nats) in enumerate(answer.moved):
        put = [] if unknown is None else [unknown]
        logs = log_probabilities(classifier, [*ids[:place], *put, *ids[place + 1 :]])
        assert nats == pytest.approx(math.log(answer.probability) - float(logs[label]), abs=1e-5)
        assert word in text
        assert word
    assert len(answer.moved) == len(ids) - 1
    if unit == "char":
        assert "".join(word for word, _ in answer.moved) == text


def trained(folder: Path, reviews: str, own: Any = (), **text: Any) -> Classifier:
    import unrolled

    (folder / "reviews.csv").write_text(reviews, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
        unrolled.train(
            folder / "reviews.csv",
            folder / "model",
            task="classify",
            own=own,
            text=unrolled.TextSettings(**text),
            model=unrolled.ModelSettings(hidden=4, embedding=4),
            training=unrolled.TrainingSettings(epochs=1, threads=1),
        )
    return Classifier.load(folder / "model")


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_texts_of_one_token_and_of_unknown_ones(pooling: str, tmp_path: Path, tiny_reviews: str) -> None:
    own = (ExampleSettings(), ClassificationSettings(pooling=pooling, class_weights="balanced"))
    classifier = trained(tmp_path, tiny_reviews, own, vocabulary_size=3, lowercase=True)
    one, other = classifier.classify(["qqq", "WWW"])
    assert one.probabilities == other.probabilities
    assert set(one.probabilities) == {"good", "bad", "so so"}


def test_answers_as_lines_and_as_json() -> None:
    probabilities = {"so so": 0.75, "good": 0.25}
    answer = Classification("a b", "so so", 0.75, probabilities, (("a", -0.25), ("b", 1.5)))
    assert answer.lines() == ["so so\t0.7500\ta b", "\t+1.5000\tb", "\t-0.2500\ta"]
    record = {"text": "a b", "label": "so so", "probability": 0.75, "probabilities": probabilities}
    assert answer.as_dict() == record | {"moved": [["a", -0.25], ["b", 1.5]]}
    assert Classification("a b", "so so", 0.75, probabilities).as_dict() == record


def test_results_by_hand() -> None:
    result = ClassifierResult(
        "data", 3, 0.5, 2 / 3, 0.5, ("a", "b", "much longer"), [[2, 0, 0]] * 3, {"a": 1.0, "b": 0}
    )
    assert result.lines() == [
        "examples            3",
        "nats per label      0.5000",
        "accuracy            66.67%",
        "macro F1            0.5000",
        "",
        "expected                 a            b  much longer           F1",
        "a                        2            0            0       1.0000",
        "b                        2            0            0       0.0000",
        "much longer              2            0            0            -",
    ]
    assert list(result.as_dict()) == [
        *("data", "labels", "examples", "nats_per_label", "accuracy", "macro_f1", "f1", "confusion")
    ]


def test_an_evaluation_counts_what_the_answers_are(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    given = list(zip(TEXTS, ["good", "bad", "so so", "good", "bad", "good", "bad"], strict=True))
    path.write_text("".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in given), encoding="utf-8")
    result, answers = classifier.evaluate([path]), classifier.classify(TEXTS)
    assert (result.name, result.examples, result.labels) == (str(path), 7, ("bad", "good", "so so"))
    hits = [label == answer.label for (_, label), answer in zip(given, answers, strict=True)]
    assert result.accuracy == sum(hits) / 7
    costs = [-math.log(answer.probabilities[label]) for (_, label), answer in zip(given, answers, strict=True)]
    assert result.nats_per_label == pytest.approx(np.mean(costs), abs=1e-6)
    for row, one in zip(result.confusion, result.labels, strict=True):
        for count, other in zip(row, result.labels, strict=True):
            pairs = zip(given, answers, strict=True)
            assert count == sum((label, answer.label) == (one, other) for (_, label), answer in pairs)


def test_parts_are_evaluated_by_name(classifier: Classifier) -> None:
    config = classifier.config
    validation, test = classifier.evaluate(), classifier.evaluate(part="test")
    assert validation.name.startswith("validation part of ")
    assert test.name.startswith("test part of ")
    assert validation.nats_per_label == pytest.approx(config["training"]["results"]["validation_loss"], abs=1e-6)
    assert [each.examples for each in (validation, test)] == [
        config["data"]["parts"][part]["rows"] for part in ("validation", "test")
    ]
    assert classifier.evaluate(part="train").accuracy > 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,kind\na,good\n", ', line 1: there is no column "label": choose one of text, kind'),
        ("text,label\na,good\nb,great\n", ', line 3: the label "great" does not occur in the training data, which has'),
        ("text,label\n" + "a " * 1000 + ",good\n", ", line 2 has 1,001 tokens, the model reads at most 1,000"),
    ],
)
def test_data_that_do_not_suit_are_named(classifier: Classifier, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "given.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        classifier.evaluate([path])
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", " \t"], "line 8 is empty: there is nothing to answer, leave it out"),
        (
            ["a " * 1000],
            r"line 7 has 1,001 tokens, the model reads at most 1,000 \(--most-tokens when it was trained\)",
        ),
    ],
)
def test_lines_that_cannot_be_answered_are_counted(classifier: Classifier, texts: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{message}"):
        classifier.answers(texts, PredictionSettings(), first=7)


@pytest.mark.parametrize("option", ["top", "batch"])
def test_counts_below_one_are_refused(classifier: Classifier, option: str) -> None:
    with pytest.raises(UsageError, match=rf"^{option} is 0: give a whole number of at least 1$"):
        classifier.classify(["a"], **{option: 0})  # type: ignore[arg-type]


def test_a_newline_in_a_text_is_a_blank(classifier: Classifier) -> None:
    one, other = classifier.classify(["the film\nis lovely", "the film is lovely"])
    assert one.probabilities == other.probabilities


def test_another_tasks_directory_is_refused(task_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelDirectoryError, match=r"""its task is 'tag', expected "classify": unrolled info tells"""):
        Classifier.load(task_model("tag"))
    with pytest.raises(ModelDirectoryError, match="there is no such folder"):
        Classifier.load("nowhere")


# Data


def prepared(content: str, path: Path, *own: Any, **text: Any) -> ClassificationData:
    path.write_text(content, encoding="utf-8")
    own = own or (ExampleSettings(), ClassificationSettings())
    data = TASK.prepare([path], TextSettings(unit="word", **text), own)
    assert isinstance(data, ClassificationData)
    return data


def test_batches_hold_texts_with_their_ends_and_labels(tiny_reviews: str, tmp_path: Path) -> None:
    data = prepared(tiny_reviews, tmp_path / "data.csv")
    seen = []
    for batch in data.reader("train", 8, 1).batches(0):
        arrays = batch.arrays()
        ids, lengths, targets = (arrays[name] for name in ("ids", "lengths", "targets"))
        assert ids is not None
        assert lengths is not None
        assert targets is not None
        assert len(ids) == lengths.max()
        assert batch.tokens == batch.width == len(targets)
        for column, length, target in zip(ids.T, lengths, targets, strict=True):
            assert column[length - 1] == data.tokenizer.end_of_line_id
            seen.append((data.tokenizer.decode(column[: length - 1]), data.labels[target]))
    expected = [(data.tokenizer.decode(data.tokenizer.encode(row.text)), row.label) for row in data.rows.parts["train"]]
    assert sorted(seen) == sorted(expected)


def test_baselines_and_weights_by_hand(tmp_path: Path) -> None:
    rows = [f"text {number},{'rare' if number % 4 == 0 else 'frequent'}" for number in range(40)]
    content = "text,label\n" + "\n".join(rows)
    data = prepared(content, tmp_path / "data.csv")
    assert data.class_weights == [1.0, 1.0]
    assert data.uniform == pytest.approx(math.log(2))
    assert 0.3 < data.unigram < data.uniform + 0.5
    data = prepared(content, tmp_path / "data.csv", ExampleSettings(), ClassificationSettings(class_weights="balanced"))
    train = [row.label for row in data.rows.parts["train"]]
    shares = [train.count(label) * weight for label, weight in zip(data.labels, data.class_weights, strict=True)]
    assert shares[0] == pytest.approx(shares[1]), "each label counts as much as the other"
    assert sum(shares) == pytest.approx(len(train)), "and an example 1 on average"


def test_weights_where_a_label_is_missing_are_numbers() -> None:
    weights = weights_of(np.array([0, 0, 2]), 3, "balanced")
    assert all(0 < weight < math.inf for weight in weights)
    assert 2 * weights[0] == pytest.approx(weights[2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n" + "a b,x\n" * 30, "data.csv: the validation part would be empty, there are only 30 rows, 1 of"),
        (
            "text,label\n" + "".join(f"a {n},x\n" for n in range(30)),
            'training data: every example has the label "x": give examples of two labels at least',
        ),
        ('text,label\na,"x\ny"\n', r"data.csv, line 2: the label 'x\ny' has a newline or a tab in it: take it out"),
        (
            'text,label\na,b\nc,"x\ty"\n',
            r"data.csv, line 3: the label 'x\ty' has a newline or a tab in it: take it out",
        ),
    ],
)
def test_data_from_which_nothing_can_be_learnt(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CorpusError) as caught:
        prepared(content, tmp_path / "data.csv")
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_odd_labels_are_labels(tmp_path: Path) -> None:
    names = ["very good", "très, très bon", "10", "9", "良い"]
    content = "text,label\n" + "".join(f'text {n} of {n % 5},"{names[n % 5]}"\n' for n in range(60))
    assert prepared(content, tmp_path / "data.csv").labels == tuple(sorted(names))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "sum"}, 'pooling is "sum": choose one of attention, last, mean, max'),
        ({"class_weights": "some"}, 'class_weights is "some": choose one of none, balanced'),
        ({"label_column": "text"}, 'text_column and label_column are both "text": name two columns'),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        ClassificationSettings(**changes)


@pytest.mark.slow
def test_marked_sentiment_is_learnt(tmp_path: Path) -> None:
    import unrolled

    training = unrolled.TrainingSettings(epochs=12, threads=1)
    unrolled.train(
        ":sentiment:",
        tmp_path / "model",
        task="classify",
        text=unrolled.TextSettings(split="80/10/10"),
        training=training,
    )
    predictor = models.get("classify").load(tmp_path / "model")
    assert predictor.evaluate(part="test").accuracy >= 0.97
