"""The training loop: one generator that yields steps, and knows neither files nor screens."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.errors import DivergenceError
from unrolled.models.network import TaskNetwork
from unrolled.models.task import Batch, Reader
from unrolled.nn import Sampler
from unrolled.nn.recurrent import HiddenState
from unrolled.training.optimizers import clip_values, clipped_step, forget_gradients, gradient_norm, set_rate
from unrolled.training.ranks import Ranks
from unrolled.training.schedule import Schedule

ALONE = Ranks()
"""A run of one process."""


@dataclass
class Position:
    """Where a run is: what, beside weights, optimizer and generator, the next step depends on.

    Attributes:
        steps: steps done.
        state: carried from window to window; None at the start of a text.
    """

    steps: int = 0
    state: HiddenState | None = None


@dataclass(frozen=True)
class Limits:
    """What gradients are clipped to; 0 does not clip.

    Attributes:
        norm: of all gradients together.
        value: size of each element, before the norm is looked at.
    """

    norm: float = 0.0
    value: float = 0.0


@dataclass(frozen=True)
class Trained:
    """What one update came to.

    Attributes:
        loss: mean over the batch's tokens before the update, in nats; penalties are not in it.
        tokens: how many tokens counted.
        gradient_norm: before any clipping.
        clipped: whether a limit was passed.
        update_ratio: norm of the update over norm of the weights; None where it was not asked for or is no number.
        state: after the batch's last tokens, cut off from the graph.
    """

    loss: float
    tokens: int
    gradient_norm: float
    clipped: bool
    update_ratio: float | None
    state: HiddenState | None


@dataclass(frozen=True)
class Step:
    """One update in a run.

    Attributes:
        number: from 1.
        rate: learning rate.
        ends_pass: whether this was the last batch of its pass.
        done: what it came to.
    """

    number: int
    rate: float
    ends_pass: bool
    done: Trained


SMALLEST_WEIGHTS = 1e-30
"""What the norm of weights that are all zero is taken for."""
PRECISE_SHARE = 0.2
"""In this last share of the rate's fall the whole vocabulary is looked at in each step."""
MEASURED_STEPS = 20
"""The size of the update is measured once in so many steps: it takes a copy of the weights."""


def train_step(
    network: TaskNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: HiddenState | None,
    *,
    rate: float,
    limits: Limits,
    device: torch.device,
    sampler: Sampler | None = None,
    measure: bool = False,
    ranks: Ranks = ALONE,
) -> Trained:
    """One update: forward, backward, norm, check, clipping and descent.

    Args:
        network, optimizer: are changed; the optimizer is one of `optimizers.make`.
        batch: what to learn from, of which each process takes its part.
        state: of this process's part, to start from; None is zero.
        rate: learning rate.
        limits: of the gradients.
        device: of the network.
        sampler: draws tokens that stand for the vocabulary; None: all do.
        measure: whether the size of the update is wanted.
        ranks: the processes of the run.

    Raises:
        DivergenceError: loss or gradient is not a finite number; the weights are those before the update.
    """
    if not network.training:
        network.train()
    forget_gradients(optimizer)  # first, so that their memory serves the new ones
    part, share = ranks.part(batch)
    drawn = {} if sampler is None else {"sampler": sampler}
    losses, penalty, state, _ = ranks.objective(network)(**_on_device(part, device), state=state, **drawn)
    loss = losses.mean()
    objective = loss if penalty is None else loss + penalty
    if ranks.count > 1:  # the mean over processes is to be the mean over tokens
        objective = objective * (share * ranks.count)
    objective.backward()  # type: ignore[no-untyped-call]
    norm, tokens = gradient_norm(optimizer), batch.tokens
    value, norm = ranks.sums(share * loss.item(), norm if ranks.is_first else 0.0)  # one norm, to the last bit
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise DivergenceError(
            f"the loss is {value} and its gradient has norm {norm}: give a lower --learning-rate or a smaller --clip"
        )
    clipped = 0 < limits.norm < norm
    shortened = norm
    if limits.value > 0:
        clip_values(optimizer, limits.value)
        shortened = gradient_norm(optimizer)
        clipped = clipped or shortened < norm
    set_rate(optimizer, rate)
    before = [parameter.detach().clone() for parameter in network.parameters()] if measure else None
    clipped_step(optimizer, shortened, limits.norm)
    ratio = None if before is None else _update_ratio(before, list(network.parameters()))
    return Trained(value, tokens, norm, clipped, ratio, detached(state))


