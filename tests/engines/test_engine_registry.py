from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells, engines
from unrolled.cells import Cell
from unrolled.engines.portable import Portable
from unrolled.errors import EngineError, UnrolledWarning, UsageError

LSTM, GRU = cells.get("lstm"), cells.get("gru")


class Other(Portable):
    name = "other"


class Picky(Portable):
    """Runs on the CPU, in float32 and float64, and anything but the LSTM; notes how often it was asked."""

    name = "picky"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def obstacle(self, cell: Cell, device: str, dtype: str) -> str | None:
        self.asked.append((cell.name, device, dtype))
        if device != "cpu":
            return f"it runs on the CPU, not on {device}"
        if dtype not in {"float32", "float64"}:
            return f"it knows no {dtype}"
        return "no compiler found" if cell is LSTM else None


def refuse() -> Portable:
    raise EngineError("no such processor")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers in a copy that holds the portable engine alone."""
    monkeypatch.setattr(engines, "_makers", {"portable": Portable})
    monkeypatch.setattr(engines, "_made", {})
    monkeypatch.setattr(engines, "_chosen", {})
    monkeypatch.setattr(engines, "_told", set())


def test_an_engine_is_made_once() -> None:
    assert engines.get("portable") is engines.get("portable")
    assert engines.get() is engines.get("auto") is engines.get("portable")


def test_auto_takes_the_engine_registered_last() -> None:
    engines.get("auto")
    engines.register("other", Other)
    assert engines.names() == ("portable", "other")
    assert isinstance(engines.get("auto"), Other)
    assert engines.get("auto") is engines.get("other")
    engines.register("portable", Portable)
    assert engines.names() == ("other", "portable")
    assert not isinstance(engines.get("auto"), Other)


def test_auto_passes_over_an_engine_that_cannot_run_and_by_name_it_says_why() -> None:
    tried = []

    def refuse_and_count() -> Portable:
        tried.append(1)
        return refuse()

    engines.register("other", refuse_and_count)
    assert engines.get("auto") is engines.get("auto") is engines.get("portable")
    assert len(tried) == 1
    with pytest.raises(EngineError, match=r"^no such processor$"):
        engines.get("other")


def test_registering_again_replaces_the_engine() -> None:
    before = engines.get("portable")
    engines.register("portable", Other)
    assert isinstance(engines.get("portable"), Other)
    assert before is not engines.get("portable")


def test_an_unknown_name_lists_the_known_ones() -> None:
    engines.register("other", Other)
    with pytest.raises(UsageError, match=r'^engine "fast" is not known: choose one of auto, portable, other$'):
        engines.get("fast")


def test_no_engine_at_all_gives_every_reason() -> None:
    engines.register("portable", refuse)
    engines.register("other", refuse)
    with pytest.raises(
        EngineError, match=r"^no engine can run here \(other: no such processor; portable: no such processor\)$"
    ):
        engines.get("auto")


def test_the_description_names_the_library_that_is_in_use(run_python: Callable[..., str]) -> None:
    threads = torch.get_num_threads()
    assert engines.get("portable").description() == f"portable (torch {torch.__version__}, {threads} threads)"
    code = "from unrolled import engines; print(engines.get('portable').description())"
    assert run_python(code) == f"portable (numpy {np.__version__})\n"


# Which engine runs a cell on given arrays


def kinds_of(dtype: str) -> list[Any]:
    """Arrays of a dtype, of NumPy and of torch."""
    return [np.ones(2, dtype), torch.ones(2, dtype=getattr(torch, dtype))]


def test_the_fastest_engine_without_an_obstacle_is_chosen_and_found_again() -> None:
    picky = Picky()
    engines.register("picky", lambda: picky)
    for dtype in ("float32", "float64"):
        for like in kinds_of(dtype):
            assert engines.choose("auto", GRU, like) is picky
            assert engines.choose("picky", GRU, like) is picky
            assert engines.choose("portable", GRU, like) is engines.get("portable")
    asked = list(picky.asked)
    assert {(cell, device) for cell, device, _ in asked} == {("gru", "cpu")}
    assert {dtype for _, _, dtype in asked} == {"float32", "float64"}
    for like in kinds_of("float32"):
        engines.choose("auto", GRU, like)
    assert picky.asked == asked
    engines.register("other", Other)
    assert isinstance(engines.choose("auto", GRU, np.ones(2)), Other), "a new engine is not passed over"


@pytest.mark.parametrize("like", [*kinds_of("float16"), torch.ones(2, device="meta")], ids=["numpy", "torch", "meta"])
def test_device_and_dtype_decide_without_a_word(like: Any) -> None:
    engines.register("picky", Picky)
    for cell in (GRU, LSTM):
        assert engines.choose("auto", cell, like) is engines.get("portable")


def test_where_the_cell_is_what_stands_in_the_way_it_is_said_once() -> None:
    engines.register("picky", Picky)
    message = r"^engine portable: picky cannot run cell lstm: no compiler found$"
    with pytest.warns(UnrolledWarning, match=message) as told:
        assert engines.choose("auto", LSTM, np.ones(2)) is engines.get("portable")
    assert len(told) == 1
    assert told[0].filename == __file__, "it points at who asked"
    for like in (*kinds_of("float32"), *kinds_of("float64")):  # warnings are errors here
        engines.choose("auto", LSTM, like)
        engines.choose("auto", GRU, like)


def test_a_warning_that_is_an_error_comes_again() -> None:
    engines.register("picky", Picky)
    for _ in range(2):
        with pytest.raises(UnrolledWarning):
            engines.choose("auto", LSTM, np.ones(2))


def test_an_engine_asked_for_by_name_says_what_stands_in_its_way() -> None:
    engines.register("picky", Picky)
    with pytest.raises(EngineError, match=r"^engine picky cannot run cell lstm \(cpu, float64\): no compiler found$"):
        engines.choose("picky", LSTM, np.ones(2))
    with pytest.raises(
        EngineError, match=r"^engine picky cannot run cell gru \(meta, float32\): it runs on the CPU, not"
    ):
        engines.choose("picky", GRU, torch.ones(2, device="meta"))
    with pytest.raises(UsageError, match=r'^engine "fast" is not known: choose one of auto, portable, picky$'):
        engines.choose("fast", GRU, np.ones(2))


def test_no_engine_for_this_gives_every_reason() -> None:
    engines.register("portable", Picky)
    engines.register("other", refuse)
    with pytest.raises(EngineError) as error:
        engines.choose("auto", LSTM, np.ones(2))
    wanted = "no engine can run cell lstm (cpu, float64) here (other: no such processor; picky: no compiler found)"
    assert str(error.value) == wanted
