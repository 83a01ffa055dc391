"""What is filled in where a person leaves a choice open: plain settings, or a recipe for a size and a number of passes.

The numbers of the recipe come from the runs in docs/recipes.md, which also tells what each choice is worth.
"""

import math
from dataclasses import replace

from unrolled import cells, models
from unrolled.models.language.network import LanguageModelShape
from unrolled.nn.regularization import Regularization
from unrolled.text.settings import DEFAULT_UNIT
from unrolled.training.settings import Settings

SIZES = (32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048)
"""Hidden sizes that a plan considers."""
TOKENS_A_WEIGHT = {"char": 1.5, "word": 1.8, "bpe": 1.5}
"""A plan takes the largest network of whose weights each can still learn from so many tokens."""
WEIGHTS_A_TOKEN = 30.0
"""Most weights for each token of the training text: beyond, a larger network learns little but the text by heart."""
PASSES_TO_DROP = {"char": (8.0, 60.0), "word": (1.5, 20.0)}
"""Passes up to which nothing is dropped, and from which on as much as ever: the logarithm decides in between."""
ACTIVATION, TEMPORAL_ACTIVATION = 2.0, 1.0
"""What networks pay for large outputs and for changing ones, as in arXiv:1708.01009."""
PASSES_TO_PENALISE = {"char": math.inf, "word": 15.0, "bpe": math.inf}
"""Passes from which on they pay it: a text that is read a few times is learnt more slowly so."""
WINDOWS = {"char": 64, "word": 70, "bpe": 35}
"""Time steps after which backpropagation through time is cut."""
RATES = {"char": 0.005, "word": 0.003, "factored": 0.0024}
"""Of AdamW for 512 units; the larger a network, the smaller its steps, and those of a sum are the sums of theirs."""
SAMPLES = 1000
"""Tokens that stand for a large vocabulary: of 10,000 words, three times as much text is read in the same time."""
SMALL = 128
"""Hidden units up to which a network of another task than language is trained by one thread."""
SOME_PASSES = {"char": 8.0, "word": 20.0, "bpe": 8.0}
"""Passes for which a network is regularised while its speed is measured."""


def with_unit(settings: Settings) -> Settings:
    """Settings that say what a token is."""
    unit = settings.text.unit or models.get(settings.task).unit
    return replace(settings, text=replace(settings.text, unit=unit))


def filled(settings: Settings) -> Settings:
    """Settings without a choice that is open, but for how long to train: plain ones, the same on every machine."""
    settings = with_unit(settings)
    model, training, wanted = settings.model, settings.training, settings.regularization
    defaults = models.get(settings.task).defaults(settings.text.unit or DEFAULT_UNIT)
    hidden = model.hidden or (model.embedding if model.tied else None) or defaults.hidden
    tied = defaults.tied and model.embedding in {None, hidden} if model.tied is None else model.tied
    rate = defaults.learning_rate if training.optimizer == "adamw" else None
    return replace(
        settings,
        model=replace(
            model,
            cell=model.cell or defaults.cell,
            hidden=hidden,
            embedding=model.embedding or (None if tied else defaults.embedding) or hidden,
            layers=model.layers or defaults.layers,
            tied=tied,
            factored=bool(model.factored),
        ),
        training=replace(
            training,
            batch=training.batch or defaults.batch,
            window=training.window or defaults.window,
            learning_rate=training.learning_rate or rate or training.highest_rate,
            beta1=_first(training.beta1, defaults.betas[0]),
            beta2=_first(training.beta2, defaults.betas[1]),
            samples=training.samples or 0,
        ),
        regularization=replace(wanted, dropout=_first(wanted.dropout, defaults.dropout)),
    )


def most_threads(settings: Settings) -> int | None:
    """Threads beyond which a small network gains next to nothing; None: it takes what there is.

    Two threads wait for each other in each of a step's many short operations: where a core is busy with something else,
    a step takes twenty times as long. A language model's operations are long, for its windows and its vocabulary.
    """
    hidden = filled(settings).model.hidden or 0
    return 1 if settings.task != "language" and hidden <= SMALL else None


def planned(settings: Settings, size: int, passes: float) -> Settings:
    """Settings without a choice that is open, for a hidden size and so many passes over the text.

    The more often a text is read, the more has to be dropped; the larger a network, the smaller its steps.
    """
    unit = settings.text.unit or DEFAULT_UNIT
    is_char, is_word = unit == "char", unit == "word"
    model, training = settings.model, settings.training
    tied = model.tied
    if tied is None:
        tied = not is_char and model.embedding in {None, size}
    factored = is_word if model.factored is None else model.factored
    rate = training.learning_rate
    if rate is None and training.optimizer == "adamw":
        kind = "char" if is_char else "factored" if factored else "word"
        rate = round(RATES[kind] * math.sqrt(512 / max(size, 128)), 4)
    samples = training.samples
    if samples is None:
        samples = 0 if is_char else SAMPLES
    window = training.window or WINDOWS[unit]
    return filled(
        replace(
            settings,
            model=replace(model, cell=model.cell or "gru", hidden=size, tied=tied, factored=factored),
            training=replace(training, learning_rate=rate, window=window, samples=samples),
            regularization=_regularization(settings.regularization, passes, unit),
        )
    )


def _regularization(wanted: Regularization, passes: float, unit: str) -> Regularization:
    """What is penalised, and what is dropped: more, the more often the text is read."""
    is_char = unit == "char"
    least, most = PASSES_TO_DROP["char" if is_char else "word"]
    strength = math.log(max(passes, least) / least) / math.log(most / least)
    strength = min(1.0, strength)
    is_learnt_by_heart = passes >= PASSES_TO_PENALISE[unit]
    of_inputs = 0.0 if is_char and wanted.dropout is None else None  # a character's vector has little to spare
    return replace(
        wanted,
        dropout=_first(wanted.dropout, round(0.5 * strength, 2)),
        dropout_input=_first(wanted.dropout_input, of_inputs),
        weight_drop=_first(wanted.weight_drop, round(0.4 * strength, 2)),
        activation=_first(wanted.activation, ACTIVATION * is_learnt_by_heart),
        temporal_activation=_first(wanted.temporal_activation, TEMPORAL_ACTIVATION * is_learnt_by_heart),
    )


def _first(given: float | None, otherwise: float | None) -> float | None:
    return otherwise if given is None else given


def learning_weights(shape: LanguageModelShape) -> int:
    """Weights in whose learning every token has a part: those of layers and output."""
    gates, hidden = len(cells.get(shape.cell).gates), shape.hidden_size
    layers = shape.embedding_size + hidden + (shape.layers - 1) * 2 * hidden
    return gates * hidden * layers + shape.vocabulary_size * hidden
