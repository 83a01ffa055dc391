"""A training run's events, shown to a person."""

from unrolled.cli.console import ProgressBar, duration, say
from unrolled.training.events import (
    DataRead,
    Event,
    Finished,
    Planned,
    Prepared,
    Progress,
    Reading,
    Stopped,
    Validated,
    Warned,
    WentBack,
)


class Watcher:
    """Shows events of `training.run` as they come, on standard error."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._doing = ""
        self._counted = "token"

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Reading():
                self._reading(event)
            case DataRead():
                self.close()
                self._counted = event.counted
                for line in (*event.report.lines(), *event.notes):
                    say(line)
            case Planned():
                for line in event.plan.lines():
                    say(line)
            case Prepared():
                self._prepared(event)
            case Progress():
                self._progress(event)
            case Validated():
                self._validated(event)
            case Warned():
                self.close()
                say(f"warning     {event.message}")
            case WentBack():
                self.close()
                say(f"went back   {event.reason}: on from step {event.to:,} with rate {event.learning_rate:g}")
            case Finished() | Stopped():
                self.close()

    def _reading(self, event: Reading) -> None:
        if self._bar is None or self._doing != event.what:
            self.close()
            self._bar, self._doing = ProgressBar(event.what), event.what
        self._bar.update(event.share, "")

    def _prepared(self, event: Prepared) -> None:
        say(f"model       {event.description}: {event.parameters:,} parameters")
        for line in event.notes:
            say(line)
        say(f"engine      {event.engine}, device {event.device}, {event.steps_a_pass:,} steps a pass")
        if event.steps_done:
            say(f"resuming    after {event.steps_done:,} steps")

    def _progress(self, event: Progress) -> None:
        if self._bar is None:
            self._bar = ProgressBar("training")
        self._bar.update(
            event.share,
            f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} {self._counted}s/s  "
            f"{duration(event.seconds_left)} left",
        )

    def _validated(self, event: Validated) -> None:
        self.close()
        say(f"pass {event.passes:6.2f}  validation: {event.description}" + ("  best so far" if event.best else ""))

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
