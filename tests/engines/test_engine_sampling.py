import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.engines import Sampling
from unrolled.errors import EngineError, UsageError

SHARES = [0.5, 0.3, 0.15, 0.05]


def scores_of(*shares: float) -> Any:
    """Scores, shifted so that they are no log-probabilities, whose softmax is the shares."""
    return np.log(np.array([shares])) + 4.0


class Fixed(np.random.Generator):
    """A generator whose draws are given."""

    def __init__(self, *draws: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.draws = list(draws)

    def random(self, *_: Any, **__: Any) -> Any:
        return self.draws.pop(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"temperature is 0.0: give a number above 0 \(or use greedy\)"),
        ({"temperature": -1.0}, "temperature is -1.0: give"),
        ({"temperature": math.inf}, "temperature is inf: give"),
        ({"temperature": math.nan}, "temperature is nan: give"),
        ({"top_k": -1}, r"top_k is -1: give 0 \(all tokens\) or a positive count"),
        ({"top_p": 0.0}, "top_p is 0.0: give a share above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5: give"),
        ({"top_p": math.nan}, "top_p is nan: give"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        Sampling(**settings)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), SHARES),
        # squares of the shares over their sum, 0.365; square roots are no rationals, so flattening is by its own sum
        (Sampling(temperature=0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        (Sampling(temperature=2.0), [p**0.5 / sum(q**0.5 for q in SHARES) for p in SHARES]),
        (Sampling(top_k=1), [1, 0, 0, 0]),
        (Sampling(top_k=2), [0.5 / 0.8, 0.3 / 0.8, 0, 0]),
        (Sampling(top_k=4), SHARES),
        (Sampling(top_k=99), SHARES),
        (Sampling(top_p=0.3), [1, 0, 0, 0]),  # below the highest probability: still one
        (Sampling(top_p=0.79), [0.5 / 0.8, 0.3 / 0.8, 0, 0]),
        (Sampling(top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Sampling(top_p=0.96), SHARES),
        # top_k first: 0.5 and 0.3 become 0.625 and 0.375, and 0.6 is reached by the first alone
        (Sampling(top_k=2, top_p=0.6), [1, 0, 0, 0]),
        # temperature first: the first has 0.25 / 0.365 = 0.68
        (Sampling(temperature=0.5, top_p=0.65), [1, 0, 0, 0]),
    ],
    ids=repr,
)
def test_probabilities_worked_by_hand(sampling: Sampling, expected: list[float]) -> None:
    shuffle = [2, 0, 3, 1]  # the order of ids is not that of probabilities
    got = sampling.probabilities(scores_of(*(SHARES[i] for i in shuffle)), ())
    np.testing.assert_allclose(got, [[expected[i] for i in shuffle]], rtol=1e-12, atol=0)


def test_top_p_keeps_no_token_more_than_it_needs() -> None:
    got = Sampling(top_p=0.5).probabilities(np.log([[0.25, 0.25, 0.25, 0.25]]), ())
    np.testing.assert_array_equal(got, [[0.5, 0.5, 0, 0]])


def test_equal_scores_go_to_the_lower_id() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 3.0, 0.0]])
    np.testing.assert_array_equal(Sampling(greedy=True).choose(scores, (), []), [1])
    np.testing.assert_array_equal(Sampling(greedy=True).choose(scores, (1,), []), [2])
    np.testing.assert_array_equal(Sampling(top_k=2).probabilities(scores, ()), [[0, 0.5, 0.5, 0, 0]])
    many = np.random.default_rng(0).integers(0, 2, (1, 500)).astype(float)  # enough for a sort that is not stable
    kept = Sampling(top_k=20).probabilities(many, ())[0]
    np.testing.assert_array_equal(np.flatnonzero(kept), np.flatnonzero(many[0])[:20])


def test_greedy_looks_at_nothing_else_and_draws_nothing() -> None:
    generator = np.random.default_rng(5)
    sampling = Sampling(greedy=True, temperature=100.0, top_k=3, top_p=0.9)
    chosen = sampling.choose(np.array([[0.1, 0.2], [0.2, 0.1]]), (), [generator, generator])
    np.testing.assert_array_equal(chosen, [1, 0])
    assert generator.random() == np.random.default_rng(5).random()


def test_rows_are_independent() -> None:
    scores = np.log([SHARES, SHARES[::-1]])
    got = Sampling(top_p=0.7).probabilities(scores, ())
    np.testing.assert_allclose(got, [[0.625, 0.375, 0, 0], [0, 0, 0.375, 0.625]], rtol=1e-12)