def _update_ratio(before: list[Tensor], after: list[torch.nn.Parameter]) -> float | None:
    moved = math.hypot(*(float((new.detach() - old).norm()) for old, new in zip(before, after, strict=True)))
    ratio = moved / max(math.hypot(*(float(old.norm()) for old in before)), SMALLEST_WEIGHTS)
    return ratio if math.isfinite(ratio) else None


def train_steps(
    network: TaskNetwork,
    reader: Reader,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    position: Position,
    *,
    limits: Limits,
    device: torch.device,
    sampler: Sampler | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Step]:
    """Train until the schedule ends, from `position` on, which is kept up to date between the steps.

    Tokens stand for the vocabulary until so little is left of the rate that each step counts for its precision.

    Raises:
        DivergenceError: loss or gradient is not a finite number; the weights are those before the update.
    """
    while schedule.end is None or position.steps < schedule.end:
        pass_index, start = divmod(position.steps, len(reader))
        for batch in reader.batches(pass_index, start):
            rate = schedule.rate(position.steps) * batch.rate
            measure = position.steps % MEASURED_STEPS == 0
            state = None if batch.starts else position.state
            is_rough = schedule.left(position.steps) > PRECISE_SHARE
            try:
                done = train_step(
                    network,
                    optimizer,
                    batch,
                    state,
                    rate=rate,
                    limits=limits,
                    device=device,
                    sampler=sampler if is_rough else None,
                    measure=measure,
                    ranks=ranks,
                )
            except DivergenceError as error:
                raise DivergenceError(f"step {position.steps + 1}: {error}") from error
            position.steps += 1
            position.state = done.state
            ends_pass = position.steps % len(reader) == 0
            yield Step(position.steps, rate, ends_pass, done)
            if position.steps == schedule.end:
                return


def detached(state: HiddenState | None) -> HiddenState | None:
    """The same values, cut off from the graph that made them."""
    if state is None:
        return None
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


class Found(NamedTuple):
    """What a validation came to: mean loss in nats for each target, and the share of right answers, if anybody asks."""

    loss: float
    accuracy: float | None


def validate(network: TaskNetwork, reader: Reader, device: torch.device, ranks: Ranks = ALONE) -> Found:
    """Loss and accuracy over one pass, without learning."""
    total, right, count, asks = 0.0, 0.0, 0, False
    state: HiddenState | None = None
    network.eval()
    with torch.no_grad():
        for batch in reader.batches(0):
            part, share = ranks.part(batch)
            losses, _, state, correct = network.objective(
                **_on_device(part, device), state=None if batch.starts else state
            )
            if share:
                total += losses.double().sum().item()
                right += 0 if correct is None else correct.sum().item()
            asks = correct is not None
            count += batch.tokens
    total, right = ranks.sums(total, right)
    return Found(total / count, right / count if asks else None)


def mean_loss(network: TaskNetwork, reader: Reader, device: torch.device, ranks: Ranks = ALONE) -> float:
    """Mean loss over one pass in nats for each target, without learning."""
    return validate(network, reader, device, ranks).loss


def _on_device(batch: Batch, device: torch.device) -> dict[str, Tensor | None]:
    return {
        name: None if array is None else torch.from_numpy(array).to(device) for name, array in batch.arrays().items()
    }
