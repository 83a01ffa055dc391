import math

import numpy as np
import pytest

from unrolled import metrics
from unrolled.errors import UsageError


def test_perplexity_is_the_size_of_an_even_choice() -> None:
    assert metrics.perplexity(math.log(7)) == pytest.approx(7)
    assert metrics.perplexity(metrics.uniform_baseline(8000)) == pytest.approx(8000)


def test_perplexity_beyond_every_float_is_infinite_and_nan_stays_nan() -> None:
    assert metrics.perplexity(1e6) == math.inf
    assert metrics.perplexity(math.inf) == math.inf
    assert math.isnan(metrics.perplexity(math.nan))


def test_bits_count_halvings() -> None:
    total = 24 * math.log(2)
    assert metrics.bits(total) == pytest.approx(24)
    assert metrics.bits_per_character(total, 12) == pytest.approx(2)
    assert metrics.bits_per_byte(total, 16) == pytest.approx(1.5)
    assert metrics.nats_per_token(total, 6) == pytest.approx(4 * math.log(2))


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(UsageError, match="0 characters"):
        metrics.bits_per_character(1.0, 0)
    with pytest.raises(UsageError, match="0 bytes"):
        metrics.bits_per_byte(1.0, 0)
    with pytest.raises(UsageError, match="0 tokens"):
        metrics.nats_per_token(1.0, 0)
    with pytest.raises(UsageError, match="vocabulary"):
        metrics.uniform_baseline(0)
    with pytest.raises(UsageError, match="to predict"):
        metrics.unigram_baseline(np.array([0, 1, 0]), np.zeros(3, dtype=np.int64))


def test_unigram_baseline_by_hand() -> None:
    train, validation = np.array([1, 3, 1, 0]), np.array([1, 1, 0, 1])
    expected = -(math.log(4 / 9) + math.log(1 / 9) + math.log(2 / 9)) / 3  # one more each, of 5 + 4
    assert metrics.unigram_baseline(train, validation) == pytest.approx(expected, rel=1e-12)


def test_unigram_baseline_without_training_text_is_the_uniform_one() -> None:
    nothing, two = np.zeros(9, dtype=np.int64), np.array([0, 0, 1, 0, 1, 0, 0, 0, 0])
    assert metrics.unigram_baseline(nothing, two) == pytest.approx(metrics.uniform_baseline(9))
