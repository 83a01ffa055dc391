"""A run that was stopped and resumed ends with the same bits as one that was not."""

import json
import shutil
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from unrolled import LanguageModel, model_directory
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.language.data import prepare
from unrolled.training import output as output_module
from unrolled.training.events import Finished, Progress, Stopped, Validated
from unrolled.training.run import run
from unrolled.training.settings import OPTIMIZERS, Settings

from .runs import DEFAULTS, EVERYTHING, SETTINGS, all_of, config_of, log_of, settings, stop_after, train, weights_of

pytestmark = pytest.mark.usefixtures("no_curve")

VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"training": {"optimizer": name, "learning_rate": None}} for name in OPTIMIZERS},
    "rows": {"training": {"optimizer": "sgd", "learning_rate": 1.0, "batch": 3, "window": 5}},  # less than the words
    "dropout": {"model": {"layers": 2, "cell": "gru"}, "regularization": {"dropout": 0.4, "locked": False}},
    "locked dropout": {"model": {"layers": 2, "cell": "gru"}, "regularization": {"dropout": 0.4}},
    "weight drop": {"model": {"layers": 2}, "regularization": {"weight_drop": 0.5}},
    "random windows": {"training": {"random_windows": True, "window": 12}, "regularization": {"dropout": 0.2}},
    "everything": {
        "model": {"layers": 2, "cell": "tanh", "initialization": "orthogonal"},
        "training": {"random_windows": True, "clip_value": 0.01, "schedule": "cosine", "optimizer": "sgd"},
        "regularization": EVERYTHING,
    },
    "factored": {"model": {"factored": True, "tied": True, "embedding": 8}, "regularization": {"dropout": 0.3}},
    "factored, sampled": {
        "model": {"factored": True, "tied": True, "embedding": 8},
        "training": {"samples": 2, "batch": 2, "window": 3, "beta1": 0.0, "beta2": 0.999, "average": "triggered"},
    },
    "sentences": {"text": {"read": "sentences"}, "model": {"cell": "tanh"}, "regularization": {"dropout": 0.3}},
    "characters, tied": {"text": {"unit": "char", "min_count": 1}, "model": {"tied": True, "embedding": 8}},
}


def stop(corpus: Path, out: Path, wanted: Settings, *, after: int, **options: Any) -> list[Validated]:
    end, validations = all_of(run([corpus], out, wanted, should_stop=stop_after(after), **options))
    assert isinstance(end, Stopped)
    assert (end.directory, end.resume) == (out, "--resume")
    return validations


def resume(out: Path, wanted: Settings = DEFAULTS, corpus: Path | None = None) -> tuple[Finished, list[Validated]]:
    end, validations = all_of(run([] if corpus is None else [corpus], out, wanted, resume=True))
    assert isinstance(end, Finished)
    return end, validations


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(variant: str, corpus: Path, tmp_path: Path) -> None:
    wanted = settings(**VARIANTS[variant])
    undisturbed, expected = train(corpus, tmp_path / "undisturbed", wanted)
    steps_a_pass = next(e.step for e in expected)
    assert undisturbed.steps > 2 * steps_a_pass > 8
    in_a_pass, at_its_end = steps_a_pass + 3, steps_a_pass
    out = tmp_path / "stopped"
    validations = stop(corpus, out, wanted, after=at_its_end)
    validations += stop(corpus, out, wanted, after=in_a_pass - at_its_end, resume=True)
    resumed, more = resume(out)
    assert [*validations, *more] == expected, "losses to the last bit"
    assert (resumed.steps, resumed.loss, resumed.repeat) == (undisturbed.steps, undisturbed.loss, undisturbed.repeat)
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")
    logs = [log_of(name) for name in (out, tmp_path / "undisturbed")]
    validated = [[record["step"] for record in log if "validation_loss" in record] for log in logs]
    assert validated[0] == validated[1], "how many other lines there are depends on the clock too"


