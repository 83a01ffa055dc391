"""Gaps, and what a model that was trained to fill them answers: candidates, scores, evaluations."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from unrolled import metrics, model_directory
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.fill import TASK
from unrolled.models.fill.answers import Candidate, FillerResult, Filling
from unrolled.models.fill.data import FillData
from unrolled.models.fill.predictor import Filler
from unrolled.models.predictor import PredictionSettings
from unrolled.models.rows import ExampleSettings
from unrolled.models.task import SavedData
from unrolled.text.settings import TextSettings
from unrolled.training.settings import Settings, TrainingSettings

LINES = [
    "the cat sees ___.",
    "___",
    "___ won't see a dog!",
    "Zoë ___ a ___, again.",
    "unheard ___ of _____ words ___",
    "3.14 mice — all of ___ (see ___)",
]


@pytest.fixture
def filler(sequence_model: Callable[[str], Path]) -> Filler:
    return Filler.load(sequence_model("fill"))


@pytest.fixture
def letters(sequence_model: Callable[[str], Path]) -> Filler:
    return Filler.load(sequence_model("fill letters"))


def logs_of(filler: Filler, ids: list[int]) -> torch.Tensor:
    """(T, V) of one line alone, by its network."""
    network = filler._network
    with torch.no_grad():
        vectors = network(torch.tensor(ids)[:, None], torch.tensor([len(ids)]))[:, 0]
        return network.log_probabilities(vectors).double()


def with_gaps(filler: Filler, line: str) -> list[int]:
    """A line's tokens where gaps stand alone between blanks and punctuation."""
    (ids,) = (filler.tokenizer.encode(line.replace("_____", "___").replace("___", "qqq")),)
    return [int(n) for n in ids]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_candidates_are_the_networks_and_do_not_depend_on_what_stands_beside(filler: Filler, batch: int) -> None:
    tokenizer, unknown = filler.tokenizer, filler.tokenizer.unknown_id
    assert tokenizer.unseen("qqq") == ["qqq"]
    for line, filling in zip(LINES, filler.fill(LINES, top=3, batch=batch), strict=True):
        assert filling.text == line
        logs = logs_of(filler, with_gaps(filler, line))
        surfaces = tokenizer.surfaces(line.replace("_____", "___").replace("___", "qqq"))
        places = [place for place, surface in enumerate(surfaces) if surface == "qqq"]
        assert len(filling.gaps) == len(places) == line.replace("_____", "___").count("___")
        for place, candidates in zip(places, filling.gaps, strict=True):
            row = logs[place].exp()
            row[unknown] = row[tokenizer.end_of_line_id] = -1
            best = row.argsort(descending=True, stable=True)[:3]
            assert [each.probability for each in candidates] == pytest.approx(row[best].tolist(), rel=1e-5)
            shown = [tokenizer.token(n).replace("\u2060", "") for n in best]
            assert [each.word for each in candidates] == shown
    assert len({filling.gaps[0][0] for filling in filler.fill(LINES)}) > 3


def test_the_filled_line_has_the_first_candidates(filler: Filler) -> None:
    line = "Zoë ___ a _____, again."
    (filling,) = filler.fill([line])
    first, second = (candidates[0].word for candidates in filling.gaps)
    assert filling.filled == f"Zoë {first} a {second}, again."
    assert filling.lines()[0] == filling.filled
    assert filling.lines()[1] == f"\t1\t{filling.gaps[0][0].probability:.4f}\t{first}"
    assert len(filling.lines()) == 11
    record = filling.as_dict()
    assert record["text"] == line
    assert record["filled"] == filling.filled
    assert record["gaps"][1][0] == {"word": second, "probability": filling.gaps[1][0].probability}
    assert Filling("x", ((Candidate("a", 0.5),),), "y").lines() == ["y", "\t1\t0.5000\ta"]


