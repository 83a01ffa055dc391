"""Where loss or gradient is no number any more, a run goes back to its last checkpoint and lowers its rate."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrolled import LanguageModel
from unrolled.errors import TrainingError
from unrolled.training import course as course_module
from unrolled.training import loop, optimizers
from unrolled.training.events import Finished, Validated, WentBack
from unrolled.training.loop import Found, validate
from unrolled.training.run import run

from .runs import DEFAULTS, SETTINGS, config_of, log_of, settings, train, weights_of

pytestmark = pytest.mark.usefixtures("no_curve")

WANTED = settings(regularization={"dropout": 0.3})
OFTEN = replace(WANTED, training=replace(WANTED.training, checkpoint_every=1e-9))
"""A checkpoint after every step."""


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the norms of the gradients at some steps, counted over the whole test, something else."""

    def spoil_norms(*steps: int, by: float = math.nan) -> None:
        own, count = optimizers.gradient_norm, 0

        def norm(optimizer: object) -> float:
            nonlocal count
            count += 1
            return by if count in steps else own(optimizer)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "gradient_norm", norm)

    return spoil_norms


@pytest.mark.parametrize("by", [math.nan, math.inf])
def test_a_run_goes_back_to_its_beginning_and_on_with_half_the_rate(
    by: float, spoil: Callable[..., None], corpus: Path, tmp_path: Path
) -> None:
    spoil(5, by=by)
    events = list(run([corpus], tmp_path / "model", WANTED))
    back = [event for event in events if isinstance(event, WentBack)]
    assert [(event.step, event.to, event.learning_rate) for event in back] == [(4, 0, 0.01)]
    assert back[0].reason.startswith("step 5: the loss is ")
    assert isinstance(events[-1], Finished)
    assert events[-1].repeat == "", "no options make it go back again"
    assert config_of(tmp_path / "model")["training"]["results"]["repeat"] is None
    slower = replace(WANTED, training=replace(WANTED.training, learning_rate=0.01))
    train(corpus, tmp_path / "slower", slower)
    assert weights_of(tmp_path / "model") == weights_of(tmp_path / "slower"), (
        "as if the rate had been so from the start"
    )
    noted = [record for record in log_of(tmp_path / "model") if "went_back_to" in record]
    assert [(record["step"], record["went_back_to"], record["highest_rate"]) for record in noted] == [(4, 0, 0.01)]


def test_a_run_goes_back_to_its_last_checkpoint(spoil: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    spoil(5, 9)
    events = list(run([corpus], tmp_path / "model", OFTEN))
    back = [(event.step, event.to, event.learning_rate) for event in events if isinstance(event, WentBack)]
    assert back == [(4, 4, 0.01), (7, 7, 0.005)]
    assert isinstance(events[-1], Finished)
    assert events[-1].steps == train(corpus, tmp_path / "undisturbed")[0].steps


def test_a_run_goes_back_three_times_and_then_ends(spoil: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    _, (first, *_) = train(corpus, tmp_path / "undisturbed")
    spoil(*range(first.step + 3, 10_000))
    out = tmp_path / "model"
    with pytest.raises(TrainingError) as caught:
        list(run([corpus], out, SETTINGS))
    message = str(caught.value)
    assert message.startswith("step 1: the loss is ")
    assert "gradient has norm nan: give a lower --learning-rate or a smaller --clip" in message
    assert "; the run went back 3 times and lowered its rate, in vain; the best weights so far are in" in message
    assert message.endswith(str(out))
    assert "\n" not in message
    results = config_of(out)["training"]["results"]
    assert (results["finished"], results["validation_loss"]) == (False, first.loss)
    assert LanguageModel.load(out).score(["the cat"])[0].tokens == 3


def test_the_lower_rate_outlives_a_resumption(spoil: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    spoil(5)
    out = tmp_path / "model"
    for event in run([corpus], out, WANTED):
        if isinstance(event, WentBack):
            break
    *_, end = run([], out, DEFAULTS, resume=True)
    assert isinstance(end, Finished)
    slower = replace(WANTED, training=replace(WANTED.training, learning_rate=0.01))
    train(corpus, tmp_path / "slower", slower)
    assert weights_of(out) == weights_of(tmp_path / "slower")


def test_a_validation_without_a_number_is_a_setback_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([Found(math.nan, None)])
    own = validate
    monkeypatch.setattr(course_module, "validate", lambda *arguments: next(losses, None) or own(*arguments))
    events = list(run([corpus], tmp_path / "model", SETTINGS))
    (back,) = (event for event in events if isinstance(event, WentBack))
    assert back.to == 0
    assert back.reason == f"step {back.step}: the validation loss is nan: give a lower --learning-rate"
    assert all(math.isfinite(event.loss) for event in events if isinstance(event, Validated))
    assert isinstance(events[-1], Finished)


def test_what_has_spoiled_the_weights_never_comes_into_a_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, count = optimizers.clipped_step, 0

    def spoiling_step(optimizer: torch.optim.Optimizer, *arguments: float) -> None:
        nonlocal count
        count += 1
        own(optimizer, *arguments)
        if count == 5:
            next(iter(optimizer.param_groups[0]["params"])).data[0] = math.inf

    monkeypatch.setattr(loop, "clipped_step", spoiling_step)
    events = list(run([corpus], tmp_path / "model", OFTEN))
    (back,) = (event for event in events if isinstance(event, WentBack))
    assert (back.step, back.to, back.learning_rate) == (5, 4, 0.01)
    assert back.reason.startswith('step 5: "network.')
    assert back.reason.endswith('" is no longer finite: give a lower --learning-rate or a smaller --clip')
    assert isinstance(events[-1], Finished)
