"""A run on a text whose tokens lie in a file: the same weights, told of while it is read, and resumed."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unrolled.models.language import data
from unrolled.models.task import Report
from unrolled.text import corpus as corpus_module
from unrolled.text import decoding
from unrolled.training import background
from unrolled.training.background import in_background
from unrolled.training.events import DataRead, Event, Finished, Reading, Stopped
from unrolled.training.run import run

from .runs import DEFAULTS, SETTINGS, all_of, settings, stop_after, train, weights_of

pytestmark = pytest.mark.usefixtures("no_curve")


@pytest.fixture
def all_is_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Texts count as long from 50 characters on."""
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "PIECE", 100)
    for module in (corpus_module, data):
        monkeypatch.setattr(module, "KEPT", 50)


@pytest.mark.parametrize("read", ["stream", "sentences"])
def test_a_long_text_makes_the_same_model(
    read: str, corpus: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = settings(text={"read": read, "split": "80/10/10"})
    short, expected = train(corpus, tmp_path / "short", wanted)
    request.getfixturevalue("all_is_long")
    for name in ("first", "from the cache"):
        long, validations = train(corpus, tmp_path / name, wanted)
        assert (long.loss, long.steps, validations) == (short.loss, short.steps, expected)
        assert weights_of(tmp_path / name) == weights_of(tmp_path / "short")
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 3, "train, validation, test"


@pytest.mark.usefixtures("all_is_long")
def test_a_run_on_a_long_text_is_resumed(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "undisturbed")
    end, _ = all_of(run([corpus], tmp_path / "stopped", SETTINGS, should_stop=stop_after(7)))
    assert isinstance(end, Stopped)
    end, _ = all_of(run([], tmp_path / "stopped", DEFAULTS, resume=True))
    assert isinstance(end, Finished)
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "undisturbed")


def result_of(events: Iterator[Event]) -> Any:
    """What a generator returns in the end."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def test_how_far_it_is_is_told_and_closing_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SECONDS_BETWEEN_EVENTS", 0.001)
    go_on, ended = threading.Event(), threading.Event()

    def work(report: Report) -> str:
        try:
            report("reading", 0.25)
            go_on.wait(10)
            report("reading", 0.5)
        finally:
            ended.set()
        return "done"

    events = in_background(work)
    assert next(events) == Reading("reading", 0.25)
    go_on.set()
    assert result_of(events) == "done"

    go_on.clear()
    ended.clear()
    events = in_background(work)
    assert next(events) == Reading("reading", 0.25)
    events.close()
    go_on.set()
    assert ended.wait(10), "the work was told that nobody waits for it"


def test_what_goes_wrong_in_the_background_is_raised_in_front() -> None:
    def fail(report: Report) -> None:
        raise ZeroDivisionError("as expected")

    with pytest.raises(ZeroDivisionError, match="as expected"):
        list(in_background(fail))


def test_a_run_tells_that_it_reads(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SECONDS_BETWEEN_EVENTS", 0.0)
    prepare = data.prepare

    def slowly(sources: Any, text: Any, report: Report) -> data.TrainingData:
        report("reading", 0.5)
        told.wait(10)
        return prepare(sources, text, report)

    told = threading.Event()
    monkeypatch.setattr("unrolled.models.language.data.prepare", slowly)
    seen: list[Event] = []
    for event in run([corpus], tmp_path / "model", SETTINGS):
        seen.append(event)
        told.set()
    assert seen[0] == Reading("reading", 0.5)
    assert [type(event) for event in seen].count(DataRead) == 1
