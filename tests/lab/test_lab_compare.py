"""Tasks with known answers, and the comparison of cells on a very small scale."""

import pytest
import torch

from unrolled import cells
from unrolled.lab import tasks
from unrolled.lab.compare import CANDIDATES, CLIP, Candidate, Extent, Outcome, compare, hidden_size

from .networks import TEXT

SMALL = Extent(parameters=1000, text_steps=20, task_steps=250, task_batch=32, lags=(2, 40))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("steps", [2, 3, 10, 51])
def test_adding_marks_one_number_in_either_half(steps: int) -> None:
    problem = tasks.adding(steps, 40, seeded())
    numbers, marks = problem.inputs.unbind(-1)
    assert problem.inputs.shape == (steps, 40, 2)
    half = max(1, steps // 2)
    assert (marks[:half].sum(0) == 1).all()
    assert (marks[half:].sum(0) == 1).all()
    assert ((numbers >= 0) & (numbers < 1)).all()
    torch.testing.assert_close(problem.targets, (numbers * marks).sum(0))
    always = torch.ones(steps, 4000, 1)
    guessed, _ = tasks.adding_loss(always, tasks.adding(steps, 4000, seeded()))
    assert float(guessed) == pytest.approx(tasks.GUESSED_SUM, abs=0.02)


@pytest.mark.parametrize("blanks", [1, 7])
def test_copying_shows_symbols_then_blanks_then_a_sign(blanks: int) -> None:
    problem = tasks.copying(blanks, 9, seeded())
    tokens = problem.inputs.argmax(-1)
    assert problem.inputs.shape == (2 * tasks.COPIED + blanks, 9, tasks.SYMBOLS + 2)
    assert (problem.inputs.sum(-1) == 1).all()
    assert torch.equal(tokens[: tasks.COPIED], problem.targets)
    rest = tokens[tasks.COPIED :]
    sign = tasks.SYMBOLS + 1
    assert (rest[blanks] == sign).all()
    assert ((rest == sign).sum(0) == 1).all()
    assert set(rest.flatten().tolist()) == {tasks.SYMBOLS, sign}
    right = torch.nn.functional.one_hot(problem.targets, tasks.SYMBOLS) * 50.0
    loss, share = tasks.copying_loss(torch.cat([torch.zeros(4, 9, tasks.SYMBOLS), right]), problem)
    assert share == 1.0
    assert float(loss) < 1e-6


@pytest.mark.parametrize("parameters", [600, 8000, 40_000])
@pytest.mark.parametrize("inputs", [2, 32])
def test_all_have_about_as_many_weights(parameters: int, inputs: int) -> None:
    for candidate in CANDIDATES:
        hidden = hidden_size(candidate.cell, inputs, parameters)
        weights = len(cells.get(candidate.cell).gates) * hidden * (inputs + hidden + 2)
        assert weights == pytest.approx(parameters, rel=0.12)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    chosen = (Candidate("GRU", "gru"), Candidate("orthogonal", "tanh", {"initialization": "orthogonal"}))
    told: list[float] = []
    found = compare(TEXT * 10, SMALL, candidates=chosen, tell=told.append)
    assert told == [0, 0.25, 0.5, 0.75, 1]
    assert len(found.pictures()) == 5
    assert len(found.lines()) == 6
    return found.outcomes


def test_a_short_lag_is_solved_and_a_long_one_is_not(outcomes: list[Outcome]) -> None:
    gru, orthogonal = outcomes[0], outcomes[2]
    assert [(each.name, each.clip) for each in outcomes[:2]] == [("GRU", CLIP), ("GRU", 0.0)]
    assert gru.adding == (2, 40)
    assert gru.copying == (None, 2)
    assert orthogonal.copying[0] is not None
    assert orthogonal.adding[1] is not None


def test_curves_begin_at_one_and_losses_fall(outcomes: list[Outcome]) -> None:
    for each in outcomes:
        assert each.before[0] == pytest.approx(1)
        assert each.after[0] == pytest.approx(1)
        assert len(each.before) > 50
        assert not each.diverged
        record = each.as_dict()
        assert record["effective_memory_before"] is None or record["effective_memory_before"] > 0
    assert outcomes[0].losses[-1][1] < outcomes[0].losses[0][1]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_in_any_number_of_processes(outcomes: list[Outcome]) -> None:
    again = compare(TEXT * 10, SMALL, candidates=(Candidate("GRU", "gru"),), jobs=2).outcomes
    assert [each.as_dict() for each in again] == [each.as_dict() for each in outcomes[:2]]
