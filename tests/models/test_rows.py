"""Examples from files to parts and back: folders, validation files, records, and what does not fit a record."""

import gzip
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory, models
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.classify import TASK, ClassificationSettings
from unrolled.models.classify.data import ClassificationData
from unrolled.models.examples import encode_texts, saved_labels, short_enough, shown_tokens, unknown_rate
from unrolled.models.labels import with_all_labels
from unrolled.models.rows import ExampleSettings, recorded_sources
from unrolled.models.task import SavedData
from unrolled.text.settings import TextSettings
from unrolled.text.tokenizer import train_tokenizer
from unrolled.training.settings import Settings, TrainingSettings

OWN = (ExampleSettings(), ClassificationSettings())


def prepare(*sources: object, own: Any = OWN, **text: Any) -> ClassificationData:
    data = TASK.prepare([str(source) for source in sources], TextSettings(unit="word", **text), own)
    assert isinstance(data, ClassificationData)
    return data


@pytest.fixture
def reviews(tmp_path: Path, tiny_reviews: str) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(tiny_reviews, encoding="utf-8")
    return path


def texts_of(data: ClassificationData, part: str) -> list[str]:
    return [row.text for row in data.rows.parts[part]]


def test_parts_are_whole_rows_and_the_report_counts_them(reviews: Path) -> None:
    data = prepare(reviews, split="80/10/10", min_count=2)
    parts = {part: texts_of(data, part) for part in ("train", "validation", "test")}
    assert [abs(len(texts) - share) <= 5 for texts, share in zip(parts.values(), (72, 9, 9), strict=True)] == [True] * 3
    assert not set(parts["train"]) & set(parts["validation"] + parts["test"])
    assert prepare(reviews, split="80/10/10", min_count=2).fingerprint() == data.fingerprint()
    assert prepare(reviews, split="80/10/10").fingerprint() != data.fingerprint()
    assert data.labels == ("bad", "good", "so so")
    record = data.record()
    assert list(record) == ["parts", "labels", "report"]
    assert record["parts"]["test"] == {
        "name": "test",
        "sources": [str(reviews)],
        "sha256": record["parts"]["train"]["sha256"],
        "rows": len(parts["test"]),
    }
    assert sum(record["report"]["labels"].values()) == len(parts["train"]) == data.size
    tokens = [len(ids) for ids in encode_texts(data.tokenizer, parts["train"])]
    assert record["report"]["parts"]["train"][:2] == (len(parts["train"]), sum(tokens))
    lines = data.report.lines()
    assert lines[0] == f"data        {reviews}"
    assert lines[1].startswith(f"train       {len(parts['train'])} examples, {sum(tokens)} tokens, ")
    assert [line.split()[0] for line in lines[:7]] == [
        "data",
        "train",
        "validation",
        "test",
        "vocabulary",
        "labels",
        "example",
    ]


