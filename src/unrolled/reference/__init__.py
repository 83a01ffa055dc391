"""The mathematics in NumPy float64, written to be read; the oracle of every engine.

`unroll` and `unroll_backward` take any cell over time. `TutorialNetwork` is a whole small language model with three
ways to its gradient; `gradient_check` tells whether a gradient is right, this one or anybody's.
"""

from unrolled.reference.checking import (
    Element,
    GradientReport,
    Rules,
    TruncatedGradientWarning,
    central_difference,
    gradient_check,
    relative_error,
)
from unrolled.reference.forward_pass import (
    FedBack,
    Path,
    forward,
    log_softmax,
    sequence_loss,
    softmax,
    teacher_forced,
)
from unrolled.reference.generation import generate
from unrolled.reference.gradients import Backward, bptt, naive_bptt, rtrl
from unrolled.reference.network import TutorialNetwork, load_network, random_network, save_network
from unrolled.reference.network_check import check_network
from unrolled.reference.optimizers import SGD, Momentum, Optimizer, RMSprop
from unrolled.reference.training import Epoch, Settings, corpus_loss, train
from unrolled.reference.unrolling import Gradients, Masks, Tape, Unrolling, Weights, unroll, unroll_backward

__all__ = [
    "SGD",
    "Backward",
    "Element",
    "Epoch",
    "FedBack",
    "GradientReport",
    "Gradients",
    "Masks",
    "Momentum",
    "Optimizer",
    "Path",
    "RMSprop",
    "Rules",
    "Settings",
    "Tape",
    "TruncatedGradientWarning",
    "TutorialNetwork",
    "Unrolling",
    "Weights",
    "bptt",
    "central_difference",
    "check_network",
    "corpus_loss",
    "forward",
    "generate",
    "gradient_check",
    "load_network",
    "log_softmax",
    "naive_bptt",
    "random_network",
    "relative_error",
    "rtrl",
    "save_network",
    "sequence_loss",
    "softmax",
    "teacher_forced",
    "train",
    "unroll",
    "unroll_backward",
]
