"""The learning rate over a run, and the plan that makes a run end on time.

The rate climbs over the first steps, stays, and then falls. What is left of the run falls linearly from 1 to 0, and the
rate is a function of it: itself, a cosine, halves, or none. Where the end is only known as a time, it is estimated from
the speed so far and corrected on the way. Each estimate is a leg of the plan, "from this step, fall to zero at that
step", in whole steps: the legs alone give the rate of every step, so that a run whose end was found by the clock can be
repeated without one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from unrolled.errors import UsageError

HALVINGS = 9
"""How often the rate is halved (Zaremba et al., arXiv:1409.2329: in 9 of 13 passes)."""

ROUNDING = 1e-9
"""So that a half begins at its step and not one later."""

FALLS: dict[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    "cosine": lambda left: math.sin(0.5 * math.pi * left) ** 2,  # arXiv:1608.03983: (1 - cos(pi left)) / 2
    "halving": lambda left: 0.5 ** min(HALVINGS, math.floor(HALVINGS * (1 - left) + ROUNDING) + 1),
    "constant": lambda left: 1.0,
}
"""The rate as a share of the highest, from the share of the fall that is left."""

FIRST_LOOK = 0.1
"""Share of a run after which its end is estimated for the first time."""
TOLERANCE = 0.005
"""Share of a run by which its end may be off before the plan is corrected, so that plans stay short."""
STEPS_TO_MEASURE = 4
"""Fewest steps from which a speed is told."""


@dataclass(frozen=True)
class Leg:
    """From step `start` on the rate falls linearly, to reach zero at step `end`."""

    start: int
    end: int


@dataclass
class Schedule:
    """The rate at every step, steps counted from 0.

    Attributes:
        highest: the rate after warming up.
        fall: a key of `FALLS`.
        warm_up: steps over which the rate climbs.
        hold: share of the run before the rate falls.
        legs: in order of their starts; none yet while the end is unknown.
    """

    highest: float
    fall: str = "linear"
    warm_up: int = 50
    hold: float = 0.1
    legs: list[Leg] = field(default_factory=list)

    def rate(self, step: int) -> float:
        """The rate of a step; exactly the same for the same legs, however they came about."""
        climbed = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        falls = bool(self.legs) and step >= self.legs[0].start
        return self.highest * climbed * (FALLS[self.fall](self.left(step)) if falls else 1.0)

    def left(self, step: int) -> float:
        """The share of the fall that is left at a step, from 1 to 0."""
        left = 1.0
        for index, leg in enumerate(self.legs):
            if step < leg.start:
                break
            until = min(step, self.legs[index + 1].start) if index + 1 < len(self.legs) else step
            left = left * (leg.end - until) / (leg.end - leg.start)
        return left

    @property
    def end(self) -> int | None:
        """The number of steps, if known."""
        return self.legs[-1].end if self.legs else None

    def fall_to(self, step: int, end: int) -> None:
        """From `step` on, head for zero at step `end`."""
        if self.legs and self.legs[-1].start == step:
            self.legs.pop()
        self.legs.append(Leg(step, max(end, step + 1)))

    def plan(self) -> str:
        """The legs as text, for `--anneal`."""
        return ",".join(f"{leg.start}:{leg.end}" for leg in self.legs)


def legs_of_length(steps: int, hold: float) -> list[Leg]:
    """The legs of a run whose number of steps is known."""
    return [Leg(int(hold * steps), steps)]


def legs_from_plan(plan: str) -> list[Leg]:
    """The legs of an earlier run, from the text that `Schedule.plan` gave.

    Raises:
        UsageError: the text is not of that form.
    """
    try:
        legs = [Leg(*(int(number) for number in pair.split(":"))) for pair in plan.split(",")]
    except (ValueError, TypeError):
        legs = []
    follow = all(last.start < leg.start < last.end for last, leg in pairwise(legs))
    if not legs or not follow or any(not 0 <= leg.start < leg.end for leg in legs):
        raise UsageError(f'anneal is "{plan}": give step:end pairs as a run prints them, such as 120:3000,900:3100')
    return legs


@dataclass
class Pacer:
    """Plans the end of a run so that it falls on a moment.

    Attributes:
        schedule: gets its legs from here.
        deadline: when the last step shall be done, on the clock.
        steps_a_pass: after so many steps there is a validation.
        steps_a_validation: what a validation costs, in steps; a guess, used until there has been one.
        clock: seconds, from any origin.
        final_seconds: what is still to be done after the last step, beside a last validation.
    """

    schedule: Schedule
    deadline: float
    steps_a_pass: int
    steps_a_validation: float
    final_seconds: float
    clock: Callable[[], float]
    _clock_at_look: float = 0.0
    _step_at_look: int = 0
    _validating_at_look: float = 0.0
    _validating: float = 0.0
    _validations: int = 0
    _next_look: float = 0.0
    _tolerance: float = 0.0

    def begin(self, step: int) -> None:
        """Training begins, or goes on, at this step."""
        self._clock_at_look, self._step_at_look, self._validating_at_look = self.clock(), step, self._validating
        self._tolerance = TOLERANCE * max(0.0, self._seconds_left(self._clock_at_look))
        first = max(FIRST_LOOK, self.schedule.hold) if self.schedule.end is None else FIRST_LOOK
        self._next_look = self._clock_at_look + first * max(0.0, self._seconds_left(self._clock_at_look))

    def validated(self, seconds: float) -> None:
        """A validation took so long."""
        self._validating += seconds
        self._validations += 1

    def after(self, step: int) -> None:
        """Set or correct the plan when it is time to; called after each step with the number of steps done."""
        now = self.clock()
        left = self._seconds_left(now)
        taken = step - self._step_at_look
        is_over = self.schedule.end is not None and step >= self.schedule.end
        if is_over or (left > 0 and (now < self._next_look or taken < STEPS_TO_MEASURE)):
            return
        validating = self._validating - self._validating_at_look
        a_step = (now - self._clock_at_look - validating) / taken
        a_validation = self._validating / self._validations if self._validations else a_step * self.steps_a_validation
        steps_left = max(1, round((left - a_validation) / (a_step + a_validation / self.steps_a_pass)))
        end = self.schedule.end
        if end is None or abs(step + steps_left - end) * a_step > self._tolerance:
            self.schedule.fall_to(step, step + steps_left)
        self._clock_at_look, self._step_at_look, self._validating_at_look = now, step, self._validating
        self._next_look = now + left / 10

    def _seconds_left(self, now: float) -> float:
        return self.deadline - self.final_seconds - now
