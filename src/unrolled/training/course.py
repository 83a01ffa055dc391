"""The course of a run: steps, validations, checkpoints and setbacks, to its end or until it is asked to stop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from unrolled import model_directory
from unrolled.errors import DivergenceError, ModelDirectoryError, TrainingError, UsageError
from unrolled.models.task import Data
from unrolled.text.batches import StreamReader
from unrolled.training import resuming
from unrolled.training.events import Event, Finished, Prepared, Progress, Stopped, Validated, Warned, WentBack
from unrolled.training.learner import Learner
from unrolled.training.loop import Step, validate
from unrolled.training.meter import Meter
from unrolled.training.output import Output
from unrolled.training.ranks import Ranks, peers_explained
from unrolled.training.schedule import Leg, Pacer
from unrolled.training.settings import Settings
from unrolled.training.watch import EVERY, Watch

MOST_SETBACKS = 3
"""A run goes back to its last checkpoint so often, where loss, gradient or weights were no longer finite numbers."""
SLOWER = 0.5
"""What the learning rate is multiplied by each time."""


def seconds_to_finish(minutes: float) -> float:
    """What a run of given minutes keeps for saving and drawing after its last validation.

    Longer runs have larger networks: 4 seconds from 3 minutes on, down to 2.
    """
    return 2 + 2 * min(1.0, minutes / 3)


class Course:
    """A run that has its text and its settings.

    Args:
        out: the model directory.
        settings: without an open choice.
        data: the text.
        started: when the whole command began, by time.perf_counter.
        saved: of the run that goes on, if one does.
        ranks: the processes.

    Raises:
        UsageError: what the cell, the device or the text cannot have.
    """

    def __init__(
        self,
        out: Path,
        settings: Settings,
        data: Data,
        *,
        started: float,
        saved: resuming.Saved | None,
        ranks: Ranks,
    ) -> None:
        options = settings.training
        self.settings, self.data = settings, data
        self.training, self.validation = data.training_reader(options), data.validation_reader(options)
        if isinstance(self.training, StreamReader) and self.training.batch_size < ranks.count:
            raise UsageError(
                f"the batch has {self.training.batch_size} streams for {ranks.count} processes: give a larger --batch, "
                "a longer text, or fewer processes"
            )
        self.learner = Learner.make(settings, data, len(self.training), ranks)
        self.ranks = ranks
        self.shape = self.learner.network.shape
        began = started - (saved.seconds if saved else 0.0)
        self.output = Output(out, settings, self.shape, data, began, writes=ranks.is_first)
        self.setbacks = 0
        self.meter = Meter(time.perf_counter)
        self.watch = Watch(
            data.watched(),
            options.clip,
            limits_steps=options.optimizer in {"sgd", "momentum"},
        )
        self.is_new = saved is None or not saved.tensors
        if saved is not None and saved.tensors:
            self.learner.restore(saved.state, saved.tensors)
            self.output.keep(saved.best_tensors, saved.best)
        self.pacer = self._pacer()

    @property
    def steps(self) -> int:
        """Updates so far."""
        return self.learner.position.steps

    def _pacer(self) -> Pacer | None:
        minutes = self.settings.training.minutes
        if minutes is None:
            return None
        deadline = self.output.started + 60 * minutes
        steps_a_pass = len(self.training)
        steps_a_validation = steps_a_pass * self.validation.tokens / self.training.tokens / 3  # no way back
        finishing = seconds_to_finish(minutes)
        return Pacer(self.learner.schedule, deadline, steps_a_pass, steps_a_validation, finishing, time.perf_counter)

    def prepared(self) -> Prepared:
        """What a person wants to know before the first step."""
        network = self.learner.network
        return Prepared(
            network.engine_in_use().description(),
            str(self.learner.device),
            network.parameter_count(),
            self.shape.describe(),
            len(self.training),
            self.steps,
            self.training.notes,
        )

    def events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Train to the end, or until asked to stop; where training breaks off, what did best so far is saved."""
        try:
            if self.is_new:
                self._checkpoint()
            self.ranks.begin()
            while True:
                try:
                    with nullcontext() if self.ranks.count == 1 else peers_explained():
                        yield from self._events(should_stop)
                    return
                except DivergenceError as error:
                    yield self._go_back(error)
        except TrainingError as error:
            self.output.save(self.steps)
            raise TrainingError(f"{error}; the best weights so far are in {self.output.folder}") from error

    def _events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        if self.pacer is not None:
            self.pacer.begin(self.steps)
        validated_at = -1
        for step in self.learner.steps(self.training):
            self.meter.add(step)
            if self.pacer is not None and self.ranks.is_first:
                self.pacer.after(step.number)
            yield self._progress(step)
            yield from self._warned(self.watch.step(step.done.gradient_norm))
            if step.number % EVERY == 0:
                yield from self._warned(self.watch.forgets(self._log_memory(step.number)))
            if self.meter.report_is_due() or step.ends_pass or step.number == self.learner.schedule.end:
                self._log_training(step)
            if step.ends_pass:
                validated_at = step.number
                validated, warning = self._validate()
                yield validated
                yield from self._warned(warning)
            stops, checkpoint_is_due = self._agreed(should_stop(), self.output.checkpoint_is_due())
            if stops:
                yield from self._stop()
                return
            if checkpoint_is_due:
                self._checkpoint()
                self.meter.skip()
        if validated_at != self.steps:
            validated, warning = self._validate()
            yield validated
            yield from self._warned(warning)
        yield from self._finish()

    def _checkpoint(self) -> None:
        self.output.checkpoint(self.learner)
        self.ranks.wait()

    def _agreed(self, stops: bool, checkpoint_is_due: bool) -> tuple[bool, bool]:
        """Whether to stop and to write a checkpoint, the same in all processes, as is the plan from here on.

        Any of them may have been asked to stop; the rest is for the first to say.
        """
        ranks, schedule = self.ranks, self.learner.schedule
        if ranks.count == 1:
            return stops, checkpoint_is_due
        leg = schedule.legs[-1] if schedule.legs and ranks.is_first else Leg(0, 0)
        due = checkpoint_is_due and ranks.is_first
        asked, due_, start, end = (int(number) for number in ranks.sums(stops, due, leg.start, leg.end))
        if not ranks.is_first and end and (not schedule.legs or schedule.legs[-1] != Leg(start, end)):
            schedule.fall_to(start, end)
        return asked > 0, due_ > 0

    def _go_back(self, error: DivergenceError) -> WentBack:
        """On from the last checkpoint with a lower rate, which is saved too."""
        step, learner, output = self.steps, self.learner, self.output
        self.setbacks += 1
        found = self.ranks.from_first(lambda: model_directory.load_training(output.folder))
        if self.setbacks > MOST_SETBACKS or found is None:
            raise TrainingError(
                f"{error}; the run went back {MOST_SETBACKS} times and lowered its rate, in vain"
            ) from error
        rate = SLOWER * learner.schedule.highest
        learner.restore(*found)
        learner.schedule.highest = rate
        self._checkpoint()
        output.log(
            {"step": step, "passes": step / len(self.training), "went_back_to": self.steps, "highest_rate": rate}
        )
        self.meter = Meter(time.perf_counter)
        return WentBack(step, self.steps, rate, str(error))

    def _progress(self, step: Step) -> Progress:
        now = time.perf_counter()
        if self.pacer is not None:
            whole, left = 60 * (self.settings.training.minutes or 0), max(0.0, self.pacer.deadline - now)
            share = 1 - left / whole
        else:
            end = self.learner.schedule.end or step.number
            share = step.number / end
            left = (end - step.number) * self.meter.seconds_a_step
        return Progress(step.number, share, self.meter.loss, self.meter.tokens_per_second, left)

    def _log_training(self, step: Step) -> None:
        self.output.log({"step": step.number, "passes": step.number / len(self.training)} | self.meter.take())

    def _log_memory(self, step: int) -> int | None:
        memory = self.watch.memory(self.learner.network)
        self.output.log({"step": step, "passes": step / len(self.training), "effective_memory": memory})
        return memory

    def _warned(self, message: str | None) -> Iterator[Warned]:
        if message is not None:
            yield Warned(self.steps, message)

    def _validate(self) -> tuple[Validated, str | None]:
        """How good the network is, and what is wrong with its gradients."""
        began, average, steps = time.perf_counter(), self.learner.average, self.steps
        with average.in_place():
            loss, accuracy = validate(self.learner.network, self.validation, self.learner.device, self.ranks)
            if not math.isfinite(loss):
                raise DivergenceError(f"step {steps}: the validation loss is {loss}: give a lower --learning-rate")
            improved = loss < self.output.best
            tensors = self.learner.network.tensors() if improved else {}
            memory = self.watch.memory(self.learner.network)
        average.validated(loss)
        if self.pacer is not None:
            self.pacer.validated(time.perf_counter() - began)
        result = Validated(
            steps,
            steps / len(self.training),
            loss,
            self.data.figures(loss, accuracy),
            self.data.describe(loss, accuracy),
            improved,
        )
        self.output.log(
            {"step": steps, "passes": result.passes, "validation_loss": loss}
            | result.figures
            | {"effective_memory": memory}
        )
        if improved:
            self.output.keep(tensors, loss)
            self.output.save_if_due(steps)
        self.ranks.wait()
        self.meter.skip()
        return result, self.watch.forgets(memory)

    def _stop(self) -> Iterator[Event]:
        self._checkpoint()
        yield from self._warned(self._draw())
        yield Stopped(self.output.folder, self.steps, "--resume")

    def _finish(self) -> Iterator[Event]:
        output, steps, schedule = self.output, self.steps, self.learner.schedule
        went_back = schedule.highest != self.settings.training.highest_rate
        repeat = "" if went_back or self.ranks.count > 1 else output.repeat(schedule.plan())
        output.save(steps, repeat=repeat)
        yield from self._warned(self._draw())
        self.ranks.from_first(
            lambda: model_directory.clear_training(output.folder)
        )  # last, so that a run that is killed here can be finished
        yield Finished(output.folder, steps, output.best, output.seconds, repeat, self.data.sources)

    def _draw(self) -> str | None:
        """Draw the curve; what hinders it is no reason to fail, for everything else is saved."""
        try:
            self.output.draw(self._title())
        except ModelDirectoryError as error:
            return f"there is no curve: {error}"
        return None

    def _title(self) -> str:
        return f"{self.shape.describe()}, {self.learner.network.parameter_count():,} parameters"
