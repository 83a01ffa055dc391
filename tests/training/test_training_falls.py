"""How the rate falls: each shape against its formula, alone, held, warmed up, and along plans of several legs."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unrolled.training.schedule import FALLS, HALVINGS, Leg, Schedule, legs_of_length
from unrolled.training.settings import SCHEDULES

HIGHEST = 0.37
BELOW_ONE = 3e-16
"""Few rounding errors of float64: the formulas multiply in another order."""

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda gone: 1 - gone,
    "cosine": lambda gone: (1 + math.cos(math.pi * gone)) / 2,
    "halving": lambda gone: 2.0 ** -min(9, int(9 * gone) + 1),
    "constant": lambda gone: 1.0,
}
"""The rate as a share of the highest, from the share of the fall that is gone."""


def schedule(fall: str, steps: int, *, warm_up: int = 0, hold: float = 0.0) -> Schedule:
    return Schedule(HIGHEST, fall, warm_up, hold, legs_of_length(steps, hold))


def test_every_fall_can_be_asked_for_and_is_tested() -> None:
    assert tuple(FALLS) == SCHEDULES == tuple(SHAPES)


@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("hold", [0.0, 0.3])
def test_a_fall_follows_its_formula_after_it_was_held(fall: str, hold: float) -> None:
    made = schedule(fall, 1000, hold=hold)
    held = int(hold * 1000)
    assert made.legs == [Leg(held, 1000)]
    assert all(made.rate(step) == HIGHEST for step in range(held))
    for step in range(held, 1000):
        gone = (step - held) / (1000 - held)
        assert made.rate(step) == pytest.approx(HIGHEST * SHAPES[fall](gone), rel=1e-12, abs=1e-15), step


def test_what_falls_falls_to_next_to_nothing_and_what_does_not_stays() -> None:
    last = {fall: schedule(fall, 1000).rate(999) / HIGHEST for fall in FALLS}
    assert last["linear"] == pytest.approx(1 / 1000)
    assert last["cosine"] == pytest.approx((math.pi / 2000) ** 2, rel=1e-5)
    assert (last["halving"], last["constant"]) == (2.0**-HALVINGS, 1.0)


@pytest.mark.parametrize("steps_a_pass", [1, 2, 3, 7, 265, 1327])
def test_halving_over_13_passes_is_the_schedule_of_zaremba(steps_a_pass: int) -> None:
    """arXiv:1409.2329, the small network: 4 passes at the full rate, then half of the last in each of 9 more."""
    made = Schedule(1.0, "halving", 0, 4 / 13, legs_of_length(13 * steps_a_pass, 4 / 13))
    rates = [made.rate(step) for step in range(13 * steps_a_pass)]
    expected = [1.0] * 4 + [0.5**n for n in range(1, 10)]
    assert rates == [rate for rate in expected for _ in range(steps_a_pass)]


@pytest.mark.parametrize("fall", FALLS)
def test_warming_up_multiplies_and_zero_steps_of_it_are_none(fall: str) -> None:
    plain, warmed = schedule(fall, 90, hold=0.1), schedule(fall, 90, warm_up=20, hold=0.1)
    assert plain.rate(0) == HIGHEST
    for step in range(90):
        climbed = min(1.0, (step + 1) / 20)
        assert warmed.rate(step) == pytest.approx(plain.rate(step) * climbed, rel=BELOW_ONE)
    assert schedule(fall, 90, warm_up=1, hold=0.1).rate(0) == HIGHEST


def earlier_rate(legs: list[Leg], step: int) -> Fraction:
    """What the rate was before there was a choice: climbing over 50 steps, falling in straight lines; exact."""
    rate = Fraction(HIGHEST) * min(Fraction(1), Fraction(step + 1, 50))
    for index, leg in enumerate(legs):
        if step < leg.start:
            break
        until = min(step, legs[index + 1].start) if index + 1 < len(legs) else step
        rate = rate * (leg.end - until) / (leg.end - leg.start)
    return rate


def test_the_linear_fall_is_what_there_was_before_there_was_a_choice() -> None:
    made = Schedule(HIGHEST, legs=[Leg(12, 300), Leg(90, 410), Leg(160, 380), Leg(333, 390)])
    for step in range(390):
        expected = earlier_rate(made.legs, step)
        assert made.rate(step) == pytest.approx(float(expected), rel=6 * BELOW_ONE)
        assert expected > 0


@example([(16, 15), (115, 114), (156, 155), (200, 199), (200, 1)], "cosine")  # next to nothing is left
@given(
    st.lists(st.tuples(st.integers(2, 200), st.integers(1, 200)), min_size=1, max_size=6),
    st.sampled_from(tuple(FALLS)),
)
def test_no_fall_ever_rises_and_each_goes_on_where_a_correction_found_it(
    corrections: list[tuple[int, int]], fall: str
) -> None:
    made, step = Schedule(HIGHEST, fall, warm_up=0), 0
    for length, taken in corrections:
        before = made.rate(step)
        made.fall_to(step, step + length)
        if step:
            assert made.rate(step) == pytest.approx(before, rel=1e-12)
        step += min(taken, length - 1)
    assert made.end is not None
    rates = [made.rate(each) for each in range(made.end)]
    assert all(0 < later <= sooner <= HIGHEST for sooner, later in pairwise(rates))
    if fall in {"linear", "cosine"}:
        assert len(set(rates)) == len(rates)
