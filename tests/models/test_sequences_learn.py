"""What translators, correctors and fillers learn with their defaults; docs/results.md has the figures."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from tasks import continued, joined_dates
from unrolled import model_directory
from unrolled.inference.evaluation_text import find_text
from unrolled.models.correct.predictor import CorrectorResult
from unrolled.models.translate import TranslationSettings
from unrolled.text.made.agreement import made_agreement

pytestmark = pytest.mark.slow

MONTH = re.compile(r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*", re.IGNORECASE)
YEAR, DAY = re.compile(r"\b\d{4}\b"), re.compile(r"\b\d{1,2}(st|nd|rd|th)?\b", re.IGNORECASE)


def train(
    source: str, task: str, out: Path, *, epochs: float | None = None, minutes: float = 2.0, own: Any = ()
) -> Path:
    """For so many passes, or else minutes."""
    training = unrolled.TrainingSettings(epochs=epochs, minutes=None if epochs else minutes, threads=1)
    unrolled.train(source, out, task=task, training=training, own=own)
    return out


@pytest.mark.parametrize("source", [":numbers:", ":words:"])
def test_numbers_and_their_words_are_learnt(source: str, tmp_path: Path) -> None:
    translator = unrolled.Translator.load(train(source, "translate", tmp_path / "model"))
    assert translator.evaluate().exact >= 0.99


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> unrolled.Translator:
    return unrolled.Translator.load(train(":dates:", "translate", tmp_path_factory.mktemp("dates") / "model"))


def test_dates_are_learnt(dates: unrolled.Translator) -> None:
    assert dates.evaluate().exact >= 0.99


def fields_of(text: str) -> list[tuple[int, int]] | None:
    """Where a date in letters and figures has its year, its month and its day."""
    found = [expression.search(text) for expression in (YEAR, MONTH, DAY)]
    return [match.span() for match in found if match is not None] if all(found) else None


def fields_looked_at(translator: unrolled.Translator, lines: list[str]) -> Iterator[tuple[int, list[float]]]:
    """For each output token of one field (0 year, 1 month, 2 day): that, and the attention to each of the source."""
    for line, answer in zip(lines, translator.translate(lines), strict=True):
        output, tokens, fields = answer.outputs[0], answer.source_tokens[:-1], fields_of(line)
        assert output.alignment is not None
        assert fields is not None
        ends = np.cumsum([len(token) for token in tokens])
        starts, place = ends - [len(token) for token in tokens], 0
        for token, row in zip(output.tokens, output.alignment, strict=False):
            places = [place + n for n, character in enumerate(token) if character.isdigit()]
            place += len(token)
            of = {0 if each < 4 else 1 if each < 7 else 2 for each in places}
            if len(of) == 1:
                yield (
                    of.pop(),
                    [float(row[:-1][(starts < end) & (ends > start)].sum()) for start, end in fields],
                )


def test_year_month_and_day_look_at_year_month_and_day(dates: unrolled.Translator) -> None:
    rows, _ = dates.task.rows_of(dates.config, (), None)
    lines = [row.source for row in rows if fields_of(row.source) is not None]
    assert len(lines) > 500
    looked: list[list[Any]] = [[], [], []]
    for field, weights in fields_looked_at(dates, lines):
        looked[field].append(weights)
    means = np.array([np.mean(each, axis=0) for each in looked])
    assert (means.diagonal() > (0.8, 0.7, 0.6)).all(), means
    assert (means.argmax(1) == (0, 1, 2)).all(), means


def test_attention_is_worth_much_in_long_lines(tmp_path: Path) -> None:
    path, exact = tmp_path / "joined.tsv", {}
    path.write_text(joined_dates(), encoding="utf-8")
    for attention in ("additive", "none"):
        own = (TranslationSettings(attention),)
        exact[attention] = unrolled.Translator.load(
            train(str(path), "translate", tmp_path / attention, minutes=3, own=own)
        )
    found = {attention: translator.evaluate().exact for attention, translator in exact.items()}
    assert found["additive"] >= 0.6, found
    assert found["none"] < found["additive"] - 0.3, found


def test_a_wide_beam_side_by_side_is_much_faster_than_line_by_line(dates: unrolled.Translator) -> None:
    rows, _ = dates.task.rows_of(dates.config, (), None)
    lines = [row.source for row in rows[:64]]
    seconds = dict.fromkeys((32, 1), float("inf"))
    for _ in range(3):
        for batch in seconds:
            start = time.perf_counter()
            dates.translate(lines, beam=5, batch=batch)
            seconds[batch] = min(seconds[batch], time.perf_counter() - start)
    assert seconds[1] > 5 * seconds[32], seconds


def test_both_sides_tell_more_than_the_left_alone(tmp_path: Path) -> None:
    """Held-out words of a small language, by networks of about equal size; a novel is in docs/results.md."""
    filler = unrolled.Filler.load(train(":agreement:", "fill", tmp_path / "fill", epochs=8))
    unrolled.train(
        ":agreement:",
        tmp_path / "left",
        text=unrolled.TextSettings("word", read="sentences"),
        training=unrolled.TrainingSettings(epochs=8, threads=1),
        model=unrolled.ModelSettings("gru", 200, layers=2, tied=True),
        regularization=unrolled.Regularization(dropout=0.3),
    )
    left = unrolled.LanguageModel.load(tmp_path / "left")
    sizes = [sum(t.size for t in model_directory.load(tmp_path / name).tensors.values()) for name in ("fill", "left")]
    assert max(sizes) < 1.25 * min(sizes), sizes
    lines = find_text(left.config, None, None)[0].splitlines()
    assert lines == find_text(dict(filler.config), None, None)[0].splitlines()
    scores = left.score(lines, details=True)
    nats = np.mean([-token.log_probability for score in scores for token in (score.details or ())[:-1]])
    assert filler.evaluate().perplexity < 0.9 * np.exp(nats), nats


def test_a_language_model_goes_on_counting_by_ones_twos_and_threes(tmp_path: Path) -> None:
    unrolled.train(
        ":counting:",
        tmp_path / "model",
        text=unrolled.TextSettings("word", read="sentences", pre_tokenized=True),
        training=unrolled.TrainingSettings(minutes=2, threads=1),
    )
    shares = continued(tmp_path / "model")
    assert set(shares) == {"1", "2", "3"}
    assert min(shares.values()) >= 0.9, shares


def test_verbs_agree(tmp_path: Path) -> None:
    filler = unrolled.Filler.load(train(":agreement:", "fill", tmp_path / "model", epochs=8))
    held_out = set(find_text(dict(filler.config), None, None)[0].splitlines())
    right, count = 0, 0
    for line in made_agreement():
        if line.text not in held_out:
            continue
        for each in line.agreements:
            gap = " ".join([*line.tokens[: each.verb], "___", *line.tokens[each.verb + 1 :]])
            (filling,) = filler.fill([gap], candidates=each.forms)
            right += filling.gaps[0][0].word == each.forms[each.is_plural]
            count += 1
    assert count >= 600
    assert right / count >= 0.95


def test_brackets_are_closed(tmp_path: Path) -> None:
    filler = unrolled.Filler.load(train(":brackets:", "fill", tmp_path / "model", epochs=8))
    assert filler.evaluate().first >= 0.9


def test_mistakes_are_undone(tmp_path: Path) -> None:
    """In lines of a small language; the corrector has seen neither these nor their mistakes."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line.text}\n" for line in made_agreement()), encoding="utf-8")
    corrector = unrolled.Corrector.load(train(str(path), "correct", tmp_path / "model", epochs=10))
    result = corrector.evaluate()
    assert isinstance(result, CorrectorResult)
    assert result.errors_after < 0.3 * result.errors_before, result
    assert result.exact > result.exact_before + 0.4
