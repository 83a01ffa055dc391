"""The gradient check itself: what it lets pass, what it refuses, and how it says so."""

import re
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pytest

from unrolled.errors import GradientCheckError, ShapeError, UsageError
from unrolled.reference import (
    Rules,
    TruncatedGradientWarning,
    central_difference,
    gradient_check,
    relative_error,
)

Parameters = dict[str, np.ndarray]


def _parameters() -> Parameters:
    random = np.random.default_rng(0)
    return {"weight": random.normal(size=(3, 4)), "bias": random.normal(size=3)}


def _loss(parameters: Mapping[str, np.ndarray]) -> float:
    return float(np.sin(parameters["weight"]).sum() * np.exp(parameters["bias"]).sum())


def _gradients(parameters: Mapping[str, np.ndarray]) -> Parameters:
    weight, bias = parameters["weight"], parameters["bias"]
    return {"weight": np.cos(weight) * np.exp(bias).sum(), "bias": np.sin(weight).sum() * np.exp(bias)}


def test_a_right_gradient_passes_and_nothing_is_changed() -> None:
    parameters = _parameters()
    before = {name: value.copy() for name, value in parameters.items()}
    report = gradient_check(_loss, parameters, _gradients(parameters))
    assert (report.elements, report.checked, report.unused, report.below_noise) == (15, 15, 0, 0)
    assert report.share_checked == 1
    assert 0 < report.worst.relative_error < 1e-8
    assert all(np.array_equal(parameters[name], value) for name, value in before.items())


@pytest.mark.parametrize("factor", [-1.0, 0.0, 0.99, 1.0001, 1.00003])
def test_one_wrong_element_is_found_and_named(factor: float) -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    gradients["weight"][1, 2] *= factor
    numerical = _gradients(parameters)["weight"][1, 2]
    expected = f"1 of 15 gradient elements fail, the worst weight[1, 2]: numerical {numerical:.6g}"
    with pytest.raises(GradientCheckError, match=re.escape(expected)) as caught:
        gradient_check(_loss, parameters, gradients)
    error = abs(1 - factor) / (1 + abs(factor))
    assert f"analytic {gradients['weight'][1, 2]:.12g}, relative error {error:.2g}"[:40] in str(caught.value)
    assert "tolerance 1e-05" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_worst_of_several_is_named() -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    gradients["weight"][0, 1] *= 1.1
    gradients["bias"][2] *= 2
    with pytest.raises(GradientCheckError, match=r"2 of 15 .* worst bias\[2\]: .* relative error 0\.333"):
        gradient_check(_loss, parameters, gradients)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    gradients["bias"][1] = value
    gradients["bias"][0] *= 1.5
    with pytest.raises(GradientCheckError, match=r"worst bias\[1\]: .* relative error nan"):
        gradient_check(_loss, parameters, gradients)
    declared = {"bias": np.ones(3), "weight": np.ones((3, 4))}
    with pytest.raises(GradientCheckError, match=r"worst bias\[1\]"):
        gradient_check(_loss, parameters, gradients, unused=declared)
    parameters = _parameters()
    with pytest.raises(GradientCheckError, match="numerical nan"):
        gradient_check(lambda _: value, parameters, _gradients(parameters))


def _with_table(parameters: Mapping[str, np.ndarray]) -> float:
    return _loss(parameters) + float((parameters["table"][:, [0, 2]] ** 2).sum())


def _table() -> tuple[Parameters, Parameters]:
    """A table of which columns 0 and 2 are looked up, column 1 is not."""
    parameters = _parameters() | {"table": np.random.default_rng(1).normal(size=(2, 3))}
    return parameters, _gradients(parameters) | {"table": 2 * parameters["table"] * np.array([1, 0, 1])}


def test_zero_against_zero_fails_unless_the_element_is_declared_unused() -> None:
    parameters, gradients = _table()
    with pytest.raises(GradientCheckError, match=r"2 of 21 .* table\[0, 1\].*0/0 proves nothing"):
        gradient_check(_with_table, parameters, gradients)
    report = gradient_check(_with_table, parameters, gradients, unused={"table": [False, True, False]})
    assert (report.checked, report.unused) == (19, 2)
    assert report.share_checked == 1


def test_declaring_an_element_unused_excuses_nothing_but_two_zeros() -> None:
    parameters, gradients = _table()
    gradients["table"][1, 1] = 1e-3
    with pytest.raises(GradientCheckError, match=r"1 of 21 .* table\[1, 1\]: numerical 0, .* relative error 1,"):
        gradient_check(_with_table, parameters, gradients, unused={"table": [False, True, False]})
    parameters, gradients = _table()
    gradients["table"][1, 2] = 0
    with pytest.raises(GradientCheckError, match=r"1 of 21 .* table\[1, 2\]: .* analytic 0, relative error 1,"):
        gradient_check(_with_table, parameters, gradients, unused={"table": [True, True, True]})


