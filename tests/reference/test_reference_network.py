"""The tutorial's network: its published facts, its inputs, its loss, its file."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.errors import ModelDirectoryError, ShapeError, UsageError
from unrolled.reference import (
    FedBack,
    TutorialNetwork,
    corpus_loss,
    forward,
    load_network,
    log_softmax,
    random_network,
    save_network,
    sequence_loss,
    softmax,
    teacher_forced,
)
from unrolled.reference.network import ACTIVATIONS

V, H, T = 7, 4, 5
INPUTS, TARGETS = np.array([3, 0, 6, 6, 2]), np.array([0, 6, 6, 2, 5])


def _network(seed: int = 0, *, input_size: int | None = None, activation: str = "tanh") -> TutorialNetwork:
    return random_network(V, H, np.random.default_rng(seed), input_size=input_size, activation=activation)


def test_the_tutorials_network_has_1610000_parameters_and_starts_at_log_8000() -> None:
    random = np.random.default_rng(4)
    network = random_network(8000, 100, random)
    assert network.parameter_count == 1_610_000
    sentences = [random.integers(0, 8000, 12) for _ in range(5)]
    loss = corpus_loss(network, [(sentence[:-1], sentence[1:]) for sentence in sentences])
    assert np.log(8000) == pytest.approx(8.987197, abs=5e-7)
    assert loss == pytest.approx(np.log(8000), rel=0.01)


def test_weights_are_uniform_in_one_over_the_root_of_incoming_connections() -> None:
    network = random_network(50, 40, np.random.default_rng(1), input_size=30)
    for name, incoming in (("U", 30), ("V", 40), ("W", 40)):
        weight, bound = network.parameters[name], incoming**-0.5
        assert np.abs(weight).max() <= bound
        assert np.abs(weight).max() > 0.98 * bound
        assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_the_older_random_interface_draws_u_then_v_then_w() -> None:
    network = random_network(8, 2, np.random.RandomState(10))
    again = np.random.RandomState(10)
    for name, columns, shape in (("U", 8, (2, 8)), ("V", 2, (8, 2)), ("W", 2, (2, 2))):
        bound = np.sqrt(1 / columns)
        assert np.array_equal(network.parameters[name], again.uniform(-bound, bound, shape))


def test_softmax_survives_large_scores() -> None:
    scores = np.array([2313.0, 31, 11, 55, 113])
    assert softmax(scores).tolist() == [1, 0, 0, 0, 0]
    assert log_softmax(scores).tolist() == [0, -2282, -2302, -2258, -2200]
    assert softmax(np.log(np.array([[1.0, 3], [2, 6]])) - 1e4) == pytest.approx(np.array([[0.25, 0.75]] * 2), rel=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_is_the_two_equations(activation: str) -> None:
    network = _network(activation=activation)
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "tanh": np.tanh,
        "relu": lambda a: np.maximum(a, 0),
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    }
    f = functions[activation]
    path, s = forward(network, INPUTS), np.zeros(H)
    for t, word in enumerate(INPUTS):
        a = network.U @ np.eye(V)[word] + network.W @ s
        s = f(a)
        o = np.exp(network.V @ s) / np.exp(network.V @ s).sum()
        np.testing.assert_allclose(path.states[t], s, rtol=1e-12)
        np.testing.assert_allclose(path.slopes[t], (f(a + 1e-6) - f(a - 1e-6)) / 2e-6, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(path.probabilities[t], o, rtol=1e-12)
    assert len(path.states) == T


def test_an_index_stands_for_a_vector_with_a_single_one() -> None:
    network = _network()
    by_index, dense = forward(network, INPUTS), forward(network, np.eye(V)[INPUTS])
    np.testing.assert_allclose(dense.log_probabilities, by_index.log_probabilities, rtol=1e-13)


def test_dense_inputs_may_have_a_size_of_their_own() -> None:
    network = _network(input_size=3)
    features = np.random.default_rng(2).normal(size=(T, 3))
    assert forward(network, features).probabilities.shape == (T, V)
    assert network.parameter_count == H * (3 + V + H)


def test_fed_back_output_is_the_next_input() -> None:
    network = _network()
    fed = forward(network, FedBack(3, T))
    as_given = forward(network, np.vstack([np.eye(V)[3], fed.probabilities[:-1]]))
    np.testing.assert_allclose(fed.log_probabilities, as_given.log_probabilities, rtol=1e-13)
    start = np.full(V, 1 / V)
    assert np.array_equal(forward(network, FedBack(start, T)).inputs[0], start)


def test_teacher_forcing_hears_the_targets() -> None:
    assert teacher_forced(3, TARGETS).tolist() == [3, 0, 6, 6, 2]


def test_loss_as_sum_and_as_mean() -> None:
    network = _network()
    o = forward(network, INPUTS).probabilities
    total = -sum(np.log(o[t, y]) for t, y in enumerate(TARGETS))
    assert sequence_loss(network, INPUTS, TARGETS) == pytest.approx(total, rel=1e-12)
    assert sequence_loss(network, INPUTS, TARGETS, mean=True) == pytest.approx(total / T, rel=1e-12)
    other = sequence_loss(network, INPUTS[:2], TARGETS[:2])
    both = corpus_loss(network, [(INPUTS, TARGETS), (INPUTS[:2], TARGETS[:2])])
    assert both == pytest.approx((total + other) / 7, rel=1e-12)


def test_the_network_is_a_value() -> None:
    U = np.ones((H, V))
    network = TutorialNetwork(U, np.ones((V, H)), np.ones((H, H)))
    U[0, 0] = 5
    assert network.U[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        network.W[0, 0] = 2


@pytest.mark.parametrize(
    ("inputs", "targets", "complaint"),
    [
        (INPUTS, TARGETS[:-1], r"targets has shape \(4,\): expected \(T\) = \(5\)"),
        (INPUTS, TARGETS + 2, "targets holds 8: expected 0 to 6"),
        (INPUTS - 1, TARGETS, "inputs holds -1: expected 0 to 6"),
        (INPUTS * 1.0, TARGETS, "inputs has dtype float64: expected integers"),
        (np.ones((T, V + 1)), TARGETS, r"inputs has shape \(5, 8\): expected \(T, I\) = \(any, 7\)"),
        (np.ones((T, V), dtype=complex), TARGETS, "inputs has dtype complex128"),
        (np.zeros(0, dtype=int), TARGETS, r"inputs has shape \(0,\)"),
        (FedBack(np.ones(V - 1), T), TARGETS, r"inputs has shape \(1, 6\)"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: np.ndarray, targets: np.ndarray, complaint: str) -> None:
    with pytest.raises(ShapeError, match=complaint):
        sequence_loss(_network(), inputs, targets)


def test_output_of_another_size_cannot_be_fed_back() -> None:
    with pytest.raises(ShapeError, match="size 7 cannot be fed back into an input of size 3"):
        forward(_network(input_size=3), FedBack(0, T))
    with pytest.raises(UsageError, match="steps is 0"):
        forward(_network(), FedBack(0, 0))


def test_weights_that_do_not_fit_each_other_are_refused() -> None:
    U, V_, W = np.ones((H, V)), np.ones((V, H)), np.ones((H, H))
    with pytest.raises(ShapeError, match=r"V has shape \(4, 7\): expected \(V, H\) = \(any, 4\)"):
        TutorialNetwork(U, V_.T, W)
    with pytest.raises(ShapeError, match=r"W has shape \(4, 5\)"):
        TutorialNetwork(U, V_, np.ones((H, 5)))
    with pytest.raises(UsageError, match='"softplus" is not known: choose one of tanh, relu, sigmoid'):
        TutorialNetwork(U, V_, W, "softplus")
    with pytest.raises(UsageError, match="must all be 1 or more"):
        random_network(0, H, np.random.default_rng(0))


def test_the_tutorials_file_round_trips(tmp_path: Path) -> None:
    network, path = _network(activation="relu"), tmp_path / "network.npz"
    save_network(network, path)
    loaded = load_network(path, activation="relu")
    assert all(np.array_equal(loaded.parameters[name], network.parameters[name]) for name in "UVW")
    assert loaded.activation == "relu"
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["U", "V", "W"]


def test_a_file_written_by_numpy_alone_is_read(tmp_path: Path) -> None:
    network = _network()
    np.savez(tmp_path / "theirs", U=network.U.astype(np.float32), V=network.V, W=network.W)
    loaded = load_network(tmp_path / "theirs.npz")
    assert loaded.U.dtype == np.float64
    np.testing.assert_allclose(loaded.U, network.U, rtol=1e-6)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "network.npz"
    with pytest.raises(ModelDirectoryError, match=re.escape(f"{path}: cannot be written: No such file or directory")):
        save_network(_network(), path)


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    network = _network()
    good: dict[str, Any] = {"U": network.U, "V": network.V, "W": network.W}
    files = {name: tmp_path / f"{name}.npz" for name in ("text", "empty", "cut", "pickle", "nan", "no_w")}
    files["text"].write_text("U V W\n")
    files["empty"].write_bytes(b"")
    np.savez(files["cut"], **good)
    files["cut"].write_bytes(files["cut"].read_bytes()[:-80])
    np.savez(files["pickle"], **(good | {"U": np.array([{"a": 1}], dtype=object)}))
    np.savez(files["nan"], **(good | {"V": network.V * np.nan}))
    np.savez(files["no_w"], U=network.U, V=network.V)
    np.save(tmp_path / "bare.npy", network.U)
    expected = dict.fromkeys(("text", "empty", "cut", "pickle"), "not an .npz of plain numbers")
    expected |= {"nan": "V holds values that are not finite", "no_w": "holds no W"}
    for name, complaint in expected.items():
        with pytest.raises(ModelDirectoryError, match=complaint) as caught:
            load_network(files[name])
        assert str(caught.value).startswith(f"{files[name]}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelDirectoryError, match="holds no U, V, W"):
        load_network(tmp_path / "bare.npy")
    with pytest.raises(ModelDirectoryError, match="cannot be read: No such file"):
        load_network(tmp_path / "missing.npz")
    with pytest.raises(ModelDirectoryError, match="cannot be read: Is a directory"):
        load_network(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_byte_changes_a_weight_or_escapes_as_another_error(tmp_path: Path, save: Any) -> None:
    network, path = _network(), tmp_path / "network.npz"
    save(path, **network.parameters)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 255
        path.write_bytes(damaged)
        loaded = None
        with suppress(ModelDirectoryError, ShapeError):
            loaded = load_network(path)
        refused += loaded is None
        if loaded is not None:  # a date, a file attribute
            assert all(np.array_equal(loaded.parameters[name], network.parameters[name]) for name in "UVW")
    assert refused > 0.7 * len(whole) / 3


def test_a_file_whose_weights_do_not_fit_is_named(tmp_path: Path) -> None:
    network = _network()
    np.savez(tmp_path / "turned.npz", U=network.U.T, V=network.V, W=network.W)
    with pytest.raises(ShapeError, match=r"turned\.npz: V has shape \(7, 4\): expected \(V, H\) = \(any, 7\)"):
        load_network(tmp_path / "turned.npz")
