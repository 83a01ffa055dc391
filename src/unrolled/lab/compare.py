"""Cells and remedies side by side, at equal parameters: what an error becomes over the lag, and what is remembered.

Each candidate reads a text (characters; gradient over the lag before and after training, and the loss on the way) and
tries two tasks where the answer lies many steps back (`tasks`), at longer and longer lags until it fails. All with
Adam at one rate, with the gradient clipped and as it is. One seed: a picture for a lecture, not a ranking.
"""

import math
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import cells
from unrolled.engines.through_time import effective_memory, lags_judged, relative_curve
from unrolled.errors import DivergenceError, UsageError
from unrolled.lab.pictures import Picture
from unrolled.lab.subject import Report, nobody

if TYPE_CHECKING:
    from unrolled.lab.tasks import Task

CLIP = 1.0
RATE = 0.003
BATCH, WINDOW = 16, 50
"""Of the text."""
LAGS_OF_TEXT = 100
"""Steps over which gradients of the text are looked at."""


@dataclass(frozen=True)
class Candidate:
    """A cell with what is done against forgetting.

    Attributes:
        name: for a person.
        cell: of the registry.
        options: of nn.Recurrent.
    """

    name: str
    cell: str
    options: dict[str, Any] = field(default_factory=dict)


CANDIDATES = (
    Candidate("tanh", "tanh"),
    Candidate("tanh, orthogonal", "tanh", {"initialization": "orthogonal"}),
    Candidate("tanh, signal norm kept", "tanh", {"signal_norm": 1.0}),
    Candidate("relu", "relu"),
    Candidate("relu, identity", "relu", {"initialization": "identity"}),
    Candidate("GRU", "gru"),
    Candidate("LSTM, forget bias 0", "lstm", {"forget_bias": 0.0}),
    Candidate("LSTM, forget bias 1", "lstm", {"forget_bias": 1.0}),
)


@dataclass(frozen=True)
class Extent:
    """How much is done.

    Attributes:
        parameters: weights of the recurrent layer, about the same for all.
        text_steps: updates on the text.
        task_steps: most updates on a task at one lag.
        task_batch: sequences a batch of a task.
        lags: of the tasks, T and N, tried in order.
    """

    parameters: int = 8_000
    text_steps: int = 300
    task_steps: int = 1_000
    task_batch: int = 32
    lags: tuple[int, ...] = (10, 20, 40, 80)


SHORT = Extent()
FULL = Extent(40_000, 5_000, 20_000, 64, (10, 20, 40, 80, 120, 160, 240, 320, 480, 640))
"""For a night."""


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        name: of the candidate.
        clip: norm to which gradients were clipped; 0: not.
        hidden: H, from the parameters wanted.
        before, after: median size of dE_t/ds_k against lag 0, over the lag.
        losses: (step, nats per character) of training, smoothed.
        adding, copying: the longest lag solved, and the first that was not; None for either where there is none.
        diverged: whether the loss on the text stopped being a number.
    """

    name: str
    clip: float
    hidden: int
    before: list[float]
    after: list[float]
    losses: list[tuple[int, float]]
    adding: tuple[int | None, int | None]
    copying: tuple[int | None, int | None]
    diverged: bool

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return vars(self) | {
            "effective_memory_before": effective_memory(np.array(self.before)),
            "effective_memory_after": effective_memory(np.array(self.after)) if self.after else None,
        }


@dataclass(frozen=True)
class Comparison:
    """All candidates."""

    extent: Extent
    outcomes: list[Outcome]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"extent": vars(self.extent), "outcomes": [outcome.as_dict() for outcome in self.outcomes]}

    def lines(self) -> list[str]:
        """For a person: a table."""
        lines = [
            f"{'':<26}{'clipped':<9}{'units':>5}  {'memory before':>13}  {'after':>6}  {'nats':>6}  "
            f"{'adding':>12}  {'copying':>12}"
        ]
        for each in self.outcomes:
            memories = [_memory(curve) for curve in (each.before, each.after)]
            loss = "none" if each.diverged or not each.losses else f"{each.losses[-1][1]:.3f}"
            lines.append(
                f"{each.name:<26}{'to 1' if each.clip else 'no':<9}{each.hidden:>5}  {memories[0]:>13}  "
                f"{memories[1]:>6}  {loss:>6}  {_solved(each.adding):>12}  {_solved(each.copying):>12}"
            )
        lines.append(
            "memory: lag at which 1% of an error is left; adding, copying: longest lag solved, < first one failed"
        )
        return lines

    def pictures(self) -> list[Picture]:
        """The picture for a lecture, and its four parts by themselves."""
        from unrolled.lab.comparison_pictures import comparison_pictures

        return comparison_pictures(self.outcomes)


def compare(
    text: str,
    extent: Extent = SHORT,
    *,
    candidates: Sequence[Candidate] = CANDIDATES,
    jobs: int = 1,
    seed: int = 1,
    tell: Report = nobody,
) -> Comparison:
    """Compare cells.

    Args:
        text: to read; its characters are the tokens.
        extent: how much is done.
        candidates: who takes part.
        jobs: processes; more than one need a program that can be imported (`if __name__ == "__main__"`).
        seed: of weights and tasks.
        tell: is told which share of the work is done.

    Raises:
        UsageError: fewer than one job.
        CorpusError: the text has too few characters.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}: give a whole number of at least 1")
    work = [(candidate, clip, text, extent, seed) for candidate in candidates for clip in (CLIP, 0.0)]
    if jobs == 1:
        return Comparison(extent, _told(map(_outcome, work), len(work), tell))
    with ProcessPoolExecutor(min(jobs, len(work)), multiprocessing.get_context("spawn")) as pool:
        return Comparison(extent, _told(pool.map(_outcome, work), len(work), tell))