def test_forbidden_tokens_have_no_share_and_the_others_keep_their_proportions() -> None:
    got = Sampling().probabilities(scores_of(*SHARES), (0, 3))
    np.testing.assert_allclose(got, [[0, 0.3 / 0.45, 0.15 / 0.45, 0]], rtol=1e-12)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(greedy=True)], ids=["sampled", "greedy"])
@pytest.mark.parametrize(
    ("scores", "forbidden"), [([[1.0, 2.0], [0.0, 0.0]], (0, 1)), ([[np.nan, 0.0]], ()), ([[np.inf, 0.0]], ())]
)
def test_a_row_without_a_choice_is_an_error(sampling: Sampling, scores: Any, forbidden: tuple[int, ...]) -> None:
    generators = [np.random.default_rng(0)] * len(scores)
    with pytest.raises(EngineError, match=r"^row 0 of the scores leaves no token to choose"):
        sampling.choose(np.array(scores), forbidden, generators)


def test_the_row_without_a_choice_is_named() -> None:
    with pytest.raises(EngineError, match=r"^row 1 of .* \(highest allowed score nan\)"):
        Sampling().probabilities(np.array([[0.0, 1.0], [np.nan, 1.0]]), ())


@pytest.mark.parametrize(
    ("draw", "expected"), [(0.0, 1), (0.299, 1), (0.301, 2), (0.449, 2), (0.4501, 4), (np.nextafter(1, 0), 4)]
)
def test_a_draw_falls_into_its_share(draw: float, expected: int) -> None:
    scores = np.log([[1e-300, 0.3, 0.15, 1e-300, 0.55]])  # ids 0 and 3 are forbidden, and last is not special
    np.testing.assert_array_equal(Sampling().choose(scores, (0, 3), [Fixed(draw)]), [expected])


def test_the_highest_draw_stays_inside_the_vocabulary_whatever_the_sum_rounds_to() -> None:
    random = np.random.default_rng(0)
    for size in (3, 10, 1000):
        scores = random.normal(size=(50, size))
        highest = [Fixed(float(np.nextafter(1, 0))) for _ in range(50)]
        assert Sampling().choose(scores, (size - 1,), highest).max() == size - 2


def test_draws_are_reproducible_and_one_a_row() -> None:
    scores = np.random.default_rng(1).normal(size=(4, 6))
    first, second = ([np.random.default_rng(seed) for seed in (1, 2, 3, 4)] for _ in range(2))
    several = [Sampling().choose(scores, (), first) for _ in range(20)]
    np.testing.assert_array_equal(several, [Sampling().choose(scores, (), second) for _ in range(20)])
    assert len(np.unique(several, axis=0)) > 1
    for generator, seed in zip(first, (1, 2, 3, 4), strict=True):
        assert generator.random() == np.random.default_rng(seed).random(21)[20]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_float64_and_leave_the_scores_alone(dtype: Any) -> None:
    scores = np.array([[2313.0, 31.0, 11.0, 55.0, 2310.0]], dtype)
    got = Sampling(top_k=3, top_p=0.99).probabilities(scores, (1,))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, [[1 / (1 + math.exp(-3)), 0, 0, 0, 1 / (1 + math.exp(3))]], rtol=1e-12)
    np.testing.assert_array_equal(scores, np.array([[2313.0, 31.0, 11.0, 55.0, 2310.0]], dtype))


def test_a_tiny_temperature_is_greedy() -> None:
    got = Sampling(temperature=1e-320).probabilities(np.array([[1.0, 9.0, 8.0]]), ())
    np.testing.assert_array_equal(got, [[0, 1, 0]])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    scores=st.lists(st.floats(-30, 30), min_size=2, max_size=12),
    temperature=st.floats(0.05, 20),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.01, 1),
)
def test_any_setting_keeps_the_most_probable_tokens_and_sums_to_one(
    scores: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    row = np.array(scores)
    got = Sampling(temperature=temperature, top_k=top_k, top_p=top_p).probabilities(row[None], ())[0]
    assert abs(got.sum() - 1) < 1e-12
    assert got[row.argmax()] == got.max() > 0
    kept = got > 0
    assert top_k == 0 or kept.sum() <= top_k
    full = np.exp((row - row.max()) / temperature)
    assert full[kept].min() >= full[~kept].max(initial=0)
