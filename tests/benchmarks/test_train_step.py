"""The benchmark of the training step measures what it says: the same computation on both sides, timed in turns."""

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import measuring
import step_memory
import train_step
from steps import agreement, pytorch, timing
from steps.agreement import DisagreementError, check_agreement
from steps.ours import Ours
from steps.pytorch import PyTorch, Variant
from steps.task import Task, Tensors, Tokens, TrainingStep, initial_weights
from steps.timing import fastest, race, turn
from unrolled.text.batches import Batch

TASK = Task("gru", vocabulary=19, hidden=5, layers=2, batch=3, times=4)
WIDE = replace(TASK, cell="lstm", vocabulary=11, layers=1)  # fewer tokens than T*B: every row of the embedding is used


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small products, short trials, and torch left with the threads that it had."""
    monkeypatch.setattr(measuring, "PRODUCT_SIZES", (64,))
    monkeypatch.setattr(timing, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(timing, "TURN_SECONDS", 0.002)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("task", [replace(TASK, cell="tanh"), TASK, WIDE], ids=lambda task: task.cell)
@pytest.mark.parametrize("variant", list(pytorch.variants()), ids=str)
def test_every_way_in_pytorch_takes_the_same_steps(task: Task, variant: Variant) -> None:
    weights = initial_weights(task)
    check_agreement(Ours(task, weights), PyTorch(task, weights, variant), Tokens(task))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("variant", pytorch.COMPILED, ids=str)
def test_every_compiled_way_in_pytorch_takes_the_same_steps(variant: Variant) -> None:
    weights = initial_weights(TASK)
    check_agreement(Ours(TASK, weights), PyTorch(TASK, weights, variant), Tokens(TASK))


def check_jax(task: Task, unroll: int) -> None:
    pytest.importorskip("jax", reason="JAX is not installed; it comes with the extra bench")
    from steps.jax import Jax

    weights = initial_weights(task)
    check_agreement(Ours(task, weights), Jax(task, weights, unroll), Tokens(task))


def test_jax_takes_the_same_steps() -> None:
    check_jax(TASK, 1)


@pytest.mark.slow
@pytest.mark.parametrize("unroll", [1, 4])
@pytest.mark.parametrize("task", [replace(TASK, cell="tanh"), WIDE], ids=lambda task: task.cell)
def test_jax_takes_the_same_steps_in_other_cells(task: Task, unroll: int) -> None:
    check_jax(task, unroll)


def test_jax_overwrites_its_weights() -> None:
    pytest.importorskip("jax", reason="JAX is not installed; it comes with the extra bench")
    from steps.jax import Jax

    contestant = Jax(TASK, initial_weights(TASK), 1)
    before = contestant._weights["output.weight"]
    contestant.step(contestant.ready(Tokens(TASK).take(1)[0]))
    assert before.is_deleted()


def test_another_gradient_is_a_disagreement() -> None:
    weights = dict(initial_weights(TASK))
    changed = weights | {"recurrent.weight_hh_l1": weights["recurrent.weight_hh_l1"] * np.float32(1.01)}
    with pytest.raises(DisagreementError, match=r"gradient of embedding\.weight: ours differs from pytorch .* by 0\.0"):
        check_agreement(Ours(TASK, weights), PyTorch(TASK, changed, Variant()), Tokens(TASK))


def test_a_loss_that_leaves_a_gradient_out_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = initial_weights(TASK)
    peer = PyTorch(TASK, weights, Variant())
    peer.network.recurrent.bias_hh_l0.requires_grad_(False)
    with pytest.raises(DisagreementError, match=r"gradient of recurrent\.bias_hh_l0: ours or pytorch .* has none"):
        check_agreement(Ours(TASK, weights), peer, Tokens(TASK))


def test_another_clipping_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = initial_weights(TASK)
    monkeypatch.setattr(PyTorch, "_clip", lambda self: None)
    with pytest.raises(DisagreementError, match="loss of step 2"):
        check_agreement(Ours(TASK, weights), PyTorch(TASK, weights, Variant()), Tokens(TASK))


def test_a_state_that_is_not_carried_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = initial_weights(TASK)
    ours = Ours(TASK, weights)
    once = ours.step

    def forgetful(ready: Batch) -> None:
        ours._last = None
        once(ready)

    monkeypatch.setattr(ours, "step", forgetful)
    with pytest.raises(DisagreementError, match="loss of step 2"):
        check_agreement(ours, PyTorch(TASK, weights, Variant()), Tokens(TASK))


def test_clipping_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "CLIP", 100.0)
    weights = initial_weights(TASK)
    with pytest.raises(DisagreementError, match="clips nothing"):
        check_agreement(Ours(TASK, weights), PyTorch(TASK, weights, Variant()), Tokens(TASK))


def test_a_gradient_of_zero_is_a_disagreement() -> None:
    zero = {"output.bias": np.zeros(3)}
    peer = PyTorch(TASK, initial_weights(TASK), Variant())
    with pytest.raises(DisagreementError, match=r"output\.bias: ours differs from pytorch"):
        agreement.compare_all("gradient of", zero, zero, peer)


def test_operations_by_hand() -> None:
    products = [
        (12, 3 * 5, 5),  # first layer: input, 12 tokens of which at most 19 differ
        (12, 3 * 5, 5),  # first layer: state
        (12, 3 * 5, 5),  # second layer: input
        (12, 3 * 5, 5),  # second layer: state
        (12, 19, 5),  # output layer
    ]
    assert TASK.operations == 3 * sum(2 * rows * columns * inner for rows, columns, inner in products)
    wide = [(11, 4 * 5, 5), (12, 4 * 5, 5), (12, 11, 5)]
    assert WIDE.operations == 3 * sum(2 * rows * columns * inner for rows, columns, inner in wide)


def test_tokens_are_new_each_step_and_the_same_for_the_same_seed() -> None:
    first, second = Tokens(TASK).take(2)
    (again,) = Tokens(TASK).take(1)
    assert (first.inputs == again.inputs).all()
    assert (first.targets == again.targets).all()
    assert (first.inputs != second.inputs).any()
    assert (first.inputs != first.targets).any()
    assert first.inputs.shape == (4, 3)


class Clocked(TrainingStep):
    """Takes as long as it says, by a clock of its own making."""

    name = "clocked"

    def __init__(self, clock: list[float], seconds: float, seen: list[Any] | None = None) -> None:
        self.variant = str(seconds)
        self.clock, self.seconds, self.seen = clock, seconds, [] if seen is None else seen

    def ready(self, batch: Batch) -> Any:
        self.clock[0] += 1000  # not to be measured
        return batch

    def step(self, ready: Any) -> None:
        self.clock[0] += self.seconds
        self.seen.append(ready)

    def loss(self) -> float:
        return 0.0

    def gradients(self, batch: Batch) -> tuple[float, Tensors]:
        return 0.0, {}

    def weights(self) -> Tensors:
        return {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_a_turn_times_steps_alone_and_not_the_first_of_several(clock: list[float]) -> None:
    contestant = Clocked(clock, 0.25)
    batches = Tokens(TASK).take(3)
    assert turn(contestant, batches) == 0.25
    assert turn(contestant, batches[:1]) == 0.25
    assert contestant.seen == [*batches, batches[0]]
    clock[0] = 0.0
    contestant.finish = lambda: clock.__setitem__(0, clock[0] + 0.5)  # type: ignore[method-assign]
    assert turn(contestant, batches) == 0.25 + 0.5 / 2


def test_two_in_turns_with_the_same_tokens(clock: list[float]) -> None:
    seen: list[Any] = []
    ours, theirs = Clocked(clock, 0.001, seen), Clocked(clock, 0.003, seen)
    result = race(ours, theirs, Tokens(TASK), pairs=4)
    assert result.steps == 2
    assert result.pairs == 4
    assert result.ratio == pytest.approx((3, 3, 3), abs=1e-6)
    assert result.ours == pytest.approx((0.001, 0.001, 0.001), abs=1e-6)
    assert result.theirs == pytest.approx((0.003, 0.003, 0.003), abs=1e-6)
    *_, a, b, c, d, e, f = seen
    assert (a, b, c) == (d, e, f)
    assert len({id(batch) for batch in seen[-24:]}) == 12


def test_the_fastest_is_chosen_and_a_failed_attempt_told(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> TrainingStep:
        raise RuntimeError("no compiler\nat all")

    makers = [partial(Clocked, clock, seconds) for seconds in (0.5, 0.2, 0.3)]
    assert fastest(makers, Tokens(TASK), [fail]).variant == "0.2"
    error = capsys.readouterr().err
    assert "no compiler" in error
    assert error.count("\n") == 1
    assert fastest(makers, Tokens(TASK), [partial(Clocked, clock, 0.1)]).variant == "0.1"
    with pytest.raises(RuntimeError, match="no compiler"):
        fastest([fail], Tokens(TASK))


def test_the_garbage_collector_rests_while_two_take_turns() -> None:
    states: list[tuple[str, bool]] = []

    def contestant(name: str) -> Callable[[], float]:
        def measure() -> float:
            states.append((name, gc.isenabled()))
            return float(len(states))

        return measure

    assert measuring.interleaved(contestant("a"), contestant("b"), 2) == [(1.0, 2.0), (3.0, 4.0)]
    assert states == [("a", False), ("b", False)] * 2
    assert gc.isenabled()


def test_quartiles() -> None:
    assert measuring.quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert measuring.quartiles([7.0]) == (7.0, 7.0, 7.0)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "SHAPES", {"a": (19, 5, 2, 3, 4), "b": (11, 6, 1, 1, 3)})
    monkeypatch.setattr(train_step, "CELLS", ("gru", "lstm"))
    monkeypatch.setattr(train_step, "commit", lambda: "of the test")
    figures = step_memory.summary({"unrolled": 2.0, pytorch.PLAIN: 8.0})
    monkeypatch.setattr(step_memory, "figures", lambda engine: figures)
    monkeypatch.setattr(pytorch, "variants", lambda: (Variant(), Variant(sparse=True)))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})  # one thread, whatever else runs here


@pytest.mark.usefixtures("tiny")
def test_the_whole_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "train_step.json"
    train_step.main(["--json", "--pairs", "3", "--out", str(out)])
    record = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert record["commit"] == "of the test"
    assert record["command"].startswith("benchmarks/train_step.py --json --pairs 3")
    assert [(row["cell"], row["shape"]) for row in record["rows"]] == [
        (cell, shape) for shape in ("V 19 H 5 L 2 B 3 T 4", "V 11 H 6 L 1 B 1 T 3") for cell in ("gru", "lstm")
    ]
    peak = max(record["peak_gigaflops"].values()) * 1e9
    for row, task in zip(record["rows"], train_step.tasks(["a", "b"], ["gru", "lstm"]), strict=True):
        low, high = row["ratio_quartiles"]
        assert 0 < low <= row["ratio"] <= high
        assert row["variant"] in {str(variant) for variant in pytorch.variants()}
        assert row["peer"] == "pytorch"
        expected = task.operations / peak / (row["ours_ms"] / 1e3)
        assert row["share_of_floor"] == pytest.approx(expected, rel=0.02, abs=1e-4)
    logarithms = np.log([row["ratio"] for row in record["rows"]])
    assert record["geometric_mean_of_ratios"] == {"pytorch": pytest.approx(np.exp(logarithms.mean()), rel=2e-3)}
    assert record["memory"]["ours_over_least_plain_pytorch"] == 0.25


@pytest.mark.usefixtures("tiny")
def test_chosen_rows_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "train_step.json"
    train_step.main(["--cell", "gru", "--shape", "b", "--pairs", "2", "--engine", "portable", "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| gru | V 11 H 6 L 1 B 1 T 3 | pytorch |")
    assert lines[4].startswith("Geometric mean of the ratios: ")
    assert len(lines) == 5
    record = json.loads(out.read_text())
    assert "memory" not in record
    assert record["machine"]["engine"].startswith("portable")


def test_jax_that_is_not_installed_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_step, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        train_step.main(["--jax"])
    assert "--jax needs JAX" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_a_disagreement_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PyTorch, "_clip", lambda self: None)
    out = tmp_path / "train_step.json"
    with pytest.raises(SystemExit, match="error: loss of step 2: ours differs from pytorch"):
        train_step.main(["--cell", "gru", "--shape", "b", "--out", str(out)])
    assert not out.exists()


class Hungry(Clocked):
    """Touches so much memory in a step, and gives it back."""

    megabytes = 1

    def step(self, ready: Any) -> None:
        np.ones(self.megabytes * 10**6, np.uint8)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is told by Linux alone")
def test_rise_of_peak_memory() -> None:
    def make(task: Task) -> TrainingStep:
        contestant = Hungry([0.0], 0.0)
        np.ones(200 * 10**6, np.uint8)  # held before the step, and given back: not its
        contestant.megabytes = 60 if task is WIDE else 1
        return contestant

    rise = step_memory.rise(make, WIDE)
    assert 59e6 < rise < 66e6


def test_memory_of_all_who_take_part() -> None:
    asked = []

    def mebibytes(engine: str, name: str) -> float:
        asked.append(name)
        share = 100.0 if name.startswith(pytorch.PLAIN) else 50.0
        return {"unrolled": 20.0}.get(name, share - name.count("sparse"))

    figures = step_memory.figures("portable", mebibytes)
    assert asked == list(figures["rise_mebibytes"]) == list(step_memory.makers("portable"))
    assert figures["ours_over_least_plain_pytorch"] == round(20 / 99, 3)
    if len(asked) > 3:  # PyTorch has linear_cross_entropy
        assert figures["ours_over_least_pytorch"] == round(20 / 49, 3)
    assert "Ours is 0.20 of the least of plain PyTorch's" in step_memory.table(figures)
