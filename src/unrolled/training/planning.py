"""A plan for a run of given minutes: the size and settings that make most of this text, this machine and this time.

Sizes are tried out for a moment each, with real batches, and the largest is taken whose weights will still see enough
tokens. What else is left open follows from the size and the number of passes.
"""

import math
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled import models
from unrolled.errors import UsageError
from unrolled.models.network import TaskNetwork
from unrolled.models.task import Data
from unrolled.nn import Sampler
from unrolled.settings import command_line
from unrolled.text.settings import DEFAULT_UNIT
from unrolled.training import recipe
from unrolled.training.building import make_network, make_optimizer, make_sampler, make_schedule
from unrolled.training.checks import device_of
from unrolled.training.loop import ALONE, PRECISE_SHARE, Limits, train_step
from unrolled.training.ranks import Ranks
from unrolled.training.settings import Settings

SIZE_OF_A_MINUTE = 150
"""The size that is tried out first for one minute; for others in proportion to the root of the time."""
STEEPNESS = 3
"""The room for a larger network falls with a power of its size: 2 where the vocabulary is most of it, else 4."""
TIMED_STEPS, TIMED_SECONDS = 3, 0.3
"""A speed is the median over at least so many steps and, for small networks, seconds."""
MOST_FOR_TRIALS = 0.1
"""Share of the time after which the search for a size ends with what it has found."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        settings: without a choice that is open.
        description: cell and sizes in words.
        parameters: number of weights of the model.
        tokens_per_second: measured here.
        seconds: that the training will take.
        tokens: that the run will read.
        passes: over the training text.
        tried: sizes that were measured, with their tokens per second.
    """

    settings: Settings
    description: str
    parameters: int
    tokens_per_second: float
    seconds: float
    tokens: float
    passes: float
    tried: dict[int, float]

    def lines(self) -> list[str]:
        """For a person, with all options that it comes to."""
        tried = ", ".join(f"{size}: {speed:,.0f}" for size, speed in sorted(self.tried.items()))
        return [
            f"plan        {self.description}: {self.parameters:,} parameters",
            f"            {self.tokens:,.0f} tokens, {self.passes:.1f} passes, in {self.seconds / 60:.1f} minutes "
            f"at {self.tokens_per_second:,.0f} tokens/s",
            f"            tokens/s by hidden size: {tried}",
            f"            {self.options()}",
        ]

    def options(self) -> str:
        """The options that it comes to."""
        settings = self.settings
        task = "" if settings.task == "language" else f"--task {settings.task} "
        return task + command_line(settings.model, settings.regularization, *settings.own, settings.training)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        names = ("description", "parameters", "tokens_per_second", "seconds", "tokens", "passes")
        return {name: getattr(self, name) for name in names} | {"tried": self.tried, "options": self.options()}


def make_plan(settings: Settings, data: Data, ranks: Ranks = ALONE, *, started: float, finishing: float) -> Plan:
    """Choose what is left open; where no size is to be chosen, the choice is plain, and only the speed is measured.

    Sizes are chosen for runs of given minutes, of tasks that plan them.

    Args:
        settings: what is given wins over the plan.
        data: the text.
        ranks: the processes of the run; one of them measures the speed of all, what they exchange not counted.
        started: when the command began, by time.perf_counter.
        finishing: seconds to be kept for the end of the run.

    Raises:
        UsageError: what is given cannot be trained.
    """
    minutes = settings.training.minutes
    if minutes is None or not models.get(settings.task).plans_sizes:
        whole = recipe.filled(settings)
        speed = tokens_per_second(whole, data, ranks)
        steps_a_pass = len(data.training_reader(whole.training))
        seconds = (make_schedule(whole.training, steps_a_pass).end or 0) / steps_a_pass * data.size / speed
        if minutes is not None:
            seconds = max(1.0, started + 60 * minutes - finishing - time.perf_counter())
        return _plan(whole, data, {whole.model.hidden or 0: speed}, seconds)
    search = _Search(settings, data, ranks, started + 60 * minutes - finishing)
    given = settings.model.hidden or (settings.model.embedding if settings.model.tied else None)
    give_up = started + MOST_FOR_TRIALS * 60 * minutes
    first = SIZE_OF_A_MINUTE * math.sqrt(minutes)
    sizes = (given,) if given else recipe.SIZES
    size = largest(sizes, first, search.room, lambda: time.perf_counter() < give_up)
    seconds = search.seconds_left()
    whole = recipe.planned(settings, size, search.tried[size] * seconds / data.size)
    return _plan(whole, data, search.tried, seconds)


