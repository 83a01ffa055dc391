from collections.abc import Callable

import numpy as np
import pytest
import torch

from unrolled import engines
from unrolled.engines.portable import Portable
from unrolled.errors import EngineError, UsageError


class Other(Portable):
    name = "other"


def refuse() -> Portable:
    raise EngineError("no such processor")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers in a copy that holds the portable engine alone."""
    monkeypatch.setattr(engines, "_makers", {"portable": Portable})
    monkeypatch.setattr(engines, "_made", {})


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
