"""Every operand that does not fit is named, with what it is and what was expected."""

from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells, engines
from unrolled.engines import LanguageModelWeights, LayerWeights, Masks, Sampling
from unrolled.engines.autograd import linear_cross_entropy, project_tokens
from unrolled.errors import ShapeError

T, B, H = 4, 3, 2
ONE, OTHER = np.zeros((B, H)), np.zeros((B, H + 1))


def unroll(**changes: Any) -> None:
    given: dict[str, Any] = {
        "x": np.zeros((T, B, 4 * H)),
        "weight_hh": np.zeros((4 * H, H)),
        "bias_hh": np.zeros(4 * H),
        "state": (ONE, ONE),
        "lengths": None,
        "masks": None,
    } | changes
    engines.get("portable").unroll(cells.get("lstm"), **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_hh": np.zeros(8)}, r"weight_hh has shape (8,): expected (any, any)"),
        (
            {"weight_hh": np.zeros((6, 2))},
            "weight_hh has shape (6, 2): expected (8, 2) for the 4 gates of cell lstm",
        ),
        ({"x": np.zeros((B, 8))}, "x has shape (3, 8): expected (any, any, 8)"),
        ({"x": np.zeros((T, B, 7))}, "x has shape (4, 3, 7): expected (any, any, 8)"),
        ({"x": np.zeros((0, B, 8))}, "x has shape (0, 3, 8): give at least one time step and one sequence"),
        ({"x": np.zeros((T, 0, 8))}, "x has shape (4, 0, 8): give at least one time step and one sequence"),
        ({"bias_hh": np.zeros(7)}, "bias_hh has shape (7,): expected (8)"),
        ({"state": (ONE,)}, "state has 1 parts: cell lstm has ('h', 'c')"),
        ({"state": (ONE, OTHER)}, "state c has shape (3, 3): expected (3, 2)"),
        ({"masks": Masks(recurrent=OTHER)}, "recurrent mask has shape (3, 3): expected (3, 2)"),
        ({"masks": Masks(zoneout=(ONE,))}, "zoneout has 1 masks: cell lstm has state ('h', 'c')"),
        (
            {"masks": Masks(zoneout=(np.zeros((T, B, H)), ONE))},
            "zoneout mask c has shape (3, 2): expected (4, 3, 2)",
        ),
        (
            {"weight_hh": np.zeros((8, 2), np.float32)},
            "weight_hh has dtype float32 and x has float64: give all operands one dtype",
        ),
        ({"bias_hh": np.zeros(8, np.float32)}, "bias_hh has dtype float32 and x has"),
        ({"state": (ONE, ONE.astype(np.float32))}, "state c has dtype float32 and x has"),
        ({"masks": Masks(recurrent=ONE.astype(np.float32))}, "recurrent mask has dtype float32 and x has"),
        (
            {"masks": Masks(zoneout=(np.zeros((T, B, H)), np.zeros((T, B, H), bool)))},
            "zoneout mask c has dtype bool and x has",
        ),
        ({"lengths": np.array([1, 2])}, "lengths have shape (2,) and dtype int64: expected (3,) integers"),
        ({"lengths": np.ones(3)}, "lengths have shape (3,) and dtype float64: expected (3,) integers"),
        ({"lengths": np.array([4, 0, 1])}, "lengths reach from 0 to 4: each must be 1 to 4"),
        ({"lengths": torch.tensor([4, 5, 1])}, "lengths reach from 1 to 5: each must be 1 to 4"),
    ],
)
def test_unroll(changes: dict[str, Any], message: str) -> None:
    unroll()
    with pytest.raises(ShapeError) as error:
        unroll(**changes)
    assert str(error.value).startswith(message)