class _Search:
    """Which sizes suit a text and the time that is left."""

    def __init__(self, settings: Settings, data: Data, ranks: Ranks, deadline: float) -> None:
        self.settings, self.data, self.ranks, self.deadline = settings, data, ranks, deadline
        self.tried: dict[int, float] = {}

    def seconds_left(self) -> float:
        return max(1.0, self.deadline - time.perf_counter())

    def room(self, size: int) -> float:
        """How many times as much a network of this size would be allowed: below 1 it is too large.

        Counted are tokens that it will read in the time, its speed being measured; weights beside the text's length;
        and weights beside the most that are wanted.
        """
        unit = self.settings.text.unit or DEFAULT_UNIT
        whole = recipe.planned(self.settings, size, recipe.SOME_PASSES[unit])
        self.tried[size] = tokens_per_second(whole, self.data, self.ranks)
        network = _network(whole, self.data)
        weights = recipe.learning_weights(network.shape)
        rooms = [
            self.tried[size] * self.seconds_left() / (recipe.TOKENS_A_WEIGHT[unit] * weights),
            recipe.WEIGHTS_A_TOKEN * self.data.size / weights,
        ]
        if self.settings.model.most_parameters is not None:
            rooms.append(self.settings.model.most_parameters / network.parameter_count())
        return min(rooms)


def _plan(settings: Settings, data: Data, tried: dict[int, float], seconds: float) -> Plan:
    network = _network(settings, data)
    description, parameters, speed = (
        network.shape.describe(),
        network.parameter_count(),
        tried[settings.model.hidden or 0],
    )
    most = settings.model.most_parameters
    if most is not None and parameters > most:
        raise UsageError(f"most_parameters is {most:,}, and {description} has {parameters:,}: allow more")
    tokens = speed * seconds
    passes = tokens / data.size
    return Plan(settings, description, parameters, speed, seconds, tokens, passes, tried)


def largest(sizes: Sequence[int], first: float, room: Callable[[int], float], may_go_on: Callable[[], bool]) -> int:
    """The largest size that has room, where smaller ones have more; the smallest asked if none is known to.

    The search begins at about `first`, goes where the room of the size before points to, and asks once at least.
    """
    below, above, wanted = -1, len(sizes), first
    while True:
        index = min(max(bisect_right(sizes, wanted) - 1, below + 1), above - 1)
        found = room(sizes[index])
        if found >= 1:
            below = index
        else:
            above = index
        if above - below <= 1 or not may_go_on():
            return sizes[below if below >= 0 else above]
        wanted = sizes[index] * found ** (1 / STEEPNESS)


def tokens_per_second(settings: Settings, data: Data, ranks: Ranks = ALONE) -> float:
    """Training speed over a run, measured with the first batches of the text and a network that is thrown away."""
    options, whole = settings.training, _tokens_per_second(settings, data, ranks)
    sampler = make_sampler(options, data.counts, device_of(options))
    if sampler is None or not sampler.saves((options.batch or 1) * (options.window or 1)):
        return whole
    sampled, precise = _tokens_per_second(settings, data, ranks, sampler), PRECISE_SHARE * (1 - options.hold)
    if options.minutes is not None:  # shares of the time
        return precise * whole + (1 - precise) * sampled
    return 1 / (precise / whole + (1 - precise) / sampled)  # shares of the steps


def _tokens_per_second(settings: Settings, data: Data, ranks: Ranks, sampler: Sampler | None = None) -> float:
    options, seconds, tokens, state = settings.training, list[float](), list[int](), None
    network, device = _network(settings, data), device_of(options)
    optimizer, limits = make_optimizer(options, network), Limits(options.clip, options.clip_value)
    reader = data.training_reader(options)
    while len(seconds) <= TIMED_STEPS or sum(seconds) < TIMED_SECONDS:
        for batch in reader.batches(0):
            start = time.perf_counter()
            before = None if batch.starts else state
            part, _ = ranks.part(batch)
            done = train_step(network, optimizer, part, before, rate=0.0, limits=limits, device=device, sampler=sampler)
            seconds.append(time.perf_counter() - start)
            tokens.append(batch.tokens)
            state = done.state
            if len(seconds) > TIMED_STEPS and sum(seconds) > TIMED_SECONDS:
                break
    return statistics.median(tokens[1:]) / statistics.median(seconds[1:])


def _network(settings: Settings, data: Data) -> TaskNetwork:
    return make_network(settings, data, device_of(settings.training))[0]
