"""Two tasks whose answer lies many steps back, so that only a network that remembers can solve them.

- Adding (Hochreiter and Schmidhuber 1997; as in Le et al., arXiv:1504.00941): of T random numbers two are marked, one
  in either half; the answer is their sum. Who always says 1 has a mean square error of 1/6.
- Copying (as in Arjovsky et al., arXiv:1511.06464): a few symbols, N blanks, a sign to begin; the answer is the symbols
  again, in order. Who has forgotten them guesses.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unrolled.nn import Recurrent

SYMBOLS, COPIED = 4, 3
"""Kinds of symbols, and how many are to be copied."""
GUESSED_SUM = 1 / 6
"""Mean square error of who always says 1."""
SOLVED_SUM = GUESSED_SUM / 10
SOLVED_SHARE = 0.95
"""Adding is solved below this error, copying from this share of right symbols on."""
RATE = 0.006
RECENT = 50
"""Batches over whose mean a task counts as solved."""


class Problem(NamedTuple):
    """One batch.

    Attributes:
        inputs: (T, B, I).
        targets: adding: (B,) sums; copying: (COPIED, B) symbols, the answers of the last steps.
    """

    inputs: Tensor
    targets: Tensor


def adding(steps: int, batch: int, generator: torch.Generator) -> Problem:
    """Numbers uniform in 0..1 with the marks beside them, (T, B, 2), and the sums of the two that are marked."""
    numbers = torch.rand(steps, batch, generator=generator)
    marks, columns = torch.zeros(steps, batch), torch.arange(batch)
    half = max(1, steps // 2)
    for low, high in ((0, half), (half, steps)):
        marks[torch.randint(low, high, (batch,), generator=generator), columns] = 1
    return Problem(torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(0))


def copying(blanks: int, batch: int, generator: torch.Generator) -> Problem:
    """Symbols, blanks, a sign and as many blanks as there were symbols, each as a unit vector, (T, B, SYMBOLS + 2)."""
    symbols = torch.randint(0, SYMBOLS, (COPIED, batch), generator=generator)
    blank, sign = SYMBOLS, SYMBOLS + 1
    waiting = torch.full((blanks, batch), blank)
    answering = torch.full((COPIED, batch), blank)
    answering[0] = sign
    tokens = torch.cat([symbols, waiting, answering])
    return Problem(nn.functional.one_hot(tokens, SYMBOLS + 2).float(), symbols)


def adding_loss(outputs: Tensor, problem: Problem) -> tuple[Tensor, float]:
    """Mean square error of the last step's answer, (T, B, 1), and itself as the measure of success."""
    loss = nn.functional.mse_loss(outputs[-1, :, 0], problem.targets)
    return loss, loss.item()


def copying_loss(outputs: Tensor, problem: Problem) -> tuple[Tensor, float]:
    """Cross entropy of the last steps' answers, (T, B, SYMBOLS), and the share of right symbols."""
    scores = outputs[-COPIED:].flatten(0, 1)
    wanted = problem.targets.flatten()
    right = (scores.argmax(-1) == wanted).float().mean()
    return nn.functional.cross_entropy(scores, wanted), right.item()


@dataclass(frozen=True)
class Task:
    """One of the two.

    Attributes:
        inputs, outputs: numbers that are read and said at each step.
        make: a batch of a lag.
        judge: loss and measure of success of outputs (T, B, outputs).
        is_solved: whether a mean measure of success is enough.
    """

    inputs: int
    outputs: int
    make: Callable[[int, int, torch.Generator], Problem]
    judge: Callable[[Tensor, Problem], tuple[Tensor, float]]
    is_solved: Callable[[float], bool]


ADDING = Task(2, 1, adding, adding_loss, lambda error: error < SOLVED_SUM)
COPYING = Task(SYMBOLS + 2, SYMBOLS, copying, copying_loss, lambda share: share >= SOLVED_SHARE)


@dataclass(frozen=True)
class Effort:
    """How a network is trained on a task.

    Attributes:
        steps: most updates.
        batch: sequences in each.
        clip: norm to which gradients are clipped; 0: not.
        seed: of weights and problems.
    """

    steps: int
    batch: int
    clip: float
    seed: int


def longest_lag(
    task: Task, lags: Sequence[int], effort: Effort, cell: str, hidden: int, options: dict[str, Any]
) -> tuple[int | None, int | None]:
    """The longest lag that a fresh network solves, each tried in order, and the first that it does not.

    Args:
        task, lags, effort: what is tried, and how hard.
        cell, hidden, options: of nn.Recurrent.
    """
    solved = None
    for lag in lags:
        if not solves(task, lag, effort, cell, hidden, options):
            return solved, lag
        solved = lag
    return solved, None


def solves(task: Task, lag: int, effort: Effort, cell: str, hidden: int, options: dict[str, Any]) -> bool:
    """Whether a fresh network learns a task at one lag; arguments as of `longest_lag`."""
    generator = torch.Generator().manual_seed(effort.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(effort.seed)
        layer = Recurrent(cell, task.inputs, hidden, **options)
        read_out = nn.Linear(hidden, task.outputs)
    parameters = [*layer.parameters(), *read_out.parameters()]
    optimizer = torch.optim.Adam(parameters, RATE)
    recent: list[float] = []
    for _ in range(effort.steps):
        problem = task.make(lag, effort.batch, generator)
        optimizer.zero_grad()
        loss, success = task.judge(read_out(layer(problem.inputs)[0]), problem)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, effort.clip or math.inf)
        if not math.isfinite(float(norm)):
            return False
        optimizer.step()
        recent = [*recent[-RECENT + 1 :], success]
        if len(recent) == RECENT and task.is_solved(mean(recent)):
            return True
    return False
