"""A training run from a corpus to a model directory, as a generator of events.

The run reads the text, makes the network, drives the loop, tries the network on the validation text after each pass,
keeps the weights that did best, and writes the model directory. Whoever iterates over it only watches.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from unrolled import engines, metrics, model_directory
from unrolled.errors import TrainingError
from unrolled.training import checkpoint, resuming
from unrolled.training.averaging import Average
from unrolled.training.building import describe, make_network, make_optimizer, make_schedule
from unrolled.training.checks import check_directory, device_of
from unrolled.training.data import TrainingData, prepare
from unrolled.training.events import DataRead, Event, Finished, Planned, Prepared, Progress, Stopped, Validated
from unrolled.training.loop import Limits, Position, Step, mean_loss, train_steps
from unrolled.training.meter import Meter
from unrolled.training.output import Output
from unrolled.training.planning import make_plan
from unrolled.training.recipe import filled
from unrolled.training.schedule import Pacer, legs_from_plan
from unrolled.training.settings import Settings

SECONDS_TO_FINISH = 2.0
"""What saving and drawing take after the last validation; a run of given minutes keeps so much time for them."""


def run(
    sources: Sequence[str | Path],
    out: Path | None,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    started: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train a language model; see `training.train` for the arguments.

    Args:
        out: None plans the run and ends with that.
        started: when the whole command began, by time.perf_counter; now if None.
        should_stop: asked after each update; True ends the run with `Stopped`.
    """
    started = time.perf_counter() if started is None else started
    saved = None
    if out is not None:
        check_directory(out, resume=resume, overwrite=overwrite)
        saved = resuming.load(out, settings) if resume else None
    settings = settings if saved is None else saved.settings
    torch.set_num_threads(settings.training.threads or len(os.sched_getaffinity(0)))
    device_of(settings.training)
    data = prepare(sources, settings.text) if saved is None else saved.data(sources)
    yield DataRead(data.report, data.notes(), data.uniform, data.unigram)
    if saved is None and (out is None or settings.training.minutes is not None):
        plan = make_plan(settings, data, started=started, finishing=SECONDS_TO_FINISH)
        yield Planned(plan)
        settings = plan.settings
    if out is None:
        return
    current = _Run(out, filled(settings), data, started=started, saved=saved)
    if saved is None:  # not before: settings that cannot be leave an earlier run alone
        model_directory.clear_run(out)
    yield current.prepared()
    yield from current.events(should_stop)


