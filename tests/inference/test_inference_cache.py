"""A cache beside a model: its mixture by hand, its probabilities, what it may look at, and what it is worth."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from unrolled import LanguageModel
from unrolled.cli.app import run
from unrolled.errors import UsageError
from unrolled.inference import cache as module
from unrolled.inference.cache import DEALT, LAMBDAS, THETAS, Cache
from unrolled.inference.scoring import sentence_losses, stream_losses

V, H, M = 5, 3, 90
Doubles = npt.NDArray[np.float64]


def drawn(seed: int = 0) -> tuple[Doubles, npt.NDArray[np.int64], Doubles]:
    """Outputs (M, H), tokens (M,), and the network's log-probabilities (M, V)."""
    random = np.random.default_rng(seed)
    outputs, scores = random.normal(size=(M, H)), random.normal(size=(M, V))
    return outputs, random.integers(0, V, M), scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def own(logs: Doubles, tokens: npt.NDArray[np.int64]) -> Doubles:
    return -np.take_along_axis(logs, tokens[:, None], axis=1)[:, 0]


def by_hand(outputs: Doubles, tokens: npt.NDArray[np.int64], losses: Doubles, size: int) -> list[float]:
    """Token by token, pair by pair."""
    experts: list[Any] = [None, *((theta, share) for theta in THETAS for share in LAMBDAS)]
    weights, found = [1 / len(experts)] * len(experts), []
    for t, token in enumerate(tokens):
        mean = sum(float(each @ each) for each in outputs[: t + 1]) / (t + 1)
        given = []
        for expert in experts:
            model, kept = math.exp(-losses[t]), range(max(0, t - size), t)
            if expert is None or not kept:
                given.append(model)
                continue
            theta, share = expert
            like = {i: math.exp(theta * float(outputs[t] @ outputs[i]) / mean) for i in kept}
            said = sum(each for i, each in like.items() if tokens[i] == token) / sum(like.values())
            given.append((1 - share) * model + share * said)
        total = sum(weight * each for weight, each in zip(weights, given, strict=True))
        found.append(-math.log(total))
        weights = [
            (1 - DEALT) * weight * each / total + DEALT / len(experts)
            for weight, each in zip(weights, given, strict=True)
        ]
    return found


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 32)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_the_mixture_is_the_one_made_by_hand(size: int) -> None:
    outputs, tokens, logs = drawn()
    losses = own(logs, tokens)
    whole = Cache(size).mix(outputs, tokens, losses)
    np.testing.assert_allclose(whole, by_hand(outputs, tokens, losses, size), rtol=1e-9)
    pieces, cache = [], Cache(size)
    for start, end in ((0, 1), (1, 1), (1, 52), (52, 53), (53, M)):
        pieces.append(cache.mix(outputs[start:end], tokens[start:end], losses[start:end]))
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-12, err_msg="pieces are the whole")


def test_all_tokens_together_are_given_one() -> None:
    outputs, tokens, logs = drawn()
    cache = Cache(40)
    cache.mix(outputs[:-1], tokens[:-1], own(logs, tokens)[:-1])
    given = 0.0
    for token in range(V):
        next_one = np.array([token])
        (loss,) = copy.deepcopy(cache).mix(outputs[-1:], next_one, own(logs[-1:], next_one))
        given += math.exp(-loss)
    assert given == pytest.approx(1, abs=1e-12)


def test_no_token_is_told_from_later_ones() -> None:
    outputs, tokens, logs = drawn()
    others, other_tokens, other_logs = drawn(1)
    losses, cut = own(logs, tokens), 41
    changed = [
        np.concatenate([one[:cut], other[cut:]])
        for one, other in ((outputs, others), (tokens, other_tokens), (losses, own(other_logs, other_tokens)))
    ]
    whole, mixed = Cache(30).mix(outputs, tokens, losses), Cache(30).mix(*changed)
    np.testing.assert_array_equal(mixed[:cut], whole[:cut])
    assert (mixed[cut:] != whole[cut:]).any()