def test_dropout_and_order_make_a_difference_that_resuming_had_to_keep(corpus: Path, tmp_path: Path) -> None:
    variants = (
        settings(),
        settings(regularization={"dropout": 0.4}),
        settings(regularization={"dropout": 0.4, "locked": False}),
        settings(regularization={"weight_drop": 0.4}),
        settings(training={"random_windows": True}),
        settings(training={"random_windows": True, "seed": 2}),
    )
    losses = {train(corpus, tmp_path / str(number), each)[0].loss for number, each in enumerate(variants)}
    assert len(losses) == len(variants)


def test_a_stopped_run_can_be_used_as_it_is(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    stop(corpus, out, SETTINGS, after=1)  # before there was a validation
    results = config_of(out)["training"]["results"]
    assert (results["finished"], results["steps"], results["validation_loss"]) == (False, 1, None)
    assert LanguageModel.load(out).score(["the cat"])[0].tokens == 3
    assert (out / "training" / "state.json").is_file()
    resume(out)
    results = config_of(out)["training"]["results"]
    assert results["finished"] is True
    assert not (out / "training").exists(), "nothing is left to resume"


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr(model_directory, "save_training", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(run([corpus], out, SETTINGS))
    assert model_directory.has_model(out)
    assert not (out / "training").exists()
    resumed, _ = resume(out)
    undisturbed, _ = train(corpus, tmp_path / "undisturbed")
    assert (resumed.steps, resumed.loss) == (undisturbed.steps, undisturbed.loss)
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")


def test_stopping_at_the_very_last_step_leaves_only_the_rest(corpus: Path, tmp_path: Path) -> None:
    undisturbed, expected = train(corpus, tmp_path / "undisturbed")
    out = tmp_path / "stopped"
    validations = stop(corpus, out, SETTINGS, after=undisturbed.steps)
    end, more = resume(out)
    assert [*validations, *more] == expected
    assert end.steps == undisturbed.steps
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")


def test_a_run_killed_after_it_was_resumed_goes_back_to_where_it_was_stopped(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "SECONDS_BETWEEN_SAVES", -1.0)  # every improvement is written at once
    undisturbed, expected = train(corpus, tmp_path / "undisturbed")
    out = tmp_path / "killed"
    stop(corpus, out, SETTINGS, after=expected[0].step + 2)
    events = run([], out, DEFAULTS, resume=True)
    for event in events:
        if isinstance(event, Validated):
            break  # the weights of the second pass have been saved, what resuming needs has not
    del events
    assert config_of(out)["training"]["results"]["validation_loss"] == expected[1].loss < expected[0].loss
    end, _ = resume(out)
    assert (end.steps, end.loss) == (undisturbed.steps, undisturbed.loss)
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")
    again = LanguageModel.load(out).config["training"]["results"]
    assert again["validation_loss"] == undisturbed.loss


def test_the_best_weights_survive_a_resumption_that_makes_nothing_better(corpus: Path, tmp_path: Path) -> None:
    wanted = settings(training={"learning_rate": 0.05, "epochs": 3})
    out = tmp_path / "model"
    steps = 2 * len(prepare([corpus], wanted.text).training_reader(wanted.training)) + 1
    validations = stop(corpus, out, wanted, after=steps)
    best = weights_of(out)
    loss = config_of(out)["training"]["results"]["validation_loss"]
    assert loss == validations[-1].loss
    state = json.loads((out / "training" / "state.json").read_text())
    state["plan"] = f"0:{steps + 1}"  # one more step, at hardly any rate, after which nothing is better
    tensors = model_directory.load_training(out)
    assert tensors is not None
    weights = {name: -array if name.startswith("network.") else array for name, array in tensors[1].items()}
    model_directory.save_training(out, state=state, tensors=weights)
    end, (last,) = resume(out)
    assert end.steps == steps + 1
    assert last.loss > loss == end.loss
    assert not last.best
    assert weights_of(out) == best


# What is refused

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"model": {"hidden": 9}}, "--hidden is 9, but the run to resume has 8: leave it out, or train anew into"),
    ({"text": {"unit": "char"}}, "--unit is char, but the run to resume has word: leave it out, or train anew"),
    ({"training": {"epochs": 7}}, "--epochs is 7, but the run to resume has 2.5: leave it out, or train anew"),
    ({"training": {"epochs": None, "minutes": 3}}, "--minutes is 3, but the run to resume has None: leave it out"),
    ({"regularization": {"weight_drop": 0.5}}, "--weight-drop is 0.5, but the run to resume has None: leave it out"),
    ({"regularization": {"locked": False}}, "--locked is False, but the run to resume has True: leave it out"),
    ({"training": {"learning_rate": 0.5}}, "--learning-rate is 0.5, but the run to resume has 0.02: leave it out"),
)


