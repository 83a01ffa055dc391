"""How long a step takes: of one contestant, of the fastest of several, and of two in turns."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from measuring import Quartiles, interleaved, quartiles
from steps.task import Tokens, TrainingStep
from unrolled.text.batches import Batch

Maker = Callable[[], TrainingStep]
TURN_SECONDS = 0.02
"""A turn lasts at least so long, short steps are repeated: what the other one left in the caches is then no matter."""
TRIAL_SECONDS, TRIAL_STEPS = 0.4, 3
"""How long a variant is tried, and in how many steps at least, before the fastest is chosen."""
HOPELESS = 1.3
"""A variant whose first step takes so many times the best so far is tried no further."""
ROW_SECONDS = 8.0
"""How long two contestants are compared where the number of pairs is not given."""
FEWEST_PAIRS, MOST_PAIRS = 9, 300


@dataclass(frozen=True)
class Race:
    """What came of two contestants taking turns, in seconds a step.

    Attributes:
        ours, theirs: medians and quartiles.
        ratio: theirs over ours, formed within each pair, so that what slows both leaves it alone.
        pairs: how many turns each had.
        steps: how many steps of a turn were timed.
    """

    ours: Quartiles
    theirs: Quartiles
    ratio: Quartiles
    pairs: int
    steps: int


def turn(contestant: TrainingStep, batches: Sequence[Batch]) -> float:
    """Seconds a step over these batches; of several the first is for warming up and not timed."""
    ready = [contestant.ready(batch) for batch in batches]
    if len(ready) > 1:
        contestant.step(ready.pop(0))
        contestant.finish()
    start = time.perf_counter()
    for batch in ready:
        contestant.step(batch)
    contestant.finish()
    return (time.perf_counter() - start) / len(ready)


def trial(contestant: TrainingStep, tokens: Tokens, best: float = math.inf) -> float:
    """Seconds a step, told in a short time; infinite where it is much slower than `best`."""
    turn(contestant, tokens.take(2))
    seconds = [turn(contestant, tokens.take(1))]
    if seconds[0] > HOPELESS * best:
        return math.inf
    while len(seconds) < TRIAL_STEPS or sum(seconds) < TRIAL_SECONDS:
        seconds.append(turn(contestant, tokens.take(1)))
    return statistics.median(seconds)


def fastest(certain: Iterable[Maker], tokens: Tokens, attempts: Iterable[Maker] = ()) -> TrainingStep:
    """The fastest of several variants, made anew; attempts may fail, and a line on stderr then says so."""
    best, chosen = math.inf, None
    for make in certain:
        seconds = trial(make(), tokens, best)
        if seconds < best:
            best, chosen = seconds, make
    for make in attempts:
        try:
            seconds = trial(make(), tokens, best)
        except Exception as error:  # compilers fail in ways of their own
            print(f"left out: {make}: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
            continue
        if seconds < best:
            best, chosen = seconds, make
    assert chosen is not None, "there is no variant to choose from"
    return chosen()


def race(ours: TrainingStep, theirs: TrainingStep, tokens: Tokens, pairs: int | None = None) -> Race:
    """Time two contestants in turns, each with the same tokens, after both are warm."""
    estimates = [trial(contestant, tokens) for contestant in (ours, theirs)]
    steps = math.ceil(TURN_SECONDS / min(estimates))
    batches = steps + (steps > 1)
    if pairs is None:
        pairs = min(max(FEWEST_PAIRS, round(ROW_SECONDS / batches / sum(estimates))), MOST_PAIRS)
    same: list[Batch] = []

    def our_turn() -> float:
        same[:] = tokens.take(batches)
        return turn(ours, same)

    seconds = interleaved(our_turn, lambda: turn(theirs, same), pairs)
    first, second = ([pair[index] for pair in seconds] for index in (0, 1))
    ratios = [b / a for a, b in seconds]
    return Race(quartiles(first), quartiles(second), quartiles(ratios), pairs, steps)