def test_all_candidates_come_to_one_but_for_what_is_no_word(filler: Filler) -> None:
    (filling,) = filler.fill(["the cat ___ a dog."], top=10**6)
    candidates = filling.gaps[0]
    assert len(candidates) == filler.tokenizer.vocabulary_size - 2
    probabilities = [each.probability for each in candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    row = logs_of(filler, with_gaps(filler, "the cat ___ a dog."))[2].exp()
    others = row[filler.tokenizer.unknown_id] + row[filler.tokenizer.end_of_line_id]
    assert sum(probabilities) + float(others) == pytest.approx(1, abs=1e-5)


def test_a_candidate_of_one_word_has_its_probability_and_of_several_the_chain_rules(filler: Filler) -> None:
    line, words = "Zoë ___ a ___, again.", ["sees", "won't see", "dog", "sees no one"]
    tokenizer, unknown = filler.tokenizer, filler.tokenizer.unknown_id or 0
    (filling,) = filler.fill([line], candidates=words, batch=2)
    whole = with_gaps(filler, line)
    for gap, candidates in zip((1, 3), filling.gaps, strict=True):
        expected = {}
        for word in words:
            ids, total = [int(n) for n in tokenizer.encode(word)], 0.0
            for number, token in enumerate(ids):
                filled = [*ids[:number], *[unknown] * (len(ids) - number)]
                row = logs_of(filler, [*whole[:gap], *filled, *whole[gap + 1 :]])[gap + number]
                total += float(row[token])
            expected[word] = math.exp(total)
        assert {each.word: each.probability for each in candidates} == pytest.approx(expected, rel=1e-5)
        order = [each.word for each in candidates]
        assert order == sorted(words, key=lambda word: -expected[word])
    (free,) = filler.fill([line], top=10**6)
    of_sees = next(each.probability for each in free.gaps[0] if each.word == "sees")
    assert next(each.probability for each in filling.gaps[0] if each.word == "sees") == pytest.approx(of_sees, rel=1e-5)
    assert filling.filled == f"Zoë {filling.gaps[0][0].word} a {filling.gaps[1][0].word}, again."


def test_candidates_of_one_word_are_ranked_at_once_and_unknown_ones_refused(filler: Filler) -> None:
    one, other = (filler.fill(["Zoë ___ a dog", "the ___"], candidates=words) for words in (["sees", "dog"], ["dog"]))
    (free,) = filler.fill(["Zoë ___ a dog"], top=10**6)
    expected = {each.word: each.probability for each in free.gaps[0] if each.word in {"sees", "dog"}}
    assert {each.word: each.probability for each in one[0].gaps[0]} == pytest.approx(expected, rel=1e-6)
    assert [each.word for each in other[1].gaps[0]] == ["dog"]
    with pytest.raises(UsageError, match=r'^candidate "qqq" has a word that the model does not know: leave it out$'):
        filler.fill(["Zoë ___ a dog"], candidates=["dog", "qqq"])


def test_lines_over_the_limit_are_left_out_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a b c\n" * 30 + "a b c d e\n" + "a b c\n" * 10 + "a b c d e\n", encoding="utf-8")
    data = TASK.prepare([path], TextSettings(unit="word", split="80/20"), (ExampleSettings(most_tokens=4),))
    assert any("lines of more than 4 tokens are left out" in note for note in data.notes())
    assert data.size % 3 == 0
    unrolled.train(
        path,
        tmp_path / "model",
        task="fill",
        own=ExampleSettings(most_tokens=4),
        model=unrolled.ModelSettings(hidden=4, embedding=4),
        training=unrolled.TrainingSettings(epochs=1),
    )
    model = Filler.load(tmp_path / "model")
    for ask in (model.score, model.fill):
        with pytest.raises(CorpusError, match=r"^line 2 has 5 tokens, the model reads at most 4 "):
            ask(["a ___ c", "a b ___ d e"])
    assert "without" in model.evaluate().name
    with pytest.raises(CorpusError, match=r"text\.txt, line 31 has 5 tokens, the model reads at most 4 "):
        model.evaluate(path)


def test_scores_are_what_fill_says_of_each_word_with_it_alone_missing(filler: Filler) -> None:
    for line in ("the cat sees no one", "Zoë won't see a dog", "dog"):
        words, total = line.split(" "), 0.0
        for place, word in enumerate(words):
            gap = " ".join([*words[:place], "___", *words[place + 1 :]])
            (filling,) = filler.fill([gap], top=10**6)
            total += math.log(next(each.probability for each in filling.gaps[0] if each.word == word))
        (score,) = filler.score([line])
        assert score.words == len(words)
        assert score.log_probability == pytest.approx(total, rel=1e-5)
        assert score.perplexity == pytest.approx(math.exp(-total / len(words)), rel=1e-5)
        assert score.lines() == [f"{score.log_probability:.4f}\t{score.perplexity:.4f}\t{line}"]
        assert score.as_dict() == {
            "text": line, "words": len(words), "log_probability": score.log_probability,
            "perplexity": score.perplexity,
        }  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
def test_scores_do_not_depend_on_what_stands_beside(
    filler: Filler, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["the cat sees no one.", "qqq", "Zoë won't see a dog!", "a dog sees the café, again."] * 30
    usual = filler.score(lines)
    monkeypatch.setattr("unrolled.models.fill.predictor.PLACES_AT_ONCE", 7)
    again = filler.score(lines[:4], batch=batch)
    expected = [each.log_probability for each in usual[:4]]
    assert [each.log_probability for each in again] == pytest.approx(expected, rel=1e-6)
    assert [(each.text, each.words) for each in again] == [(each.text, each.words) for each in usual[:4]]
    assert [each.text for each in usual] == lines
    assert len({round(each.log_probability, 4) for each in usual}) == 4


def test_what_touches_a_gap(filler: Filler) -> None:
    """Punctuation may, letters may not; where there are as many gaps as words, each has its own candidates."""
    for line, count in (("(___)", 1), ('"___", "___"', 2), ("___!", 1), ("___ ___  ___", 3), ("a\u00a0___", 1)):
        (filling,) = filler.fill([line])
        assert len(filling.gaps) == count
        assert "_" not in filling.filled
    for line in ("un___ the ___", "the ___s", "___'s", "well-___", "___\u2019s dog ___"):
        with pytest.raises(CorpusError, match=r"^line 4 has a gap that is a part of a word: put blanks around ___$"):
            filler.answers(["___", line], PredictionSettings(), first=3)


def test_what_stands_for_a_gap_may_stand_in_the_text_too(filler: Filler) -> None:
    with pytest.raises(CorpusError, match=r"^line 1 has a gap that is a part"):
        filler.fill(["xgapxgapx ___"])
    (score,) = filler.score(["xgapxgapx"])
    assert score.words == 1


@pytest.mark.parametrize("line", ["no gap here", "", "_ __ a_b", "– —"])
def test_lines_without_a_gap_are_counted(filler: Filler, line: str) -> None:
    with pytest.raises(CorpusError, match=r"^line 8 has no gap: write ___ for each missing word, with blanks around"):
        filler.answers(["fine ___", line], PredictionSettings(), first=7)


def test_letters_are_missed_and_found(letters: Filler) -> None:
    line = "the c___t s___ Zoë"
    (filling,) = letters.fill([line], top=4)
    ids = [int(n) for n in letters.tokenizer.encode("the c\ue000t s\ue000 Zoë")]
    assert [place for place, token in enumerate(ids) if token == letters.tokenizer.unknown_id] == [5, 9]
    for place, candidates in zip((5, 9), filling.gaps, strict=True):
        row = logs_of(letters, ids)[place].exp()
        row[[0, 1]] = -1
        best = row.argsort(descending=True, stable=True)[:4]
        assert [each.probability for each in candidates] == pytest.approx(row[best].tolist(), rel=1e-5)
    first, second = (candidates[0].word for candidates in filling.gaps)
    assert filling.filled == f"the c{first}t s{second} Zoë"
    (ranked,) = letters.fill(["the c___t"], candidates=["a", "on"])
    assert {each.word for each in ranked.gaps[0]} == {"a", "on"}
    (score,) = letters.score(["the cat"])
    assert score.words == 7


def test_a_gap_is_read_as_a_gap_whatever_the_text_had(tmp_path: Path) -> None:
    lines = "".join(f"a xgapxgapx {word}\nb {word} c\n" for word in ("one", "two", "three", "four") * 8)
    filler = trained(tmp_path, lines)
    assert "xgapxgapx" in filler.tokenizer.tokens
    (filling,) = filler.fill(["a ___ one"], top=100)
    row = logs_of(filler, [*(int(n) for n in filler.tokenizer.encode("a qqq one"))])[1].exp()
    expected = {filler.tokenizer.token(n): float(row[n]) for n in range(2, filler.tokenizer.vocabulary_size)}
    assert {each.word: each.probability for each in filling.gaps[0]} == pytest.approx(expected, rel=1e-5)


def test_blanks_as_letters_are_shown(letters: Filler) -> None:
    (filling,) = letters.fill(["the___cat"], top=100)
    assert " " in {each.word for each in filling.gaps[0]}


def test_newlines_in_a_line_are_blanks(filler: Filler) -> None:
    one, other = filler.fill(["the cat\n___ a dog", "the cat ___ a dog"])
    assert one.gaps == other.gaps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top is 0: give a whole number of at least 1"),
        ({"batch": 0}, "batch is 0: give a whole number of at least 1"),
        ({"candidates": ["a", " "]}, 'candidate " " has no word: give words'),
    ],
)
def test_what_cannot_be_meant_is_refused(filler: Filler, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        filler.fill(["___"], **options)
    with pytest.raises(UsageError, match=r"^batch is 0"):
        filler.score(["a"], batch=0)


def test_answers_take_candidates_apart(filler: Filler) -> None:
    (answer,) = filler.answers(["the cat ___ a dog"], PredictionSettings(candidates=" sees, won't see ,,"))
    assert {each.word for each in answer.gaps[0]} == {"sees", "won't see"}
    with pytest.raises(UsageError, match=r"^--candidates names no word: separate them by commas, such as is,are$"):
        filler.answers(["___"], PredictionSettings(candidates=" ,"))
    (answer,) = filler.answers(["___"], PredictionSettings(top=2))
    assert len(answer.gaps[0]) == 2
    assert filler.fill([]) == []
    assert filler.score([]) == []


@pytest.mark.parametrize("line", ["", " \t"])
def test_empty_lines_have_no_score(filler: Filler, line: str) -> None:
    with pytest.raises(CorpusError, match=r"^line 8 is empty: there is nothing to answer, leave it out$"):
        filler.scores(["fine", line], first=7)


def test_engines_agree(filler: Filler, sequence_model: Callable[[str], Path]) -> None:
    portable = Filler.load(sequence_model("fill"), engine="portable")
    for one, other in zip(filler.fill(LINES), portable.fill(LINES), strict=True):
        for gap, same in zip(one.gaps, other.gaps, strict=True):
            expected = [each.probability for each in same]
            assert [each.probability for each in gap] == pytest.approx(expected, rel=1e-4)


# Evaluations


def test_an_evaluation_asks_for_each_word(filler: Filler, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sees a dog.\n\n \nqqq Zoë\nno one", encoding="utf-8")
    result = filler.evaluate([path])
    lines = ["the cat sees a dog.", "qqq Zoë", "no one"]
    scores, right = filler.score(lines), []
    for line in lines:
        ids = [int(n) for n in filler.tokenizer.encode(line)]
        right += (logs_of(filler, ids).argmax(1) == torch.tensor(ids)).tolist()
    assert result.name == str(path)
    assert result.words == sum(score.words for score in scores) == 10
    nats = -sum(score.log_probability for score in scores) / 10
    assert result.nats_per_word == pytest.approx(nats, rel=1e-6)
    assert result.perplexity == metrics.perplexity(result.nats_per_word)
    assert result.first == sum(right) / 10
    assert result.unknown_rate == 1 / 10
    assert result.lines()[0] == "words               10"
    assert list(result.as_dict()) == ["data", "words", "nats_per_word", "perplexity", "first", "unknown_rate"]
    assert FillerResult("d", 1, 1.0, 2.0, 0.5, 0.25).lines()[1:] == [
        "nats per word       1.0000",
        "perplexity          2.000   (comparable only with the same words)",
        "first guess right   50.00%",
        "unknown words       25.000%",
    ]
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"^{path}: the corpus is empty"):
        filler.evaluate([path])


def test_parts_are_evaluated_by_name_and_cost_what_training_said(filler: Filler) -> None:
    result = filler.evaluate()
    assert result.name.startswith("validation part of ")
    results = filler.config["training"]["results"]
    assert result.nats_per_word == pytest.approx(results["validation_loss"], rel=1e-5)
    assert filler.evaluate(part="test").name.startswith("test part of ")
    with pytest.raises(UsageError, match=r'^part is "dev": this model has train, validation, test$'):
        filler.evaluate(part="dev")


def test_another_tasks_directory_is_refused(sequence_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelDirectoryError, match=r"""its task is 'translate', expected "fill": unrolled info tells"""):
        Filler.load(sequence_model("words"))


# Data


def prepared(path: Path, content: str, **text: Any) -> FillData:
    path.write_text(content, encoding="utf-8")
    data = TASK.prepare([path], TextSettings(**{"unit": "word", **text}), (ExampleSettings(),))
    assert isinstance(data, FillData)
    return data


def trained(folder: Path, text: str) -> Filler:
    import unrolled

    (folder / "text.txt").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
        unrolled.train(
            folder / "text.txt",
            folder / "model",
            task="fill",
            model=unrolled.ModelSettings(hidden=4, embedding=4),
            training=unrolled.TrainingSettings(epochs=1, threads=1),
        )
    return Filler.load(folder / "model")


def test_batches_hold_lines_without_their_ends(tmp_path: Path, tiny_text: str) -> None:
    data, seen = prepared(tmp_path / "text.txt", tiny_text), []
    tokenizer, reader = data.text.tokenizer, data.training_reader(TrainingSettings(batch=8))
    for batch in reader.batches(0):
        arrays: dict[str, Any] = batch.arrays()
        assert set(arrays) == {"ids", "lengths"}
        assert batch.tokens == arrays["lengths"].sum()
        for column, length in zip(arrays["ids"].T, arrays["lengths"], strict=True):
            assert tokenizer.end_of_line_id not in column[:length]
            seen.append(tokenizer.decode(column[:length]))
    whole = [line for line in tiny_text.split("\n") if line.strip()]
    expected = [tokenizer.decode(tokenizer.encode(line)) for line in whole]
    assert 0.85 * len(expected) < len(seen) < 0.95 * len(expected)
    assert sorted(seen) == sorted(expected[: len(seen)])
    assert reader.tokens == data.size
    assert data.counts is not None
    assert data.counts[tokenizer.end_of_line_id] == 0
    assert data.counts.sum() == data.size
    assert data.describe(1.0, 0.5).startswith("1.0000 nats/word, perplexity 2.72 (uniform ")
    assert data.describe(1.0, 0.5).endswith("first guess right 50.00%")
    assert data.figures(1.0, 0.5) == {"perplexity": pytest.approx(math.e), "accuracy": 0.5}


def test_the_baseline_knows_no_ends_of_lines(tmp_path: Path) -> None:
    data = prepared(tmp_path / "text.txt", "a a b\n" * 20)
    assert data.unigram == pytest.approx(-(2 * math.log(2 / 3) + math.log(1 / 3)) / 3, rel=0.2)
    assert data.uniform == pytest.approx(math.log(4))


def test_a_run_that_goes_on_reads_the_same_data(sequence_model: Callable[[str], Path]) -> None:
    files = model_directory.load(sequence_model("fill"))
    text = TextSettings(**files.config["text"])
    data = TASK.prepare_again(SavedData(files.config["data"], files), [], text, (ExampleSettings(),))
    assert data.tokenizers() == {"tokenizer_json": files.tokenizer_json}
    assert data.record()["parts"] == files.config["data"]["parts"]


def test_subwords_and_shares_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--unit is bpe: a gap is one token, and a word would be several: take word"):
        prepared(tmp_path / "text.txt", "a b\n" * 20, unit="bpe")
    for share in (-0.1, 1.0, math.nan):
        with pytest.raises(UsageError, match=rf"^unknown_share is {share}: give a share of at least 0 and below 1$"):
            ExampleSettings(unknown_share=share)


@pytest.mark.parametrize(
    ("group", "value", "option"),
    [
        ("training", TrainingSettings(window=20), "--window"),
        ("training", TrainingSettings(random_windows=True), "--ra"),
    ],
)
def test_settings_that_mean_nothing_are_refused(group: str, value: Any, option: str) -> None:
    from unrolled.models.settings import ModelSettings

    usual = {"text": TextSettings(), "model": ModelSettings(), "training": TrainingSettings()}
    with pytest.raises(UsageError, match=rf"^{option}.* means nothing to the task fill: leave it out$"):
        Settings(**{**usual, group: value}, task="fill")
    assert np.isfinite(Settings(**usual, task="fill").own[0].unknown_share)  # type: ignore[arg-type]
