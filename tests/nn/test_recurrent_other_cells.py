"""`Recurrent` with the cells that PyTorch does not have, two layers in both directions, against the reference."""

from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells, reference
from unrolled.nn import Recurrent

T, B, I, H = 4, 3, 2, 5  # noqa: E741 - letters of the equations
LENGTHS = np.array([2, 4, 3])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def draw(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32).astype(np.float64)


def weights_of(module: Recurrent, layer: int, suffix: str) -> reference.Weights:
    names = [f"{kind}_l{layer}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    named = dict(module.named_parameters())
    return reference.Weights(*(named[n].detach().double().numpy() if n in named else None for n in names))  # type: ignore[arg-type]


def by_reference(module: Recurrent, x: Any, initial: list[Any], d_outputs: Any, d_last: list[Any]) -> dict[str, Any]:
    """Layers and directions put together by hand, and taken apart again on the way back."""
    tapes, last, outputs = [], [], x
    for layer in range(2):
        done = [
            reference.unroll(
                module.cell,
                outputs,
                weights_of(module, layer, suffix),
                lengths=LENGTHS,
                initial_state=tuple(part[2 * layer + direction] for part in initial),
                reverse=bool(direction),
            )
            for direction, suffix in enumerate(("", "_reverse"))
        ]
        outputs = np.concatenate([one.outputs for one in done], axis=2)
        tapes.append([one.tape for one in done])
        last += [one.last for one in done]
    named = {"outputs": outputs} | {
        f"last {i}": np.stack([state[i] for state in last]) for i, _ in enumerate(module.cell.state)
    }
    d_initial = [np.zeros_like(part) for part in initial]
    for layer in (1, 0):
        d_below: Any = 0.0
        for direction, suffix in enumerate(("", "_reverse")):
            row = 2 * layer + direction
            gradients = reference.unroll_backward(
                tapes[layer][direction],
                d_outputs[:, :, direction * H : (direction + 1) * H],
                tuple(part[row] for part in d_last),
            )
            d_below = d_below + gradients.x
            for kind, value in gradients.weights._asdict().items():
                if value is not None:
                    named[f"d{kind}_l{layer}{suffix}"] = value
            for part, value in zip(d_initial, gradients.initial_state, strict=True):
                part[row] = value
        d_outputs = d_below
    return named | {"dx": d_outputs} | {f"dinitial {i}": part for i, part in enumerate(d_initial)}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("name", cells.names())
def test_two_layers_in_both_directions(name: str, bias: bool, dtype: torch.dtype) -> None:
    module = Recurrent(name, I, H, 2, bidirectional=True, bias=bias, dtype=dtype)
    module.reset_parameters(torch.Generator().manual_seed(4))
    parts = len(module.cell.state)
    arrays = [draw(1, T, B, I), *(draw(2 + i, 4, B, H) for i in range(parts))]
    d_outputs, d_last = draw(5, T, B, 2 * H), [draw(6 + i, 4, B, H) for i in range(parts)]
    x, *initial = (torch.from_numpy(array).to(dtype).requires_grad_() for array in arrays)
    outputs, last = module(x, tuple(initial), lengths=torch.from_numpy(LENGTHS))
    results = [outputs, *([last] if parts == 1 else last)]
    leaves = {"x": x} | {f"initial {i}": part for i, part in enumerate(initial)} | dict(module.named_parameters())
    weights = [torch.from_numpy(array).to(dtype) for array in (d_outputs, *d_last)]
    gradients = torch.autograd.grad(results, list(leaves.values()), weights)
    got = {"outputs": outputs} | {f"last {i}": part for i, part in enumerate(results[1:])}
    got |= {f"d{leaf}": gradient for leaf, gradient in zip(leaves, gradients, strict=True)}
    expected = by_reference(module, arrays[0], arrays[1:], d_outputs, d_last)
    assert got.keys() == expected.keys()
    for key, value in got.items():
        norm = np.linalg.norm(expected[key])
        assert norm > 0, f"{key} is zero throughout: the comparison would say nothing"
        assert value.dtype == dtype
        assert np.linalg.norm(value.detach().double().numpy() - expected[key]) / norm <= TOLERANCE[dtype], key
