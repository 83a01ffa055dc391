"""Tagged sentences, and what a tagger that was trained on them answers."""

import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import metrics, models
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.predictor import PredictionSettings
from unrolled.models.rows import ExampleSettings
from unrolled.models.tag import TASK, TaggingSettings
from unrolled.models.tag.data import TaggingData, encode_tokens, spelled
from unrolled.models.tag.predictor import Tagger, TaggerResult, Tagging
from unrolled.text.settings import TextSettings
from unrolled.text.tokenizer import train_tokenizer

SENTENCES = [
    "Anna May saw New York",
    "Zoë left Rome a !",
    "x",
    "Mr77 saw 日本 in " + "un" * 40,
    "<unk> \\n saw New York",
]


@pytest.fixture
def tagger(task_model: Callable[[str], Path]) -> Tagger:
    return Tagger.load(task_model("tag"))


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_answers_do_not_depend_on_what_stands_beside(tagger: Tagger, batch: int) -> None:
    found = tagger.tag(SENTENCES, batch=batch)
    for sentence, answer in zip(SENTENCES, found, strict=True):
        assert answer.tokens == tuple(sentence.split())
        (ids,) = encode_tokens(tagger.tokenizer, [answer.tokens])
        arrays: dict[str, Any] = {"ids": ids[:, None].astype(np.int64), "lengths": np.array([len(ids)])}
        arrays |= spelled([answer.tokens])
        with torch.no_grad():
            logs = tagger._network.log_probabilities(**{n: torch.from_numpy(array) for n, array in arrays.items()})
        best = logs[:, 0].max(dim=1)
        assert answer.labels == tuple(tagger.labels[n] for n in best.indices)
        assert answer.probabilities == pytest.approx(best.values.exp().tolist(), abs=1e-6)
    assert tagger.tag([answer.tokens for answer in found], batch=batch) == found, "tokens are as good as a line"
    assert len({*chain(*(answer.labels for answer in found))}) > 2
    assert tagger.tag([]) == []


def test_engines_agree(task_model: Callable[[str], Path], tagger: Tagger) -> None:
    portable = Tagger.load(task_model("tag"), engine="portable")
    for one, other in zip(tagger.tag(SENTENCES), portable.tag(SENTENCES), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_it_has_learnt_and_spans_are_found(tagger: Tagger) -> None:
    (answer,) = tagger.tag(["Anna May saw New York"])
    assert answer.labels == ("B-WHO", "I-WHO", "O", "B-WHERE", "I-WHERE")
    assert answer.spans() == [("WHO", "Anna May"), ("WHERE", "New York")]
    assert tagger.tag(["Mr4711 left Rome"])[0].labels[0] == "B-WHO", "by its spelling"


def test_answers_as_lines_and_as_json() -> None:
    answer = Tagging(("New", "York", "is"), ("B-X", "I-X", "O"), (0.5, 0.25, 1.0), is_bio=True)
    assert answer.lines() == ["New\tB-X", "York\tI-X", "is\tO", ""]
    assert answer.as_dict() == {
        "tokens": ["New", "York", "is"],
        "labels": ["B-X", "I-X", "O"],
        "probabilities": [0.5, 0.25, 1.0],
        "spans": [["X", "New York"]],
    }
    assert Tagging(("New", "York"), ("B-X", "O"), (0.5, 0.5), is_bio=False).spans() == []


def test_results_by_hand() -> None:
    plain = TaggerResult("data", 2, 1234, 0.25, 0.5, None)
    assert plain.lines() == [
        "sentences           2",
        "tokens              1,234",
        "nats per label      0.2500",
        "accuracy            50.00%",
    ]
    assert "spans" not in plain.as_dict()
    result = TaggerResult("data", 2, 7, 0.25, 0.5, metrics.SpanScores(0.5, 1.0, 2 / 3))
    assert result.lines()[4:] == [
        "span precision      50.00%",
        "span recall         100.00%",
        "span F1             0.6667",
    ]
    assert result.as_dict()["spans"] == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3}