def test_step() -> None:
    weight = np.zeros((8, 2))
    with pytest.raises(ShapeError, match=r"^state c has shape"):
        engines.get("portable").step(cells.get("lstm"), np.zeros((B, 8)), weight, None, (ONE, OTHER))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array([1, 2])}, "ids has shape (2,): expected (any, any)"),
        ({"ids": np.zeros((2, 3))}, "ids have shape (2, 3) and dtype float64: expected (2, 3) integers"),
        ({"ids": np.zeros((2, 0), int)}, "ids have shape (2, 0): give at least one"),
        ({"ids": np.array([[0, 5]])}, "ids reach from 0 to 5: each must be 0 to 4"),
        ({"ids": np.array([[-1, 4]])}, "ids reach from -1 to 4: each must be 0 to 4"),
        ({"embedding": np.zeros(5)}, "embedding has shape (5,): expected (any, any)"),
        ({"weight": np.zeros((6, 2))}, "weight_ih has shape (6, 2): expected (any, 3) for the embedding"),
        ({"bias": np.zeros(5)}, "bias_ih has shape (5,): expected (6)"),
        ({"weight": np.zeros((6, 3), np.float32)}, "weight_ih has dtype "),
        ({"bias": np.zeros(6, np.float32)}, "bias_ih has dtype "),
    ],
)
def test_project_tokens(changes: dict[str, Any], message: str, kind: str) -> None:
    fitting = {"ids": np.array([[1, 4]]), "embedding": np.zeros((5, 3)), "weight": np.zeros((6, 3)), "bias": None}
    _raises(engines.get("portable").project_tokens, fitting, changes, kind, message)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": np.zeros((2, 1, 3))}, "inputs has shape (2, 1, 3): expected (any, any)"),
        ({"weight": np.zeros((5, 2))}, "weight has shape (5, 2): expected (any, 3) for the inputs"),
        ({"bias": np.zeros(4)}, "bias has shape (4,): expected (5)"),
        ({"targets": np.array([0])}, "targets have shape (1,) and dtype int64: expected (2,) integers"),
        ({"targets": np.array([[0, 1]])}, "targets have shape (1, 2) and dtype int64: expected (2,) integers"),
        ({"targets": np.array([0, 5])}, "targets reach from 0 to 5: each must be 0 to 4"),
        ({"targets": np.array([0, -100])}, "targets reach from -100 to 0: each must be 0 to 4"),
        ({"weight": np.zeros((5, 3), np.float32)}, "weight has dtype "),
        ({"bias": np.zeros(5, np.float32)}, "bias has dtype "),
    ],
)
def test_linear_cross_entropy(changes: dict[str, Any], message: str, kind: str) -> None:
    fitting = {"inputs": np.zeros((2, 3)), "weight": np.zeros((5, 3)), "bias": None, "targets": np.array([4, 0])}
    _raises(engines.get("portable").linear_cross_entropy, fitting, changes, kind, message)


def _raises(operation: Any, fitting: dict[str, Any], changes: dict[str, Any], kind: str, message: str) -> None:
    def operands(given: dict[str, Any]) -> list[Any]:
        wrap = torch.from_numpy if kind == "torch" else np.asarray
        return [None if value is None else wrap(value) for value in given.values()]

    operation(*operands(fitting))
    with pytest.raises(ShapeError) as error:
        operation(*operands(fitting | changes))
    assert str(error.value).startswith(message)


def test_autograd_operations_check_as_well() -> None:
    engine = engines.get("portable")
    table = torch.zeros(5, 3, requires_grad=True)
    with pytest.raises(ShapeError, match=r"^ids reach from 7 to 7"):
        project_tokens(engine, torch.tensor([[7]]), table, torch.zeros(6, 3), None)
    with pytest.raises(ShapeError, match=r"^targets reach from -1 to -1"):
        linear_cross_entropy(engine, torch.zeros(1, 3), table, None, torch.tensor([-1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": []}, "state is given for 0 layers: the model has 1"),
        ({"state": [(ONE, ONE)]}, "state has 2 parts: cell tanh has ('h',)"),
        ({"state": [(OTHER,)]}, "state h has shape (3, 3): expected (3, 2)"),
        ({"tokens": np.array([0, 1])}, "tokens have shape (2,) and dtype int64: expected (3,) integers"),
        ({"tokens": np.array([0, 5, 1])}, "tokens reach from 0 to 5: each must be 0 to 4"),
        (
            {"generators": [np.random.default_rng(0)]},
            "state h has shape (3, 2): expected (1, 2)",
        ),
    ],
)
def test_decode(changes: dict[str, Any], message: str) -> None:
    layer = LayerWeights(np.zeros((H, 4)), np.zeros((H, H)), None, None)
    weights = LanguageModelWeights(cells.get("tanh"), np.zeros((5, 4)), (layer,), np.zeros((5, H)), np.zeros(5))
    given: dict[str, Any] = {
        "state": [(ONE,)],
        "tokens": np.array([0, 1, 2]),
        "generators": [np.random.default_rng(0)] * B,
    }
    assert layer.hidden_size == H

    def first(values: dict[str, Any]) -> Any:
        return next(engines.get("portable").predictor(weights).decode(**values, sampling=Sampling()))

    assert first(given).shape == (1, B)
    with pytest.raises(ShapeError) as error:
        first(given | changes)
    assert str(error.value).startswith(message)
