"""`unrolled.train`: the whole of training as one call from Python."""

import os
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import unrolled
from unrolled.training.events import DataRead, Event, Finished, Prepared, Progress, Stopped
from unrolled.training.interrupts import stop_on_signals

from .runs import SETTINGS, config_of, weights_of

pytestmark = pytest.mark.usefixtures("no_curve")

PARTS: dict[str, Any] = {"text": SETTINGS.text, "model": SETTINGS.model, "training": SETTINGS.training}


def test_a_call_trains_and_says_what_came_of_it(corpus: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    end = unrolled.train(corpus, tmp_path / "model", watch=seen.append, **PARTS)
    assert isinstance(end, Finished)
    assert end.directory == tmp_path / "model"
    assert seen[-1] is end
    assert [type(event) for event in seen[:3]] == [DataRead, Prepared, Progress]
    model = unrolled.LanguageModel.load(end.directory)
    assert model.score(["the cat"])[0].log_probability < 0
    assert model.generate("the cat", max_tokens=5, seed=1)[0].startswith("the cat")


def test_regularization_is_a_part_of_its_own(corpus: Path, tmp_path: Path) -> None:
    wanted = unrolled.Regularization(dropout=0.3, weight_drop=0.2)
    unrolled.train(corpus, tmp_path / "plain", **PARTS)
    unrolled.train(corpus, tmp_path / "regularised", regularization=wanted, **PARTS)
    recorded = [config_of(tmp_path / name)["training"]["regularization"] for name in ("plain", "regularised")]
    assert recorded == [asdict(unrolled.Regularization()), asdict(wanted)]
    assert weights_of(tmp_path / "plain") != weights_of(tmp_path / "regularised")


def test_a_corpus_may_be_several_files_and_names_may_be_strings(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a dog sees.\n" * 40, encoding="utf-8")
    end = unrolled.train([str(corpus), other], str(tmp_path / "model"), **PARTS)
    assert isinstance(end, Finished)
    assert config_of(tmp_path / "model")["data"]["parts"]["train"]["sources"] == [str(corpus), str(other)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_saves_and_a_second_call_goes_on(
    number: signal.Signals, corpus: Path, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 7:
            os.kill(os.getpid(), number)

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    end = unrolled.train(corpus, tmp_path / "model", watch=interrupt, **PARTS)
    assert end == Stopped(tmp_path / "model", 7, "--resume")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    end = unrolled.train([], tmp_path / "model", resume=True)
    assert isinstance(end, Finished)
    unrolled.train(corpus, tmp_path / "undisturbed", **PARTS)
    assert weights_of(tmp_path / "model") == weights_of(tmp_path / "undisturbed")


def test_a_second_signal_interrupts_at_once_unless_it_is_the_echo_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with stop_on_signals() as request:
        assert not request()
        os.kill(os.getpid(), signal.SIGTERM)
        assert request()
        assert request.signal_number == signal.SIGTERM
        now[0] += 0.4
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal_number == signal.SIGTERM
        now[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_training_works_outside_the_main_thread(corpus: Path, tmp_path: Path) -> None:
    ends: list[object] = []
    thread = threading.Thread(target=lambda: ends.append(unrolled.train(corpus, tmp_path / "model", **PARTS)))
    thread.start()
    thread.join(timeout=60)
    assert [type(end) for end in ends] == [Finished]


def test_overwriting_has_to_be_asked_for(corpus: Path, tmp_path: Path) -> None:
    unrolled.train(corpus, tmp_path / "model", **PARTS)
    with pytest.raises(unrolled.UnrolledError, match="holds a model: give --overwrite"):
        unrolled.train(corpus, tmp_path / "model", **PARTS)
    assert isinstance(unrolled.train(corpus, tmp_path / "model", overwrite=True, **PARTS), Finished)


def test_settings_load_no_torch(run_python: Any) -> None:
    code = """
import sys
import unrolled
unrolled.TrainingSettings(epochs=1), unrolled.ModelSettings(), unrolled.TextSettings(), unrolled.train
print("torch" in sys.modules)
"""
    assert run_python(code) == "False\n"


@pytest.mark.parametrize(  # the others' steps are torch's own
    "optimizer",
    ["adamw", pytest.param("sgd", marks=pytest.mark.slow), pytest.param("momentum", marks=pytest.mark.slow)],
)
def test_training_does_not_load_the_compiler_of_torch(
    optimizer: str, run_python: Any, corpus: Path, tmp_path: Path
) -> None:
    code = """
import sys
import unrolled
wanted = unrolled.TrainingSettings(epochs=1, optimizer=sys.argv[3])
unrolled.train(sys.argv[1], sys.argv[2], model=unrolled.ModelSettings(hidden=4), training=wanted)
print("torch._dynamo" in sys.modules)
"""
    assert run_python(code, str(corpus), str(tmp_path / "model"), optimizer) == "False\n"