def test_it_helps_where_text_comes_again_and_costs_next_to_nothing_elsewhere() -> None:
    random = np.random.default_rng(2)
    outputs, tokens = random.normal(size=(200, 32)), random.integers(0, 50, 200)
    losses = np.full(400, math.log(50))
    again = Cache(200).mix(np.tile(outputs, (2, 1)), np.tile(tokens, 2), losses)
    assert again[:200].mean() == pytest.approx(losses.mean(), rel=0.02), "noise"
    assert again[250:].mean() < 1, "the same again"
    never = Cache(200).mix(random.normal(size=(400, 32)), np.arange(400), losses)
    assert never.max() - losses.max() < math.log(2)
    assert never.mean() - losses.mean() < 0.02


def test_the_size_of_outputs_and_the_rows_at_once_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, tokens, logs = drawn()
    losses = own(logs, tokens)
    usual = Cache(30).mix(outputs, tokens, losses)
    for scale in (1e-18, 1e18):
        scaled = (outputs * scale).astype(np.float32)
        np.testing.assert_allclose(Cache(30).mix(scaled, tokens, losses), usual, rtol=1e-4)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 65)
    np.testing.assert_allclose(Cache(30).mix(outputs, tokens, losses), usual, rtol=1e-12)


def test_what_the_model_takes_for_impossible_does_not_end_it() -> None:
    outputs, tokens, logs = drawn()
    losses = own(logs, tokens)
    usual = Cache(30).mix(outputs, tokens, losses)
    losses[50], tokens[50] = np.inf, V
    mixed = Cache(30).mix(outputs, tokens, losses)
    assert np.isfinite(mixed).all()
    assert mixed[50] > 500
    np.testing.assert_array_equal(mixed[:50], usual[:50])
    assert abs(mixed[60:].mean() - usual[60:].mean()) < 0.5
    assert np.isfinite(Cache(30).mix(outputs * 0, tokens, losses)).all()


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^cache is 0: give a whole number of at least 1$"):
        Cache(0)


# With a model


@pytest.mark.parametrize("kind", ["word", "sentences"])
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_an_evaluation_with_a_cache(tiny_model: Callable[[str], Path], kind: str, engine: str) -> None:
    model = LanguageModel.load(tiny_model(kind), engine=engine, dtype="float64")
    text = "the cat sees a dog.\nZoë won't see a giraffe.\n" * 50
    alone, beside = model.evaluate(text), model.evaluate(text, cache=100)
    assert (alone.cache, beside.cache) == (None, 100)
    assert beside.tokens == alone.tokens
    assert beside.nats_per_token < alone.nats_per_token / 2, "each line was there two lines before"
    ids, end = model.tokenizer.encode(text), model.tokenizer.end_of_line_id
    read = sentence_losses if kind == "sentences" else stream_losses
    losses = np.concatenate([*read(model.predictor, ids, end_of_line_id=end)])
    outputs = outputs_of(model, ids, alone=kind == "sentences")
    expected = Cache(100).mix(outputs, ids.astype(np.int64), losses)
    assert beside.nats_per_token == pytest.approx(expected.mean(), rel=1e-9)


def outputs_of(model: LanguageModel, ids: Any, *, alone: bool) -> Doubles:
    """The states' h before each token, one token at a time; from zero in each line if `alone`."""
    end, state, before, found = model.tokenizer.end_of_line_id, None, model.tokenizer.end_of_line_id, []
    for token in ids.tolist():
        state = model.predictor.read(np.array([before]), np.array([1]), state).state
        found.append(state[-1][0][0].astype(np.float64))
        state, before = (None if alone and token == end else state), token
    return np.stack(found)


def test_the_command(tiny_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, model = tmp_path / "text.txt", tiny_model("word")
    path.write_text("the cat sees a dog.\n" * 50, encoding="utf-8")
    assert run(["evaluate", str(model), str(path), "--cache", "2000", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    expected = LanguageModel.load(model, dtype="float32").evaluate(path.read_text(encoding="utf-8"), cache=2000)
    assert record["cache"] == 2000
    assert record["perplexity"] == pytest.approx(expected.perplexity)
    assert run(["evaluate", str(model), str(path), "--cache", "2000"]) == 0
    shown = capsys.readouterr()
    assert "cache               the last 2,000 tokens\n" in shown.err
    assert f"{expected.perplexity:,.3f}" in shown.out
    assert run(["evaluate", str(model), str(path), "--cache", "0"]) == 2
    assert capsys.readouterr().err == "unrolled: error: cache is 0: give a whole number of at least 1\n"
