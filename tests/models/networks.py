"""Classifiers, taggers and batches that break every symmetry, for the tests of networks with labels."""

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.models.classify.network import ClassifierNetwork, ClassifierShape
from unrolled.models.network import TaskNetwork
from unrolled.models.tag.data import spelled
from unrolled.models.tag.network import TaggerNetwork, TaggerShape

V, E, H, LABELS, T, B = 9, 3, 4, 3, 5, 4
GENERATOR = torch.Generator().manual_seed(1)
LENGTHS = torch.tensor([3, 5, 1, 4])
IDS = torch.where(torch.arange(T)[:, None] < LENGTHS, torch.randint(1, V, (T, B), generator=GENERATOR), 0)
TARGETS = torch.tensor([2, 0, 1, 2])
TOKEN_TARGETS = torch.randint(LABELS, (T, B), generator=GENERATOR)
WORDS = [["Geh", "to", "日本"], ["a", "bb", "ccc", "naïve", "."], ["x"], ["two", "an" * 30, "of", "it"]]
SPELLING: dict[str, Any] = {name: torch.from_numpy(array) for name, array in spelled(WORDS).items()}
WEIGHTS = [0.5, 1.0, 2.5]


def classifier(pooling: str = "attention", cell: str = "gru", *, layers: int = 2, **options: Any) -> ClassifierNetwork:
    shape = ClassifierShape(cell, V, E, H, layers, LABELS, pooling)
    options = {"class_weights": WEIGHTS, "generator": torch.Generator().manual_seed(2), **options}
    network = ClassifierNetwork(shape, **options)
    stir(network)
    return network.double()


def tagger(cell: str = "gru", *, layers: int = 2, spelling: int = 2, **options: Any) -> TaggerNetwork:
    shape = TaggerShape(cell, V, E, H, layers, LABELS, spelling)
    options = {"generator": torch.Generator().manual_seed(3), **options}
    network = TaggerNetwork(shape, **options)
    stir(network)
    return network.double()


def stir(network: nn.Module) -> None:
    """Make biases and embeddings neither zero nor small."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name or "embedding" in name:
                parameter.uniform_(-0.6, 0.6, generator=generator)


def classifier_batch() -> dict[str, Any]:
    return {"ids": IDS, "lengths": LENGTHS, "targets": TARGETS}


def tagger_batch() -> dict[str, Any]:
    return {"ids": IDS, "lengths": LENGTHS, "targets": TOKEN_TARGETS, **SPELLING}


def gradients(loss: Tensor, network: nn.Module) -> dict[str, Tensor]:
    named = dict(network.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def assert_slopes(network: TaskNetwork, batch: dict[str, Any], factors: Tensor) -> None:
    """Each tensor's gradient against central differences along a direction of chance."""
    generator = torch.Generator().manual_seed(5)

    def loss() -> Tensor:
        return (network.objective(**batch).losses * factors).sum()

    found = gradients(loss(), network)
    for name, parameter in network.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                ends.append(float(loss()))
                parameter.sub_(direction, alpha=step)
        expected, slope = (ends[0] - ends[1]) / 2e-5, float((found[name] * direction).sum())
        assert abs(expected) > 1e-6, f"{name}: this direction shows nothing"
        assert abs(slope - expected) < 1e-7 * max(1.0, abs(expected)), name


def as_torch_has_it(recurrent: Any, cell: str) -> nn.GRU | nn.LSTM:
    """PyTorch's own layers with the same weights."""
    kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
    module: nn.GRU | nn.LSTM = kind(
        recurrent.input_size, recurrent.hidden_size, recurrent.num_layers, bidirectional=recurrent.bidirectional
    ).double()
    module.load_state_dict(recurrent.state_dict())
    return module


def read_by_torch(module: nn.GRU | nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (T, B, 2H) of padded sequences."""
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    outputs: Tensor = nn.utils.rnn.pad_packed_sequence(module(packed)[0])[0]
    return outputs
