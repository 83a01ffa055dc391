"""The loop does what truncated backpropagation through time says, by hand on the reference network."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unrolled import cells
from unrolled.errors import TrainingError, UsageError
from unrolled.models import LanguageModelNetwork
from unrolled.nn import Sampler
from unrolled.reference.unrolling import State, Weights, unroll, unroll_backward
from unrolled.text.batches import Batch, SentenceReader, StreamReader
from unrolled.training import optimizers
from unrolled.training.loop import Limits, Position, mean_loss, train_step, train_steps
from unrolled.training.schedule import Leg, Schedule
from unrolled.training.settings import OPTIMIZERS

from .networks import CPU, B, Batches, E, T, V, network_of, schedule_of, steps_of, windows

Doubles = npt.NDArray[np.float64]


def by_hand(
    network: LanguageModelNetwork, batch: Batch, state: State | None
) -> tuple[float, dict[str, Doubles], State]:
    """Mean loss over a batch, its gradients and the last state, from the reference; the state before is a constant."""
    w = network.tensors()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = Weights(*(w[f"recurrent.{name}_l0"] for name in names))
    lengths = np.full(B, T) if batch.lengths is None else batch.lengths
    x = w["embedding.weight"][batch.inputs]
    outputs, last, tape = unroll(cells.get(network.shape.cell), x, weights, lengths=lengths, initial_state=state)
    scores = outputs @ w["output.weight"].T + w["output.bias"]
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    counts = np.arange(T)[:, None] < lengths
    times, rows = np.nonzero(counts)
    loss = -np.log(p[times, rows, batch.targets[counts]]).mean()
    d_scores = p.copy()
    d_scores[times, rows, batch.targets[counts]] -= 1
    d_scores *= counts[:, :, None] / counts.sum()
    gradients = unroll_backward(tape, d_scores @ w["output.weight"])
    d_embedding = np.zeros((V, E))
    np.add.at(d_embedding, batch.inputs, gradients.x)
    found = {f"recurrent.{name}_l0": getattr(gradients.weights, name) for name in names}
    found |= {
        "embedding.weight": d_embedding,
        "output.weight": np.einsum("tbv,tbh->vh", d_scores, outputs),
        "output.bias": d_scores.sum(axis=(0, 1)),
    }
    return float(loss), found, last


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "tanh"])
def test_two_windows_have_the_gradients_of_backpropagation_cut_between_them(cell: str, carried: bool) -> None:
    network, reader = network_of(cell), windows(carried=carried)
    state: State | None = None
    for step, batch in zip(steps_of(network, reader, steps=2), reader.content, strict=True):
        loss, gradients, state = by_hand(network, batch, state if carried else None)
        assert step.done.loss == pytest.approx(loss, rel=1e-10)
        assert step.done.tokens == batch.tokens
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(parameter.grad.numpy(), gradients[name], rtol=1e-8, atol=1e-12, err_msg=name)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        assert step.done.gradient_norm == pytest.approx(norm, rel=1e-8)


def test_whether_the_state_is_carried_makes_a_difference() -> None:
    losses = [
        [s.done.loss for s in steps_of(network_of(), windows(carried=carried), steps=2)] for carried in (True, False)
    ]
    assert losses[0][0] == losses[1][0]
    assert abs(losses[0][1] - losses[1][1]) > 1e-4


def test_a_step_goes_down_the_gradient_by_the_rate_of_the_schedule() -> None:
    network, reader = network_of(), windows(carried=True)
    before = network.tensors()
    schedule = schedule_of(0.8, 2)
    step = next(steps_of(network, reader, rate=0.8, steps=2))
    _, gradients, _ = by_hand(network_of(), reader.content[0], None)
    assert step.rate == schedule.rate(0) > 0
    for name, tensor in network.tensors().items():
        np.testing.assert_allclose(tensor, before[name] - step.rate * gradients[name], rtol=1e-9, atol=1e-13)


def test_gradients_are_clipped_to_a_norm_and_reported_as_they_were() -> None:
    free = next(steps_of(network_of(), windows(carried=True), steps=2))
    network = network_of()
    before = network.tensors()
    clip = free.done.gradient_norm / 3
    step = next(steps_of(network, windows(carried=True), rate=0.8, steps=2, clip=clip))
    assert step.done.gradient_norm == free.done.gradient_norm
    moved = math.sqrt(sum(float(((after - before[name]) ** 2).sum()) for name, after in network.tensors().items()))
    assert moved == pytest.approx(step.rate * clip, rel=1e-5)


def test_a_single_step_is_what_the_loop_does() -> None:
    looping, single = network_of(dropout=0.3), network_of(dropout=0.3)
    reader, position = windows(carried=True), Position()
    optimizer = optimizers.make("momentum", single.parameters(), 0.1)
    state = None
    steps = train_steps(
        looping,
        reader,
        optimizers.make("momentum", looping.parameters(), 0.1),
        schedule_of(0.2, 4),
        position,
        limits=Limits(norm=0.3),
        device=CPU,
    )
    for step, batch in zip(steps, reader.content * 2, strict=True):
        single.eval()  # a step of training is one of training, whatever came before
        start = None if batch.starts else state
        done = train_step(single, optimizer, batch, start, rate=step.rate, limits=Limits(norm=0.3), device=CPU)
        state = done.state
        for name in ("loss", "tokens", "gradient_norm", "clipped"):
            assert getattr(done, name) == getattr(step.done, name), name
        assert position.state is not None
        assert state is not None
        for one, other in zip(state, position.state, strict=True):
            assert torch.equal(one, other)
            assert not one.requires_grad
    for name, tensor in single.tensors().items():
        np.testing.assert_array_equal(tensor, looping.tensors()[name])


@pytest.mark.parametrize(
    "regularization",
    [
        {},
        {"dropout": 0.3, "locked": False},
        {"dropout": 0.3},
        {"dropout_embedding": 0.3, "weight_drop": 0.3, "activation": 2.0, "temporal_activation": 1.0},
    ],
    ids=lambda options: " ".join(options) or "nothing dropped",
)
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_sparse_gradients_train_as_dense_ones_do(clip: float, regularization: dict[str, Any]) -> None:
    sparse, dense = (network_of(words=50, sparse=sparse, **regularization) for sparse in (True, False))
    before = dense.tensors()["embedding.weight"]
    runs = (steps_of(network, windows(carried=True), rate=0.8, steps=4, clip=clip) for network in (sparse, dense))
    for one, other in zip(*runs, strict=True):
        assert one.done.loss == pytest.approx(other.done.loss, rel=1e-11)
        assert one.done.gradient_norm == pytest.approx(other.done.gradient_norm, rel=1e-11)
        kinds = [network.embedding.weight.grad for network in (sparse, dense)]
        assert [kind is not None and kind.is_sparse for kind in kinds] == [True, False]
    for name, tensor in sparse.tensors().items():
        np.testing.assert_allclose(tensor, dense.tensors()[name], rtol=1e-10, atol=1e-13)
    unused = sorted(set(range(50)) - set(range(V)))
    np.testing.assert_array_equal(sparse.tensors()["embedding.weight"][unused], before[unused])


def test_steps_are_numbered_and_passes_end_where_they_end() -> None:
    network, reader = network_of(), windows(carried=True)
    position = Position()
    schedule = schedule_of(0.1, 5)
    optimizer = optimizers.make("sgd", network.parameters(), 0.1)
    seen = []
    for step in train_steps(network, reader, optimizer, schedule, position, limits=Limits(norm=1.0), device=CPU):
        assert position.steps == step.number
        assert position.state is not None
        assert not any(part.requires_grad for part in position.state), "nothing of the graph stays"
        seen.append((step.number, step.rate, step.ends_pass))
    assert seen == [(n + 1, schedule.rate(n), n % 2 == 1) for n in range(5)]


RATES = {"adamw": 0.02, "sgd": 2.0, "momentum": 0.3, "rmsprop": 0.01, "adagrad": 0.1}
"""For a network as small as this."""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name: str) -> None:
    ids = np.tile([1, 2, 3, 4, 2, 0], 40)
    reader = StreamReader(ids, end_of_line_id=0, batch_size=4, window=12)
    network = network_of("gru")
    before = mean_loss(network, reader, CPU)
    steps = list(steps_of(network, reader, optimizer=name, rate=RATES[name], steps=100, clip=1.0))
    assert len(steps) == 100
    assert mean_loss(network, reader, CPU) < 0.7 * before


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r'^optimizer is "adam": choose one of adamw, sgd, momentum, rmsprop, adagrad$'
    ):
        optimizers.make("adam", network_of().parameters(), 0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_training_and_leaves_the_weights(bad: float) -> None:
    network = network_of()
    steps = steps_of(network, windows(carried=True), rate=0.1, steps=4)
    next(steps)
    with torch.no_grad():
        network.output.weight[2, 1] = bad
    before = network.tensors()
    with pytest.raises(TrainingError, match=rf"^step 2: the loss is {bad} and its gradient has norm nan: give a lower"):
        next(steps)
    for name, tensor in network.tensors().items():
        np.testing.assert_array_equal(tensor, before[name], err_msg=name)


# Mean loss


@pytest.mark.parametrize("dropout", [0.0, 0.6])
def test_mean_loss_is_over_all_tokens_and_without_dropout(dropout: float) -> None:
    network = network_of(layers=2, dropout=dropout).train()
    lines = [[1, 2, 3, 0], [4, 0], [5, 6, 1, 1, 2, 0], [3, 0]]
    ids = np.concatenate(lines)
    alone = [Batches([Batch(np.array([[0, *line[:-1]]]).T, np.array([line]).T, None, True)]) for line in lines]
    total = sum(mean_loss(network, one, CPU) * len(line) for one, line in zip(alone, lines, strict=True))
    reader = SentenceReader(ids, end_of_line_id=0, batch_size=3, seed=1)
    assert any(batch.lengths is not None for batch in reader.batches(0)), "there is padding"
    assert mean_loss(network, reader, CPU) == pytest.approx(total / len(ids), rel=1e-12)


def test_mean_loss_carries_the_state_from_window_to_window() -> None:
    network = network_of(layers=2)
    ids = np.random.default_rng(3).integers(0, V, 23)
    losses = [
        mean_loss(network, StreamReader(ids, end_of_line_id=0, batch_size=1, window=window), CPU)
        for window in (23, 7, 1)
    ]
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-12)
    cut = mean_loss(network, StreamReader(ids, end_of_line_id=0, batch_size=4, window=5), CPU)
    assert cut != pytest.approx(losses[0], rel=1e-6), "streams start anew"


def test_mean_loss_learns_nothing() -> None:
    network = network_of(dropout=0.5)
    before = network.tensors()
    first, second = (mean_loss(network, windows(carried=True), CPU) for _ in range(2))
    assert first == second
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, tensor in network.tensors().items():
        np.testing.assert_array_equal(tensor, before[name])


def test_tokens_stand_for_the_vocabulary_until_the_last_share_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = network_of(), list[Sampler | None]()
    objective, sampler = network.objective, Sampler(np.ones(V), 7)

    def watched(*arguments: Any, sampler: Sampler | None = None, **options: Any) -> Any:
        seen.append(sampler)
        return objective(*arguments, sampler=sampler, **options)

    monkeypatch.setattr(network, "objective", watched)
    optimizer = optimizers.make("sgd", network.parameters(), 0.1)
    schedule = Schedule(0.1, warm_up=0, hold=0.0, legs=[Leg(0, 40)])
    limits, reader = Limits(norm=0.0, value=0.0), windows(carried=True)
    list(train_steps(network, reader, optimizer, schedule, Position(), limits=limits, device=CPU, sampler=sampler))
    assert seen == [sampler] * 32 + [None] * 8