def test_other_options_are_refused_and_the_same_are_welcome(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    stop(corpus, out, SETTINGS, after=2)
    for changes, message in REFUSED:
        with pytest.raises(UsageError) as caught:
            next(run([corpus], out, settings(**changes), resume=True))
        assert str(caught.value).startswith(message)
    resume(out, SETTINGS, corpus)


def test_a_changed_corpus_is_refused_and_a_moved_one_is_not(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    stop(corpus, out, SETTINGS, after=2)
    text = corpus.read_text(encoding="utf-8")
    corpus.write_text(text.replace("cat", "cow", 1), encoding="utf-8")
    for sources in ([], [corpus]):
        with pytest.raises(CorpusError, match="this is not the corpus that the train part was cut from"):
            next(run(sources, out, DEFAULTS, resume=True))
    moved = tmp_path / "moved.txt"
    moved.write_text(text, encoding="utf-8")
    corpus.unlink()
    with pytest.raises(CorpusError, match="there is no such file or directory"):
        next(run([], out, DEFAULTS, resume=True))
    end, _ = resume(out, corpus=moved)
    assert end.sources == (str(moved),)


def test_a_validation_file_is_found_again(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the cat sees a dog.\n" * 20, encoding="utf-8")
    wanted = settings(text={"validation": str(other)})
    undisturbed, _ = train(corpus, tmp_path / "undisturbed", wanted)
    for given in (None, corpus):
        out = tmp_path / f"stopped {given is None}"
        stop(corpus, out, wanted, after=9)
        assert resume(out, corpus=given)[0].loss == undisturbed.loss


def test_where_nothing_is_left_nothing_is_resumed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(UsageError, match=r"there is no run to resume: leave out --resume to start one$"):
        next(run([corpus], out, SETTINGS, resume=True))
    train(corpus, out)
    with pytest.raises(UsageError, match="there is nothing to resume, for the run is finished or its training"):
        next(run([corpus], out, SETTINGS, resume=True))
    with pytest.raises(UsageError, match="--resume and --overwrite exclude each other"):
        next(run([corpus], out, SETTINGS, resume=True, overwrite=True))


@pytest.mark.parametrize("member", ["state.json", "tensors.safetensors"])
def test_what_resuming_needs_is_verified(member: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    stop(corpus, out, SETTINGS, after=2)
    path = out / "training" / member
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelDirectoryError, match="is damaged"):
        next(run([corpus], out, SETTINGS, resume=True))
    shutil.rmtree(out / "training")
    with pytest.raises(UsageError, match="finished or its training/ was deleted"):
        next(run([corpus], out, SETTINGS, resume=True))
    assert LanguageModel.load(out).score(["the cat"])[0].tokens == 3, "the model itself is whole"


@pytest.mark.parametrize("damage", [{"steps": "many"}, {"plan": None}, {"seconds": []}])
def test_a_record_that_makes_no_sense_is_refused(damage: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    stop(corpus, out, SETTINGS, after=2)
    found = model_directory.load_training(out)
    assert found is not None
    model_directory.save_training(out, state={**found[0], **damage}, tensors=found[1])
    with pytest.raises((ModelDirectoryError, UsageError)):
        list(takewhile(lambda event: not isinstance(event, Progress), run([corpus], out, SETTINGS, resume=True)))
