"""Averages for progress and sums for the log, on a clock of our own."""

import pytest
import torch

from unrolled.training.loop import Step, Trained
from unrolled.training.meter import SECONDS_BETWEEN_REPORTS, SMOOTHING, Meter

STATE = torch.zeros(1, 1, 1)


class Clock:
    def __init__(self) -> None:
        self.now = 70.0

    def __call__(self) -> float:
        return self.now


def step(
    number: int,
    *,
    loss: float,
    tokens: int,
    rate: float = 0.1,
    norm: float = 1.0,
    clipped: bool = False,
    ratio: float | None = None,
) -> Step:
    return Step(number, rate, False, Trained(loss, tokens, norm, clipped, ratio, STATE))


def test_a_line_of_the_log_sums_up_the_steps_since_the_last_one() -> None:
    clock = Clock()
    meter = Meter(clock)
    steps = [
        step(1, loss=4.0, tokens=10, rate=0.1, norm=3.0, clipped=True, ratio=0.5),
        step(2, loss=1.0, tokens=30, rate=0.2, norm=1.0),
        step(3, loss=2.0, tokens=20, rate=0.3, norm=2.0, clipped=True, ratio=0.1),
        step(4, loss=3.0, tokens=20, rate=0.4, norm=6.0, clipped=True),
    ]
    for each in steps:
        clock.now += 0.5
        meter.add(each)
    assert meter.take() == {
        "training_loss": pytest.approx((4.0 * 10 + 1.0 * 30 + 2.0 * 20 + 3.0 * 20) / 80),
        "learning_rate": 0.4,
        "gradient_norm": 3.0,
        "largest_gradient_norm": 6.0,
        "clipped": 0.75,
        "update_ratio": pytest.approx(0.3),
        "tokens_per_second": meter.tokens_per_second,
    }
    meter.add(step(5, loss=7.0, tokens=3, rate=0.5, norm=9.0))
    line = meter.take()
    assert (line["training_loss"], line["learning_rate"], line["gradient_norm"], line["clipped"]) == (7.0, 0.5, 9.0, 0)
    assert line["update_ratio"] is None, "no step of these was measured"


def test_what_is_recent_counts_most() -> None:
    clock = Clock()
    meter = Meter(clock)
    losses, tokens, seconds = [5.0, 3.0, 4.0], [10, 20, 40], [0.5, 0.25, 1.0]
    for number, (loss, count, taken) in enumerate(zip(losses, tokens, seconds, strict=True), 1):
        clock.now += taken
        meter.add(step(number, loss=loss, tokens=count))
    weights = [SMOOTHING**2, SMOOTHING, 1.0]

    def mean(values: list[float]) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    assert meter.loss == pytest.approx(mean(losses), rel=1e-12)
    assert meter.seconds_a_step == pytest.approx(mean(seconds), rel=1e-12)
    assert meter.tokens_per_second == pytest.approx(mean([10.0, 20.0, 40.0]) / mean(seconds), rel=1e-12)


def test_what_is_no_step_is_left_out_of_the_speed() -> None:
    clock = Clock()
    meter = Meter(clock)
    for number in range(1, 4):
        clock.now += 0.5
        meter.add(step(number, loss=1.0, tokens=100))
        clock.now += 1000.0  # a validation
        meter.skip()
    assert meter.tokens_per_second == pytest.approx(200.0)
    assert meter.seconds_a_step == pytest.approx(0.5)


def test_a_report_is_due_when_the_last_is_a_while_ago() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert not meter.report_is_due()
    clock.now += 0.99 * SECONDS_BETWEEN_REPORTS
    meter.add(step(1, loss=1.0, tokens=1))
    assert not meter.report_is_due()
    clock.now += 0.02 * SECONDS_BETWEEN_REPORTS
    assert meter.report_is_due()
    meter.take()
    assert not meter.report_is_due()


def test_before_the_first_step_there_is_nothing_to_divide_by() -> None:
    meter = Meter(Clock())
    assert (meter.loss, meter.seconds_a_step, meter.tokens_per_second) == (0.0, 0.0, 0.0)
