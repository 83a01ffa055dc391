"""Running averages of loss and speed, for progress and log."""

from collections.abc import Callable

SMOOTHING = 0.95
"""How much of a running average each step keeps."""
SECONDS_BETWEEN_REPORTS = 2.0


class Meter:
    """Averages over a run's recent steps; `clock` gives seconds from any origin."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = self._reported = clock()
        self._weight = self._loss = self._seconds = self._tokens = 0.0
        self._sum, self._count = 0.0, 0

    def add(self, loss: float, tokens: int) -> None:
        """A step with this mean loss over so many tokens has just been done."""
        now = self._clock()
        keep = SMOOTHING
        self._weight = keep * self._weight + 1 - keep
        self._loss = keep * self._loss + (1 - keep) * loss
        self._seconds = keep * self._seconds + (1 - keep) * (now - self._last)
        self._tokens = keep * self._tokens + (1 - keep) * tokens
        self._last = now
        self._sum += loss * tokens
        self._count += tokens

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

    def take_mean(self) -> float:
        """Mean loss in nats per token since the last call."""
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        self._reported = self._clock()
        return mean
