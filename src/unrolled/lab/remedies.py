"""What a model suffers from, in words, and which remedy the evidence supports; each with its figures.

Reads the other looks (`flow`, `spectra`, `gates`, `truncation`) and the log of the training. A rule speaks only where a
measured figure passes a limit that stands here; where none does, it says so.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import model_directory
from unrolled.engines.through_time import lags_judged
from unrolled.lab.flow import Flow, flow
from unrolled.lab.gates import Gates, gates
from unrolled.lab.pictures import Picture
from unrolled.lab.spectra import MOST_UNITS, NEUTRAL, LayerSpectra, Spectra, spectra
from unrolled.lab.subject import Report, Subject, nobody
from unrolled.lab.truncation import Truncation, truncation
from unrolled.training.curve import done_last

STEPS_OF_SPECTRA = 50
"""Steps along which Jacobians are looked at, which takes time."""
SHORT_MEMORY = 10
"""An effective memory of fewer steps is called short."""
STRONG_DECAY = 0.1
"""A growth rate below minus this loses nine tenths within 23 steps."""
SHUT = 0.5
"""Share of a gate's values at the end where nothing passes that is worth a word; of dead units a tenth."""
DEAD = 0.1
OFTEN = 0.9
"""Share of clipped steps from which on the limit is what sets the size of steps."""
SPIKES = 10.0
"""Largest gradient norm against the median that counts as explosion."""
GAP = 0.3
"""Validation less training loss at the end, in nats per token, that counts as overfitting."""
FALLING = 0.01
"""Fall of the validation loss over the last fifth of the run, as a share, that says it was not done."""
CUT_OFF = 0.25
"""Share of the gradient that a window may lose."""


