"""Clean lines and their mistakes, and what a corrector answers; runs of it and of fill and translate that go on."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unrolled
from unrolled import models
from unrolled.errors import CorpusError, UsageError
from unrolled.models.correct import HELD_OUT_SEED, TASK, CorrectionSettings
from unrolled.models.correct.predictor import Corrector, CorrectorResult, word_errors
from unrolled.models.rows import ExampleSettings
from unrolled.models.translate import TranslationSettings
from unrolled.models.translate.data import TranslationData
from unrolled.nn import Regularization
from unrolled.text.noise import noisy
from unrolled.text.settings import TextSettings
from unrolled.training.events import Finished, Stopped
from unrolled.training.run import run
from unrolled.training.settings import Settings, TrainingSettings

from ..training.runs import DEFAULTS, all_of, stop_after, weights_of

OWN = (ExampleSettings(), TranslationSettings(), CorrectionSettings(0.3))
TEXT = "".join(f"line {n} of a text with some words in it\n" + ("\n" if n % 7 == 0 else "") for n in range(60))


def prepared(path: Path, content: str = TEXT, own: Any = OWN, **text: Any) -> TranslationData:
    path.write_text(content, encoding="utf-8")
    data = TASK.prepare([path], TextSettings(**{"unit": "bpe", **text}), own)
    assert isinstance(data, TranslationData)
    return data


# Mistakes


def test_targets_are_the_lines_and_sources_have_mistakes(tmp_path: Path) -> None:
    data = prepared(tmp_path / "text.txt")
    rows = [*data.rows.parts["train"], *data.rows.parts["validation"]]
    clean = [line for line in TEXT.split("\n") if line]
    assert sorted(row.target for row in rows) == sorted(clean)
    for row in rows:
        assert TEXT.split("\n")[row.line - 1] == row.target
        assert row.source == noisy(row.target, 0.3, random.Random(f"{HELD_OUT_SEED} {row.target}"))
    assert sum(row.source != row.target for row in rows) > 50
    again = prepared(tmp_path / "text.txt")
    assert again.rows.parts == data.rows.parts
    assert again.fingerprint() == data.fingerprint()


def test_equal_lines_stay_in_one_part(tmp_path: Path) -> None:
    """Or what is held out would have been trained on."""
    text = "".join(f"the line number {n % 15} is here several times\n" for n in range(150))
    for split in ("50/50", "70/20/10"):
        parts = prepared(tmp_path / "text.txt", text, split=split).rows.parts
        targets = [{row.target for row in held} for held in parts.values()]
        assert sum(map(len, targets)) == len(set.union(*targets)) == 15


def seen(data: TranslationData, part: str, pass_index: int, seed: int = 1) -> dict[str, str]:
    """Each line with the copy that is read of it in a pass."""
    found = {}
    for batch in data.reader(part, 7, seed).batches(pass_index):
        arrays: dict[str, Any] = batch.arrays()
        for b in range(batch.width):
            source = arrays["source"][: arrays["source_lengths"][b], b]
            target = arrays["targets"][: arrays["lengths"][b], b]
            assert source[-1] == target[-1] == data.tokenizer.end_of_line_id
            found[data.target_tokenizer.decode(target[:-1])] = data.tokenizer.decode(source[:-1])
    return found


def test_each_pass_has_other_mistakes_and_the_same_each_time(tmp_path: Path) -> None:
    data, other = (prepared(tmp_path / name) for name in ("one.txt", "other.txt"))
    passes = [seen(data, "train", number) for number in range(3)]
    for number, found in enumerate(passes):
        assert set(found) == {row.target for row in data.rows.parts["train"]}
        assert seen(other, "train", number, seed=5) == found, "whatever the order"
        assert all(len(copy.split()) <= 2 * len(line.split()) for line, copy in found.items())
    one, two, three = passes
    assert sum(one[line] != two[line] for line in one) > 0.9 * len(one)
    assert sum(one[line] != three[line] for line in one) > 0.9 * len(one)
    held = [seen(data, "validation", number) for number in range(2)]
    assert held[0] == held[1] == {row.target: row.source for row in data.rows.parts["validation"]}


def test_copies_that_come_out_too_long_are_cut(tmp_path: Path) -> None:
    own = (ExampleSettings(most_tokens=8), TranslationSettings(), CorrectionSettings(1.0))
    data = prepared(tmp_path / "text.txt", "".join(f"w{n} b c d e f g\n" for n in range(40)), own, unit="word")
    assert data.examples["train"][1].lengths.max() == 8
    for number in range(5):
        for batch in data.reader("train", 4, 1).batches(number):
            arrays: dict[str, Any] = batch.arrays()
            assert arrays["source_lengths"].max() <= 8


@pytest.mark.parametrize("noise", [0.0, -0.1, 1.1, float("nan")])
def test_a_noise_that_is_no_share_is_refused(noise: float) -> None:
    with pytest.raises(UsageError, match=rf"^noise is {noise}: give a share above 0 and at most 1$"):
        CorrectionSettings(noise)


def test_a_text_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="the corpus is empty"):
        prepared(tmp_path / "text.txt", "\n \n")


def test_both_sides_have_one_vocabulary_unless_it_is_refused(tmp_path: Path) -> None:
    data = prepared(tmp_path / "text.txt")
    assert data.tokenizer is data.target_tokenizer
    apart = prepared(tmp_path / "text.txt", own=(OWN[0], TranslationSettings(shared_vocabulary=False), OWN[2]))
    assert apart.tokenizer is not apart.target_tokenizer
    assert set(apart.tokenizers()) == {"tokenizer_json", "target_tokenizer_json"}
    assert TASK.decided(TranslationSettings()).shared_vocabulary is True
    for choice in (True, False):
        assert TASK.decided(TranslationSettings(shared_vocabulary=choice)).shared_vocabulary is choice
    assert models.get("translate").decided(TranslationSettings()).shared_vocabulary is False  # type: ignore[attr-defined]


# Words that are wrong


def errors_by_definition(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        errors_by_definition(one[1:], other) + 1,
        errors_by_definition(one, other[1:]) + 1,
        errors_by_definition(one[1:], other[1:]) + (one[0] != other[0]),
    )


WORDS = st.lists(st.sampled_from("abc"), max_size=5)


@given(WORDS, WORDS)
def test_word_errors_are_the_fewest_changes(one: list[str], other: list[str]) -> None:
    assert word_errors(" ".join(one), "  ".join(other)) == errors_by_definition(one, other)


# Answers


@pytest.fixture
def corrector(sequence_model: Callable[[str], Path]) -> Corrector:
    return Corrector.load(sequence_model("correct"))


def test_correcting_is_translating(corrector: Corrector) -> None:
    lines = ["the the cat sees a dog.", "Zoë wo'nt se"]
    one, other = corrector.correct(lines, most_output=9, beam=2), corrector.translate(lines, most_output=9, beam=2)
    assert [each.text for each in one] == [each.text for each in other]
    assert [each.source for each in one] == lines
    (score,) = corrector.scores(["the cat\tthe cat"])
    assert score.log_probability < 0


def test_an_evaluation_compares_before_and_after(corrector: Corrector, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, name = TASK.rows_of(corrector.config, (), None)
    undone = {row.source: row.target if number % 2 else row.source for number, row in enumerate(rows)}

    def half(lines: list[str]) -> list[Any]:
        (answer,) = corrector.translate(["a"], most_output=2)
        output = answer.outputs[0]
        return [type(answer)(line, (), (type(output)(undone[line], (), 0.0, 0.0, True),)) for line in lines]

    result = corrector.evaluate()
    assert result == corrector.evaluate(), "the same mistakes each time"
    assert result.name == name
    assert result.nats_per_token == pytest.approx(corrector.config["training"]["results"]["validation_loss"], rel=1e-5)
    words = sum(len(row.target.split()) for row in rows)
    assert result.errors_before == sum(word_errors(row.target, row.source) for row in rows) / words > 0
    assert result.exact_before == np.mean([row.source == row.target for row in rows])
    found = [answer.text for answer in corrector.correct([row.source for row in rows])]
    pairs = zip(rows, found, strict=True)
    assert result.errors_after == sum(word_errors(row.target, text) for row, text in pairs) / words
    with monkeypatch.context() as patch:
        answers = half([row.source for row in rows])
        patch.setattr(corrector, "translate", lambda lines: answers)
        better = corrector.evaluate()
    assert 0 < better.errors_after < better.errors_before
    assert better.exact > better.exact_before
    assert CorrectorResult("d", 1234, 0.5, 0.75, 0.25, 0.125, 0.0625).lines() == [
        "lines               1,234",
        "nats per token      0.5000",
        "without a mistake   75.00%   (before: 25.00%)",
        "word error rate     6.25%   (before: 12.50%)",
    ]
    names = ["data", "lines", "nats_per_token", "exact", "exact_before", "errors_before", "errors_after"]
    assert list(result.as_dict()) == names


def test_a_text_of_ones_own_is_evaluated_with_mistakes_too(corrector: Corrector, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sees a dog.\n\nZoë won't see the café!\n", encoding="utf-8")
    result = corrector.evaluate([path])
    assert (result.name, result.lines_read) == (str(path), 2)
    path.write_text("the cat\n" + "a " * 1000 + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"^{path}, line 2 has [\d,]+ tokens, the model reads at most 1,000"):
        corrector.evaluate([path])


# Runs


@pytest.fixture
def _no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")


def settings(task: str, *, seed: int = 1) -> Settings:
    """Everything that chance decides is on: order, dropout of all kinds, unknown words, gaps, mistakes."""
    pairs = (ExampleSettings(unknown_share=0.2), TranslationSettings(shared_vocabulary=task == "correct"))
    own = {
        "fill": (ExampleSettings(unknown_share=0.3),),
        "translate": pairs,
        "correct": (*pairs, CorrectionSettings(0.5)),
    }[task]
    return Settings(
        TextSettings("word", min_count=2),
        unrolled.ModelSettings(hidden=6, embedding=5, layers=2),
        TrainingSettings(epochs=1.5, batch=16, learning_rate=0.02, threads=1, seed=seed),
        Regularization(dropout=0.3, dropout_embedding=0.1, weight_drop=0.2, locked=task != "fill"),
        task,
        own,
    )


@pytest.mark.usefixtures("_no_curve")
@pytest.mark.parametrize("task", ["fill", "translate", "correct"])
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one_and_another_seed_others(
    task: str, tmp_path: Path, tiny_pairs: str, tiny_text: str
) -> None:
    data = tmp_path / "data"
    data.write_text(tiny_pairs if task == "translate" else "\n".join(tiny_text.split("\n")[:90]), encoding="utf-8")
    whole, halves, other = (tmp_path / name for name in ("whole", "halves", "other"))
    end, validations = all_of(run([data], whole, settings(task)))
    assert isinstance(end, Finished)
    stopped, first = all_of(run([data], halves, settings(task), should_stop=stop_after(4)))
    assert isinstance(stopped, Stopped)
    again, second = all_of(run([], halves, DEFAULTS, resume=True))
    assert isinstance(again, Finished)
    assert weights_of(whole) == weights_of(halves)
    assert [each.loss for each in [*first, *second]] == [each.loss for each in validations]
    files = {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"}
    assert files <= {path.name for path in whole.iterdir()}
    assert (whole / "target_tokenizer.json").exists() == (task == "translate")
    all_of(run([data], other, settings(task, seed=2)))
    assert weights_of(other) != weights_of(whole)
