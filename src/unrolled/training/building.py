"""From settings without an open choice to a network, its optimizer and its schedule."""

import math

import torch
from numpy.typing import ArrayLike

from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Dropout, Sampler
from unrolled.training import optimizers
from unrolled.training.schedule import Schedule, legs_from_plan, legs_of_length
from unrolled.training.settings import ModelSettings, Settings, TrainingSettings

DEFAULT_EPOCHS = 10


def shape_of(model: ModelSettings, vocabulary_size: int) -> LanguageModelShape:
    """The sizes of the network."""
    sizes = (vocabulary_size, model.embedding or 0, model.hidden or 0, model.layers or 0)  # an open choice is refused
    return LanguageModelShape(model.cell or "", *sizes, bool(model.tied))


def describe(shape: LanguageModelShape) -> str:
    """Cell and sizes in words."""
    sizes = f"{shape.layers} x {shape.hidden_size} {shape.cell}, embedding {shape.embedding_size}"
    return sizes + (", tied" if shape.tied else "")


def make_network(
    settings: Settings, vocabulary_size: int, device: torch.device, *, is_alone: bool = True
) -> tuple[LanguageModelNetwork, torch.Generator]:
    """The network on its device, and the generator that all of its randomness comes from.

    Raises:
        UsageError: what the cell cannot have.
    """
    model, options = settings.model, settings.training
    generator = torch.Generator().manual_seed(options.seed)
    network = LanguageModelNetwork(
        shape_of(model, vocabulary_size),
        regularization=settings.regularization,
        initialization=model.initialization,
        initial_range=model.initial_range,
        forget_bias=model.forget_bias,
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


def make_optimizer(options: TrainingSettings, network: LanguageModelNetwork) -> torch.optim.Optimizer:
    """The optimizer of all weights."""
    return optimizers.make(
        options.optimizer,
        network.parameters(),
        options.highest_rate,
        weight_decay=options.weight_decay,
        betas=(options.beta1 or 0.0, options.beta2 or 0.0),
        engine=options.engine,
    )


def make_sampler(options: TrainingSettings, counts: ArrayLike, device: torch.device) -> Sampler | None:
    """What draws tokens that stand for the vocabulary; None where all of it is looked at.

    Args:
        options: without an open choice.
        counts: how often the training text has each token, (V,).
        device: of the network.
    """
    return Sampler(counts, options.samples, device) if options.samples else None


def make_schedule(options: TrainingSettings, steps_a_pass: int) -> Schedule:
    """The schedule; without legs where the end is only known as a time."""
    schedule = Schedule(options.highest_rate, options.schedule, options.warm_up, options.hold)
    if options.anneal is not None:
        schedule.legs = legs_from_plan(options.anneal)
    elif options.minutes is None:
        steps = math.ceil((options.epochs or DEFAULT_EPOCHS) * steps_a_pass)
        schedule.legs = legs_of_length(steps, options.hold)
    return schedule
