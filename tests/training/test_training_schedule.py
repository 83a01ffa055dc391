"""The rate of every step follows from the legs alone, and the legs end a run on time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UsageError
from unrolled.training.schedule import FALLS, Leg, Pacer, Schedule, legs_from_plan, legs_of_length

HOLD, WARM_UP = 0.1, 50
"""What a schedule has by default."""


def schedule_of_length(highest: float, steps: int) -> Schedule:
    return Schedule(highest, legs=legs_of_length(steps, HOLD))


# Rates


def test_the_defaults_are_those_that_the_tests_count_with() -> None:
    assert (Schedule(1.0).warm_up, Schedule(1.0).hold, Schedule(1.0).fall) == (WARM_UP, HOLD, "linear")


def test_a_run_of_known_length_warms_up_holds_and_falls_to_zero() -> None:
    steps, highest = 1000, 0.5
    schedule = schedule_of_length(highest, steps)
    assert schedule.end == steps
    for step in range(steps):
        climbing = min(Fraction(1), Fraction(step + 1, WARM_UP))
        falling = min(Fraction(1), Fraction(steps - step, steps - int(HOLD * steps)))
        assert schedule.rate(step) == pytest.approx(highest * float(climbing * falling), rel=1e-12)
    assert schedule.rate(int(HOLD * steps)) == highest
    assert 0 < schedule.rate(steps - 1) < highest / 500


def test_a_short_run_falls_while_it_still_warms_up() -> None:
    schedule = schedule_of_length(1.0, 20)
    rates = [schedule.rate(step) for step in range(20)]
    assert rates[:3] == pytest.approx([1 / WARM_UP, 2 / WARM_UP, 3 / WARM_UP])
    assert rates[12] == pytest.approx(13 / WARM_UP * 8 / 18)
    assert all(rate > 0 for rate in rates)
    assert schedule_of_length(1.0, 1).rate(0) == 1 / WARM_UP


def test_a_correction_goes_on_from_the_rate_that_is_reached() -> None:
    schedule = Schedule(1.0)
    assert Schedule(1.0).end is None
    assert schedule.rate(10**6) == 1.0, "as long as the end is unknown the rate is held"
    schedule.fall_to(100, 300)
    schedule.fall_to(200, 500)
    assert schedule.end == 500
    assert schedule.rate(150) == 0.75
    assert schedule.rate(200) == 0.5
    assert schedule.rate(350) == 0.25
    schedule.fall_to(350, 400)
    assert schedule.rate(350) == 0.25
    assert schedule.rate(375) == 0.125
    assert [schedule.rate(step) for step in (99, 150, 200)] == [1.0, 0.75, 0.5], "what is past stays as it was"


def test_a_second_thought_at_the_same_step_replaces_the_first() -> None:
    schedule = Schedule(1.0)
    schedule.fall_to(100, 300)
    schedule.fall_to(100, 200)
    assert schedule.legs == [Leg(100, 200)]
    schedule.fall_to(150, 150)
    assert schedule.end == 151, "a leg has at least one step"


# Plans


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    schedule = Schedule(draw(st.floats(1e-6, 10)), draw(st.sampled_from(list(FALLS))), draw(st.integers(0, 100)))
    step = 0
    for length, taken in draw(st.lists(st.tuples(st.integers(2, 5000), st.integers(1, 5000)), min_size=1, max_size=9)):
        schedule.fall_to(step, step + length)
        step += min(taken, length - 1)
    return schedule


@given(schedules())
def test_a_plan_gives_back_the_same_rates_to_the_last_bit(schedule: Schedule) -> None:
    again = replace(schedule, legs=legs_from_plan(schedule.plan()))
    assert again.legs == schedule.legs
    assert again.end is not None
    steps = random.Random(1).choices(range(again.end), k=100)
    assert [again.rate(step) for step in steps] == [schedule.rate(step) for step in steps]
    assert all(0 < again.rate(step) <= schedule.highest for step in steps)


def test_a_plan_is_written_as_pairs() -> None:
    assert Schedule(1.0, legs=[Leg(120, 3000), Leg(900, 3100)]).plan() == "120:3000,900:3100"
    assert legs_from_plan(" 120:3000,900:3100") == [Leg(120, 3000), Leg(900, 3100)]


@pytest.mark.parametrize(
    "plan",
    [
        *("", "x", "5", "5:", "5:6:7", "5:9,", "1.5:9", "9:5", "5:5", "-1:5"),
        "5:9,5:10",  # begins twice
        "7:30,5:40",  # back in time
        "10:20,30:40",  # begins after the rate has reached zero, and would go below
        "10:20,20:40",
    ],
)
def test_what_is_no_plan_is_refused(plan: str) -> None:
    with pytest.raises(UsageError) as caught:
        legs_from_plan(plan)
    expected = f'anneal is "{plan}": give step:end pairs as a run prints them, such as 120:3000,900:3100'
    assert str(caught.value) == expected


# Ending on time


@dataclass
class Machine:
    """A run on a clock of its own: what each thing takes, in seconds."""

    minutes: float
    step: Callable[[int, float], float]
    validation: float = 0.4
    startup: float = 3.0
    finish: float = 1.6
    steps_a_pass: int = 100
    guess: float = 5.0
    schedule: Schedule = field(default_factory=lambda: Schedule(0.5))
    now: float = 1000.0
    done: int = 0
    rates: list[float] = field(default_factory=list)

    def run(self, stop_after: float = float("inf")) -> float:
        """Run until the end, or for so many seconds; the result is the time taken as a share of the minutes."""
        began, origin = self.now, self.now
        deadline = began + 60 * self.minutes
        self.now += self.startup
        pacer = Pacer(self.schedule, deadline, self.steps_a_pass, self.guess, 2.0, lambda: self.now)
        pacer.begin(self.done)
        while self.schedule.end is None or self.done < self.schedule.end:
            self.rates.append(self.schedule.rate(self.done))
            self.now += self.step(self.done, self.now - origin)
            self.done += 1
            pacer.after(self.done)
            if self.done % self.steps_a_pass == 0:
                self.now += self.validation
                pacer.validated(self.validation)
            if self.now - began > stop_after:
                return (self.now - began) / (60 * self.minutes)
        if self.done % self.steps_a_pass:
            self.now += self.validation
        self.now += self.finish
        return (self.now - began) / (60 * self.minutes)


jitter = random.Random(5)
MACHINES = {
    "even": Machine(3, lambda step, now: 0.05),
    "uneven": Machine(3, lambda step, now: 0.05 * jitter.uniform(0.5, 2)),
    "slow first step": Machine(3, lambda step, now: 4.0 if step == 0 else 0.05),
    "half the speed from the middle on": Machine(3, lambda step, now: 0.05 if now < 90 else 0.1),
    "twice the speed from the middle on": Machine(3, lambda step, now: 0.1 if now < 90 else 0.05),
    "half the speed near the end": Machine(3, lambda step, now: 0.05 if now < 165 else 0.1),
    "somebody else in waves": Machine(3, lambda step, now: 0.15 if int(now / 7) % 2 else 0.05),
    "long validations": Machine(3, lambda step, now: 0.05, validation=9.0, steps_a_pass=500),
    "half the time for validations": Machine(3, lambda step, now: 0.05, validation=20.0, steps_a_pass=400, guess=400),
    "never a whole pass": Machine(3, lambda step, now: 0.05, validation=6.0, steps_a_pass=10**6, guess=120),
    "long steps": Machine(1, lambda step, now: 0.9, validation=3.0, guess=3.7),
    "short": Machine(0.25, lambda step, now: 0.01, validation=0.05),
    "long": Machine(10, lambda step, now: 0.02, validation=2.0, steps_a_pass=3000),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_run_of_given_minutes_ends_within_five_percent_of_them(name: str) -> None:
    machine = MACHINES[name]
    assert 0.95 < machine.run() < 1.05
    fallen = machine.rates[WARM_UP:] or machine.rates
    assert fallen[-1] < 0.1 * max(machine.rates), "the rate is annealed by then"
    assert all(later <= sooner for sooner, later in pairwise(fallen))
    again = replace(machine.schedule, legs=legs_from_plan(machine.schedule.plan()))
    assert again.end == machine.done
    assert [again.rate(step) for step in range(machine.done)] == machine.rates, "and can be repeated without a clock"


def test_a_run_that_was_stopped_ends_on_its_own_time() -> None:
    whole = Machine(3, lambda step, now: 0.05)
    whole.run(stop_after=100)
    assert 100 < whole.now - 1000 < 101
    rest = Machine(
        3, lambda step, now: 0.08, schedule=Schedule(0.5, legs=legs_from_plan(whole.schedule.plan())), done=whole.done
    )
    rest.rates, rest.now = whole.rates, whole.now - 5000  # another day
    began = rest.now
    rest.minutes = 3 - (whole.now - 1000) / 60  # as the run itself counts: what is left of its minutes
    rest.run()
    assert 0.95 * 180 < (whole.now - 1000) + (rest.now - began) < 1.05 * 180
    again = Schedule(0.5, legs=legs_from_plan(rest.schedule.plan()))
    assert [again.rate(step) for step in range(rest.done)] == rest.rates


@pytest.mark.parametrize("minutes", [0.001, 0.05])
def test_a_run_without_time_to_train_still_ends(minutes: float) -> None:
    machine = Machine(minutes, lambda step, now: 0.05)
    machine.run()
    assert machine.done == 2
