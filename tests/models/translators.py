"""Networks that translate and that fill gaps, and batches that break every symmetry."""

from typing import Any

import torch
from torch import Tensor

from unrolled.models.fill.network import FillNetwork, FillShape
from unrolled.models.network import TaskNetwork
from unrolled.models.translate.network import TranslationNetwork, TranslationShape

from .networks import gradients, stir

SOURCE_V, TARGET_V, E, H, S, T, B = 9, 7, 3, 4, 5, 4, 3
GENERATOR = torch.Generator().manual_seed(1)
SOURCE_LENGTHS, LENGTHS = torch.tensor([3, 5, 1]), torch.tensor([4, 2, 3])
SOURCE = torch.where(torch.arange(S)[:, None] < SOURCE_LENGTHS, torch.randint(1, 7, (S, B), generator=GENERATOR), 0)
TARGETS = torch.where(torch.arange(T)[:, None] < LENGTHS, torch.randint(1, 7, (T, B), generator=GENERATOR), 0)
INPUTS = torch.cat([torch.ones_like(TARGETS[:1]), TARGETS[:-1]])
FACTORS = torch.randn(int(LENGTHS.sum()), generator=torch.Generator().manual_seed(2), dtype=torch.float64)

LINE_LENGTHS = torch.tensor([3, 5, 1, 2])
LINES = torch.where(torch.arange(5)[:, None] < LINE_LENGTHS, torch.randint(2, 7, (5, 4), generator=GENERATOR), 0)
LINE_FACTORS = torch.randn(11, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def translator(
    attention: str = "general",
    cell: str = "gru",
    *,
    layers: int = 2,
    input_feeding: bool = True,
    reverse: bool = False,
    shared: bool = False,
    tied: bool = False,
    bidirectional: bool = True,
    **options: Any,
) -> TranslationNetwork:
    sizes = (TARGET_V if shared else SOURCE_V, TARGET_V, H if tied else E, H, layers)
    shape = TranslationShape(cell, *sizes, attention, input_feeding, reverse, shared, tied, bidirectional)
    network = TranslationNetwork(shape, **{"generator": torch.Generator().manual_seed(4), **options})
    stir(network)
    return network.double()


def pairs_batch() -> dict[str, Any]:
    return {
        "source": SOURCE,
        "source_lengths": SOURCE_LENGTHS,
        "inputs": INPUTS,
        "targets": TARGETS,
        "lengths": LENGTHS,
    }


def filler(cell: str = "gru", *, layers: int = 2, tied: bool = False, **options: Any) -> FillNetwork:
    shape = FillShape(cell, TARGET_V, E, H, layers, tied)
    network = FillNetwork(shape, **{"generator": torch.Generator().manual_seed(5), **options})
    stir(network)
    return network.double()


def lines_batch() -> dict[str, Any]:
    return {"ids": LINES, "lengths": LINE_LENGTHS}


def assert_slopes_by_module(network: TaskNetwork, batch: dict[str, Any], factors: Tensor) -> None:
    """Gradients of the parameters of each module together against central differences along a direction of chance."""
    generator = torch.Generator().manual_seed(6)

    def loss() -> Tensor:
        return (network.objective(**batch).losses * factors).sum()

    found, modules = gradients(loss(), network), dict[str, dict[str, Tensor]]()
    for name, parameter in network.named_parameters():
        modules.setdefault(name.rpartition(".")[0], {})[name] = parameter
    for module, own in modules.items():
        directions = {
            name: torch.randn(each.shape, generator=generator, dtype=each.dtype) for name, each in own.items()
        }
        ends = []
        for step in (1e-5, -2e-5):  # there, and as far on the other side
            with torch.no_grad():
                for name, direction in directions.items():
                    own[name].add_(direction, alpha=step)
                ends.append(float(loss()))
        with torch.no_grad():
            for name, direction in directions.items():
                own[name].add_(direction, alpha=1e-5)
        expected = (ends[0] - ends[1]) / 2e-5
        slope = sum(float((found[name] * direction).sum()) for name, direction in directions.items())
        assert abs(expected) > 1e-6, f"{module}: this direction shows nothing"
        assert abs(slope - expected) < 1e-7 * max(1.0, abs(expected)), module
