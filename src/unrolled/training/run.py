"""A training run from a corpus to a model directory, as a generator of events.

The run reads the text, makes the network, drives the loop, tries the network on the validation text after each pass,
keeps the weights that did best, and writes the model directory. Whoever iterates over it only watches.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import engines, metrics, model_directory
from unrolled.errors import TrainingError
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Dropout
from unrolled.settings import options_of
from unrolled.training import checkpoint, optimizers, resuming
from unrolled.training.checks import check_directory, device_of
from unrolled.training.curve import draw_curve
from unrolled.training.data import TrainingData, prepare
from unrolled.training.events import DataRead, Event, Finished, Prepared, Progress, Stopped, Validated
from unrolled.training.loop import Position, Step, mean_loss, train_steps
from unrolled.training.meter import Meter
from unrolled.training.record import config_of
from unrolled.training.schedule import Pacer, Schedule, schedule_from_plan, schedule_of_length
from unrolled.training.settings import Settings

DEFAULT_EPOCHS = 10
SECONDS_BETWEEN_SAVES = 30.0
"""Improved weights are written at most so often; they are always written at the end."""
SECONDS_TO_FINISH = 2.0
"""What saving and drawing take after the last validation; a run of given minutes keeps so much time for them."""


def run(
    sources: Sequence[str | Path],
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    started: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train a language model; see `training.train` for the arguments.

    Args:
        started: when the whole command began, by time.perf_counter; now if None.
        should_stop: asked after each update; True ends the run with `Stopped`.
    """
    started = time.perf_counter() if started is None else started
    check_directory(out, resume=resume, overwrite=overwrite)
    saved = resuming.load(out, settings) if resume else None
    settings = settings if saved is None else saved.settings
    torch.set_num_threads(settings.training.threads or len(os.sched_getaffinity(0)))
    device_of(settings.training)
    if saved is None:
        data = prepare(sources, settings.text, settings.training)
        model_directory.clear_run(out)
    else:
        data = saved.data(sources)
    yield DataRead(data.report, data.notes(), data.uniform, data.unigram)
    current = _Run(out, settings, data, started=started, saved=saved)
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
        hidden, embedding = settings.model.sizes_for(settings.text.unit)
        vocabulary = data.tokenizer.vocabulary_size
        self.shape = LanguageModelShape(
            settings.model.cell_for(settings.text.unit),
            vocabulary,
            embedding,
            hidden,
            settings.model.layers,
            settings.model.tied,
        )
        self.out, self.settings, self.data = out, settings, data
        self.started = started - (saved.seconds if saved else 0.0)
        self.device = device_of(options)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.network = LanguageModelNetwork(
            self.shape, dropout=settings.model.dropout, engine=options.engine, generator=self.generator
        )
        self._move_to_device()
        self.optimizer = optimizers.make(options.optimizer, self.network.parameters(), options.highest_rate)
        self.schedule = self._schedule()
        self.position = Position()
        self.best, self.best_tensors = math.inf, self.network.tensors()
        self.last_saved = -math.inf
        self.meter = Meter(time.perf_counter)
        if saved is not None:
            self.position = checkpoint.restore(
                saved.tensors, saved.steps, self.network, self.optimizer, self.generator, self.device
            )
            self.best, self.best_tensors = saved.best, saved.best_tensors
            if saved.plan:
                self.schedule = schedule_from_plan(options.highest_rate, saved.plan)
        self.steps_before = self.position.steps
        self.pacer = self._pacer()

    def _move_to_device(self) -> None:
        if self.device.type == "cpu":
            return
        self.network.to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(self.settings.training.seed)
        for module in self.network.modules():
            if isinstance(module, Dropout):
                module.generator = self.generator

    def _schedule(self) -> Schedule:
        options = self.settings.training
        if options.anneal is not None:
            return schedule_from_plan(options.highest_rate, options.anneal)
        if options.minutes is not None:
            return Schedule(options.highest_rate)
        steps = math.ceil((options.epochs or DEFAULT_EPOCHS) * len(self.data.training))
        return schedule_of_length(options.highest_rate, steps)

    def _pacer(self) -> Pacer | None:
        minutes = self.settings.training.minutes
        if minutes is None:
            return None
        deadline = self.started + 60 * minutes
        steps_a_pass = len(self.data.training)
        steps_a_validation = steps_a_pass * self.data.validation.tokens / self.data.training.tokens / 3  # no way back
        return Pacer(self.schedule, deadline, steps_a_pass, steps_a_validation, SECONDS_TO_FINISH, time.perf_counter)

    def prepared(self) -> Prepared:
        """What a person wants to know before the first step."""
        shape = self.shape
        sizes = f"{shape.layers} x {shape.hidden_size} {shape.cell}, embedding {shape.embedding_size}"
        return Prepared(
            engines.get(self.settings.training.engine).description(),
            str(self.device),
            self.network.parameter_count(),
            sizes + (", tied" if shape.tied else ""),
            len(self.data.training),
            self.position.steps,
        )

    def events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Train to the end, or until asked to stop; where training breaks off, what did best so far is saved."""
        try:
            yield from self._events(should_stop)
        except TrainingError as error:
            if math.isinf(self.best):
                raise
            self._save_model(finished=False)
            raise TrainingError(f"{error}; the best weights so far are in {self.out}") from error

    def _events(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        if self.pacer is not None:
            self.pacer.begin(self.position.steps)
        validated_at = -1
        steps = train_steps(
            self.network,
            self.data.training,
            self.optimizer,
            self.schedule,
            self.position,
            clip=self.settings.training.clip,
            device=self.device,
        )
        for step in steps:
            self.meter.add(step.loss, step.tokens)
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
        record = {
            "step": step.number,
            "passes": step.number / len(self.data.training),
            "training_loss": self.meter.take_mean(),
            "learning_rate": step.rate,
            "gradient_norm": step.gradient_norm,
            "tokens_per_second": self.meter.tokens_per_second,
            "seconds": time.perf_counter() - self.started,
        }
        model_directory.append_log(self.out, record)

    def _validate(self) -> Validated:
        began = time.perf_counter()
        loss = mean_loss(self.network, self.data.validation, self.device)
        if self.pacer is not None:
            self.pacer.validated(time.perf_counter() - began)
        steps = self.position.steps
        if not math.isfinite(loss):
            raise TrainingError(f"step {steps}: the validation loss is {loss}: give a lower --learning-rate")
        improved = loss < self.best
        result = Validated(
            steps,
            steps / len(self.data.training),
            loss,
            metrics.perplexity(loss),
            self.data.validation_bits_per_character(loss),
            improved,
        )
        record = {
            "step": steps,
            "passes": result.passes,
            "validation_loss": loss,
            "perplexity": result.perplexity if math.isfinite(result.perplexity) else None,
            "bits_per_character": result.bits_per_character,
            "seconds": time.perf_counter() - self.started,
        }
        model_directory.append_log(self.out, record)
        if improved:
            self.best, self.best_tensors = loss, self.network.tensors()
            if time.perf_counter() - self.last_saved > SECONDS_BETWEEN_SAVES:
                self._save_model(finished=False)
        self.meter.skip()
        return result

    def _repeat(self) -> str:
        """Options that repeat the run: what was left to defaults or to the clock is spelled out."""
        settings, options = self.settings, self.settings.training
        hidden, embedding = settings.model.sizes_for(settings.text.unit)
        batch, window = options.sizes_for(settings.text.unit)
        explicit = [
            settings.text,
            replace(
                settings.model, cell=settings.model.cell_for(settings.text.unit), hidden=hidden, embedding=embedding
            ),
            replace(
                options,
                epochs=None,
                minutes=None,
                batch=batch,
                window=window,
                learning_rate=options.highest_rate,
                threads=torch.get_num_threads(),
                anneal=self.schedule.plan(),
            ),
        ]
        return " ".join(word for part in explicit for word in options_of(part))

    def _save_model(self, *, finished: bool) -> None:
        results = {
            "finished": finished,
            "steps": self.position.steps,
            "validation_loss": None if math.isinf(self.best) else self.best,
            "uniform_loss": self.data.uniform,
            "unigram_loss": self.data.unigram,
            "seconds": time.perf_counter() - self.started,
            "repeat": self._repeat() if finished else None,
        }
        config = config_of(self.shape, self.data, asdict(self.settings), results)
        model_directory.save(
            self.out, config=config, tensors=self.best_tensors, tokenizer_json=self.data.tokenizer.to_json()
        )
        self.last_saved = time.perf_counter()

    def _stop(self) -> Stopped:
        if math.isinf(self.best):  # never validated: what there is so far is the model
            self.best_tensors = self.network.tensors()
        self._save_model(finished=False)
        self._draw()
        state = {
            "steps": self.position.steps,
            "plan": self.schedule.plan(),
            "seconds": time.perf_counter() - self.started,
        }
        tensors = checkpoint.capture(self.network, self.optimizer, self.position, self.generator)
        model_directory.save_training(self.out, state=state, tensors=tensors)
        return Stopped(self.out, self.position.steps, "--resume")

    def _finish(self) -> Finished:
        self._save_model(finished=True)
        model_directory.clear_training(self.out)
        self._draw()
        seconds = time.perf_counter() - self.started
        sources = self.data.parts["train"].sources
        return Finished(self.out, self.position.steps, self.best, seconds, self._repeat(), sources)

    def _draw(self) -> None:
        title = f"{self.prepared().description}, {self.network.parameter_count():,} parameters"
        records: list[dict[str, Any]] = model_directory.read_log(self.out)
        picture = draw_curve(records, uniform=self.data.uniform, unigram=self.data.unigram, title=title)
        (self.out / "curve.png").write_bytes(picture)
