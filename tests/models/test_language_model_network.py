import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.errors import ShapeError, UsageError
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Regularization, Sampler
from unrolled.nn.factored import SHARE, FactoredEmbedding

V, E, H, T, B = 11, 3, 5, 6, 4
IDS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([4, 6, 1, 3])


def make(cell: str = "lstm", layers: int = 2, tied: bool = False, **options: Any) -> LanguageModelNetwork:
    shape = LanguageModelShape(cell, V, H if tied else E, H, layers, tied)
    return LanguageModelNetwork(shape, generator=torch.Generator().manual_seed(3), **options).double()


def parts_of(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


@pytest.mark.parametrize("vocabulary_size", [V, 40])  # below and above T*B, where the engine takes other ways
@pytest.mark.parametrize("name", cells.names())
def test_it_is_embedding_then_recurrent_then_linear(name: str, vocabulary_size: int) -> None:
    shape = LanguageModelShape(name, vocabulary_size, E, H, 2, False)
    network = LanguageModelNetwork(shape, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        network.output.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(4))
    outputs, state = network(IDS, lengths=LENGTHS)
    losses = network.losses(outputs, TARGETS, LENGTHS)
    wanted, wanted_state = network.recurrent(nn.functional.embedding(IDS, network.embedding.weight), lengths=LENGTHS)
    real = torch.arange(T)[:, None] < LENGTHS
    scores = network.output(wanted)[real]
    wanted_losses = nn.functional.cross_entropy(scores, TARGETS[real], reduction="none")
    torch.testing.assert_close(outputs, wanted, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(losses, wanted_losses, rtol=1e-12, atol=1e-14)
    for got, expected in zip(parts_of(state), parts_of(wanted_state), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(losses.square().mean(), parameters)
    wanted_gradients = torch.autograd.grad(wanted_losses.square().mean(), parameters)
    for got, expected in zip(gradients, wanted_gradients, strict=True):
        assert expected.norm() > 0
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


def test_losses_count_the_real_tokens_in_time_order_and_no_others() -> None:
    network = make()
    outputs, _ = network(IDS, lengths=LENGTHS)
    losses = network.losses(outputs, TARGETS, LENGTHS)
    assert losses.shape == torch.Size([4 + 6 + 1 + 3])
    everything = network.losses(outputs, TARGETS).view(T, B)
    by_hand = [everything[t, b] for t in range(T) for b in range(B) if t < LENGTHS[b]]
    torch.testing.assert_close(losses, torch.stack(by_hand), rtol=1e-13, atol=0)
    other = torch.where(torch.arange(T)[:, None] < LENGTHS, TARGETS, (TARGETS + 1) % V)
    assert torch.equal(network.losses(outputs, other, LENGTHS), losses)


@pytest.mark.parametrize("cut", [1, 4])
@pytest.mark.parametrize("name", cells.names())
def test_chunks_with_carried_state_equal_the_whole(name: str, cut: int) -> None:
    network = make(name)
    outputs, state = network(IDS)
    first, carried = network(IDS[:cut])
    second, last = network(IDS[cut:], carried)
    torch.testing.assert_close(torch.cat([first, second]), outputs, rtol=1e-12, atol=1e-14)
    for got, expected in zip(parts_of(last), parts_of(state), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tied": True}, "tied weights need equal sizes: embedding is 3, hidden is 5"),
        ({"cell": "elman"}, 'cell "elman" is not known: choose one of '),
        ({"vocabulary_size": 0}, "vocabulary_size is 0: give a whole number of at least 1"),
        ({"embedding_size": 0}, "embedding_size is 0: give"),
        ({"hidden_size": -5}, "hidden_size is -5: give"),
        ({"layers": 0}, "layers is 0: give"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    fitting = LanguageModelShape("lstm", V, E, H, 1, False)
    with pytest.raises(UsageError) as error:
        replace(fitting, **changes)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        # embedding V*E, recurrent G*(H*E + H*H + 2H) a layer, output V*H + V
        (LanguageModelShape("tanh", 8000, 100, 100, 1, False), 800_000 + 20_200 + 808_000),
        (LanguageModelShape("tanh", 8000, 100, 100, 1, True), 800_000 + 20_200 + 8_000),
        (LanguageModelShape("gru", 8000, 64, 100, 1, False), 512_000 + 49_800 + 808_000),
        (LanguageModelShape("lstm", 60, 32, 128, 2, False), 1_920 + 82_944 + 132_096 + 7_740),
    ],
    ids=str,
)
def test_the_parameter_count_worked_by_hand(shape: LanguageModelShape, count: int) -> None:
    assert LanguageModelNetwork(shape).parameter_count() == count


def test_initial_weights_follow_the_generator_and_stay_in_their_bounds() -> None:
    first, second = make(), make()
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert 0.09 < first.embedding.weight.abs().max() <= 0.1
    assert 0.9 * H**-0.5 < first.output.weight.abs().max() <= H**-0.5
    assert not first.output.bias.any()
    forget = first.recurrent.get_parameter("bias_ih_l1").detach().view(4, H)[1]
    assert (forget == 1).all()
    assert make(tied=True).output.weight.abs().max() <= 0.1
    other = make()
    other.reset_parameters(torch.Generator().manual_seed(8))
    assert not torch.equal(other.embedding.weight, first.embedding.weight)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("initialization", ["uniform", "orthogonal", "scaled"])
def test_an_initial_range_bounds_all_that_is_uniform(initialization: str, tied: bool) -> None:
    network = make("gru", tied=tied, initial_range=0.03, initialization=initialization)
    for name, values in network.named_parameters():
        largest = values.abs().max()
        if name == "output.bias" or (".bias" in name and initialization != "uniform"):
            assert largest == 0
        elif initialization == "uniform" or name in {"embedding.weight", "output.weight"}:
            assert 0.7 * 0.03 < largest <= 0.03
        elif initialization == "scaled":
            assert 0.7 < largest / (6 / (values.shape[1] + H)) ** 0.5 <= 1
        elif "weight_hh" in name:
            for r in torch.split(values, H):  # drawn in float32, before the network was made double
                torch.testing.assert_close(r @ r.T, torch.eye(H, dtype=r.dtype), rtol=0, atol=1e-6)


def test_a_forget_bias_and_the_embedding_s_range_of_its_own() -> None:
    plain = dict(make(initialization="orthogonal").named_parameters())
    changed = dict(make(initialization="orthogonal", forget_bias=2.5).named_parameters())
    for name, values in changed.items():
        if "bias_ih" in name:
            assert values.view(4, H).tolist() == [[0] * H, [2.5] * H, [0] * H, [0] * H]
            assert plain[name].view(4, H).tolist() == [[0] * H, [1] * H, [0] * H, [0] * H]
        else:
            assert torch.equal(values, plain[name])
    assert 0.09 < plain["embedding.weight"].abs().max() <= 0.1


def test_initial_weights_do_not_hang_on_what_is_dropped() -> None:
    wanted = Regularization(dropout=0.5, dropout_embedding=0.5, weight_drop=0.5, activation=1.0)
    for one, two in zip(make().parameters(), make(regularization=wanted).parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_go_out_and_come_in_again(tied: bool) -> None:
    network = make(tied=tied).float()
    tensors = network.tensors()
    names = {name for name, _ in network.named_parameters()}
    assert set(tensors) == names
    assert ("output.weight" in tensors) != tied
    assert all(type(array) is np.ndarray and array.dtype == np.float32 for array in tensors.values())
    stored = copy.deepcopy(tensors)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, stored[name])  # copies, not views
    other = make(tied=tied).float()
    other.reset_parameters(torch.Generator().manual_seed(9))
    other.load_tensors(tensors)
    tensors["embedding.weight"][:] = 0
    assert (other.output.weight is other.embedding.weight) == tied
    for name, array in other.tensors().items():
        np.testing.assert_array_equal(array, stored[name])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (TARGETS[:-1], r"^targets has shape \(5, 4\): expected \(6, 4\) for the outputs"),
        (TARGETS.T, r"^targets has shape \(4, 6\): expected \(6, 4\) for the outputs"),
        (TARGETS - 100, "^targets reach from -100 to "),
    ],
)
def test_targets_that_do_not_fit_are_named(targets: Tensor, message: str) -> None:
    network = make()
    outputs, _ = network(IDS)
    with pytest.raises(ShapeError, match=message):
        network.losses(outputs, targets)


def test_tokens_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(ShapeError, match=rf"^ids reach from {V} to {V}: each must be 0 to {V - 1}"):
        make()(torch.full((1, 1), V))


def test_an_untrained_network_is_about_as_good_as_guessing() -> None:
    shape = LanguageModelShape("tanh", 8000, 100, 100, 1, False)
    network = LanguageModelNetwork(shape, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(8000, (20, 8), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        loss = network.losses(network(ids)[0], ids.roll(-1, 0)).mean()
    assert abs(loss / np.log(8000) - 1) < 0.01


def test_the_network_learns_a_sequence_by_heart() -> None:
    network = make("gru", 1)
    ids = torch.arange(10)[:, None] % V
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = network.losses(network(ids[:-1])[0], ids[1:]).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.1


# Vectors that are sums


FACTORS = np.array([[1 + token % 3, 4 + token % 2] for token in range(V - 1)] + [[0, 0]])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_a_factored_network_is_a_plain_one_of_the_sums(
    sampled: bool, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sampler, "saves", lambda *_: True)
    made = [make(tied=tied, factors=factors) for factors in (FACTORS, None)]
    factored, plain = made
    assert isinstance(factored.embedding, FactoredEmbedding)
    with torch.no_grad():
        factored.embedding.factors.uniform_(-1, 1, generator=torch.Generator().manual_seed(5))
        plain.embedding.weight.copy_(factored.embedding.table())
    losses = []
    for network in made:
        sampler = Sampler(np.ones(V), 4) if sampled else None
        losses.append(network.objective(IDS, TARGETS, lengths=LENGTHS, sampler=sampler).losses)
    torch.testing.assert_close(*losses)
    of_factors, of_own = torch.autograd.grad(
        losses[0].sum(), [factored.embedding.factors, factored.embedding.weight], allow_unused=False
    )
    (of_plain,) = torch.autograd.grad(losses[1].sum(), [plain.embedding.weight])
    assert float(of_plain.norm()) > 0
    torch.testing.assert_close(of_own, of_plain)
    expected = torch.zeros_like(of_factors)
    for token, numbers in enumerate(FACTORS):
        for number in numbers[numbers > 0]:
            expected[number - 1] += SHARE * of_plain[token]
    torch.testing.assert_close(of_factors, expected)


def test_a_model_directory_has_the_sums_and_a_run_that_goes_on_what_they_are_made_of() -> None:
    factored, plain, again = make(tied=True, factors=FACTORS), make(tied=True), make(tied=True, factors=FACTORS)
    assert isinstance(factored.embedding, FactoredEmbedding)
    assert isinstance(again.embedding, FactoredEmbedding)
    with torch.no_grad():
        factored.embedding.factors.uniform_(-1, 1)
    stored, learnt = factored.tensors(), factored.learnt()
    assert {name: array.shape for name, array in stored.items()} == {n: a.shape for n, a in plain.tensors().items()}
    np.testing.assert_array_equal(stored["embedding.weight"], factored.embedding.table().detach().numpy())
    assert set(learnt) - set(stored) == {"embedding.factors"}
    again.load_tensors(learnt)
    torch.testing.assert_close(again.embedding.table(), factored.embedding.table(), rtol=0, atol=0)
    assert factored.parameter_count() == plain.parameter_count() == sum(array.size for array in stored.values())
    with pytest.raises(ShapeError, match="ids"):
        factored(IDS + V)