def _told(outcomes: Iterable[Outcome], count: int, tell: Report) -> list[Outcome]:
    found = []
    tell(0.0)
    for outcome in outcomes:
        found.append(outcome)
        tell(len(found) / count)
    return found


def hidden_size(cell: str, inputs: int, parameters: int) -> int:
    """H with about so many weights G*H*(I + H + 2) in a layer."""
    gates = len(cells.get(cell).gates)
    linear = inputs + 2
    return max(2, round((-linear + math.sqrt(linear * linear + 4 * parameters / gates)) / 2))


def _outcome(work: tuple[Candidate, float, str, Extent, int]) -> Outcome:
    import torch

    from unrolled.lab import tasks

    candidate, clip, text, extent, seed = work
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        hidden, before, after, losses, diverged = _on_text(candidate, clip, text, extent, seed)
        added, copied = (_longest_lag(candidate, clip, task, extent, seed) for task in (tasks.ADDING, tasks.COPYING))
    finally:
        torch.set_num_threads(threads)
    return Outcome(candidate.name, clip, hidden, before, after, losses, added, copied, diverged)


def _on_text(
    candidate: Candidate, clip: float, text: str, extent: Extent, seed: int
) -> tuple[int, list[float], list[float], list[tuple[int, float]], bool]:
    """Hidden size, curves over the lag before and after training, losses, and whether they ended."""
    import torch

    from unrolled.engines.through_time import record
    from unrolled.models import LanguageModelNetwork, LanguageModelShape
    from unrolled.nn import Regularization
    from unrolled.text.batches import StreamReader
    from unrolled.text.settings import TextSettings
    from unrolled.text.tokenizer import train_tokenizer
    from unrolled.training import optimizers
    from unrolled.training.loop import Limits, Position, train_steps
    from unrolled.training.schedule import Schedule, legs_of_length

    tokenizer = train_tokenizer(text, TextSettings(unit="char"))
    ids = tokenizer.encode(text)
    options = dict(candidate.options)
    size = tokenizer.vocabulary_size
    hidden = hidden_size(candidate.cell, 32, extent.parameters)
    network = LanguageModelNetwork(
        LanguageModelShape(candidate.cell, size, 32, hidden, 1, tied=False),
        regularization=Regularization(signal_norm=options.pop("signal_norm", 0.0)),
        generator=torch.Generator().manual_seed(seed),
        **options,
    )

    def curve() -> list[float]:
        shown = ids[: LAGS_OF_TEXT + 1].astype(np.int64)
        with np.errstate(all="ignore"):
            found = relative_curve(record(network.weights(np.float64), shown[:-1], shown[1:]))
        return [float(median) for median in found] if np.isfinite(found).all() else []

    before = curve()
    reader = StreamReader(ids, end_of_line_id=tokenizer.end_of_line_id, batch_size=BATCH, window=WINDOW, seed=seed)
    optimizer = optimizers.make("adamw", network.parameters(), RATE)
    schedule = Schedule(RATE, warm_up=10, hold=0.3, legs=legs_of_length(extent.text_steps, 0.3))
    steps = train_steps(
        network, reader, optimizer, schedule, Position(), limits=Limits(clip), device=torch.device("cpu")
    )
    losses, recent, every = list[tuple[int, float]](), list[float](), max(1, extent.text_steps // 40)
    try:
        for step in steps:
            recent.append(step.done.loss)
            if step.number % every == 0:
                losses.append((step.number, mean(recent)))
                recent.clear()
    except DivergenceError:
        return hidden, before, [], losses, True
    after = curve()
    return hidden, before, after, losses, not after


def _longest_lag(
    candidate: Candidate, clip: float, task: "Task", extent: Extent, seed: int
) -> tuple[int | None, int | None]:
    from unrolled.lab.tasks import Effort, longest_lag

    effort = Effort(extent.task_steps, extent.task_batch, clip, seed)
    hidden = hidden_size(candidate.cell, task.inputs, extent.parameters)
    return longest_lag(task, extent.lags, effort, candidate.cell, hidden, candidate.options)


def _memory(curve: list[float]) -> str:
    if not curve:
        return "none"
    memory = effective_memory(np.array(curve))
    return f">{lags_judged(len(curve)) - 1}" if memory is None else str(memory)


def _solved(found: tuple[int | None, int | None]) -> str:
    solved, failed = found
    return f"{solved or 'none'}" + ("" if failed is None else f" <{failed}")
