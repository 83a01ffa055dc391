"""A run from a corpus to a model directory: what it tells, what it writes, and what it refuses."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import LanguageModel, engines, model_directory
from unrolled.errors import CorpusError, ModelDirectoryError, TrainingError, UsageError
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.models.language.data import prepare
from unrolled.text.report import DataReport
from unrolled.training import course as course_module
from unrolled.training.events import DataRead, Finished, Prepared, Progress, Stopped, Validated, WentBack
from unrolled.training.loop import Found, mean_loss
from unrolled.training.recipe import filled
from unrolled.training.run import run

from .networks import schedule_of
from .runs import SETTINGS, all_of, config_of, log_of, settings, stop_after, train, weights_of

CPU = torch.device("cpu")


# What it tells and writes


@pytest.mark.usefixtures("no_curve")
def test_events_come_in_order_and_say_what_happens(corpus: Path, tmp_path: Path) -> None:
    began = time.perf_counter()
    events = list(run([corpus], tmp_path / "model", SETTINGS))
    read, prepared, *during, finished = events
    assert isinstance(read, DataRead)
    assert isinstance(prepared, Prepared)
    assert isinstance(finished, Finished)
    assert isinstance(read.report, DataReport)
    assert read.uniform == math.log(read.report.vocabulary_size)
    assert 0 < read.unigram < read.uniform
    assert prepared.description == "1 x 8 lstm, embedding 5"
    network = torch.nn.LSTM(5, 8)
    expected = 5 * read.report.vocabulary_size + sum(p.numel() for p in network.parameters())
    assert prepared.parameters == expected + 9 * read.report.vocabulary_size
    assert (prepared.device, prepared.steps_done) == ("cpu", 0)
    assert prepared.engine == engines.get().description()
    steps = [event for event in during if isinstance(event, Progress)]
    assert [step.step for step in steps] == list(range(1, finished.steps + 1))
    assert [step.share for step in steps] == [n / len(steps) for n in range(1, len(steps) + 1)]
    assert all(step.tokens_per_second > 0 and step.seconds_left >= 0 for step in steps)
    assert steps[-1].seconds_left == 0
    assert steps[-1].loss < steps[0].loss == pytest.approx(read.uniform, rel=0.05)
    a_pass = prepared.steps_a_pass
    assert finished.steps == math.ceil(2.5 * a_pass)
    validations = [event for event in during if isinstance(event, Validated)]
    assert [v.step for v in validations] == [a_pass, 2 * a_pass, finished.steps]
    for v in validations:
        assert v.passes == v.step / a_pass
        assert v.figures["perplexity"] == pytest.approx(math.exp(v.loss))
    assert finished.loss == min(v.loss for v in validations)
    assert 0 < finished.seconds < time.perf_counter() - began
    assert finished.directory == tmp_path / "model"
    assert finished.sources == (str(corpus),)


def test_a_directory_holds_the_model_its_log_and_a_picture(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    finished, validations = train(corpus, out)
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "manifest.json"),
        *("log.jsonl", "curve.png"),
    }
    config = config_of(out)
    assert list(config) == ["task", "unrolled_version", "model", "text", "data", "training"]
    assert config["model"] == {
        "cell": "lstm",
        "vocabulary_size": LanguageModel.load(out).tokenizer.vocabulary_size,
        "embedding_size": 5,
        "hidden_size": 8,
        "layers": 1,
        "tied": False,
    }
    assert config["text"] == asdict(SETTINGS.text) | {"unit": "word"}
    assert config["training"]["model"] == asdict(filled(SETTINGS).model)
    assert config["training"]["regularization"] == asdict(SETTINGS.regularization)
    assert config["training"]["options"] == asdict(filled(SETTINGS).training)
    results = config["training"]["results"]
    assert (results["finished"], results["steps"], results["repeat"]) == (True, finished.steps, finished.repeat)
    assert results["validation_loss"] == finished.loss
    assert 0 < results["unigram_loss"] < results["uniform_loss"]
    assert list(config["data"]["parts"]) == ["train", "validation"]
    logged = log_of(out)
    assert [(r["step"], r["validation_loss"]) for r in logged if "validation_loss" in r] == [
        (v.step, v.loss) for v in validations
    ]
    trained = [r for r in logged if "training_loss" in r]
    assert {v.step for v in validations} <= {r["step"] for r in trained}, "a line for each pass and for the end"
    assert trained[-1]["training_loss"] < trained[0]["training_loss"]
    schedule = schedule_of(0.02, finished.steps)
    assert [r["learning_rate"] for r in trained] == [schedule.rate(r["step"] - 1) for r in trained]


@pytest.mark.usefixtures("no_curve")
def test_the_weights_that_did_best_are_kept(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, seen = iter([3.0, 2.0, 2.5, 2.75]), []

    def pretend(network: LanguageModelNetwork, *_: object) -> Found:
        seen.append(network.tensors())
        return Found(next(losses), None)

    monkeypatch.setattr(course_module, "validate", pretend)
    finished, validations = train(corpus, tmp_path / "model", settings(training={"epochs": 4}))
    assert [(v.loss, v.best) for v in validations] == [(3.0, True), (2.0, True), (2.5, False), (2.75, False)]
    assert finished.loss == config_of(tmp_path / "model")["training"]["results"]["validation_loss"] == 2.0
    kept = model_directory.load(tmp_path / "model").tensors
    for name, tensor in kept.items():
        np.testing.assert_array_equal(tensor, seen[1][name])
        assert not np.array_equal(tensor, seen[2][name])


@pytest.mark.usefixtures("no_curve")
@pytest.mark.parametrize("read", ["stream", "sentences"])
def test_the_loss_that_is_recorded_is_that_of_the_weights_that_are_kept(
    read: str, corpus: Path, tmp_path: Path
) -> None:
    wanted = settings(text={"read": read}, regularization={"dropout": 0.2, "weight_drop": 0.2})
    train(corpus, tmp_path / "model", wanted)
    files = model_directory.load(tmp_path / "model")
    shape, dropped = LanguageModelShape(**files.config["model"]), wanted.regularization
    network = LanguageModelNetwork(shape, regularization=dropped)
    network.load_tensors(files.tensors)
    reader = prepare([corpus], wanted.text).validation_reader(wanted.training)
    assert mean_loss(network, reader, CPU) == files.config["training"]["results"]["validation_loss"]


@pytest.mark.usefixtures("no_curve")
def test_the_same_settings_give_the_same_bits_and_another_seed_does_not(corpus: Path, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"regularization": {"dropout": 0.3}, "text": {"read": "sentences"}}
    train(corpus, tmp_path / "one", settings(**wanted))
    train(corpus, tmp_path / "two", settings(**wanted))
    train(corpus, tmp_path / "other", settings(**wanted, training={"seed": 2}))
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two") != weights_of(tmp_path / "other")


@pytest.mark.usefixtures("no_curve")
def test_vocabulary_and_weights_come_from_the_training_text_alone(corpus: Path, tmp_path: Path) -> None:
    texts = {"one": "the cat sees a dog.\n", "two": "the extinct quagga sees ¥9 of æther!\n"}
    for name, line in texts.items():
        (tmp_path / f"{name}.txt").write_text(line * 30, encoding="utf-8")
        train(corpus, tmp_path / name, settings(text={"validation": str(tmp_path / f"{name}.txt")}))
    one, two = (tmp_path / "one", tmp_path / "two")
    assert (one / "tokenizer.json").read_bytes() == (two / "tokenizer.json").read_bytes()
    assert "quagga" not in (two / "tokenizer.json").read_text(encoding="utf-8")
    assert config_of(one)["data"]["parts"]["train"] == config_of(two)["data"]["parts"]["train"]
    assert (
        config_of(one)["training"]["results"]["validation_loss"]
        < config_of(two)["training"]["results"]["validation_loss"]
    )
    trained = [[r["training_loss"] for r in log_of(out) if "training_loss" in r] for out in (one, two)]
    assert trained[0] == trained[1]


@pytest.mark.usefixtures("no_curve")
def test_too_large_a_batch_and_window_shrink_and_say_so(tmp_path: Path) -> None:
    corpus = tmp_path / "small.txt"
    corpus.write_text("one two three\nfour five\nsix seven eight\n" * 3, encoding="utf-8")
    for read, expected in (("stream", "batch 40 -> 1"), ("sentences", "batch 40 -> 8")):
        events = run([corpus], tmp_path / read, settings(text={"read": read}, training={"batch": 40, "window": 10**6}))
        _, prepared = next(events), next(events)
        assert isinstance(prepared, Prepared)
        assert any(note.startswith(expected) for note in prepared.notes), prepared.notes
        assert isinstance(all_of(events)[0], Finished)


@pytest.mark.usefixtures("no_curve")
def test_blank_lines_count_for_nothing_where_sentences_are_read(corpus: Path, tmp_path: Path) -> None:
    wanted = settings(text={"read": "sentences"})
    finished, validations = train(corpus, tmp_path / "model", wanted)
    model = LanguageModel.load(tmp_path / "model")
    data = prepare([corpus], wanted.text)
    text = data.parts["validation"].text
    assert "\n\n" in text
    result = model.evaluate(text)
    best = min(validations, key=lambda v: v.loss)
    assert result.bits_per_character == pytest.approx(best.figures["bits_per_character"], rel=1e-5)
    lines = [line for line in text.split("\n") if line]
    train_ids = model.tokenizer.encode("".join(f"{line}\n" for line in data.parts["train"].text.split("\n") if line))
    ids = model.tokenizer.encode("".join(f"{line}\n" for line in lines))
    counts = np.bincount(train_ids, minlength=model.tokenizer.vocabulary_size) + 1
    assert data.unigram == pytest.approx(-np.log(counts[ids] / counts.sum()).mean(), rel=1e-12)
    assert finished.loss < data.unigram < data.uniform


# What it refuses, and what breaks off


@pytest.mark.usefixtures("no_curve")
def test_a_model_is_not_replaced_unless_told_so(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train(corpus, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError) as caught:
        next(run([corpus], out, settings(training={"seed": 3})))
    assert str(caught.value) == (
        f"{out}: holds a model: give --overwrite to replace it, --resume to go on, or another --out"
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    train(corpus, out, settings(training={"seed": 3, "epochs": 0.5}), overwrite=True)
    assert weights_of(out) != before["model.safetensors"]
    assert len(log_of(out)) == 2, "the log begins anew"


@pytest.mark.usefixtures("no_curve")
def test_a_corpus_that_cannot_be_used_leaves_an_earlier_model_alone(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train(corpus, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for text, message in (("", "is empty"), ("word\n", "would be empty, the corpus has only one word")):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(CorpusError, match=message):
            next(run([tmp_path / "bad.txt"], out, SETTINGS, overwrite=True))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.usefixtures("no_curve")
def test_options_that_do_not_go_together_leave_an_earlier_run_alone(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert isinstance(all_of(run([corpus], out, SETTINGS, should_stop=stop_after(3)))[0], Stopped)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert out / "training" / "state.json" in before
    for wanted, message in (
        (settings(regularization={"signal_norm": 1.0}), "signal_norm is for the cells tanh, relu, sigmoid, not for"),
        (settings(model={"initialization": "identity"}), "initialization identity is for cells with one gate"),
        (settings(training={"epochs": None, "anneal": "9:5"}), 'anneal is "9:5": give step:end pairs'),
    ):
        with pytest.raises(UsageError, match=message):
            list(run([corpus], out, wanted, overwrite=True))
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", "meta"])
def test_a_device_that_cannot_be_used_is_refused_at_once(device: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf'^--device is "{device}", which cannot be used here \(.+\): try cpu$'):
        next(run([corpus], tmp_path / "model", settings(training={"device": device})))
    assert not (tmp_path / "model").exists()


def test_what_stands_in_the_place_of_the_directory_is_refused_before_the_text_is_read(
    corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelDirectoryError, match="is a file, expected a folder"):
        next(run([corpus], tmp_path / "file", SETTINGS))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    with pytest.raises(ModelDirectoryError, match="Unrolled did not write it: choose another folder"):
        next(run([corpus], tmp_path / "folder", SETTINGS))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("no_curve")
def test_a_run_that_breaks_off_leaves_the_best_weights_so_far(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    best: list[float] = []

    def watch() -> None:
        for event in run([corpus], out, SETTINGS):
            if isinstance(event, Validated):
                best.append(event.loss)
                monkeypatch.setattr(torch.Tensor, "item", lambda _: math.nan)

    with pytest.raises(TrainingError) as caught:
        watch()
    monkeypatch.undo()
    message = str(caught.value)
    assert message.endswith(f"the best weights so far are in {out}")
    assert "\n" not in message
    results = config_of(out)["training"]["results"]
    assert (results["finished"], results["validation_loss"]) == (False, best[0])
    assert LanguageModel.load(out).score(["the cat"])[0].tokens == 3


@pytest.mark.usefixtures("no_curve")
def test_a_rate_without_measure_is_lowered(corpus: Path, tmp_path: Path) -> None:
    wild = settings(training={"optimizer": "sgd", "learning_rate": 1e38, "clip": 0.0})
    events = list(run([corpus], tmp_path / "model", wild))
    rates = [event.learning_rate for event in events if isinstance(event, WentBack)]
    assert rates == [1e38 / 2**times for times in range(1, len(rates) + 1)]
    assert rates


@pytest.mark.usefixtures("no_curve")
def test_a_perplexity_beyond_all_numbers_can_be_logged(corpus: Path, tmp_path: Path) -> None:
    wild = settings(training={"optimizer": "sgd", "learning_rate": 1e5, "clip": 0.0, "epochs": 1})
    _, validations = train(corpus, tmp_path / "model", wild)
    assert validations[0].loss > 1000
    assert validations[0].figures["perplexity"] is None
    assert "perplexity inf" in validations[0].description
    (record,) = (r for r in log_of(tmp_path / "model") if "validation_loss" in r)
    assert record["perplexity"] is None
    assert json.loads((tmp_path / "model" / "config.json").read_text())["training"]["results"]["finished"] is True
