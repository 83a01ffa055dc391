"""Running averages of loss and speed for progress, and what a line of the log sums up."""

from collections.abc import Callable
from dataclasses import replace

from unrolled.training.events import Record
from unrolled.training.loop import Step

SMOOTHING = 0.95
"""How much of a running average each step keeps."""
SECONDS_BETWEEN_REPORTS = 2.0


class Meter:
    """Averages over a run's recent steps; `clock` gives seconds from any origin."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = self._reported = clock()
        self._weight = self._loss = self._seconds = self._tokens = 0.0
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        """A step has just been done."""
        now = self._clock()
        keep = SMOOTHING
        self._weight = keep * self._weight + 1 - keep
        self._loss = keep * self._loss + (1 - keep) * step.done.loss
        self._seconds = keep * self._seconds + (1 - keep) * (now - self._last)
        self._tokens = keep * self._tokens + (1 - keep) * step.done.tokens
        self._last = now
        self._steps.append(replace(step, done=replace(step.done, state=())))  # the state may be large

    def skip(self) -> None:
        """What happened since the last step was no step: leave it out of the speed."""
        self._last = self._clock()

    @property
    def loss(self) -> float:
        """Recent training loss in nats per token."""
        return self._loss / self._weight if self._weight else 0.0

    @property
    def seconds_a_step(self) -> float:
        """Recent seconds a step."""
        return self._seconds / self._weight if self._weight else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Recent training speed."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def report_is_due(self) -> bool:
        """Whether it is time for another line in the log."""
        return self._clock() - self._reported >= SECONDS_BETWEEN_REPORTS

    def take(self) -> Record:
        """What the steps since the last call came to, for the log: means, shares, and the last of rate and speed."""
        steps, done = self._steps, [step.done for step in self._steps]
        ratios = [one.update_ratio for one in done if one.update_ratio is not None]
        self._steps, self._reported = [], self._clock()
        return {
            "training_loss": sum(one.loss * one.tokens for one in done) / sum(one.tokens for one in done),
            "learning_rate": steps[-1].rate,
            "gradient_norm": sum(one.gradient_norm for one in done) / len(done),
            "largest_gradient_norm": max(one.gradient_norm for one in done),
            "clipped": sum(one.clipped for one in done) / len(done),
            "update_ratio": sum(ratios) / len(ratios) if ratios else None,
            "tokens_per_second": self.tokens_per_second,
        }
