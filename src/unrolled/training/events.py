"""What a run tells whoever watches it, in the order in which it happens."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.models.task import DataReport
    from unrolled.training.planning import Plan


@dataclass(frozen=True)
class Reading:
    """A long text is being read.

    Attributes:
        what: is done with it.
        share: how much of that is done, from 0 to 1.
    """

    what: str
    share: float


@dataclass(frozen=True)
class DataRead:
    """The text has been read, split and turned into tokens.

    Attributes:
        report: what is in it.
        notes: one line each about settings that had to be adapted to it.
        uniform: loss in nats for each target of guessing evenly.
        unigram: the same of knowing only how frequent each target is.
        counted: what a target is: "token", "label".
    """

    report: "DataReport"
    notes: tuple[str, ...]
    uniform: float
    unigram: float
    counted: str


@dataclass(frozen=True)
class Planned:
    """What was left open has been chosen for this text, this machine and this time."""

    plan: "Plan"


@dataclass(frozen=True)
class Prepared:
    """The network is made and training begins.

    Attributes:
        engine: name and circumstances of the engine.
        device: where it trains.
        parameters: number of weights that are learnt.
        description: cell and sizes in words.
        steps_a_pass: updates in one pass over the text.
        steps_done: updates of the run that is being resumed; 0 for a new one.
        notes: one line each about settings that had to be adapted to the text.
    """

    engine: str
    device: str
    parameters: int
    description: str
    steps_a_pass: int
    steps_done: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """One update has been made.

    Attributes:
        step: updates so far.
        share: how much of the run is done, from 0 to 1.
        loss: training loss in nats per token, averaged over recent updates.
        tokens_per_second: averaged over recent updates.
        seconds_left: estimate.
    """

    step: int
    share: float
    loss: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Validated:
    """The network was tried on the validation text.

    Attributes:
        step: updates so far.
        passes: passes over the training text so far, as a fraction.
        loss: validation loss in nats for each target.
        figures: what else the task says of it, by name: perplexity, bits_per_character, accuracy.
        description: all of that in words.
        best: whether no earlier loss was lower, so that these weights are the ones to keep.
    """

    step: int
    passes: float
    loss: float
    figures: dict[str, float | None]
    description: str
    best: bool


@dataclass(frozen=True)
class Warned:
    """Something goes wrong with the gradients; said once a run.

    Attributes:
        step: updates so far.
        message: what, with figures, and what would help.
    """

    step: int
    message: str


@dataclass(frozen=True)
class WentBack:
    """Loss or gradient was no longer a finite number: the run goes on from its last checkpoint, with a lower rate.

    Attributes:
        step: updates before it happened.
        to: updates at the checkpoint.
        learning_rate: the highest from now on.
        reason: what happened.
    """

    step: int
    to: int
    learning_rate: float
    reason: str


@dataclass(frozen=True)
class Finished:
    """The run is over and its model directory complete.

    Attributes:
        directory: the model directory.
        steps: updates in all.
        loss: validation loss of the weights that were kept, in nats per token.
        seconds: wall time of the whole command.
        repeat: options that repeat this run exactly; empty where it went back to a checkpoint on the way.
        sources: the corpus to repeat it with.
    """

    directory: Path
    steps: int
    loss: float
    seconds: float
    repeat: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Stopped:
    """The run was asked to stop, and has saved what resuming needs.

    Attributes:
        directory: the model directory; it can be used as it is.
        steps: updates so far.
        resume: options that go on with it.
    """

    directory: Path
    steps: int
    resume: str


Event = Reading | DataRead | Planned | Prepared | Progress | Validated | Warned | WentBack | Finished | Stopped

Record = dict[str, Any]
"""A line of log.jsonl."""
