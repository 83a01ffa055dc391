"""The decoder against PyTorch's cells, its two ways of reading against each other, beams against sentences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled.errors import UsageError
from unrolled.nn import Regularization
from unrolled.nn.decoder import Decoded, Decoder, DecoderState
from unrolled.nn.reading import flip

from .decoders import (
    IDS,
    SOURCE_LENGTHS,
    B,
    E,
    H,
    K,
    S,
    T,
    V,
    by_hand,
    cells_of,
    make_decoder,
    make_memory,
    make_parts,
    memory_size,
)

ATTENTIONS = ("additive", "dot", "general", "none")
each_attention = pytest.mark.parametrize("attention", ATTENTIONS)
each_feeding = pytest.mark.parametrize("input_feeding", [True, False])


def read(decoder: Decoder, attention: str, cell: str = "gru", ids: Tensor = IDS) -> Decoded:
    layers = decoder.recurrent.num_layers
    source = decoder.look_at(make_memory(attention), SOURCE_LENGTHS)
    decoded: Decoded = decoder(ids, decoder.begin(make_parts(cell, layers)), source)
    return decoded


@each_attention
@each_feeding
@pytest.mark.parametrize(
    ("engine", "cell", "layers"),
    [("auto", "gru", 3), ("auto", "lstm", 1), ("portable", "lstm", 2), ("auto", "tanh", 2)],
)
def test_vectors_weights_state_and_gradients_are_those_of_pytorchs_cells(
    engine: str, cell: str, layers: int, input_feeding: bool, attention: str
) -> None:
    decoder = make_decoder(attention, cell, layers=layers, input_feeding=input_feeding, engine=engine)
    memory, parts = make_memory(attention).requires_grad_(), make_parts(cell, layers)
    got = decoder(IDS, decoder.begin(parts), decoder.look_at(memory, SOURCE_LENGTHS))
    steps = cells_of(decoder.recurrent, cell)
    vectors, last = [], []
    for b, length in enumerate(SOURCE_LENGTHS.tolist()):
        own = [[part[layer, b] for part in parts] for layer in range(layers)]
        found, looked, after = by_hand(decoder, steps, IDS[:, b], own, memory[:length, b])
        vectors.append(found)
        last.append(after)
        if attention != "none":
            assert got.weights is not None
            torch.testing.assert_close(got.weights[:, b, :length], looked, rtol=1e-11, atol=1e-13)
            assert (got.weights[:, b, length:] == 0).all()
    expected = torch.stack(vectors, 1)
    torch.testing.assert_close(got.vectors, expected, rtol=1e-11, atol=1e-13)
    assert torch.equal(got.state.fed, got.vectors[-1])
    for number, part in enumerate(got.state.parts):
        by_layer = [torch.stack([after[layer][number] for after in last]) for layer in range(layers)]
        torch.testing.assert_close(part, torch.stack(by_layer), rtol=1e-11, atol=1e-13)

    factors = torch.randn(T, B, H, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    others = {name: each for name, each in decoder.named_parameters() if not name.startswith("recurrent")}
    layered = {f"{name}_l{layer}": each for layer, step in enumerate(steps) for name, each in step.named_parameters()}
    ours = {**others, **{name: getattr(decoder.recurrent, name) for name in layered}}
    wanted = [] if attention == "none" else [memory]
    found_slopes = torch.autograd.grad((got.vectors * factors).sum(), [*ours.values(), *wanted])
    slopes = torch.autograd.grad((expected * factors).sum(), [*others.values(), *layered.values(), *wanted])
    for name, one, other in zip([*ours, "memory"], found_slopes, slopes, strict=False):
        assert other.norm() > 0, name
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=name)


@each_attention
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_without_input_feeding_step_by_step_is_all_at_once(cell: str, attention: str) -> None:
    decoder = make_decoder(attention, cell, input_feeding=False)
    whole = read(decoder, attention, cell)
    source = decoder.look_at(make_memory(attention), SOURCE_LENGTHS)
    state, vectors, weights = decoder.begin(make_parts(cell, 2)), [], []
    for token in IDS:
        decoded = decoder(token[None], state, source)
        state = decoded.state
        vectors.append(decoded.vectors[0])
        weights.append(decoded.weights)
    torch.testing.assert_close(torch.stack(vectors), whole.vectors, rtol=1e-12, atol=1e-14)
    for one, other in zip(state.parts, whole.state.parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    if attention == "none":
        assert whole.weights is None
        assert weights == [None] * T
    else:
        assert whole.weights is not None
        torch.testing.assert_close(torch.cat([w for w in weights if w is not None]), whole.weights)


@each_attention
def test_with_input_feeding_the_state_carries_what_was_fed(attention: str) -> None:
    decoder = make_decoder(attention)
    whole = read(decoder, attention)
    source = decoder.look_at(make_memory(attention), SOURCE_LENGTHS)
    first = decoder(IDS[:1], decoder.begin(make_parts("gru", 2)), source)
    rest = decoder(IDS[1:], first.state, source)
    assert torch.equal(torch.cat([first.vectors, rest.vectors]), whole.vectors)
    forgetful = decoder(IDS[1:], decoder.begin(first.state.parts), source)
    assert not torch.allclose(forgetful.vectors, rest.vectors)


@each_attention
@each_feeding
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_beams_that_share_a_memory_are_rows_with_a_memory_each(cell: str, input_feeding: bool, attention: str) -> None:
    beams = 3
    decoder = make_decoder(attention, cell, input_feeding=input_feeding)
    memory = make_memory(attention)
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(V, (T, B * beams), generator=generator)
    parts = tuple(
        part.repeat_interleave(beams, 1).mul(torch.rand(1, B * beams, 1, generator=generator) + 0.5)
        for part in make_parts(cell, 2)
    )
    shared = decoder(ids, decoder.begin(parts), decoder.look_at(memory, SOURCE_LENGTHS))
    own = decoder.look_at(memory.repeat_interleave(beams, 1), SOURCE_LENGTHS.repeat_interleave(beams))
    alone = decoder(ids, decoder.begin(parts), own)
    torch.testing.assert_close(shared.vectors, alone.vectors, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(shared.state.fed, alone.state.fed, rtol=1e-12, atol=1e-14)
    if attention != "none":
        assert shared.weights is not None
        assert shared.weights.shape == (T, B * beams, S)
        torch.testing.assert_close(shared.weights, alone.weights, rtol=1e-12, atol=1e-14)


@each_attention
def test_what_lies_behind_a_sources_end_changes_nothing(attention: str) -> None:
    decoder = make_decoder(attention)
    memory = make_memory(attention)
    expected = read(decoder, attention)
    padding = (torch.arange(S)[:, None] >= SOURCE_LENGTHS)[..., None]
    garbage = decoder(
        IDS, decoder.begin(make_parts("gru", 2)), decoder.look_at(memory + 100.0 * padding, SOURCE_LENGTHS)
    )
    assert torch.equal(garbage.vectors, expected.vectors)
    full = decoder(IDS, decoder.begin(make_parts("gru", 2)), decoder.look_at(memory))
    assert torch.equal(full.vectors[:, 1], expected.vectors[:, 1]), "the longest one has no padding"
    assert torch.equal(full.vectors, expected.vectors) == (attention == "none")


# What is dropped

REGULARIZATIONS = {
    "elements": Regularization(dropout=0.5),
    "elements at each step": Regularization(dropout=0.5, locked=False),
    "inputs": Regularization(dropout_input=0.5),
    "between layers": Regularization(dropout_between=0.5),
    "between layers at each step": Regularization(dropout_between=0.5, locked=False),
    "tokens": Regularization(dropout_embedding=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@each_feeding
@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_what_is_dropped_is_dropped_while_training_only_and_by_its_own_generator(
    name: str, input_feeding: bool
) -> None:
    runs = []
    for number in (8, 9):  # torch's own generator makes no difference
        torch.manual_seed(number)
        decoder = make_decoder(input_feeding=input_feeding, regularization=REGULARIZATIONS[name])
        vectors = [read(decoder, "general").vectors for _ in range(2)]
        assert not torch.equal(*vectors)
        runs.append(torch.stack([*vectors, read(decoder.eval(), "general").vectors]))
    assert torch.equal(*runs)
    assert torch.equal(runs[0][2], read(make_decoder(input_feeding=input_feeding).eval(), "general").vectors)


@each_feeding
@pytest.mark.parametrize("locked", [True, False])
def test_elements_between_layers_are_dropped_at_all_steps_or_at_each(locked: bool, input_feeding: bool) -> None:
    """With all input weights of the upper layer but one column zero, a step is reached by one element or by none."""
    steps, rows = 30, 40
    decoder = make_decoder(
        "none",
        "tanh",
        input_feeding=input_feeding,
        regularization=Regularization(dropout_between=0.5, locked=locked),
    )
    with torch.no_grad():
        for name in ("weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
            getattr(decoder.recurrent, name).zero_()
    state = decoder.begin((torch.full((2, rows, H), 0.1, dtype=torch.float64),))
    ids = torch.randint(V, (1, rows), generator=torch.Generator().manual_seed(10)).expand(steps, -1)
    with torch.no_grad():
        decoder.recurrent.get_parameter("weight_ih_l1")[:, 1:].zero_()
    source = decoder.look_at(torch.zeros(1, rows, K, dtype=torch.float64))
    reached = decoder(ids, state, source).vectors.abs().amax(2) > 0
    assert 0.3 < reached.double().mean() < 0.7
    per_row = reached.double().mean(0)
    assert ((per_row == 0) | (per_row == 1)).all() if locked else ((per_row > 0.1) & (per_row < 0.9)).all()


def test_a_token_is_dropped_wherever_it_stands() -> None:
    """With nothing but the embedding to go by, equal tokens are equal, dropped or not."""
    kept = []
    for input_feeding in (True, False):
        decoder = make_decoder(
            "none", "tanh", layers=1, input_feeding=input_feeding, regularization=Regularization(dropout_embedding=0.5)
        )
        with torch.no_grad():
            for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                getattr(decoder.recurrent, name).zero_()
            decoder.recurrent.get_parameter("weight_ih_l0")[:, E:].zero_()
        ids = torch.arange(V).repeat(3)[:, None].expand(-1, 2)
        state = decoder.begin((torch.zeros(1, 2, H, dtype=torch.float64),))
        for _ in range(20):
            vectors = decoder(ids, state, decoder.look_at(torch.zeros(1, 2, K, dtype=torch.float64))).vectors
            vectors = vectors.unflatten(0, (3, V))
            assert torch.equal(vectors, vectors[:1, :, :1].expand_as(vectors))
            kept.append((vectors[0, :, 0].abs().amax(1) > 0).double().mean())
    assert 0.35 < float(torch.stack(kept).mean()) < 0.65


# Sizes and weights


@each_attention
def test_initial_weights_follow_the_generator(attention: str) -> None:
    def weights(seed: int, **options: Any) -> dict[str, Tensor]:
        torch.manual_seed(seed + 100)
        generator = torch.Generator().manual_seed(seed)
        made = Decoder(
            "gru", V, E, H, 2, memory_size(attention), attention=attention, regularization=Regularization(),
            generator=generator, **options,
        )  # fmt: skip
        return dict(made.state_dict())

    one, other = weights(1), weights(2)
    again = weights(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(not torch.equal(one[name], other[name]) for name in one)
    assert one["embedding.weight"].abs().max() <= 0.1
    if attention != "none":
        assert one["meeting.weight"].shape == (H, H + memory_size(attention))
        assert one["meeting.weight"].abs().max() <= (H + memory_size(attention)) ** -0.5
        assert weights(1, initial_range=0.01)["meeting.weight"].abs().max() <= 0.01
    assert weights(1, initial_range=0.01)["embedding.weight"].abs().max() <= 0.01
    assert ("attention.weight_key" in one) == (attention in {"additive", "general"})
    assert one["recurrent.weight_ih_l0"].shape == (3 * H, E + H)
    assert weights(1, input_feeding=False)["recurrent.weight_ih_l0"].shape == (3 * H, E)


def test_an_attention_that_is_none_of_the_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^attention is "bilinear": choose one of'):
        make_decoder("bilinear")


def test_a_state_is_a_value() -> None:
    decoder = make_decoder("general", "lstm")
    parts = make_parts("lstm", 2)
    state = decoder.begin(parts)
    assert isinstance(state, DecoderState)
    assert state.fed.shape == (B, H)
    assert not state.fed.any()
    before = [part.clone() for part in parts]
    first, again = (read(decoder, "general", "lstm").vectors for _ in range(2))
    assert torch.equal(first, again)
    assert all(torch.equal(one, other) for one, other in zip(parts, before, strict=True))


# Backwards


def test_flipping_turns_each_sequence_round_within_its_length() -> None:
    values = torch.arange(12).reshape(4, 3)
    lengths = torch.tensor([4, 1, 3])
    assert flip(values, lengths).tolist() == [[9, 1, 8], [6, 4, 5], [3, 7, 2], [0, 10, 11]]
    assert torch.equal(flip(values, None), values.flip(0))
    assert torch.equal(flip(flip(values, lengths), lengths), values)


def test_flipping_vectors_and_their_gradients() -> None:
    generator = torch.Generator().manual_seed(11)
    values = torch.randn(4, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    lengths, factors = torch.tensor([2, 4, 3]), torch.randn(4, 3, 2, generator=generator, dtype=torch.float64)
    flipped = flip(values, lengths)
    for b, length in enumerate(lengths.tolist()):
        assert torch.equal(flipped[:length, b], values[:length, b].flip(0))
        assert torch.equal(flipped[length:, b], values[length:, b])
    (slope,) = torch.autograd.grad((flipped * factors).sum(), [values])
    assert torch.equal(slope, flip(factors, lengths)), "a permutation's transpose; each of these is its own inverse"