def test_a_validation_file_leaves_the_rest_whole(reviews: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\nsomething else,bad\n", encoding="utf-8")
    data = prepare(reviews, validation=str(other))
    assert (len(texts_of(data, "train")), texts_of(data, "validation")) == (90, ["something else"])
    record = data.record()["parts"]
    assert record["validation"]["sources"] == [str(other)]
    assert record["validation"]["sha256"] != record["train"]["sha256"]


def test_each_file_of_several_or_of_a_folder_begins_anew(reviews: Path, tmp_path: Path) -> None:
    header, *rows = reviews.read_text(encoding="utf-8").splitlines(keepends=True)
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    one, other = folder / "a.csv", folder / "below" / "b.csv.gz"
    one.write_text(header + "".join(rows[:40]).rstrip("\n"), encoding="utf-8")
    other.write_bytes(gzip.compress((header + "".join(rows[40:])).encode()))
    (folder / ".hidden").write_bytes(b"\xff")
    whole, from_folder, from_files = prepare(reviews), prepare(folder), prepare(one, other)
    for data in (from_folder, from_files):
        assert data.labels == whole.labels
        assert {part: texts_of(data, part) for part in data.rows.parts} == {
            part: texts_of(whole, part) for part in whole.rows.parts
        }
    assert from_folder.sources == (str(folder),)
    assert from_files.sources == (str(one), str(other))


def test_messages_name_the_file_and_the_line(reviews: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").write_bytes(reviews.read_bytes())
    (folder / "b.csv").write_text("text,label\nfine,good\n\nfine,\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf'^{folder / "b.csv"}, line 4: column "label" is empty'):
        prepare(folder)
    other = tmp_path / "other.csv"
    other.write_text('text,label\n"fine,\ntoo",good\nfine,great\n', encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        prepare(reviews, validation=str(other))
    assert str(caught.value) == (
        f'{other}, line 4: the label "great" does not occur in the training data, which has bad, good, so so: correct '
        "it, or train with examples of it"
    )


def test_what_is_too_long_is_left_out_with_a_note_and_its_label_with_it(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = [f"word{n} a b,x\nword{n} a,y\n" for n in range(20)] + ["only one of these is long,z\n"] * 3
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    data = prepare(path, own=(ExampleSettings(most_tokens=4), ClassificationSettings()))
    assert data.labels == ("x", "y")
    left = sum(len(held) for held in data.rows.parts.values()) - sum(len(each[1]) for each in data.examples.values())
    assert left == 3
    assert [note.split(" of more")[1] for note in data.notes()] == [" than 4 tokens are left out"] * len(data.notes())
    assert data.size == len(data.examples["train"][1])
    with pytest.raises(CorpusError, match=r"^the train part has no example of at most 2 tokens: give a larger --most-"):
        prepare(path, own=(ExampleSettings(most_tokens=2), ClassificationSettings()))


# Found again


def config_of(data: ClassificationData, text: TextSettings) -> dict[str, Any]:
    own = {"most_tokens": 1000, "unknown_share": 0.05, "text_column": "text", "label_column": "label"}
    own |= {"pooling": "mean", "class_weights": "none"}
    return {"task": "classify", "data": data.record(), "text": vars(text), "training": {"own": own}}


def test_parts_are_found_again_and_others_are_refused(reviews: Path, tmp_path: Path) -> None:
    text = TextSettings(unit="word", split="70/20/10")
    data = prepare(reviews, split="70/20/10")
    config = config_of(data, text)
    for sources in ((), (reviews,)):
        rows, name = TASK.rows_of(config, sources, "test")
        assert [row.text for row in rows] == texts_of(data, "test")
        assert name == f"test part of {reviews}"
    rows, name = TASK.rows_of(config, (), None)
    assert [row.text for row in rows] == texts_of(data, "validation")
    rows, name = TASK.rows_of(config, (reviews,), None)
    assert (len(rows), name) == (90, str(reviews))
    with pytest.raises(UsageError, match=r'^part is "dev": this model has train, validation, test$'):
        TASK.rows_of(config, (), "dev")
    short = tmp_path / "short.csv"
    short.write_text("text,label\nfine,good\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"^{short}: these are not the data that the train part was cut from"):
        TASK.rows_of(config, (short,), "test")
    reviews.write_text(reviews.read_text(encoding="utf-8").replace("awful", "lawful"), encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"^{reviews}: these are not the data .*, or evaluate without a part$"):
        TASK.rows_of(config, (), None)


def test_a_validation_file_is_found_again_wherever_one_is(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\nfine,good\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = config_of(
        prepare("reviews.csv", validation="other.csv"), TextSettings(unit="word", validation="other.csv")
    )
    monkeypatch.chdir("/")
    assert TASK.rows_of(config, (), "train")[1] == f"train part of {reviews}"
    reviews.unlink()
    rows, name = TASK.rows_of(config, (), None)
    assert ([row.text for row in rows], name) == (["fine"], f"validation part, {other}")
    with pytest.raises(UsageError, match=r'^part is "test": this model has train, validation$'):
        TASK.rows_of(config, (), "test")
    other.write_text("text,label\nfine,bad\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"^{other}: these are not the data that the validation part was cut from"):
        TASK.rows_of(config, (), None)


def test_standard_input_cannot_be_read_again(tiny_reviews: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(tiny_reviews.encode())))
    config = config_of(prepare("-"), TextSettings(unit="word"))
    with pytest.raises(CorpusError, match=r"^the train part was read from standard input, which cannot be read again"):
        TASK.rows_of(config, (), None)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(tiny_reviews.encode())))
    assert TASK.rows_of(config, ("-",), "validation")[1] == "validation part of standard input"


def test_a_run_that_goes_on_reads_the_same_data_into_the_same_tokens(
    reviews: Path, task_model: Callable[[str], Path]
) -> None:
    files = model_directory.load(task_model("classify"))
    text, own = TASK.settings_of(files.config)
    saved = SavedData(files.config["data"], files)
    for sources in ((), (str(reviews),)):
        data = TASK.prepare_again(saved, sources, text, own)
        assert isinstance(data, ClassificationData)
        assert data.tokenizer.to_json() == files.tokenizer_json
        assert list(data.labels) == files.config["data"]["labels"]
        assert data.record()["parts"]["test"]["rows"] == files.config["data"]["parts"]["test"]["rows"]
    reviews.write_text("text,label\na,b\nc,d\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="these are not the data that the train part was cut from"):
        TASK.prepare_again(saved, [str(reviews)], text, own)


@pytest.mark.parametrize(
    "record",
    [None, [], "parts", {}, {"parts": None}, {"parts": []}, {"parts": {"train": {"sources": ["a"]}}}]
    + [{"parts": {"train": {"sources": sources, "sha256": "0"}}} for sources in ("a.csv", None, {"a": 1})],
)
def test_a_damaged_record_is_refused(record: Any) -> None:
    with pytest.raises(ModelDirectoryError, match=r"^config\.json: .*: give the data$"):
        recorded_sources(record, "train")


@pytest.mark.parametrize("text", [None, [], {"unit": "wrod"}, {"nothing": 1}, {"split": 5}, {"min_count": "many"}])
def test_damaged_settings_are_refused(text: Any) -> None:
    config = {"task": "classify", "text": text, "training": {"own": {}}}
    with pytest.raises(ModelDirectoryError, match=r"^config\.json: its settings are damaged \(.*\): train again$"):
        TASK.settings_of(config)


# The small parts


def test_what_a_model_is_too_small_for() -> None:
    assert short_enough([3, 5], 5, ["a", "b"], "data", may_leave_out=False) == ([0, 1], "data")
    assert short_enough([6, 5, 7], 5, ["a", "b", "c"], "data", may_leave_out=True) == (
        [1],
        "data, without 2 of more than 5 tokens",
    )
    with pytest.raises(CorpusError, match=r"^b has 1,006 tokens, the model reads at most 5 \(--most-tokens when it"):
        short_enough([5, 1006], 5, ["a", "b"], "data", may_leave_out=False)
    with pytest.raises(CorpusError, match=r"^data: all 2 examples have more than 5 tokens: give shorter ones$"):
        short_enough([6, 6], 5, ["a", "b"], "data", may_leave_out=True)


def test_texts_in_tokens() -> None:
    tokenizer = train_tokenizer("a b\nc d\n", TextSettings(unit="word"))
    ids = encode_texts(tokenizer, ["a b\nc", "", "zzz d"])
    assert [tokenizer.decode(each[:-1]) for each in ids[:2]] == ["a b c", ""]
    assert all(each[-1] == tokenizer.end_of_line_id for each in ids), "a newline within is a blank"
    assert encode_texts(tokenizer, []) == []
    assert shown_tokens(tokenizer, ids[2]) == ("<unk>", "d")
    assert unknown_rate(tokenizer, ids) == 1 / 8
    assert unknown_rate(tokenizer, []) == 0.0
    letters = train_tokenizer("a b\n", TextSettings(unit="char"))
    assert shown_tokens(letters, letters.encode("a b\n")) == ("a", "␣", "b")
    assert isinstance(ids[0], np.ndarray)


@pytest.mark.parametrize("labels", [None, "abc", ["a"], ["a", 2, "c"], {"a": 1}, ["a", "b", "c", "d"]])
def test_labels_that_are_not_those_of_the_model_are_refused(labels: Any) -> None:
    for data in ({"labels": labels}, None, [labels]):
        with pytest.raises(ModelDirectoryError, match=r"^config\.json: does not name the 3 labels of its model"):
            saved_labels({"data": data}, 3)
    assert saved_labels({"data": {"labels": ["a", "b", "c"]}}, 3) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most_tokens": 0}, "most_tokens is 0: give a whole number of at least 1"),
        ({"unknown_share": 1}, "unknown_share is 1: give a share of at least 0 and below 1"),
        ({"unknown_share": -0.1}, "unknown_share is -0.1: give a share of at least 0 and below 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        ExampleSettings(**changes)


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_settings_that_mean_nothing_to_a_task_are_refused(task: str) -> None:
    from unrolled.models.settings import ModelSettings
    from unrolled.nn import Regularization

    groups: tuple[tuple[str, Any, str], ...] = (
        ("text", TextSettings(read="sentences"), "--read"),
        ("model", ModelSettings(tied=True), "--tied"),
        ("training", TrainingSettings(window=20), "--window"),
        ("training", TrainingSettings(random_windows=True), "--random-windows"),
        ("training", TrainingSettings(samples=100), "--samples"),
        ("regularization", Regularization(activation=1.0), "--activation"),
        ("regularization", Regularization(temporal_activation=1.0), "--temporal-activation"),
    )
    usual = {"text": TextSettings(), "model": ModelSettings(), "training": TrainingSettings()}
    for name, value, option in groups:
        with pytest.raises(UsageError, match=rf"^{option} means nothing to the task {task}: leave it out$"):
            Settings(**{**usual, name: value}, task=task)
        Settings(**{**usual, name: value})
    filled = TrainingSettings(window=models.get(task).defaults("word").window, samples=0)
    Settings(TextSettings(), ModelSettings(tied=False), filled, task=task)


def test_a_label_that_chance_holds_out_of_training_is_brought_back() -> None:
    held = [("c", "x"), ("d", "rare")]
    parts = {"train": [("a", "x"), ("b", "y")], "validation": held, "test": [("e", "odd"), ("f", "y")]}
    found = with_all_labels(parts, lambda row: [row[1]])
    assert found == {
        "train": [("a", "x"), ("b", "y"), ("d", "rare"), ("e", "odd")],
        "validation": [("c", "x")],
        "test": [("f", "y")],
    }
    with pytest.raises(CorpusError, match=r"^the test part has no example whose label occurs in training too: give"):
        with_all_labels(parts | {"test": [("e", "odd")]}, lambda row: [row[1]])
