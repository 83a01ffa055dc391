"""A run of given minutes, on a clock of our own."""

from dataclasses import replace
from pathlib import Path

import pytest

from unrolled.training import course as course_module
from unrolled.training import output as output_module
from unrolled.training import planning as planning_module
from unrolled.training import run as run_module
from unrolled.training.schedule import legs_from_plan

from .runs import config_of, settings, settings_of, train, weights_of

pytestmark = pytest.mark.usefixtures("no_curve")


class Clock:
    """Stands in for the module `time`: each look at it takes a while, by turns longer and shorter."""

    def __init__(self) -> None:
        self.now, self.looks = 50.0, 0

    def perf_counter(self) -> float:
        self.looks += 1
        self.now += 0.02 if self.looks % 700 < 300 else 0.05
        return self.now


def test_a_run_of_minutes_is_repeated_by_the_plan_that_it_made(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with monkeypatch.context() as patch:
        for module in (run_module, course_module, output_module, planning_module):
            patch.setattr(module, "time", clock)
        wanted = settings(training={"epochs": None, "minutes": 0.5, "schedule": "cosine"})
        timed, expected = train(corpus, tmp_path / "timed", wanted)
    words = timed.repeat.split()
    plan = words[words.index("--anneal") + 1]
    legs = legs_from_plan(plan)
    assert len(legs) > 3, "the clock gave reason to think again"
    assert legs[-1].end == timed.steps > 60
    assert 0.85 * 30 < timed.seconds < 30, "all but what saving and drawing take, which is nothing here"
    assert "--minutes" not in words
    assert "--threads 1" in timed.repeat
    done = settings_of(tmp_path / "timed")
    repeated = replace(done, training=replace(done.training, minutes=None, anneal=plan))
    again, losses = train(corpus, tmp_path / "again", repeated)
    assert losses == expected
    assert again.steps == timed.steps
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "timed")
    assert again.repeat == timed.repeat
    assert config_of(tmp_path / "timed")["training"]["results"]["repeat"] == timed.repeat
