"""How long contestants take: one turn, a trial of a variant, the fastest of several, and all in turns."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from decoding.scorer import Ids, Scorer
from decoding.writer import Writer
from measuring import Quartiles, in_turns, quartiles, rest

TURN_SECONDS = 0.02
"""A writer's turn lasts at least so long, so that what the others left in the caches is no matter."""
WARM_TOKENS = 4
"""Tokens at the beginning of each turn that are not timed."""
TRIAL_SECONDS, TRIAL_TURNS, TRIAL_TOKENS = 0.25, 3, 8
"""How long a writer's variant is tried, in how many turns at least, and how many tokens its first turn has."""
HOPELESS = 1.5
"""A variant whose first turn takes so many times the best so far is tried no further."""
ROW_SECONDS = 6.0
"""How long writers are compared where the number of rounds is not given."""
FEWEST_ROUNDS, MOST_ROUNDS = 9, 200
WARM_SENTENCES = 16
"""Sentences that a scorer reads before it is tried."""

Contestant = TypeVar("Contestant")


@dataclass(frozen=True)
class Race:
    """What came of contestants taking turns: seconds a token or a sentence, [round][contestant], ours first."""

    rounds: list[list[float]]

    def seconds(self, index: int) -> Quartiles:
        """Median and quartiles of one contestant."""
        return quartiles([seconds[index] for seconds in self.rounds])

    def ratio(self, index: int) -> Quartiles:
        """A peer's seconds over ours, formed within each round, so that what slows all leaves it alone."""
        return quartiles([seconds[index] / seconds[0] for seconds in self.rounds])


def turn(writer: Writer, count: int) -> float:
    """Seconds a token."""
    rest()
    torch.set_num_threads(writer.threads)
    writer.generate(WARM_TOKENS)
    start = time.perf_counter()
    writer.generate(count)
    return (time.perf_counter() - start) / count


def trial(writer: Writer, best: float = math.inf) -> float:
    """Seconds a token, told in a short time; infinite where it is much slower than `best`."""
    turn(writer, 1)
    estimate = turn(writer, TRIAL_TOKENS)
    if estimate > HOPELESS * best:
        return math.inf
    seconds: list[float] = []
    tokens = tokens_a_turn(estimate)
    while len(seconds) < TRIAL_TURNS or sum(seconds) * tokens < TRIAL_SECONDS:
        seconds.append(turn(writer, tokens))
    return statistics.median(seconds)


def tokens_a_turn(seconds: float) -> int:
    """How many tokens a turn has, where one takes so long."""
    return max(1, math.ceil(TURN_SECONDS / seconds))


def fastest(
    certain: Iterable[Callable[[], Contestant]],
    measure: Callable[[Contestant, float], float],
    attempts: Iterable[Callable[[], Contestant]] = (),
) -> Contestant:
    """The fastest of several variants, made anew.

    Args:
        certain: make the variants.
        measure: a variant and the best so far to seconds; infinite where it is out of the question.
        attempts: variants that may fail; a line on stderr then says so.
    """
    best, chosen = math.inf, None
    for make in certain:
        seconds = measure(make(), best)
        if seconds < best:
            best, chosen = seconds, make
    for make in attempts:
        try:
            seconds = measure(make(), best)
        except Exception as error:  # compilers fail in ways of their own
            print(f"left out: {make}: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
            continue
        if seconds < best:
            best, chosen = seconds, make
    assert chosen is not None, "there is no variant to choose from"
    return chosen()


def race(writers: Sequence[Writer], rounds: int | None = None) -> Race:
    """Time writers in turns, ours first; as many rounds as take ROW_SECONDS where their number is not given."""
    estimates = [trial(writer) for writer in writers]
    tokens = [tokens_a_turn(estimate) for estimate in estimates]
    if rounds is None:
        a_round = sum(
            TURN_SECONDS + (count + WARM_TOKENS) * estimate for count, estimate in zip(tokens, estimates, strict=True)
        )
        rounds = min(max(FEWEST_ROUNDS, round(ROW_SECONDS / a_round)), MOST_ROUNDS)

    def of(writer: Writer, count: int) -> Callable[[], float]:
        return lambda: turn(writer, count)

    return Race(in_turns([of(writer, count) for writer, count in zip(writers, tokens, strict=True)], rounds))


def scoring_turn(scorer: Scorer, sentences: Sequence[Ids]) -> float:
    """Seconds a sentence."""
    rest()
    torch.set_num_threads(scorer.threads)
    start = time.perf_counter()
    scorer.score(sentences)
    return (time.perf_counter() - start) / len(sentences)


def scoring_trial(scorer: Scorer, sentences: Sequence[Ids]) -> float:
    """The same after a few sentences."""
    torch.set_num_threads(scorer.threads)
    scorer.score(sentences[:WARM_SENTENCES])
    return scoring_turn(scorer, sentences)


def scoring_race(scorers: Sequence[Scorer], parts: Sequence[Sequence[Ids]], rounds: int) -> Race:
    """Time scorers in turns, in each round with the same part of the sentences, after all are warm."""
    for scorer in scorers:
        torch.set_num_threads(scorer.threads)
        scorer.score(parts[0][:WARM_SENTENCES])
    turns = [0] * len(scorers)

    def of(index: int) -> Callable[[], float]:
        def measure() -> float:
            turns[index] += 1
            return scoring_turn(scorers[index], parts[(turns[index] - 1) % len(parts)])

        return measure

    return Race(in_turns([of(index) for index in range(len(scorers))], rounds))
