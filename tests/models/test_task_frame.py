"""Runs of tasks with labels from data to a model directory: the same twice, resumed, replaced, in two processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from unrolled import model_directory, models
from unrolled.errors import CorpusError, LineError, ModelDirectoryError, UsageError
from unrolled.models.classify import POOLINGS, ClassificationSettings
from unrolled.models.predictor import PredictionSettings, Predictor, refuse_bad_line
from unrolled.models.rows import ExampleSettings
from unrolled.models.tag import TaggingSettings
from unrolled.models.task import Task, check_task
from unrolled.models.translate import ATTENTIONS
from unrolled.nn import Regularization, attention, pooling
from unrolled.text.settings import TextSettings
from unrolled.training.events import DataRead, Finished, Planned, Prepared, Stopped, Validated
from unrolled.training.run import run
from unrolled.training.settings import Settings, TrainingSettings

from ..training.runs import DEFAULTS, all_of, config_of, log_of, stop_after, weights_of

TASKS = ("classify", "tag")
OWN: dict[str, tuple[Any, ...]] = {
    "classify": (ExampleSettings(unknown_share=0.2), ClassificationSettings(pooling="max", class_weights="balanced")),
    "tag": (ExampleSettings(most_tokens=5), TaggingSettings(spelling=3)),
}
each_task = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(autouse=True)
def _no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")


@pytest.fixture
def data(tmp_path: Path, tiny_reviews: str, tiny_sentences: str) -> dict[str, Path]:
    paths = {"classify": tmp_path / "reviews.csv", "tag": tmp_path / "sentences.tsv"}
    for task, text in (("classify", tiny_reviews), ("tag", tiny_sentences)):
        paths[task].write_text(text, encoding="utf-8")
    return paths


def settings(task: str, **training: Any) -> Settings:
    """Everything that chance decides is on: order, dropout of all kinds, unknown words."""
    return Settings(
        TextSettings(min_count=2),
        unrolled.ModelSettings(hidden=5, embedding=4, layers=2),
        TrainingSettings(**{"epochs": 2.5, "batch": 16, "learning_rate": 0.02, "threads": 1, **training}),
        Regularization(dropout=0.3, weight_drop=0.2, locked=task == "tag"),
        task,
        OWN[task],
    )


def train(source: Path, out: Path, wanted: Settings) -> tuple[Finished, list[Validated]]:
    end, validations = all_of(run([source], out, wanted))
    assert isinstance(end, Finished)
    return end, validations


@each_task
def test_a_run_says_and_writes_what_it_is(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    events = list(run([data[task]], tmp_path / "model", settings(task)))
    read, prepared = (next(e for e in events if isinstance(e, kind)) for kind in (DataRead, Prepared))
    assert isinstance(read, DataRead)
    assert isinstance(prepared, Prepared)
    assert read.counted == "label"
    shown = {"classify": "max pooling, 3 labels", "tag": "spelling 2 x 3, 5 labels"}[task]
    assert prepared.description.startswith("2 x 2 x 5 gru, embedding 4")
    assert prepared.description.endswith(shown)
    validations = [event for event in events if isinstance(event, Validated)]
    assert [event.step for event in validations] == [5, 10, 13]
    assert prepared.steps_a_pass == 5
    for event in validations:
        accuracy = event.figures["accuracy"]
        assert accuracy is not None
        assert 0 <= accuracy <= 1
        assert f"{event.loss:.4f} nats/label (uniform " in event.description
        assert event.description.endswith(f", accuracy {accuracy:.2%}")
    log = [record for record in log_of(tmp_path / "model") if "validation_loss" in record]
    assert [record["accuracy"] for record in log] == [event.figures["accuracy"] for event in validations]
    config = config_of(tmp_path / "model")
    assert config["task"] == task
    own = {each.name: getattr(group, each.name) for group in OWN[task] for each in fields(group)}
    assert config["training"]["own"] == own
    assert models.get(task).own_settings(config["training"]["own"]) == OWN[task]
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.repeat.startswith(f"--task {task} ")
    assert end.loss == min(event.loss for event in validations) == config["training"]["results"]["validation_loss"]


@each_task
def test_the_same_seed_gives_the_same_bits_and_another_others(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        train(data[task], tmp_path / name, settings(task, epochs=1, seed=seed))
    weights = [weights_of(tmp_path / name) for name in ("one", "again", "other")]
    assert weights[0] == weights[1] != weights[2]


@each_task
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    wanted, out = settings(task), tmp_path / "stopped"
    undisturbed, expected = train(data[task], tmp_path / "undisturbed", wanted)
    steps_a_pass = expected[0].step
    assert steps_a_pass > 3
    seen: list[Validated] = []
    for after, goes_on in ((steps_a_pass, False), (3, True)):  # at the end of a pass, and in one
        end, validations = all_of(run([data[task]], out, wanted, resume=goes_on, should_stop=stop_after(after)))
        assert isinstance(end, Stopped)
        seen += validations
        assert models.get(task).load(out).answers(["Anna saw"], PredictionSettings()), "it can be used as it is"
    end, validations = all_of(run([], out, DEFAULTS, resume=True))
    assert isinstance(end, Finished)
    assert [*seen, *validations] == expected, "losses to the last bit"
    assert (end.steps, end.loss, end.repeat) == (undisturbed.steps, undisturbed.loss, undisturbed.repeat)
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")


def test_other_options_and_other_data_are_refused_when_going_on(data: dict[str, Path], tmp_path: Path) -> None:
    wanted, out = settings("classify"), tmp_path / "model"
    all_of(run([data["classify"]], out, wanted, should_stop=stop_after(2)))
    other = (ExampleSettings(unknown_share=0.2), ClassificationSettings(pooling="mean", class_weights="balanced"))
    plain = (TextSettings(), unrolled.ModelSettings(), TrainingSettings())
    with pytest.raises(UsageError, match=r"^--pooling is mean, but the run to resume has max: leave it out, or train"):
        next(run([], out, Settings(*plain, task="classify", own=other), resume=True))
    with pytest.raises(UsageError, match=r"^--task is tag, but the run to resume has classify: leave it out, or train"):
        next(run([], out, Settings(*plain, task="tag"), resume=True))
    data["classify"].write_text("text,label\na,b\nc,d\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="these are not the data that the train part was cut from"):
        next(run([], out, Settings(*plain, task="classify"), resume=True))


def test_another_task_replaces_a_model_and_leaves_nothing_of_it(
    data: dict[str, Path], tiny_text: str, tmp_path: Path
) -> None:
    out, text = tmp_path / "model", tmp_path / "text.txt"
    text.write_text(tiny_text, encoding="utf-8")
    language = Settings(
        TextSettings(), unrolled.ModelSettings(hidden=4), TrainingSettings(epochs=0.1, batch=8, window=16, threads=1)
    )
    names = {"config.json", "curve.png", "log.jsonl", "manifest.json", "model.safetensors", "tokenizer.json"}
    all_of(run([data["classify"]], out, settings("classify"), should_stop=stop_after(1)))
    assert (out / "training").is_dir()
    for wanted, source in ((settings("tag"), data["tag"]), (language, text), (settings("classify"), data["classify"])):
        with pytest.raises(UsageError, match="holds a model: give --overwrite to replace it"):
            next(run([source], out, wanted))
        all_of(run([source], out, wanted, overwrite=True))
        assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == names
        files = model_directory.load(out)
        assert files.config["task"] == wanted.task
        models.get(wanted.task).check(files)
        assert all("validation_loss" in record or "training_loss" in record for record in log_of(out))


@each_task
def test_a_plan_measures_the_speed_and_leaves_the_size(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    wanted = settings(task)
    planned = [event for event in run([data[task]], None, wanted) if isinstance(event, Planned)]
    (plan,) = (event.plan for event in planned)
    assert plan.passes == pytest.approx(2.5, rel=0.2)
    assert list(plan.tried) == [5]
    assert plan.settings.own == OWN[task]
    assert not (tmp_path / "model").exists()


def test_the_door_takes_a_task_and_its_settings(data: dict[str, Path], tmp_path: Path) -> None:
    own = OWN["classify"]
    training = TrainingSettings(epochs=1, threads=1)
    small = unrolled.ModelSettings(hidden=4, embedding=4)
    finished = unrolled.train(
        [data["classify"]], tmp_path / "model", task="classify", own=own, model=small, training=training
    )
    assert isinstance(finished, Finished)
    assert finished.sources == (str(data["classify"]),)
    with pytest.raises(
        UsageError, match=r"^task classify has settings of its own: expected one of each of ExampleSettings, Classif"
    ):
        unrolled.train(data["classify"], tmp_path / "other", task="classify", own=OWN["tag"])
    with pytest.raises(UsageError, match=r'^task is "translation": choose one of language, '):
        unrolled.train(data["classify"], tmp_path / "other", task="translation")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_two_processes_come_to_the_losses_of_one(data: dict[str, Path], tmp_path: Path) -> None:
    words = [
        *("train", "--task", "classify", str(data["classify"]), "--class-weights", "balanced", "--threads", "1"),
        *("--hidden", "8", "--embedding", "5", "--layers", "2", "--epochs", "2.5", "--batch", "7"),
        *("--dropout", "0", "--unknown-share", "0"),  # which processes draw from generators of their own
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "unrolled"]
    for name, command in (("one", [sys.executable, "-m", "unrolled"]), ("two", launch)):
        done = subprocess.run(
            [*command, *words, "--out", str(tmp_path / name)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\nfinished ") == 1, "one speaks for all"
    one, two = (
        [record for record in log_of(tmp_path / name) if "validation_loss" in record] for name in ("one", "two")
    )
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for of_one, of_two in zip(one, two, strict=True):
        assert of_two["validation_loss"] == pytest.approx(of_one["validation_loss"], abs=1e-5)
        assert of_two["accuracy"] == of_one["accuracy"]
    weights = [model_directory.load(tmp_path / name).tensors for name in ("one", "two")]
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, atol=1e-4)


# The table, and what predictors have in common


@pytest.mark.parametrize("name", models.TASKS)
def test_each_task_of_the_table_is_whole(name: str) -> None:
    task = models.get(name)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.summary.endswith(".")
    assert task.takes
    known = {each.name for group in (TextSettings, unrolled.ModelSettings, TrainingSettings) for each in fields(group)}
    known |= {each.name for each in fields(Regularization)}
    assert task.unused <= known
    for unit in ("word", "char", "bpe"):
        assert task.defaults(unit).hidden > 0
    own = [each for group in task.options for each in fields(group)]
    assert len({each.name for each in own}) == len(own)
    assert not {each.name for each in own} & known, "an option of the command line has one meaning"
    assert all(each.metadata["help"] for each in own)
    assert DEFAULTS.task == "language"
    assert Settings(TextSettings(), unrolled.ModelSettings(), TrainingSettings(), task=name).own == tuple(
        group() for group in task.options
    )


def test_options_with_one_name_are_of_one_class() -> None:
    groups = {group for name in models.TASKS for group in models.get(name).options}
    names = [each.name for group in groups for each in fields(group)]
    assert len(names) == len(set(names))


def test_a_directory_says_whose_it_is() -> None:
    check_task({"task": "tag"}, "tag", "model")
    for found in ("language", None, ["tag"]):
        with pytest.raises(ModelDirectoryError, match=r'^model: its task is .*, expected "tag": unrolled info tells'):
            check_task({"task": found}, "tag", "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: 0}, f"{name} is 0: give a whole number of at least 1") for name in ("top", "beam", "best", "batch")),
        ({"most_output": -1}, "most_output is -1: give a whole number of at least 1"),
        ({"best": 6}, "best is 6 and beam is 5: a beam finds no more than its width"),
        ({"length_penalty": -0.5}, "length_penalty is -0.5: give a number of at least 0"),
        ({"length_penalty": float("nan")}, "length_penalty is nan: give a number of at least 0"),
    ],
)
def test_predictions_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        PredictionSettings(**changes)


def test_options_of_other_tasks_are_refused_and_lines_come_in_chunks(task_model: Callable[[str], Path]) -> None:
    predictor = models.get("classify").load(task_model("classify"))
    assert isinstance(predictor, Predictor)
    with pytest.raises(
        UsageError, match=r"^--beam means nothing to a model of the task classify: its options are --ex"
    ):
        predictor.answer_chunks(iter([["a"]]), PredictionSettings(beam=3))
    lines = [["the film", "a book"], ["item"]]
    chunks = list(predictor.answer_chunks(iter(lines), PredictionSettings(batch=1, top=1)))
    assert [[answer.as_dict()["text"] for answer in answers] for answers in chunks] == lines
    with pytest.raises(UsageError, match="gives no scores: see unrolled predict"):
        predictor.scores(["a"])


def test_lines_before_a_bad_one_are_answered_before_it_is_refused(task_model: Callable[[str], Path]) -> None:
    predictor = models.get("classify").load(task_model("classify"))
    assert isinstance(predictor, Predictor)
    chunks = iter([["the film", "a book"], ["item", "a", "", "b", ""]])
    answers = predictor.answer_chunks(chunks, PredictionSettings())
    for expected in ["the film", "a book"], ["item", "a"]:
        assert [answer.as_dict()["text"] for answer in next(answers)] == expected
    with pytest.raises(LineError, match=r"^line 5 is empty") as caught:
        next(answers)
    assert caught.value.number == 5


def test_bad_lines_are_refused_by_number() -> None:
    refuse_bad_line("a", 1, 5, 5)
    with pytest.raises(LineError, match=r"^line 3 is empty: there is nothing to answer, leave it out$"):
        refuse_bad_line("\u00a0\t", 3, 1, 5)
    with pytest.raises(LineError, match=r"^line 1000 has 6 tokens, the model reads at most 5 \(--most-tokens when"):
        refuse_bad_line("a", 1000, 6, 5)


def test_nothing_of_torch_is_loaded_for_the_table(run_python: Callable[..., str]) -> None:
    code = "import sys; from unrolled import models; [models.get(name) for name in models.TASKS]"
    assert run_python(f"{code}; print('torch' in sys.modules)") == "False\n"


@each_task
def test_a_damaged_record_of_own_settings_cannot_be_resumed(task: str, data: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "model"
    all_of(run([data[task]], out, settings(task), should_stop=stop_after(1)))
    files = model_directory.load(out)
    damages: tuple[Any, ...] = (
        {},
        None,
        [],
        {**files.config["training"]["own"], "most_tokens": "many"},
    )
    for own in damages:
        config = json.loads(json.dumps(files.config))
        config["training"]["own"] = own
        model_directory.save(out, config=config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)
        with pytest.raises(ModelDirectoryError, match="cannot be resumed, its record is damaged"):
            next(run([], out, DEFAULTS, resume=True))


def test_what_settings_offer_is_what_the_modules_have() -> None:
    assert set(POOLINGS) == set(pooling.KINDS)
    assert set(ATTENTIONS) == {*attention.KINDS, "none"}


def test_a_share_of_unknown_words_means_nothing_to_subwords(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\n" * 4, encoding="utf-8")
    own = (ExampleSettings(unknown_share=0.3), *(group() for group in models.get("translate").options[1:]))
    with pytest.raises(UsageError, match=r"^--unknown-share is 0.3, but no subword is ever unknown: leave it out$"):
        models.get("translate").prepare([tmp_path / "pairs.tsv"], TextSettings(unit="bpe"), own)
