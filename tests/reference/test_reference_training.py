"""Optimizers against their definitions and PyTorch's, the rate that halves, and new sentences."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.errors import ShapeError, TrainingError, UsageError
from unrolled.reference import (
    SGD,
    Epoch,
    Momentum,
    Optimizer,
    RMSprop,
    Settings,
    TutorialNetwork,
    bptt,
    corpus_loss,
    forward,
    generate,
    naive_bptt,
    random_network,
    train,
)

V, H = 6, 5
SENTENCES = [np.array(words) for words in ([0, 2, 3, 1], [0, 4, 2, 5, 1], [0, 3, 1], [0, 2, 3, 5, 3, 1])]
EXAMPLES: list[tuple[Any, Any]] = [(words[:-1], words[1:]) for words in SENTENCES]


def _network() -> TutorialNetwork:
    return random_network(V, H, np.random.default_rng(5))


def _run(optimizer: Optimizer, gradients: list[np.ndarray], rate: float) -> np.ndarray:
    parameters = {"w": np.array([[1.0, -2.0], [0.5, 3.0]])}
    memory = optimizer.start(parameters)
    for gradient in gradients:
        before, remembered = parameters["w"].copy(), {name: m.copy() for name, m in memory.items()}
        old, old_memory = parameters, memory
        parameters, memory = optimizer.update(parameters, {"w": gradient}, memory, rate)
        assert np.array_equal(old["w"], before)  # values come in and go out, nothing is changed in place
        assert all(np.array_equal(old_memory[name], m) for name, m in remembered.items())
    return parameters["w"]


@pytest.mark.parametrize(
    ("optimizer", "make_theirs"),
    [
        (SGD(), lambda w: torch.optim.SGD([w], lr=0.1)),
        (Momentum(decay=0.8), lambda w: torch.optim.SGD([w], lr=0.1, momentum=0.8)),
        (RMSprop(decay=0.7, floor=1e-30), lambda w: torch.optim.RMSprop([w], lr=0.1, alpha=0.7, eps=1e-15)),
    ],
)
def test_optimizers_do_what_pytorchs_do(optimizer: Optimizer, make_theirs: Any) -> None:
    gradients = list(np.random.default_rng(6).normal(size=(5, 2, 2)))
    w = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    theirs = make_theirs(w)
    for gradient in gradients:
        w.grad = torch.tensor(gradient)
        theirs.step()
    np.testing.assert_allclose(_run(optimizer, gradients, 0.1), w.detach().numpy(), rtol=1e-12)


def test_momentum_without_memory_is_plain_sgd() -> None:
    gradients = list(np.random.default_rng(9).normal(size=(3, 2, 2)))
    assert np.array_equal(_run(Momentum(decay=0.0), gradients, 0.1), _run(SGD(), gradients, 0.1))


def test_rmsprop_keeps_its_floor_inside_the_root() -> None:
    moved = _run(RMSprop(decay=0.75, floor=2.0), [np.array([[4.0, 0.0], [-4.0, 4.0]])], 0.5)
    step = 0.5 * 4 / np.sqrt(0.25 * 16 + 2)
    np.testing.assert_allclose(moved, [[1 - step, -2], [0.5 + step, 3 - step]], rtol=1e-14)


def test_one_epoch_is_one_update_a_sequence() -> None:
    network = _network()
    epochs = list(train(network, EXAMPLES, Settings(epochs=1, learning_rate=0.1)))
    expected = dict(network.parameters)
    for inputs, targets in EXAMPLES:
        gradients = bptt(network.with_parameters(expected), inputs, targets).gradients
        expected = {name: value - 0.1 * gradients[name] for name, value in expected.items()}
    assert [epoch.number for epoch in epochs] == [0, 1]
    assert epochs[0].network is network
    assert epochs[0].loss == corpus_loss(network, EXAMPLES)
    for name, value in expected.items():
        np.testing.assert_allclose(epochs[1].network.parameters[name], value, rtol=1e-13)


def test_truncation_and_mean_loss_reach_the_gradient() -> None:
    network = _network()
    settings = Settings(epochs=1, learning_rate=0.1, truncate=1, mean=True)
    inputs, targets = EXAMPLES[3]
    *_, last = train(network, EXAMPLES[3:], settings)
    gradients = naive_bptt(network, inputs, targets, truncate=1, mean=True).gradients
    for name, value in network.parameters.items():
        np.testing.assert_allclose(last.network.parameters[name], value - 0.1 * gradients[name], rtol=1e-13)


@pytest.mark.parametrize(
    ("optimizer", "rate"), [(SGD(), 0.1), (Momentum(), 0.02), (RMSprop(), 0.01)], ids=["sgd", "momentum", "rmsprop"]
)
def test_every_optimizer_learns_the_sentences(optimizer: Optimizer, rate: float) -> None:
    settings = Settings(epochs=60, learning_rate=rate, optimizer=optimizer)
    epochs = list(train(_network(), EXAMPLES, settings, random=np.random.default_rng(0)))
    assert len(epochs) == 61
    assert epochs[-1].loss < 0.5 * epochs[0].loss


def test_the_rate_halves_exactly_when_the_loss_has_risen() -> None:
    epochs: list[Epoch] = list(train(_network(), EXAMPLES, Settings(epochs=12, learning_rate=2.0)))
    rises = 0
    for before, after in pairwise(epochs):
        risen = after.loss > before.loss
        rises += risen
        assert after.learning_rate == before.learning_rate * (0.5 if risen else 1)
    assert 0 < rises < 12


def test_a_shuffled_run_can_be_repeated() -> None:
    settings = Settings(epochs=2, learning_rate=0.1)
    one, same, other, in_order = (
        list(train(_network(), EXAMPLES, settings, random=random))[-1].loss
        for random in (*map(np.random.default_rng, (1, 1, 2)), None)
    )
    assert one == same
    assert len({one, other, in_order}) == 3


def test_training_that_cannot_work_says_so() -> None:
    with pytest.raises(TrainingError, match="there is no sequence"):
        next(train(_network(), [], Settings()))
    with pytest.raises(ShapeError, match="targets holds 6"):
        next(train(_network(), [([0, 1], [2, 6])], Settings()))
    for wrong, complaint in (
        ({"epochs": -1}, "epochs is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": np.nan}, "learning_rate is nan"),
    ):
        with pytest.raises(UsageError, match=complaint):
            Settings(**wrong)
    for optimizer, complaint in (
        (lambda: Momentum(decay=1.0), "decay is 1.0"),
        (lambda: RMSprop(decay=-0.1), "decay is -0.1"),
        (lambda: RMSprop(floor=0.0), "floor is 0.0"),
    ):
        with pytest.raises(UsageError, match=complaint):
            optimizer()


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")  # the overflow is what is being provoked
def test_a_loss_that_is_no_longer_finite_stops_training() -> None:
    network = random_network(V, H, np.random.default_rng(5), activation="relu")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after epoch \d+: start again with a learning rate"):
        list(train(network, EXAMPLES, Settings(epochs=20, learning_rate=1e300)))


def _peaked() -> TutorialNetwork:
    """A network that says 2 after 0, 3 after 2, 4 after 3 and 1, the end, after 4."""
    big, U = 50.0, np.zeros((V, V))
    U[:, :] = 5 * np.eye(V)
    after = np.zeros((V, V))
    for word, following in ((0, 2), (2, 3), (3, 4), (4, 1)):
        after[following, word] = big
    return TutorialNetwork(U, after, np.zeros((V, V)))


def test_generation_stops_at_the_end_and_at_the_limit() -> None:
    random = np.random.default_rng(0)
    assert list(generate(_peaked(), [0], random, end=1)) == [2, 3, 4]
    assert list(generate(_peaked(), [0, 2], random, end=1)) == [3, 4]
    assert list(generate(_peaked(), [0], random, end=1, max_tokens=2)) == [2, 3]
    assert list(generate(_peaked(), [0], random, max_tokens=4)) == [2, 3, 4, 1]


def test_generation_draws_from_the_networks_own_distribution() -> None:
    network, prompt = _network(), [0, 4, 2]
    network = network.with_parameters({name: 3 * weight for name, weight in network.parameters.items()})
    random = np.random.default_rng(7)
    draws = [next(generate(network, prompt, random, max_tokens=1)) for _ in range(4000)]
    expected = forward(network, prompt).probabilities[-1]
    share = np.bincount(draws, minlength=V) / 4000
    assert np.abs(share - expected).max() < 4 * np.sqrt(0.25 / 4000)
    assert np.ptp(expected) > 0.1  # so that a uniform draw would not pass
    kept = [next(generate(network, prompt, random, excluded=[2, 5], max_tokens=1)) for _ in range(4000)]
    without = expected.copy()
    without[[2, 5]] = 0
    assert np.abs(np.bincount(kept, minlength=V) / 4000 - without / without.sum()).max() < 4 * np.sqrt(0.25 / 4000)
    assert not {2, 5} & set(kept)


def test_generation_carries_its_state() -> None:
    network = _network()
    drawn = list(generate(network, [0, 4], np.random.default_rng(8), max_tokens=6))
    again, random = [0, 4], np.random.default_rng(8)
    for _ in range(6):  # recomputed from the start each time
        again.append(int(random.choice(V, p=forward(network, again).probabilities[-1])))
    assert drawn == again[2:]
    assert drawn == list(generate(network, [0, 4], np.random.default_rng(8), max_tokens=6))


def test_what_cannot_be_generated_is_refused_before_the_first_token() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(UsageError, match="all 6 tokens are excluded"):
        generate(_network(), [0], random, excluded=range(V))
    with pytest.raises(ShapeError, match="prompt holds 6: expected 0 to 5"):
        generate(_network(), [0, 6], random)
    with pytest.raises(ShapeError, match=r"prompt has shape \(0,\)"):
        generate(_network(), [], random)
    with pytest.raises(ShapeError, match="excluded holds 9"):
        generate(_network(), [0], random, excluded=[9])
    with pytest.raises(UsageError, match="cannot hear its own words"):
        generate(random_network(V, H, random, input_size=3), [0], random)
