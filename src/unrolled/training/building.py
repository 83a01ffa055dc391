"""From settings without an open choice to a network, its optimizer and its schedule."""

import math

import torch
from numpy.typing import ArrayLike
from torch import nn

from unrolled import models
from unrolled.models.network import TaskNetwork
from unrolled.models.task import Data
from unrolled.nn import Dropout, Sampler
from unrolled.training import optimizers
from unrolled.training.schedule import Schedule, legs_from_plan, legs_of_length
from unrolled.training.settings import Settings, TrainingSettings

DEFAULT_EPOCHS = 10


def make_network(
    settings: Settings, data: Data, device: torch.device, *, is_alone: bool = True
) -> tuple[TaskNetwork, torch.Generator]:
    """The network on its device, and the generator that all of its randomness comes from.

    Raises:
        UsageError: what the cell cannot have.
    """
    options = settings.training
    generator = torch.Generator().manual_seed(options.seed)
    network = models.get(settings.task).network(
        settings.model,
        settings.regularization,
        settings.own,
        data,
        engine=options.engine,
        # to find the rows that occur would stall a GPU
        sparse_gradients=is_alone
        and device.type == "cpu"
        and optimizers.takes_sparse_gradients(options.optimizer, options.engine),
        generator=generator,
    )
    if device.type != "cpu":
        network.to(device)
        generator = torch.Generator(device).manual_seed(options.seed)
        for module in network.modules():
            if isinstance(module, Dropout):
                module.generator = generator
    return network, generator


def make_optimizer(options: TrainingSettings, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all weights."""
    return optimizers.make(
        options.optimizer,
        network.parameters(),
        options.highest_rate,
        weight_decay=options.weight_decay,
        betas=(options.beta1 or 0.0, options.beta2 or 0.0),
        lazy=bool(options.samples),  # what is not drawn has nothing to learn
        engine=options.engine,
    )


def make_sampler(options: TrainingSettings, counts: ArrayLike | None, device: torch.device) -> Sampler | None:
    """What draws tokens that stand for the vocabulary; None where all of it is looked at.

    Args:
        options: without an open choice.
        counts: how often the training text has each token, (V,); None for a task that draws none.
        device: of the network.
    """
    return Sampler(counts, options.samples, device) if options.samples and counts is not None else None


def make_schedule(options: TrainingSettings, steps_a_pass: int) -> Schedule:
    """The schedule; without legs where the end is only known as a time."""
    schedule = Schedule(options.highest_rate, options.schedule, options.warm_up, options.hold)
    if options.anneal is not None:
        schedule.legs = legs_from_plan(options.anneal)
    elif options.minutes is None:
        steps = math.ceil((options.epochs or DEFAULT_EPOCHS) * steps_a_pass)
        schedule.legs = legs_of_length(steps, options.hold)
    return schedule