@dataclass(frozen=True)
class Remedy:
    """One thing that was found.

    Attributes:
        finding: what the network suffers from, or that it does not.
        evidence: figures.
        remedy: what would help, as options of `unrolled train`; empty where nothing needs help.
    """

    finding: str
    evidence: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For machines."""
        return vars(self)


@dataclass(frozen=True)
class Remedies:
    """All findings on a model, those that need a remedy first."""

    subject: Subject
    found: list[Remedy]
    looks: list[Any]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "findings": [each.as_dict() for each in self.found],
        }

    def lines(self) -> list[str]:
        """For a person."""
        lines = []
        for each in self.found:
            lines += [f"- {each.finding}", f"  seen:   {each.evidence}"]
            lines += [f"  remedy: {each.remedy}"] if each.remedy else []
        return lines

    def pictures(self) -> list[Picture]:
        """Those of the looks."""
        return [picture for look in self.looks for picture in look.pictures()]


def remedies(directory: Path, subject: Subject, tell: Report = nobody) -> Remedies:
    """Find what a model suffers from.

    Args:
        directory: the model's, with its log if there is one.
        subject: the model with a text.
        tell: is told which share of the work is done.
    """
    config = model_directory.load(directory).config
    options = dict(config.get("training", {}).get("options", {}))
    log = done_last(model_directory.read_log(directory))
    flowing = flow(subject)
    tell(0.2)
    gating = gates(subject)
    cutting = truncation(subject, lambda share: tell(0.2 + 0.4 * share))
    looks: list[Any] = [flowing, gating, cutting]
    found = [*of_memory(flowing), *of_gates(gating)]
    if config["text"].get("read") != "sentences":  # whose lines are never cut
        found += of_window(cutting, options.get("window"))
    found += [*of_gradients(log, options.get("clip"), options.get("optimizer")), *of_losses(log)]
    if not log:
        found.append(Remedy("Nothing can be said of gradients and losses while training", "there is no log.jsonl"))
    if len(subject.weights.cell.state) * subject.weights.layers[0].hidden_size <= MOST_UNITS:
        some = replace(subject, ids=subject.ids[:STEPS_OF_SPECTRA])
        spectral = spectra(some, lambda share: tell(0.6 + 0.4 * share))
        looks.append(spectral)
        found += of_spectra(spectral)
    return Remedies(subject, sorted(found, key=lambda each: not each.remedy), looks)


def of_memory(found: Flow) -> list[Remedy]:
    """How far back errors are felt."""
    memories = [found.effective_memory(layer) for layer in range(found.layers)]
    known = [memory for memory in memories if memory is not None]
    longest = None if len(known) < len(memories) else max(known)
    steps, is_elman = len(found.subject.ids), len(found.subject.weights.cell.gates) == 1
    evidence = f"of an error 1% is left after {longest} steps (median over {steps} steps)"
    if longest is None:
        told = lags_judged(steps) - 1
        return [Remedy("It feels errors as far back as can be told", f"more than 1% is left after {told} steps")]
    if longest >= SHORT_MEMORY:
        return [Remedy("It feels errors over a fair distance", evidence)]
    cure = (
        "a gated cell (--cell gru or lstm); else --initialization orthogonal (relu: identity) or --signal-norm 1"
        if is_elman
        else "more training, or a text whose answers lie further back: gates open where it pays; --forget-bias 1 (LSTM)"
    )
    return [Remedy("It forgets: what came earlier cannot be learnt from", evidence, cure)]


def of_spectra(found: Spectra) -> list[Remedy]:
    """Whether lengths vanish or explode."""
    is_elman = len(found.subject.weights.cell.gates) == 1
    return [_of_layer(layer, number, is_elman=is_elman) for number, layer in enumerate(found.layers, 1)]


def _of_layer(layer: LayerSpectra, number: int, *, is_elman: bool) -> Remedy:
    rate = float(layer.rates[0])
    evidence = f"layer {number} grows by {rate:+.3f} nats a step in the direction that lasts longest"
    if layer.bound is not None:
        evidence += f"; the norm of W times the largest slope is {layer.bound:.2f}"
    if rate > NEUTRAL:
        cure = "--clip, set by the norms in the log; a lower --learning-rate; --initialization orthogonal"
        return Remedy("Its errors can explode", evidence, cure)
    if rate < -STRONG_DECAY:
        cure = "--initialization orthogonal, --signal-norm 1, or a gated cell (--cell gru, lstm)"
        gated = "more training, or a text whose answers lie further back; --forget-bias 1 for the LSTM"
        return Remedy("Its errors vanish exponentially", evidence, cure if is_elman else gated)
    if rate < -NEUTRAL:
        return Remedy("Its errors shrink slowly", evidence)
    return Remedy("Lengths are kept", evidence)


def of_gates(found: Gates) -> list[Remedy]:
    """Gates that let nothing pass, activations without a slope, and units that do nothing."""
    remedies_ = []
    for number, layer in enumerate(found.layers, 1):
        units = next(iter(layer.states.values())).shape[1]
        if len(layer.dead) > DEAD * units:
            evidence = f"layer {number}: the state of {len(layer.dead)} of {units} units hardly moves"
            cure = "a lower --learning-rate, --initialization scaled, or fewer units (--hidden)"
            remedies_.append(Remedy("Many units are dead", evidence, cure))
        for each in layer.activations:
            low, high = each.saturated
            evidence = f"layer {number}, {each.name}: {low:.0%} of the values at the low end, {high:.0%} at the high"
            if each.function == "sigmoid" and low > SHUT:  # an open gate is how a network remembers
                cure = "a lower --learning-rate, more --weight-decay; --forget-bias 1 where it is the forget gate"
                remedies_.append(Remedy(f"The {each.name} gate is mostly shut", evidence, cure))
            if each.function == "tanh" and low + high > SHUT:
                cure = "--activation 1, more --weight-decay, or a lower --learning-rate: at its ends it has no slope"
                remedies_.append(Remedy(f"The {each.name} is saturated", evidence, cure))
    return remedies_ or [Remedy("Gates and units work", "no gate is mostly shut, no activation mostly at its ends")]


def of_window(found: Truncation, window: int | None) -> list[Remedy]:
    """Whether the window of training kept the gradient."""
    enough = found.by_windows.enough()
    by_lag = found.by_lag.enough()
    steps = len(found.subject.ids)
    if window is None or window >= steps:
        return []
    windows = found.by_windows.windows
    place = int(np.abs(windows - window).argmin())
    bias = float(found.by_windows.bias[place])
    evidence = (
        f"cut every {int(windows[place])} steps it loses {bias:.0%} of this text's gradient; errors followed "
        f"{by_lag or 'more than ' + str(steps)} steps back keep 99%"
    )
    if bias > CUT_OFF:
        longer = enough or steps
        return [Remedy("Training's window cuts off much of the gradient", evidence, f"--window {longer}")]
    return [Remedy("Training's window is long enough", evidence)]


def of_gradients(log: Sequence[Mapping[str, Any]], clip: float | None, optimizer: str | None = None) -> list[Remedy]:
    """Whether gradients exploded, and a clipping norm from the observed ones.

    Args:
        log: lines of log.jsonl.
        clip: norm to which gradients were clipped; 0 or None: not.
        optimizer: by name.
    """
    lines = [line for line in log if line.get("gradient_norm") is not None]
    if len(lines) < 5:
        return []
    middle = statistics.median(line["gradient_norm"] for line in lines)
    largest = max(line.get("largest_gradient_norm", line["gradient_norm"]) for line in lines)
    clipped = statistics.mean(line.get("clipped", 0.0) for line in lines)
    evidence = (
        f"norms before clipping: about {middle:.3g}, the largest {largest:.3g}; {clipped:.0%} of the steps clipped"
    )
    threshold = f"--clip {2 * middle:.2g}, twice the usual (Pascanu et al. 2013 take half to ten times the mean)"
    if not clip and largest > SPIKES * middle:
        return [Remedy("Gradients explode now and then, and are not clipped", evidence, threshold)]
    if clip and clipped > OFTEN and optimizer in {"sgd", "momentum"}:
        return [Remedy("Nearly all gradients are clipped: the limit sets the size of steps", evidence, threshold)]
    if largest > SPIKES * middle:
        return [Remedy("Gradients explode now and then, and clipping bounds them", evidence)]
    return [Remedy("Gradients keep their size", evidence)]


def of_losses(log: Sequence[Mapping[str, Any]]) -> list[Remedy]:
    """Whether it overfits, or was not done."""
    training = [line["training_loss"] for line in log if line.get("training_loss") is not None]
    validation = [line["validation_loss"] for line in log if line.get("validation_loss") is not None]
    if len(training) < 5 or len(validation) < 2:
        return []
    last, best = statistics.mean(training[-max(1, len(training) // 10) :]), min(validation)
    evidence = f"validation {validation[-1]:.3f}, best {best:.3f}, training at the end {last:.3f} nats per token"
    if validation[-1] > best * (1 + FALLING):
        cure = "more --dropout and --weight-drop, fewer passes, or --average triggered"
        return [Remedy("It learns the text by heart: validation rises again", evidence, cure)]
    if validation[-1] - last > GAP:
        return [Remedy("It overfits", evidence, "more --dropout and --weight-drop, or more text")]
    before = validation[-max(2, len(validation) // 5)]
    if before - validation[-1] > FALLING * before:
        cure = "more passes (--minutes, --epochs); if training falls with it, a larger network too"
        return [Remedy("It was still learning when it ended", evidence, cure)]
    return [Remedy("It has learnt what it can at this size", evidence)]