def test_small_gradients_pass_only_as_far_as_the_rounding_of_the_loss_blurs_them() -> None:
    scale = np.array([1.0, 2.0, 1e-6, 3e-14])
    parameters = {"weight": np.array([0.3, -0.7, 0.5, 0.2])}

    def loss(parameters: Mapping[str, np.ndarray]) -> float:
        return 7 + float((scale * np.sin(parameters["weight"])).sum())

    gradient = scale * np.cos(parameters["weight"])
    report = gradient_check(loss, parameters, {"weight": gradient})
    assert (report.checked, report.below_noise) == (3, 1)
    assert report.share_checked == 0.75
    for index, slack in ((2, 3e-9), (3, 3e-9)):  # the floor is 16 * 2.2e-16 * 7 / 2e-5, near 1.2e-9
        wrong = gradient.copy()
        wrong[index] += slack
        with pytest.raises(GradientCheckError, match=rf"1 of 4 .* weight\[{index}\]"):
            gradient_check(loss, parameters, {"weight": wrong})


def test_a_check_that_compares_too_little_fails() -> None:
    parameters = {"weight": np.array([0.3, -0.7, 0.5])}
    scale = np.array([1.0, 1e-14, 1e-14])

    def loss(parameters: Mapping[str, np.ndarray]) -> float:
        return 7 + float((scale * np.sin(parameters["weight"])).sum())

    with pytest.raises(GradientCheckError, match="only 1 of 3 elements rise above the rounding of the loss"):
        gradient_check(loss, parameters, {"weight": scale * np.cos(parameters["weight"])})
    with pytest.raises(GradientCheckError, match="only 0 of 0 elements"):
        gradient_check(lambda _: 1.0, parameters, {"weight": np.zeros(3)}, unused={"weight": True})


def test_a_sample_is_drawn_by_the_generator_that_is_handed_in() -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    gradients["weight"][2, 3] *= 2
    rules, passed = Rules(share=0.5), []
    for seed in range(20):
        with suppress(GradientCheckError):
            passed.append(gradient_check(_loss, parameters, gradients, rules=rules, random=np.random.default_rng(seed)))
    assert 5 <= len(passed) <= 15  # the wrong element is among those drawn half of the time
    assert {(report.checked, report.share_checked) for report in passed} == {(8, 8 / 15)}  # 6 of 12, and 2 of 3
    with pytest.raises(UsageError, match=r"share is 0\.5: hand in"):
        gradient_check(_loss, parameters, gradients, rules=rules)


def test_a_truncated_gradient_is_warned_of_even_if_it_passes() -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    with pytest.warns(TruncatedGradientWarning, match="truncate=3 is less than T-1=4: this is not the true gradient"):
        gradient_check(_loss, parameters, gradients, truncate=3, steps=5)
    gradient_check(_loss, parameters, gradients, truncate=4, steps=5)
    assert issubclass(TruncatedGradientWarning, UserWarning)
    with pytest.raises(UsageError, match="without steps"):
        gradient_check(_loss, parameters, gradients, truncate=4)


def test_relative_error_and_central_difference() -> None:
    assert relative_error(3.0, 1.0) == 0.5
    assert relative_error(-1.0, 1.0) == 1
    assert relative_error(0.0, 2.0) == 1
    assert all(np.isnan(relative_error(*pair)) for pair in ((0.0, 0.0), (np.nan, 1.0), (1.0, np.inf), (np.inf, np.inf)))
    parameters = {"x": np.array([[2.0, 5.0]])}
    numerical, noise = central_difference(lambda p: float(p["x"][0, 0] ** 3), parameters, "x", (0, 0), 0.5)
    assert numerical == 12.25  # (2.5^3 - 1.5^3) / 1
    assert noise == 16 * 2.0**-52 * 2.5**3
    assert parameters["x"].tolist() == [[2, 5]]


def test_what_cannot_be_compared_is_refused() -> None:
    parameters = _parameters()
    gradients = _gradients(parameters)
    with pytest.raises(ShapeError, match=r"gradient of bias has shape \(1, 3\): expected \(3,\)"):
        gradient_check(_loss, parameters, gradients | {"bias": gradients["bias"][None]})
    with pytest.raises(ShapeError, match=r"gradients are of \['weight'\]: expected one for each"):
        gradient_check(_loss, parameters, {"weight": gradients["weight"]})
    with pytest.raises(ShapeError, match="parameter bias has dtype float32"):
        gradient_check(_loss, parameters | {"bias": parameters["bias"].astype(np.float32)}, gradients)
    for wrong in ({"step": 0.0}, {"tolerance": 1.0}, {"tolerance": 0.0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(UsageError, match="expected step > 0"):
            Rules(**wrong)
