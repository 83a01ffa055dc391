"""Three ways to one gradient, what truncation leaves out, and the tutorial's published numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.errors import UsageError
from unrolled.reference import (
    FedBack,
    TruncatedGradientWarning,
    TutorialNetwork,
    bptt,
    central_difference,
    check_network,
    naive_bptt,
    random_network,
    relative_error,
    rtrl,
    sequence_loss,
)
from unrolled.reference.network import ACTIVATIONS

V, H, T = 6, 5, 7
INPUTS, TARGETS = np.array([4, 0, 2, 2, 5, 4, 1]), np.array([0, 2, 2, 5, 4, 1, 3])
DENSE = np.random.default_rng(11).normal(size=(T, 3))
WORDS = np.random.default_rng(12).dirichlet(np.ones(V), size=T)
KINDS: dict[str, tuple[int, Any]] = {
    "index": (V, INPUTS),
    "probabilities": (V, WORDS),
    "features": (3, DENSE),
    "fed back from an index": (V, FedBack(4, T)),
    "fed back from a vector": (V, FedBack(WORDS[0], T)),
}


def _network(activation: str, input_size: int) -> TutorialNetwork:
    # Twice the usual weights, so that what comes from far back, and through the fed-back output, is not small.
    network = random_network(V, H, np.random.default_rng(3), input_size=input_size, activation=activation)
    return network.with_parameters({name: 2 * weight for name, weight in network.parameters.items()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("mean", [False, True])
def test_three_ways_agree(activation: str, kind: str, mean: bool) -> None:
    input_size, inputs = KINDS[kind]
    network = _network(activation, input_size)
    one_loop = bptt(network, inputs, TARGETS, mean=mean)
    assert one_loop.loss == pytest.approx(sequence_loss(network, inputs, TARGETS, mean=mean), rel=1e-14)
    others = [
        naive_bptt(network, inputs, TARGETS, mean=mean),
        naive_bptt(network, inputs, TARGETS, truncate=T - 1, mean=mean),
        naive_bptt(network, inputs, TARGETS, truncate=100, mean=mean),
        rtrl(network, inputs, TARGETS, mean=mean),
    ]
    for other in others:
        assert other.loss == one_loop.loss
        for name, gradient in one_loop.gradients.items():
            assert np.linalg.norm(gradient) > 1e-3
            np.testing.assert_allclose(other.gradients[name], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bptt_is_the_derivative_of_the_loss(activation: str, kind: str) -> None:
    input_size, inputs = KINDS[kind]
    network = _network(activation, input_size)
    if activation == "relu":  # with every state positive somewhere no weight is without effect
        network = network.with_parameters({name: np.abs(weight) / 3 for name, weight in network.parameters.items()})
    report = check_network(network, inputs, TARGETS)
    absent = H if kind == "index" else 0  # word 3 is never heard
    assert report.share_checked == 1
    assert (report.unused, report.below_noise) == (absent, 0)


def test_the_gradient_flows_through_what_is_fed_back() -> None:
    network = _network("tanh", V)
    fed = bptt(network, FedBack(4, T), TARGETS).gradients
    heard = np.vstack([np.eye(V)[4], _probabilities(network)[:-1]])
    as_given = bptt(network, heard, TARGETS).gradients
    assert all(np.abs(fed[name] - as_given[name]).max() > 0.01 for name in fed)


def _probabilities(network: TutorialNetwork) -> np.ndarray:
    x, s, rows = np.eye(V)[4], np.zeros(H), []
    for _ in range(T):
        s = np.tanh(network.U @ x + network.W @ s)
        x = np.exp(network.V @ s) / np.exp(network.V @ s).sum()
        rows.append(x)
    return np.array(rows)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fed_back", [False, True])
def test_torch_autograd_gives_the_same_gradient(activation: str, fed_back: bool) -> None:
    network = _network(activation, V)
    U, W, out = (torch.tensor(network.parameters[name], requires_grad=True) for name in "UWV")
    x, s, loss = torch.eye(V, dtype=torch.float64)[4], torch.zeros(H, dtype=torch.float64), torch.tensor(0.0)
    for t in range(T):
        if t > 0 and not fed_back:
            x = torch.eye(V, dtype=torch.float64)[INPUTS[t]]
        s = getattr(torch, activation)(U @ x + W @ s)
        x = torch.softmax(out @ s, dim=0)
        loss = loss - torch.log(x[TARGETS[t]])
    loss.backward()  # type: ignore[no-untyped-call]
    backward = bptt(network, FedBack(4, T) if fed_back else INPUTS, TARGETS)
    assert backward.loss == pytest.approx(loss.item(), rel=1e-12)
    for name, weight in (("U", U), ("W", W), ("V", out)):
        assert weight.grad is not None
        np.testing.assert_allclose(backward.gradients[name], weight.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_two_steps_by_hand() -> None:
    # One hidden unit, one word that is always right but one: s_0 = tanh(ln(3)/2) = 1/2, and the second activation is
    # W s_0 + U[1] = ln(2)/2, so that s_1 = 1/3. Scores (ln 2 / s_0) s_0 and so on make o_0 = (4/5, 1/5).
    log2, log3 = np.log(2), np.log(3)
    W = 2.0
    U = np.array([[log3 / 2, log2 / 2 - W / 2]])
    out = np.array([[4 * log2], [0.0]])  # o_0 = softmax(2 ln 2, 0) = (4, 1)/5; o_1 = softmax(4/3 ln 2, 0)
    o_1 = 2 ** (4 / 3) / (2 ** (4 / 3) + 1)
    network = TutorialNetwork(U, out, np.array([[W]]))
    backward = bptt(network, [0, 1], [1, 0])
    assert backward.loss == pytest.approx(-np.log(1 / 5) - np.log(o_1), rel=1e-14)
    # Errors of the scores: (4/5, -4/5) at 0, (o_1 - 1, 1 - o_1) at 1; only V[0] is not zero.
    error = o_1 - 1
    np.testing.assert_allclose(backward.gradients["V"], [[4 / 5 / 2 + error / 3], [-4 / 5 / 2 - error / 3]], rtol=1e-13)
    da_1 = 4 * log2 * error * (1 - 1 / 9)
    da_0 = (4 * log2 * 4 / 5 + W * da_1) * (1 - 1 / 4)
    np.testing.assert_allclose(backward.gradients["W"], [[da_1 / 2]], rtol=1e-13)
    np.testing.assert_allclose(backward.gradients["U"], [[da_0, da_1]], rtol=1e-13)
    cut = naive_bptt(network, [0, 1], [1, 0], truncate=0).gradients
    np.testing.assert_allclose(cut["U"], [[4 * log2 * 4 / 5 * 3 / 4, da_1]], rtol=1e-13)
    np.testing.assert_allclose(cut["V"], backward.gradients["V"], rtol=1e-14)


def test_back_steps_for_a_sentence_of_45() -> None:
    network = random_network(9, 2, np.random.default_rng(0))
    words = np.random.default_rng(1).integers(0, 9, 46)
    inputs, targets = words[:-1], words[1:]
    assert naive_bptt(network, inputs, targets).back_steps == 1035
    assert naive_bptt(network, inputs, targets, truncate=4).back_steps == 215
    assert naive_bptt(network, inputs, targets, truncate=0).back_steps == 45
    assert bptt(network, inputs, targets).back_steps == 45
    assert rtrl(network, inputs, targets).back_steps == 0


def test_truncation_cuts_the_paths_through_time_and_never_the_output_matrix() -> None:
    network = _network("tanh", V)
    exact = bptt(network, INPUTS, TARGETS).gradients
    distance = []
    for k in range(T):
        cut = naive_bptt(network, INPUTS, TARGETS, truncate=k).gradients
        np.testing.assert_allclose(cut["V"], exact["V"], rtol=1e-14)
        distance.append(np.linalg.norm(cut["U"] - exact["U"]))
    assert min(distance[:-1]) > 0.1  # for W already k = T-2 would do, since s_{-1} = 0
    assert distance[-1] < 1e-13
    with pytest.raises(UsageError, match="truncate is -1: expected 0 or more"):
        naive_bptt(network, INPUTS, TARGETS, truncate=-1)


def test_the_published_gradient_check() -> None:
    network = random_network(8, 2, np.random.RandomState(10))
    inputs, targets = np.arange(7), np.arange(1, 8)

    def loss(parameters: Mapping[str, np.ndarray]) -> float:
        return sequence_loss(network.with_parameters(parameters), inputs, targets)

    movable = {name: weight.copy() for name, weight in network.parameters.items()}
    numerical, _ = central_difference(loss, movable, "U", (0, 0), 0.001)
    truncated = float(naive_bptt(network, inputs, targets, truncate=4).gradients["U"][0, 0])
    assert numerical == pytest.approx(-0.28454809315370255, rel=1e-12)
    assert truncated == pytest.approx(-0.2721150178481872, rel=1e-14)
    assert relative_error(numerical, truncated) == pytest.approx(0.022335008481410117, rel=1e-10)
    errors = [
        relative_error(numerical, float(naive_bptt(network, inputs, targets, truncate=k).gradients["U"][0, 0]))
        for k in range(9)
    ]
    assert min(errors[:6]) > 1e-3
    assert max(errors[6:]) < 1e-6


def test_the_published_network_fails_truncated_and_passes_from_six_on() -> None:
    network = random_network(8, 2, np.random.RandomState(10))
    inputs, targets = np.arange(7), np.arange(1, 8)
    complaint = r"of 36 gradient elements fail, the worst (U|W)\["
    with (
        pytest.warns(TruncatedGradientWarning, match="truncate=4 is less than T-1=6"),
        pytest.raises(AssertionError, match=complaint),
    ):
        check_network(network, inputs, targets, truncate=4)
    for k in (6, 7, None):
        report = check_network(network, inputs, targets, truncate=k)
        assert (report.elements, report.checked, report.unused) == (36, 34, 2)
