"""Settings of a model and of its training, checked on construction; every default stands here or in `recipe` once.

The command line makes its options from these fields; `help` and `choices` in a field's metadata are what it shows. None
leaves a choice open; `recipe.filled` and, for a run of given minutes, `planning.plan` make it.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from unrolled import engines, models
from unrolled.errors import UsageError
from unrolled.models.settings import ModelSettings
from unrolled.nn.regularization import Regularization
from unrolled.settings import check_choice, option
from unrolled.text.settings import TextSettings

OPTIMIZERS = {"adamw": 0.01, "sgd": 10.0, "momentum": 1.0, "rmsprop": 0.005, "adagrad": 0.05}
"""Optimizers by name, each with its default learning rate."""
RATES = ", ".join(f"{rate:g} {name}" for name, rate in OPTIMIZERS.items())
SCHEDULES = ("linear", "cosine", "halving", "constant")
AVERAGES = ("none", "triggered")
MOST_THREADS = 1024


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained. Exactly one of epochs, minutes and anneal says for how long; 10 epochs if none."""

    epochs: float | None = option(None, "Passes over the training text (default: 10, unless --minutes is given)")
    minutes: float | None = option(
        None, "Wall time of the whole command; what other options leave open is planned for it (see --show-plan)"
    )
    batch: int | None = option(
        None, "Sequences trained side by side (default of a language model: 32 for characters, else 16)"
    )
    window: int | None = option(
        None, "Time steps after which backpropagation through time is cut (default: 64 for characters, else 32)"
    )
    random_windows: bool = option(False, "Cut elsewhere in each pass, into windows of random lengths around --window")
    optimizer: str = option("adamw", "Optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float | None = option(
        None,
        f"Highest learning rate (default of a language model: {RATES})",
    )
    schedule: str = option(
        "linear",
        "How the rate falls: to zero along a line or a cosine, by halves nine times, or not",
        choices=SCHEDULES,
    )
    warm_up: int = option(50, "Steps over which the rate climbs to its highest value")
    hold: float = option(0.1, "Share of the run before the rate begins to fall")
    beta1: float | None = option(
        None, "How much adamw's mean of gradients keeps in each step (default: 0.9 for characters, else 0)"
    )
    beta2: float | None = option(
        None, "How much adamw's mean of their squares keeps in each step (default: 0.99 for characters, else 0.999)"
    )
    samples: int | None = option(
        None,
        "Tokens drawn at random with which targets are compared, rather than with the whole vocabulary, until the last "
        "20% of the rate's fall; 0: none (default: 0, with --minutes 1000)",
    )
    weight_decay: float = option(0.01, "Share of the rate by which adamw shrinks weights in each step")
    average: str = option(
        "none", "Use the mean of the weights from the step on when validation stops improving", choices=AVERAGES
    )
    clip: float = option(1.0, "Norm to which gradients are clipped; 0 does not clip")
    clip_value: float = option(0.0, "Size to which each element of a gradient is clipped, before --clip; 0: not")
    engine: str = option("auto", "Engine", choices=("auto", *engines.names()))
    device: str = option("cpu", "Device as torch names it: cpu, cuda, cuda:1, mps")
    threads: int | None = option(
        None,
        "CPU threads (default: as many as the process may use; one for small networks of other tasks than language)",
    )
    checkpoint_every: float = option(2.0, "Minutes after which what --resume needs is written anew")
    seed: int = option(1, "Seed of initial weights, dropout and order")
    anneal: str | None = option(
        None, "Repeat a --minutes run exactly: the plan it printed, as step:end pairs such as 120:3000,900:3100"
    )

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.epochs, self.minutes, self.anneal)) > 1:
            raise UsageError("epochs, minutes and anneal exclude each other: give one of them")
        for name, value in (
            ("epochs", self.epochs),
            ("minutes", self.minutes),
            ("learning_rate", self.learning_rate),
            ("checkpoint_every", self.checkpoint_every),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}: give a number above 0")
        for name, count, least in (
            ("batch", self.batch, 1),
            ("window", self.window, 1),
            ("threads", self.threads, 1),
            ("samples", self.samples, 0),
            ("warm_up", self.warm_up, 0),
        ):
            if count is not None and count < least:
                raise UsageError(f"{name} is {count}: give a whole number of at least {least}")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"threads is {self.threads}: give at most {MOST_THREADS:,}")
        if not 0 <= self.clip < math.inf:
            raise UsageError(f"clip is {self.clip}: give a norm above 0, or 0 to leave gradients as they are")
        if not 0 <= self.clip_value < math.inf:
            raise UsageError(f"clip_value is {self.clip_value}: give a size above 0, or 0 to leave gradients alone")
        for name, share in (("hold", self.hold), ("beta1", self.beta1), ("beta2", self.beta2)):
            if share is not None and not 0 <= share < 1:
                raise UsageError(f"{name} is {share}: give a share of at least 0 and below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight_decay is {self.weight_decay}: give a factor of at least 0")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}: give a whole number from 0 to 2^63 - 1")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("average", self.average, AVERAGES)
        check_choice("engine", self.engine, ("auto", *engines.names()))

    @property
    def highest_rate(self) -> float:
        """The learning rate before annealing."""
        return self.learning_rate or OPTIMIZERS[self.optimizer]


@dataclass(frozen=True)
class Settings:
    """Everything a run is asked to do.

    Attributes:
        text, model, training, regularization: what all tasks have in common.
        task: name of the task.
        own: the task's own settings, one for each of its `options`, in their order; what is left out is filled in.

    Raises:
        UsageError: no task has that name, or one of the settings means nothing to it.
    """

    text: TextSettings
    model: ModelSettings
    training: TrainingSettings
    regularization: Regularization = field(default_factory=Regularization)
    task: str = "language"
    own: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        options = models.get(self.task).options
        given = {type(each): each for each in self.own}
        if not set(given) <= set(options) or len(given) != len(self.own):
            names = ", ".join(group.__name__ for group in options) or "none"
            raise UsageError(f"task {self.task} has settings of its own: expected one of each of {names}")
        object.__setattr__(self, "own", tuple(given[group] if group in given else group() for group in options))
        self._refuse_unused()
        if self.model.factored and (self.text.unit or "word") != "word":
            raise UsageError(f"factored vectors are for words, unit is {self.text.unit}: leave factored out")

    def _refuse_unused(self) -> None:
        """Refuse what would be ignored; what is filled in for all tasks is not what a person has asked for."""
        task = models.get(self.task)
        defaults = task.defaults(self.text.unit or task.unit)
        for group in (self.text, self.model, self.training, self.regularization):
            for each in fields(group):
                value = getattr(group, each.name)
                filled = getattr(defaults, each.name, None)
                if each.name in task.unused and value and value not in {each.default, filled}:
                    raise UsageError(
                        f"--{each.name.replace('_', '-')} means nothing to the task {self.task}: leave it out"
                    )