def test_an_evaluation_counts_what_the_answers_are(tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "given.tsv"
    labels = [["B-WHO", "O", "O", "B-WHERE", "I-WHERE"], ["B-WHO", "O", "B-WHERE", "O", "O"], ["B-WHERE"]]
    path.write_text(
        "\n".join(
            "".join(f"{token}\t{label}\n" for token, label in zip(sentence.split(), its, strict=True))
            for sentence, its in zip(SENTENCES, labels, strict=False)
        ),
        encoding="utf-8",
    )
    result, answers = tagger.evaluate([path]), tagger.tag(SENTENCES[:3])
    found = [list(answer.labels) for answer in answers]
    assert (result.name, result.sentences, result.tokens) == (str(path), 3, 11)
    assert result.accuracy == metrics.accuracy([*chain(*labels)], [*chain(*found)])
    assert result.spans == metrics.span_scores(labels, found)
    sure = [
        -math.log(p)
        for answer, its in zip(answers, labels, strict=True)
        for p, one, other in zip(answer.probabilities, answer.labels, its, strict=True)
        if one == other
    ]
    assert result.nats_per_label * 11 >= sum(sure) - 1e-6


def test_parts_are_evaluated_by_name(tagger: Tagger) -> None:
    validation, test = tagger.evaluate(), tagger.evaluate(part="test")
    assert (validation.name[:19], test.name[:13]) == ("validation part of ", "test part of ")
    loss = tagger.config["training"]["results"]["validation_loss"]
    assert validation.nats_per_label == pytest.approx(loss, abs=1e-6)
    assert [each.sentences for each in (validation, test)] == [
        tagger.config["data"]["parts"][part]["rows"] for part in ("validation", "test")
    ]
    assert tagger.evaluate(part="train").accuracy > 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\n\nb\tO\nc\tB-WHEN\n", ', line 4: the label "B-WHEN" does not occur in the training data, which has B-'),
        ("a\tO\n" * 2 + "\n" + "b\tO\n" * 1001, ", line 4 has 1,001 tokens, the model reads at most 1,000"),
        ("a\tO\nb\n", ", line 2: there is one column only, expected a token, a tab"),
        ("\n \n", ": the corpus is empty"),
    ],
)
def test_data_that_do_not_suit_are_named(tagger: Tagger, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "given.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        tagger.evaluate([path])
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (["fine", " \t"], "line 8 is empty: there is nothing to answer, leave it out"),
        (
            ["a " * 1001],
            r"line 7 has 1,001 tokens, the model reads at most 1,000 \(--most-tokens when it was trained\)",
        ),
        ([["New York"]], r'line 7 has the token "New York", which is empty or has a blank in it: split it'),
        ([["fine"], ["a", ""]], 'line 8 has the token "", which is empty or has a blank in it: split it'),
        ([["a\n"]], "line 7 has the token"),
        ([[]], "line 7 is empty"),
    ],
)
def test_lines_that_cannot_be_answered_are_counted(tagger: Tagger, sentences: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{message}"):
        tagger.answers(sentences, PredictionSettings(), first=7)


def test_a_batch_below_one_is_refused(tagger: Tagger) -> None:
    with pytest.raises(UsageError, match=r"^batch is 0: give a whole number of at least 1$"):
        tagger.tag(["a"], batch=0)


def test_another_tasks_directory_is_refused(task_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelDirectoryError, match=r"""its task is 'classify', expected "tag": unrolled info tells"""):
        Tagger.load(task_model("classify"))


# Data


def prepared(content: str, path: Path, most_tokens: int = 1000, **text: Any) -> TaggingData:
    path.write_text(content, encoding="utf-8")
    own = (ExampleSettings(most_tokens=most_tokens), TaggingSettings())
    data = TASK.prepare([path], TextSettings(**text), own)
    assert isinstance(data, TaggingData)
    return data


def test_batches_hold_each_token_with_its_letters_and_its_label(tiny_sentences: str, tmp_path: Path) -> None:
    data = prepared(tiny_sentences, tmp_path / "data.tsv", min_count=2)
    seen = []
    for batch in data.reader("train", 8, 1).batches(0):
        arrays = {name: array for name, array in batch.arrays().items() if array is not None}
        assert set(arrays) == {"ids", "lengths", "targets", "spelling", "spelling_lengths"}
        assert batch.tokens == arrays["lengths"].sum()
        for column, length in enumerate(arrays["lengths"]):
            tokens = [
                bytes(arrays["spelling"][: arrays["spelling_lengths"][t, column], t, column].tolist()).decode()
                for t in range(length)
            ]
            (expected,) = encode_tokens(data.tokenizer, [tokens])
            assert arrays["ids"][:length, column].tolist() == expected.tolist()
            seen.append((tuple(tokens), tuple(data.labels[n] for n in arrays["targets"][:length, column])))
        part = batch.columns(slice(0, 1)).arrays()
        assert [array.shape[-1] for array in part.values() if array is not None] == [1] * 5
    assert sorted(seen) == sorted((row.tokens, row.labels) for row in data.rows.parts["train"])


def test_a_token_is_one_whatever_it_looks_like() -> None:
    tokens = [
        "don't",
        "a.b-c",
        "@@",
        "<unk>",
        "\\n",
        "e\u0301",
        "½",
        "ﬁ",
        "…",
        "‿",
        "\u200b",
        "İ",
        "ß",
        "日本",
        "a\x00b",
    ]
    for lowercase in (False, True):
        settings = TextSettings(unit="word", pre_tokenized=True, lowercase=lowercase)
        tokenizer = train_tokenizer(" ".join(tokens) + "\n", settings)
        (ids,) = encode_tokens(tokenizer, [tokens])
        assert len(ids) == len(tokens)


def test_what_is_too_long_is_left_out_with_a_note(tmp_path: Path) -> None:
    content = "\n".join([f"w{n}\tX\na\tY\n" for n in range(30)] + ["a\tZ\n" * 3] * 2)
    data = prepared(content, tmp_path / "data.tsv", 2)
    assert data.labels == ("X", "Y")
    assert len(data.notes()) >= 1
    assert all(note.endswith(" sentences of more than 2 tokens are left out") for note in data.notes())
    with pytest.raises(CorpusError, match=r"^the train part has no example of at most 1 tokens: give a larger --most-"):
        prepared(content, tmp_path / "data.tsv", 1)


def test_one_label_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r'^training data: every example has the label "X": give examples of two'):
        prepared("\n".join(f"w{n}\tX\n" for n in range(30)), tmp_path / "data.tsv")


@pytest.mark.parametrize("unit", ["char", "bpe"])
def test_the_data_say_what_a_token_is(unit: str, tiny_sentences: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"^--unit is {unit}: the data of this task say what a token is, leave it out$"
    ):
        prepared(tiny_sentences, tmp_path / "data.tsv", unit=unit)


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^spelling is -1: give a whole number of at least 0$"):
        TaggingSettings(spelling=-1)


@pytest.mark.slow
def test_made_patterns_are_learnt(tmp_path: Path) -> None:
    import unrolled

    unrolled.train(
        ":patterns:",
        tmp_path / "model",
        task="tag",
        text=unrolled.TextSettings(split="80/10/10"),
        training=unrolled.TrainingSettings(epochs=4, threads=1),
    )
    result = models.get("tag").load(tmp_path / "model").evaluate(part="test")
    assert result.spans.f1 >= 0.98
