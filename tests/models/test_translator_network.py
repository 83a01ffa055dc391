"""The translator's losses and gradients against differences and PyTorch, and what padding and chance do to them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.errors import UsageError
from unrolled.models.settings import ModelSettings
from unrolled.models.translate import TranslationSettings
from unrolled.models.translate.network import TranslationNetwork, TranslationShape
from unrolled.nn import Regularization

from ..nn.decoders import by_hand, cells_of
from .networks import as_torch_has_it, gradients
from .translators import (
    FACTORS,
    INPUTS,
    LENGTHS,
    SOURCE,
    SOURCE_LENGTHS,
    TARGETS,
    B,
    E,
    H,
    S,
    T,
    assert_slopes_by_module,
    pairs_batch,
    translator,
)

CASES: dict[str, dict[str, Any]] = {
    "general": {},
    "general, side by side": {"input_feeding": False, "layers": 1},
    "additive": {"attention": "additive", "cell": "lstm"},
    "additive, side by side": {"attention": "additive", "input_feeding": False},
    "dot": {"attention": "dot", "layers": 1, "reverse": True},
    "dot, side by side": {"attention": "dot", "cell": "lstm", "input_feeding": False, "shared": True},
    "none": {"attention": "none", "input_feeding": False, "reverse": True, "cell": "lstm", "layers": 1},
    "none, fed": {"attention": "none"},
    "shared": {"shared": True},
    "tied": {"tied": True, "cell": "lstm"},
    "shared and tied": {"shared": True, "tied": True, "reverse": True},
    "three layers": {"layers": 3},
    "one way": {"bidirectional": False, "attention": "none"},
    "one way, reversed": {"bidirectional": False, "reverse": True, "cell": "lstm", "layers": 1},
}
each_case = pytest.mark.parametrize("case", CASES)
COUNTS = torch.arange(T)[:, None] < LENGTHS


@each_case
def test_gradients_against_central_differences(case: str) -> None:
    assert_slopes_by_module(translator(**CASES[case], engine="portable"), pairs_batch(), FACTORS)


def pair_by_hand(network: TranslationNetwork, module: nn.GRU | nn.LSTM, steps: list[nn.RNNCellBase], b: int) -> Tensor:
    """Log-probabilities (T, V) after each input of a pair, without padding."""
    ids, ways, layers = SOURCE[: SOURCE_LENGTHS[b], b], network.shape.num_directions, network.shape.layers
    if network.shape.reverse_source:
        ids = ids.flip(0)
    outputs, last = module(network.encoder.embedding.weight[ids])
    state = []
    for layer in range(layers):
        ends = [part[ways * layer : ways * (layer + 1)] for part in (last if isinstance(last, tuple) else (last,))]
        assert ends[0].shape == (ways, network.shape.hidden_size // ways)
        state.append([torch.cat([*each]) for each in ends])
    vectors, _, _ = by_hand(network.decoder, steps, INPUTS[: LENGTHS[b], b], state, outputs)
    return torch.log_softmax(vectors @ network.output.weight.T + network.output.bias, 1)


@each_case
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_losses_and_gradients_are_those_of_pytorch(engine: str, case: str) -> None:
    network = translator(**CASES[case], engine=engine)
    got = network.objective(**pairs_batch())
    cell = network.shape.cell
    module, steps = as_torch_has_it(network.encoder.recurrent, cell), cells_of(network.decoder.recurrent, cell)
    logs = [pair_by_hand(network, module, steps, b) for b in range(B)]
    by_place = [-logs[b][t, TARGETS[t, b]] for t in range(T) for b in range(B) if COUNTS[t, b]]
    losses = torch.stack(by_place)
    torch.testing.assert_close(got.losses, losses, rtol=1e-11, atol=1e-13)
    assert (got.penalty, got.state, got.correct) == (None, None, None)
    found = gradients((got.losses * FACTORS).sum(), network)
    layers = {f"encoder.recurrent.{name}": parameter for name, parameter in module.named_parameters()}
    for layer, step in enumerate(steps):
        layers |= {f"decoder.recurrent.{name}_l{layer}": parameter for name, parameter in step.named_parameters()}
    others = {name: parameter for name, parameter in network.named_parameters() if name not in layers}
    expected = torch.autograd.grad((losses * FACTORS).sum(), [*layers.values(), *others.values()])
    assert set(found) == {*layers, *others}
    for name, value in zip([*layers, *others], expected, strict=True):
        assert value.norm() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


@each_case
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_neither_padding_nor_neighbours_change_a_loss(engine: str, case: str) -> None:
    network = translator(**CASES[case], engine=engine).float().eval()
    together = network.log_probabilities(network(SOURCE, SOURCE_LENGTHS, INPUTS).vectors)
    longer = torch.cat([SOURCE, torch.full((2, B), 6)])
    garbage = torch.where(torch.arange(S + 2)[:, None] < SOURCE_LENGTHS, longer, 6)
    padded = network.log_probabilities(network(garbage, SOURCE_LENGTHS, INPUTS).vectors)
    torch.testing.assert_close(padded, together, rtol=0, atol=1e-6)
    for b, (length, steps) in enumerate(zip(SOURCE_LENGTHS.tolist(), LENGTHS.tolist(), strict=True)):
        ids, lengths = SOURCE[:length, b : b + 1], SOURCE_LENGTHS[b : b + 1]
        alone = network.log_probabilities(network(ids, lengths, INPUTS[:steps, b : b + 1]).vectors)
        torch.testing.assert_close(alone[:, 0], together[:steps, b], rtol=0, atol=1e-6)


def test_a_source_read_backwards_is_the_reversed_source() -> None:
    one, other = translator(reverse=True).eval(), translator().eval()
    backwards = SOURCE.clone()
    for b, length in enumerate(SOURCE_LENGTHS.tolist()):
        backwards[:length, b] = SOURCE[:length, b].flip(0)
    expected = other(backwards, SOURCE_LENGTHS, INPUTS)
    assert torch.equal(one(SOURCE, SOURCE_LENGTHS, INPUTS).vectors, expected.vectors)
    assert not torch.equal(other(SOURCE, SOURCE_LENGTHS, INPUTS).vectors, expected.vectors)


def test_words_of_the_source_are_read_as_unknown_while_training_only() -> None:
    usual, network = translator(), translator(unknown_share=1 - 1e-9, unknown_id=0)
    nothing_known = translator().objective(**pairs_batch() | {"source": torch.zeros_like(SOURCE)})
    assert torch.equal(network.objective(**pairs_batch()).losses, nothing_known.losses)
    assert not torch.equal(usual.objective(**pairs_batch()).losses, nothing_known.losses)
    assert torch.equal(*(each.eval().objective(**pairs_batch()).losses for each in (usual, network)))
    knows_all = translator(unknown_share=1 - 1e-9, unknown_id=None)
    assert torch.equal(knows_all.objective(**pairs_batch()).losses, translator().objective(**pairs_batch()).losses)


REGULARIZATIONS = {
    "elements": Regularization(dropout=0.5),
    "elements at each step": Regularization(dropout=0.5, locked=False),
    "inputs": Regularization(dropout_input=0.5),
    "between layers": Regularization(dropout_between=0.5),
    "outputs": Regularization(dropout_output=0.5),
    "tokens": Regularization(dropout_embedding=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_what_is_dropped_is_dropped_while_training_only_and_by_its_own_generator(name: str) -> None:
    runs = []
    for number in (7, 8):  # torch's own generator makes no difference
        torch.manual_seed(number)
        network = translator(regularization=REGULARIZATIONS[name])
        losses = [network.objective(**pairs_batch()).losses for _ in range(2)]
        assert not torch.equal(*losses)
        runs.append(torch.stack([*losses, network.eval().objective(**pairs_batch()).losses]))
    assert torch.equal(*runs)
    assert torch.equal(runs[0][2], translator().eval().objective(**pairs_batch()).losses)


def test_the_same_seed_gives_the_same_weights_and_tensors_go_out_and_in() -> None:
    made = []
    for number, seed in ((1, 5), (2, 5), (3, 6)):
        torch.manual_seed(number)
        network = translator(shared=True, tied=True, generator=torch.Generator().manual_seed(seed))
        made.append(network.tensors())
    one, again, other = made
    assert all((one[name] == again[name]).all() for name in one)
    assert all((one[name] != other[name]).any() for name in one if "bias" not in name and "embedding" not in name)
    assert "encoder.embedding.weight" in one
    assert not {"decoder.embedding.weight", "output.weight"} & set(one), "stored once"
    network = translator(shared=True, tied=True, generator=torch.Generator().manual_seed(7))
    network.load_tensors(one)
    assert network.output.weight is network.decoder.embedding.weight is network.encoder.embedding.weight
    assert all((network.tensors()[name] == one[name]).all() for name in one)
    assert network.parameter_count() == sum(array.size for array in one.values())


def test_the_parts_of_a_state_are_both_directions_side_by_side() -> None:
    network = translator(cell="lstm").eval()
    _, state = network.read(SOURCE, SOURCE_LENGTHS)
    assert [tuple(part.shape) for part in state.parts] == [(2, B, H)] * 2
    outputs, last = network.encoder(SOURCE, SOURCE_LENGTHS)
    assert isinstance(last, tuple)
    for part, halves in zip(state.parts, last, strict=True):
        for layer in range(2):
            assert torch.equal(part[layer], torch.cat([halves[2 * layer], halves[2 * layer + 1]], 1))
    for b, length in enumerate(SOURCE_LENGTHS.tolist()):
        half = H // 2
        assert torch.equal(state.parts[0][1, b], torch.cat([outputs[length - 1, b, :half], outputs[0, b, half:]]))


SIZES: dict[str, Any] = {
    "cell": "gru", "source_size": 9, "target_size": 7, "embedding_size": E, "hidden_size": H, "layers": 1,
    "attention": "dot", "input_feeding": True, "reverse_source": False, "shared": False, "tied": False,
    "bidirectional": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "elman"}, 'cell "elman" is not known'),
        ({"source_size": 0}, "source_size is 0: give a whole number of at least 1"),
        ({"target_size": "7"}, "target_size is '7': give"),
        ({"layers": True}, "layers is True: give"),
        ({"hidden_size": 5}, "hidden is 5: give an even number, half for each direction of the encoder"),
        ({"attention": "bilinear"}, 'attention is "bilinear": choose one of additive, general, dot, none'),
        ({"input_feeding": 1}, "input_feeding is 1: expected bool"),
        ({"tied": True}, "tied weights need equal sizes: embedding is 3, hidden is 4"),
        ({"shared": True}, "one embedding needs one vocabulary, not 9 and 7 tokens"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        TranslationShape(**{**SIZES, **changes})


def test_a_shape_in_words_and_from_settings() -> None:
    assert TranslationShape(**SIZES).describe() == "1 x 4 gru, embedding 3, dot attention, input feeding"
    model, settings = ModelSettings("lstm", 4, 4, 2, True), TranslationSettings("none", True, True, True)
    shape = TranslationShape.of(model, 7, 7, settings)
    assert not shape.input_feeding, "there is nothing to feed but the output itself"
    assert shape.describe() == "2 x 4 lstm, embedding 4, no attention, source reversed, shared embedding, tied"
    one_way = TranslationShape(**{**SIZES, "hidden_size": 5, "bidirectional": False})
    assert one_way.describe() == "1 x 5 gru, embedding 3, dot attention, input feeding, source read one way"
