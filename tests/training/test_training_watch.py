"""The watch on a run: when it warns, and that it changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.models.task import Watched
from unrolled.training.events import Warned
from unrolled.training.run import run
from unrolled.training.watch import SETTLING, STEPS, Watch

from .runs import settings

IDS = np.random.default_rng(1).integers(0, 11, 200)


def network_of(cell: str = "gru") -> LanguageModelNetwork:
    shape = LanguageModelShape(cell, 11, 5, 6, 1, tied=False)
    return LanguageModelNetwork(shape, generator=torch.Generator().manual_seed(1))


def usual(watch: Watch, norm: float = 2.0, steps: int = 2 * SETTLING) -> list[str]:
    return [warning for _ in range(steps) if (warning := watch.step(norm)) is not None]


def test_a_gradient_that_explodes_is_told_once() -> None:
    watch = Watch(Watched(IDS, 0, by_lines=False), clip=0.0)
    assert watch.step(1e9) is None, "nothing is usual yet"
    watch = Watch(Watched(IDS, 0, by_lines=False), clip=0.0)
    assert usual(watch) == []
    warning = watch.step(1000.0)
    assert warning is not None
    assert warning.startswith("a gradient of norm 1e+03 where 2 is usual")
    assert "--clip 4 " in warning
    assert watch.step(1e6) is None


def test_a_gradient_of_zero_says_nothing_of_what_is_usual() -> None:
    watch = Watch(Watched(IDS, 0, by_lines=False), clip=0.0)
    assert usual(watch) == []
    for _ in range(20):
        assert watch.step(0.0) is None
    assert watch.step(3.0) is None


def test_a_gradient_that_is_clipped_may_be_large() -> None:
    watch = Watch(Watched(IDS, 0, by_lines=False), clip=5.0)
    assert usual(watch) == []
    assert watch.step(1000.0) is None


def test_a_limit_below_all_gradients_is_told() -> None:
    (warning,) = usual(Watch(Watched(IDS, 0, by_lines=False), clip=0.1), 0.3)
    assert warning.startswith("nearly every gradient is clipped to 0.1, their norms are about 0.3: --clip 0.6")
    assert usual(Watch(Watched(IDS, 0, by_lines=False), clip=0.5), 0.3) == []
    assert usual(Watch(Watched(IDS, 0, by_lines=False), clip=0.1, limits_steps=False), 0.3) == [], (
        "AdamW divides by what is usual"
    )


def test_memory_is_measured_and_its_lack_told_once() -> None:
    watch, network = Watch(Watched(IDS, 0, by_lines=False), clip=0.0), network_of("tanh")
    memory = watch.memory(network)
    assert memory is not None
    assert 2 < memory < STEPS
    assert watch.forgets(memory) is None
    assert watch.forgets(None) is None
    with torch.no_grad():
        network.recurrent.get_parameter("weight_hh_l0").copy_(torch.eye(6))
        for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
            network.recurrent.get_parameter(name).zero_()
    assert watch.memory(network) == STEPS, "no shorter than what is looked at"
    with torch.no_grad():
        network.recurrent.get_parameter("weight_hh_l0").fill_(torch.nan)
    assert watch.memory(network) is None
    with torch.no_grad():
        network.recurrent.get_parameter("weight_hh_l0").zero_()
    assert watch.memory(network) == 1
    warning = watch.forgets(1)
    assert warning is not None
    assert warning.startswith("errors are felt 1 steps back and no further")
    assert watch.forgets(1) is None


def test_of_lines_that_are_read_by_themselves_the_longest_is_watched() -> None:
    ids = np.array([5, 0, 3, 4, 5, 6, 0, 7, 0])
    watch = Watch(Watched(ids, 0, by_lines=True), clip=0.0)
    assert watch._targets.tolist() == [3, 4, 5, 6, 0]
    assert watch._inputs.tolist() == [0, 3, 4, 5, 6]
    long = Watch(Watched(np.arange(1, 200) % 11 + 1, 0, by_lines=True), clip=0.0)
    assert len(long._targets) == STEPS


def test_a_short_text_can_be_watched() -> None:
    watch = Watch(Watched(IDS[:1], 0, by_lines=False), clip=0.0)
    assert watch.forgets(watch.memory(network_of())) is None


def test_a_run_logs_memory_and_passes_warnings_on(
    tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(tiny_text, encoding="utf-8")
    monkeypatch.setattr("unrolled.training.watch.SETTLING", 5)
    asked = settings(training={"clip": 1e-3, "optimizer": "sgd", "learning_rate": 1.0})
    events = list(run([corpus], tmp_path / "model", asked))
    warned = [event for event in events if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "nearly every gradient is clipped to 0.001" in warned[0].message
    log = [json.loads(line) for line in (tmp_path / "model" / "log.jsonl").read_text().splitlines()]
    memories = [line["effective_memory"] for line in log if "validation_loss" in line]
    assert len(memories) == 3
    assert all(0 < memory <= STEPS for memory in memories)
