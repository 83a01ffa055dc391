"""What is said of made-up findings and logs: each rule, on either side of its limit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unrolled.engines.through_time import WHOLE
from unrolled.lab.flow import Flow
from unrolled.lab.gates import Activation, Gates, LayerGates
from unrolled.lab.remedies import of_gates, of_gradients, of_losses, of_memory, of_spectra, of_window
from unrolled.lab.spectra import LayerSpectra, Spectra
from unrolled.lab.truncation import Compared, Truncation

from .networks import H, subject_of

GRU, TANH = subject_of("gru"), subject_of("tanh")


def flow_that_forgets_after(lag: int, cell: str = "gru", steps: int = 60) -> Flow:
    t, k = np.indices((steps, steps))
    sizes = np.where(t - k < lag, 1.0, 1e-6)
    return Flow(replace(subject_of(cell), ids=np.arange(steps)), {WHOLE: np.where(k <= t, sizes, np.nan)[None]})


@pytest.mark.parametrize(
    ("lag", "cell", "finding", "remedy"),
    [
        (3, "tanh", "It forgets", "a gated cell (--cell gru or lstm); else --initialization orthogonal"),
        (3, "gru", "It forgets", "more training"),
        (20, "gru", "It feels errors over a fair distance", ""),
        (60, "gru", "It feels errors as far back as can be told", ""),
    ],
)
def test_of_memory(lag: int, cell: str, finding: str, remedy: str) -> None:
    (found,) = of_memory(flow_that_forgets_after(lag, cell))
    assert found.finding.startswith(finding)
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("rate", "subject", "finding", "remedy"),
    [
        (0.2, GRU, "Its errors can explode", "--clip"),
        (0.0, GRU, "Lengths are kept", ""),
        (-0.05, TANH, "Its errors shrink slowly", ""),
        (-0.5, TANH, "Its errors vanish exponentially", "--initialization orthogonal"),
        (-0.5, GRU, "Its errors vanish exponentially", "more training"),
        (-np.inf, GRU, "Its errors vanish exponentially", "more training"),
    ],
)
def test_of_spectra(rate: float, subject: Any, finding: str, remedy: str) -> None:
    nothing = np.ones((1, 1))
    layer = LayerSpectra(nothing, nothing[0], nothing[0], nothing, nothing[0], np.array([1]), np.array([rate]), None)
    (found,) = of_spectra(Spectra(subject, [layer]))
    assert found.finding == finding
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("function", "value", "finding"),
    [
        ("sigmoid", 0.01, "The made gate is mostly shut"),
        ("sigmoid", 0.99, "Gates and units work"),
        ("sigmoid", 0.5, "Gates and units work"),
        ("tanh", 0.99, "The made is saturated"),
        ("tanh", -0.99, "The made is saturated"),
        ("relu", 0.0, "Gates and units work"),
    ],
)
def test_of_gates(function: str, value: float, finding: str) -> None:
    states = {"h": np.random.default_rng(1).standard_normal((20, H))}
    layer = LayerGates([Activation("made", function, np.full((20, H), value))], states, np.array([], int), [])
    (found,) = of_gates(Gates(GRU, [layer]))
    assert found.finding == finding
    assert bool(found.remedy) == (finding != "Gates and units work")
    dead = replace(layer, dead=np.arange(H))
    assert of_gates(Gates(GRU, [dead]))[0].finding == "Many units are dead"


@pytest.mark.parametrize(("bias", "remedy"), [(0.1, ""), (0.4, "--window 40")])
def test_of_window(bias: float, remedy: str) -> None:
    cut = Compared(np.array([10, 20, 40]), np.array([0.9, bias, 0.001]), np.ones(3))
    subject = replace(GRU, ids=np.arange(40))
    (found,) = of_window(Truncation(subject, cut, cut), 19)
    assert found.remedy == remedy
    assert f"it loses {bias:.0%} of this text's gradient" in found.evidence
    assert of_window(Truncation(subject, cut, cut), 40) == []
    assert of_window(Truncation(subject, cut, cut), None) == []


def log_of(norm: float, largest: float, clipped: float) -> list[dict[str, float]]:
    lines = [{"gradient_norm": norm, "largest_gradient_norm": norm, "clipped": clipped} for _ in range(20)]
    lines[7]["largest_gradient_norm"] = largest
    return [*lines, {"validation_loss": 3.0}]


@pytest.mark.parametrize(
    ("norm", "largest", "clipped", "clip", "optimizer", "finding", "remedy"),
    [
        (1.0, 50.0, 0.0, 0.0, "adamw", "Gradients explode now and then, and are not clipped", "--clip 2,"),
        (1.0, 50.0, 0.1, 1.0, "adamw", "Gradients explode now and then, and clipping bounds them", ""),
        (3.0, 4.0, 1.0, 1.0, "sgd", "Nearly all gradients are clipped", "--clip 6,"),
        (3.0, 4.0, 1.0, 1.0, "adamw", "Gradients keep their size", ""),
        (1.0, 1.5, 0.2, 1.0, "sgd", "Gradients keep their size", ""),
    ],
)
def test_of_gradients(
    norm: float, largest: float, clipped: float, clip: float, optimizer: str, finding: str, remedy: str
) -> None:
    (found,) = of_gradients(log_of(norm, largest, clipped), clip, optimizer)
    assert found.finding.startswith(finding)
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)
    assert of_gradients([], clip, optimizer) == []


@pytest.mark.parametrize(
    ("training", "validation", "finding"),
    [
        (3.0, [4.0, 3.2, 3.1, 3.1], "It has learnt what it can"),
        (2.0, [4.0, 3.2, 3.1, 3.1], "It overfits"),
        (2.0, [4.0, 3.0, 3.3, 3.6], "It learns the text by heart"),
        (3.0, [4.0, 3.6, 3.3, 3.1], "It was still learning when it ended"),
    ],
)
def test_of_losses(training: float, validation: list[float], finding: str) -> None:
    log = [{"training_loss": training} for _ in range(10)] + [{"validation_loss": each} for each in validation]
    (found,) = of_losses(log)
    assert found.finding.startswith(finding)
    assert bool(found.remedy) == (not finding.startswith("It has learnt"))
    assert of_losses([]) == []