class _Run:
    """The parts of a run under way."""

    def __init__(
        self,
        out: Path,
        settings: Settings,
        data: TrainingData,
        *,
        started: float,
        saved: resuming.Saved | None,
    ) -> None:
        options = settings.training
        self.settings, self.data = settings, data
        self.training, self.validation = data.training_reader(options), data.validation_reader(options)
        self.device = device_of(options)
        self.network, self.generator = make_network(settings, data.tokenizer.vocabulary_size, self.device)
        self.optimizer = make_optimizer(options, self.network)
        self.average = Average(list(self.network.parameters()), triggered=options.average == "triggered")
        self.output = Output(out, settings, self.network.shape, data, started - (saved.seconds if saved else 0.0))
        self.schedule = make_schedule(options, len(self.training))
        self.position = Position()
        self.meter = Meter(time.perf_counter)
        if saved is not None:
            self.position = checkpoint.restore(
                saved.tensors, saved.steps, self.network, self.optimizer, self.generator, self.average, self.device
            )
            self.output.keep(saved.best_tensors, saved.best)
            if saved.plan:
                self.schedule.legs = legs_from_plan(saved.plan)
        self.pacer = self._pacer()

    def _pacer(self) -> Pacer | None:
        minutes = self.settings.training.minutes
        if minutes is None:
            return None
        deadline = self.output.started + 60 * minutes
        steps_a_pass = len(self.training)
        steps_a_validation = steps_a_pass * self.validation.tokens / self.training.tokens / 3  # no way back
        return Pacer(self.schedule, deadline, steps_a_pass, steps_a_validation, SECONDS_TO_FINISH, time.perf_counter)

    def prepared(self) -> Prepared:
        """What a person wants to know before the first step."""
        weights = self.network.embedding.weight
        engine = engines.choose(self.settings.training.engine, self.network.recurrent.cell, weights)
        return Prepared(
            engine.description(),
            str(self.device),
            self.network.parameter_count(),
            describe(self.network.shape),
            len(self.training),
            self.position.steps,
            self.training.notes,
        )

    def events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Train to the end, or until asked to stop; where training breaks off, what did best so far is saved."""
        try:
            yield from self._events(should_stop)
        except TrainingError as error:
            if math.isinf(self.output.best):
                raise
            self.output.save(self.position.steps)
            raise TrainingError(f"{error}; the best weights so far are in {self.output.folder}") from error

    def _events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        if self.pacer is not None:
            self.pacer.begin(self.position.steps)
        validated_at = -1
        steps = train_steps(
            self.network,
            self.training,
            self.optimizer,
            self.schedule,
            self.position,
            limits=Limits(self.settings.training.clip, self.settings.training.clip_value),
            device=self.device,
        )
        for step in steps:
            self.average.stepped()
            self.meter.add(step)
            if self.pacer is not None:
                self.pacer.after(step.number)
            yield self._progress(step)
            if self.meter.report_is_due() or step.ends_pass or step.number == self.schedule.end:
                self._log_training(step)
            if step.ends_pass:
                validated_at = step.number
                yield self._validate()
            if should_stop():
                yield self._stop()
                return
        if validated_at != self.position.steps:
            yield self._validate()
        yield self._finish()

    def _progress(self, step: Step) -> Progress:
        now = time.perf_counter()
        if self.pacer is not None:
            whole, left = 60 * (self.settings.training.minutes or 0), max(0.0, self.pacer.deadline - now)
            share = 1 - left / whole
        else:
            end = self.schedule.end or step.number
            share = step.number / end
            left = (end - step.number) * self.meter.seconds_a_step
        return Progress(step.number, share, self.meter.loss, self.meter.tokens_per_second, left)

    def _log_training(self, step: Step) -> None:
        self.output.log({"step": step.number, "passes": step.number / len(self.training)} | self.meter.take())

    def _validate(self) -> Validated:
        began = time.perf_counter()
        with self.average.in_place():
            loss = mean_loss(self.network, self.validation, self.device)
            improved = loss < self.output.best
            tensors = self.network.tensors() if improved else {}
        self.average.validated(loss)
        if self.pacer is not None:
            self.pacer.validated(time.perf_counter() - began)
        steps = self.position.steps
        if not math.isfinite(loss):
            raise TrainingError(f"step {steps}: the validation loss is {loss}: give a lower --learning-rate")
        result = Validated(
            steps,
            steps / len(self.training),
            loss,
            metrics.perplexity(loss),
            self.data.validation_bits_per_character(loss),
            improved,
        )
        self.output.log(
            {
                "step": steps,
                "passes": result.passes,
                "validation_loss": loss,
                "perplexity": result.perplexity if math.isfinite(result.perplexity) else None,
                "bits_per_character": result.bits_per_character,
            }
        )
        if improved:
            self.output.keep(tensors, loss)
            self.output.save_if_due(steps)
        self.meter.skip()
        return result

    def _stop(self) -> Stopped:
        steps, plan = self.position.steps, self.schedule.plan()
        if math.isinf(self.output.best):  # never validated: what there is so far is the model
            self.output.keep(self.network.tensors(), math.inf)
        self.output.save(steps)
        self.output.draw(self._title())
        tensors = checkpoint.capture(self.network, self.optimizer, self.position, self.generator, self.average)
        self.output.save_for_resuming(tensors, steps, plan)
        return Stopped(self.output.folder, steps, "--resume")

    def _finish(self) -> Finished:
        output, steps, plan = self.output, self.position.steps, self.schedule.plan()
        output.save(steps, plan=plan)
        model_directory.clear_training(output.folder)
        output.draw(self._title())
        sources = self.data.parts["train"].sources
        return Finished(output.folder, steps, output.best, output.seconds, output.repeat(plan), sources)

    def _title(self) -> str:
        return f"{describe(self.network.shape)}, {self.network.parameter_count():,} parameters"
