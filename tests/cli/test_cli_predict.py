"""`unrolled predict`, and train, evaluate and info for tasks with labels."""

import gzip
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled.cli.app import run
from unrolled.models.classify.predictor import Classifier
from unrolled.models.tag.predictor import Tagger

from .conftest import Call, printed, weights_of

SMALL: tuple[Any, ...] = ("--hidden", 4, "--embedding", 4, "--epochs", 1, "--threads", 1)
LINES = ["the film is lovely", "Zoë's naïve “play” is awful .", "zzz"]


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")


@pytest.fixture
def reviews(tmp_path: Path, tiny_reviews: str) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(tiny_reviews, encoding="utf-8")
    return path


@pytest.fixture
def sentences(tmp_path: Path, tiny_sentences: str) -> Path:
    path = tmp_path / "sentences.tsv"
    path.write_text(tiny_sentences, encoding="utf-8")
    return path


def piped(lines: list[str], end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


# Answers


def test_a_label_a_line_however_lines_come(task_model: Callable[[str], Path], unrolled: Call, tmp_path: Path) -> None:
    model = task_model("classify")
    answers = Classifier.load(model).classify(LINES)
    expected = [f"{answer.label}\t{answer.probability:.4f}\t{answer.text}" for answer in answers]
    path, packed = tmp_path / "lines.txt", tmp_path / "lines.gz"
    path.write_bytes(piped(LINES).rstrip(b"\n"))
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + piped(LINES, "\r\n")))
    for arguments, stdin in ((("-",), piped(LINES)), ((), piped(LINES, "\r\n")), ((path,), b""), ((packed,), b"")):
        outcome = unrolled("predict", model, *arguments, stdin=stdin)
        assert (outcome.status, outcome.errors) == (0, "")
        assert outcome.lines == expected
    assert unrolled("predict", model, "--batch", 1, "--engine", "native", stdin=piped(LINES)).lines == expected


def test_answers_as_json_and_what_moved_them(task_model: Callable[[str], Path], unrolled: Call) -> None:
    model = task_model("classify")
    answers = Classifier.load(model).classify(LINES, top=2, explain=True)
    outcome = unrolled("predict", model, "--json", "--explain", "--top", 2, stdin=piped(LINES))
    assert [json.loads(line) for line in outcome.lines] == [answer.as_dict() for answer in answers]
    assert "naïve" in outcome.output
    plain = unrolled("predict", model, "--explain", stdin=piped(LINES))
    assert plain.lines == [line for answer in answers for line in answer.lines()]
    assert plain.lines[5].startswith("bad\t")
    moved = [float(line.split("\t")[1]) for line in plain.lines[1:5]]
    assert moved == sorted(moved, key=lambda nats: -abs(nats))
    assert all(re.fullmatch(r"\t[+-]\d+\.\d{4}\t\S+", line) for line in plain.lines[1:5])
    assert "moved" not in unrolled("predict", model, "--json", stdin=piped(LINES)).output


def test_two_columns_for_tagged_lines(task_model: Callable[[str], Path], unrolled: Call, tmp_path: Path) -> None:
    model, lines = task_model("tag"), ["Anna May saw  New York", "\tx "]
    answers = Tagger.load(model).tag(lines)
    outcome = unrolled("predict", model, stdin=piped(lines))
    assert outcome.status == 0, outcome.errors
    assert outcome.output == "Anna\tB-WHO\nMay\tI-WHO\nsaw\tO\nNew\tB-WHERE\nYork\tI-WHERE\n\n" + "\n".join(
        [*answers[1].lines(), ""]
    )
    outcome = unrolled("predict", model, "--json", stdin=piped(lines))
    assert [json.loads(line) for line in outcome.lines] == [answer.as_dict() for answer in answers]
    (tmp_path / "found.tsv").write_text(unrolled("predict", model, stdin=piped(lines)).output, encoding="utf-8")
    again = unrolled("evaluate", model, tmp_path / "found.tsv", "--json")
    assert json.loads(again.output)["accuracy"] == 1, "what it prints is what it reads"


def test_a_table_is_read_as_one(task_model: Callable[[str], Path], unrolled: Call, tmp_path: Path) -> None:
    model, texts = task_model("classify"), ["the film is good", "two\nlines", "a, b"]
    table, lines = tmp_path / "new.CSV", tmp_path / "new.jsonl"
    table.write_text('nobody,text\n1,the film is good\n2,"two\nlines"\n3,"a, b"\n', encoding="utf-8")
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    expected = Classifier.load(model).classify(texts)
    for path in (table, lines):
        outcome = unrolled("predict", model, path, "--json")
        assert [json.loads(line) for line in outcome.lines] == [answer.as_dict() for answer in expected]
    assert unrolled("predict", model, table).lines[1].endswith("\ttwo lines"), "a line for each"
    table.write_text("text\nfine\n\n" + "a " * 1001 + "\n", encoding="utf-8")
    message = unrolled("predict", model, table).error(1, lines=1)
    assert message.startswith(f"{table}, line 4 has 1,002 tokens, the model reads at most 1,000")
    table.write_text("words\nfine\n", encoding="utf-8")
    assert f'{table}, line 1: there is no column "text"' in unrolled("predict", model, table).error(1)


def test_no_lines_are_said(task_model: Callable[[str], Path], unrolled: Call) -> None:
    outcome = unrolled("predict", task_model("classify"), stdin=b"")
    assert (outcome.status, outcome.output) == (0, "")
    assert outcome.errors == "there are no lines: nothing to predict\n"


def test_many_lines_are_answered_in_order_and_counted(task_model: Callable[[str], Path], unrolled: Call) -> None:
    lines = [f"item {number} is blue" for number in range(600)]
    outcome = unrolled("predict", task_model("classify"), "--json", stdin=piped(lines))
    assert [json.loads(line)["text"] for line in outcome.lines] == lines
    lines[400] = " "
    outcome = unrolled("predict", task_model("classify"), "--json", stdin=piped(lines))
    assert outcome.status == 1
    assert outcome.errors == "unrolled: error: line 401 is empty: there is nothing to answer, leave it out\n"
    assert [json.loads(line)["text"] for line in outcome.lines] == lines[:400], "those before it are answered"


def test_a_pipe_that_is_closed_in_a_plain_locale(process: Call, task_model: Callable[[str], Path]) -> None:
    command = 'set +o pipefail; yes "$2" | head -3000 | unrolled predict "$1" - --explain | head -2'
    outcome = process(command, task_model("classify"), LINES[1], LC_ALL="C", LANG="")
    assert (outcome.status, outcome.errors) == (0, "")
    assert outcome.lines[0].endswith(f"\t{LINES[1]}")


def test_a_closed_standard_input_is_one_line(
    task_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it then
    assert run(["predict", str(task_model("tag")), "-"]) == 1
    assert capsys.readouterr().err == "unrolled: error: standard input is closed: name a file\n"


# What is refused


@pytest.mark.parametrize(
    ("options", "stdin", "status", "message"),
    [
        ((), b"fine\n\n", 1, "line 2 is empty: there is nothing to answer, leave it out"),
        ((), b"a " * 1000, 1, "line 1 has 1,001 tokens, the model reads at most 1,000 (--most-tokens when it was trai"),
        ((), b"fine\n\xff\n", 1, "standard input, line 2, byte offset 5: is not UTF-8 (invalid start byte): convert "),
        (("nowhere.txt",), b"", 1, "nowhere.txt: cannot be read (No such file or directory): check the path"),
        (
            ("--beam", 2),
            b"",
            2,
            "--beam means nothing to a model of the task classify: its options are --explain, --top",
        ),
        (("--candidates", "a,b"), b"", 2, "--candidates means nothing to a model of the task classify: its options "),
        (("--alignment", "-"), b"", 2, "--alignment means nothing to a model of the task classify: its options are "),
        (("--top", 0), b"", 2, "top is 0: give a whole number of at least 1"),
        (("--batch", 0), b"", 2, "batch is 0: give a whole number of at least 1"),
        (("--engine", "steam"), b"a", 2, 'engine "steam" is not known: choose one of '),
        (("--pooling", "mean"), b"", 2, "No such option: --pooling"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    task_model: Callable[[str], Path],
    unrolled: Call,
    options: tuple[object, ...],
    stdin: bytes,
    status: int,
    message: str,
) -> None:
    outcome = unrolled("predict", task_model("classify"), *options, stdin=stdin)
    assert outcome.error(status, lines=stdin.count(b"fine")).startswith(message)


def test_each_task_has_its_verbs(
    task_model: Callable[[str], Path], tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    language, classifier, tagger = tiny_model("word"), task_model("classify"), task_model("tag")
    assert unrolled("predict", language, stdin=b"a\n").error(2) == (
        f"{language}: is a language model: see unrolled generate and unrolled score"
    )
    assert unrolled("predict", tagger, "--explain", stdin=b"a\n").error(2) == (
        "--explain means nothing to a model of the task tag: its options are none"
    )
    for verb in (("generate",), ("lab", "flow")):
        assert unrolled(*verb, classifier).error(1) == (
            f"{classifier}: its task is 'classify', expected \"language\": unrolled predict and unrolled evaluate are "
            "for all others"
        )
    assert unrolled("score", classifier, stdin=b"a\n").error(2) == (
        "a model of the task classify gives no scores: see unrolled predict"
    )
    assert unrolled("predict", tmp_path / "none", stdin=b"a\n").error(1).startswith(f"{tmp_path / 'none'}: there is no")


@pytest.mark.parametrize("task", ["unrolled.models", ["classify"], None])
def test_a_task_that_nobody_knows_is_refused(
    task: Any, task_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    from unrolled import model_directory

    files = model_directory.load(task_model("classify"))
    files.config["task"] = task
    out = tmp_path / "model"
    model_directory.save(out, config=files.config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)
    for verb in ("predict", "evaluate", "score"):
        assert unrolled(verb, out, stdin=b"a\n").error(1).startswith(f"{out}: its task is {task!r}, expected")


# From data to a model


def test_what_a_run_says(unrolled: Call, reviews: Path, tmp_path: Path) -> None:
    options = ("--task", "classify", *SMALL, "--min-count", 2, "--most-tokens", 9, "--split", "80/10/10")
    outcome = unrolled("train", reviews, "--out", tmp_path / "model", *options)
    assert (outcome.status, outcome.output) == (0, "")
    said = outcome.errors.splitlines()
    for pattern in (
        r"data +\S*reviews\.csv",
        r"train +\d+ examples, [\d,]+ tokens, \d\.\d\d% unknown",
        r"test +\d+ examples, [\d,]+ tokens, \d+\.\d\d% unknown",
        r"vocabulary +\d+ tokens \(unit word\)",
        r"labels +\S.* \d+, .* \d+, .* \d+",
        r"example +.* -> (good|bad|so so)",
        r"train: \d+ texts of more than 9 tokens are left out",
        r"model +1 x 2 x 4 gru, embedding 4, attention pooling, 3 labels: \d+ parameters",
        r"pass +1\.00  validation: \d\.\d+ nats/label \(uniform 1\.0986, by frequency .*\), accuracy .*%  best so far",
        r"finished +\d+ steps in \d+ s; best weights in .*model",
    ):
        assert sum(re.fullmatch(pattern, line) is not None for line in said) == 1, (pattern, outcome.errors)
    again = [str(tmp_path / "again") if word == "NEW" else word for word in printed(outcome, "repeat")]
    assert unrolled(*again).status == 0
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "model")


def test_the_same_data_in_any_shape_give_the_same_model(unrolled: Call, reviews: Path, tmp_path: Path) -> None:
    content = reviews.read_text(encoding="utf-8")
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(content)))
    shapes: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "bom.csv": (b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode(), ()),
        "packed.csv.gz": (gzip.compress(content.encode()), ()),
        "latin.csv": (content.replace("好", "?").encode("latin-1", "replace"), ("--encoding", "latin-1")),
        "rows.jsonl": (
            "".join(json.dumps({"said": row["text"], "mood": row["label"]}) + "\n" for row in rows).encode(),
            ("--text-column", "said", "--label-column", "mood"),
        ),
    }
    for name, (written, options) in shapes.items():
        (tmp_path / name).write_bytes(written)
        outcome = unrolled(
            "train", tmp_path / name, "--task", "classify", "--out", tmp_path / f"{name} model", *SMALL, *options
        )
        assert outcome.status == 0, outcome.errors
    outcome = unrolled("train", "-", "--task", "classify", "--out", tmp_path / "piped", *SMALL, stdin=content.encode())
    assert outcome.status == 0, outcome.errors
    expected = weights_of(tmp_path / "piped")
    for name in ("bom.csv", "packed.csv.gz", "rows.jsonl"):
        assert weights_of(tmp_path / f"{name} model") == expected
    error = unrolled("evaluate", tmp_path / "piped").error(1)
    assert error == "the train part was read from standard input, which cannot be read again: give the data"
    assert unrolled("evaluate", tmp_path / "piped", "-", "--part", "validation", stdin=content.encode()).status == 0


def test_parts_are_evaluated(task_model: Callable[[str], Path], unrolled: Call) -> None:
    model = task_model("classify")
    rows = json.loads((model / "config.json").read_text(encoding="utf-8"))["data"]["parts"]
    for arguments, part in (((), "validation"), (("--part", "test"), "test")):
        outcome = unrolled("evaluate", model, *arguments)
        assert outcome.status == 0
        assert outcome.errors == f"data                {part} part of {model.parent / 'reviews.csv'}\n"
        assert outcome.lines[0] == f"examples            {rows[part]['rows']}"
        assert [line.split()[0] for line in outcome.lines[5:]] == ["expected", "bad", "good", "so"]
        record = json.loads(unrolled("evaluate", model, *arguments, "--json").output)
        assert record["labels"] == ["bad", "good", "so so"]
        assert sum(map(sum, record["confusion"])) == record["examples"] == rows[part]["rows"]
    record = json.loads(unrolled("evaluate", task_model("tag"), "--part", "test", "--json").output)
    assert set(record["spans"]) == {"precision", "recall", "f1"}
    assert unrolled("evaluate", model, "--part", "dev").error(2) == (
        'part is "dev": this model has train, validation, test'
    )
    assert unrolled("evaluate", model, "--errors", "replace").error(2) == (
        "--encoding and --errors of the task classify are as in training: leave them out"
    )


def test_a_validation_file_and_what_is_wrong_with_one(unrolled: Call, reviews: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.csv", tmp_path / "model"
    other.write_text("text,label\nthe film is lovely,good\na book is awful,bad\n", encoding="utf-8")
    options = ("--task", "classify", "--out", out, *SMALL)
    assert unrolled("train", reviews, *options, "--validation", other).status == 0
    assert json.loads(unrolled("evaluate", out, "--json").output)["examples"] == 2
    other.write_text("text,label\nthe film is lovely,good\n\na book is awful,great\n", encoding="utf-8")
    message = (
        f'{other}, line 4: the label "great" does not occur in the training data, which has bad, good, so so: corr'
    )
    failed = unrolled("train", reviews, *options, "--overwrite", "--validation", other)
    assert failed.error(1).startswith(message)
    assert unrolled("evaluate", out, other).error(1).startswith(message)
    assert unrolled("evaluate", out).error(1).startswith(f"{other}: these are not the data that the validation part")


def test_what_a_model_is(task_model: Callable[[str], Path], unrolled: Call) -> None:
    facts = json.loads(unrolled("info", task_model("tag"), "--json").output)
    assert facts["task"] == "tag"
    assert facts["model"]["spelling_size"] == facts["training"]["own"]["spelling"] == 25
    assert facts["data"]["labels"] == ["B-WHERE", "B-WHO", "I-WHERE", "I-WHO", "O"]
    shown = unrolled("info", task_model("classify"))
    assert re.search(r"^data\.labels +bad, good, so so$", shown.output, re.MULTILINE)
    assert re.search(r"^data\.report\.labels\.so so +\d+$", shown.output, re.MULTILINE)


@pytest.mark.parametrize(
    ("task", "options", "status", "message"),
    [
        ("translation", (), 2, 'task is "translation": choose one of language, '),
        ("classify", ("--spelling", 3), 2, "--spelling is an option of tag, the task is classify: leave it out"),
        ("language", ("--pooling", "max"), 2, "--pooling is an option of classify, the task is language: leave it out"),
        ("tag", ("--text-column", "a"), 2, "--text-column is an option of classify, the task is tag: leave it out"),
        ("classify", ("--pooling", "sum"), 2, 'pooling is "sum": choose one of attention, last, mean, max'),
        ("classify", ("--label-column", "text"), 2, 'text_column and label_column are both "text": name two columns'),
        (
            "classify",
            ("--label-column", "mood"),
            1,
            '{path}, line 1: there is no column "mood": choose one of number, ',
        ),
        ("classify", ("--unknown-share", 1), 2, "unknown_share is 1.0: give a share of at least 0 and below 1"),
        (
            "classify",
            ("--most-tokens", 1),
            1,
            "the train part has no example of at most 1 tokens: give a larger --most",
        ),
        ("classify", ("--window", 20), 2, "--window means nothing to the task classify: leave it out"),
        ("classify", ("--tied",), 2, "--tied means nothing to the task classify: leave it out"),
        ("tag", (), 1, "{path}, line 1: there is one column only, expected a token, a blank and its label: add the la"),
    ],
)
def test_what_cannot_be_learnt_is_one_line(
    task: str, options: tuple[object, ...], status: int, message: str, unrolled: Call, reviews: Path, tmp_path: Path
) -> None:
    outcome = unrolled("train", reviews, "--task", task, "--out", tmp_path / "model", *SMALL, *options)
    assert outcome.error(status).startswith(message.format(path=reviews))
    assert not (tmp_path / "model").exists()


def test_letters_are_no_tokens_of_tagged_data(unrolled: Call, sentences: Path, tmp_path: Path) -> None:
    outcome = unrolled("train", sentences, "--task", "tag", "--out", tmp_path / "model", *SMALL, "--unit", "char")
    assert outcome.error(2) == "--unit is char: the data of this task say what a token is, leave it out"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the corpus is empty: give a file with text in it"),
        (b"text,label\n", ": the table has no rows: give one with a header, then a row for each text"),
        (
            b"text,label\nfine,good\n",
            ": the validation part would be empty, there are only 1 row: give more data, or an",
        ),
        (b"text,label\nfine,good\nfine\n", ", line 3: the row has 1 field, the header 2: put a field that holds the"),
        (b'{"text": "fine", "label": null}\n', ', line 1: column "label" is null, expected a string or a number: put'),
    ],
)
def test_data_of_which_nothing_can_be_made(content: bytes, message: str, unrolled: Call, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    outcome = unrolled("train", path, "--task", "classify", "--out", tmp_path / "model", *SMALL)
    assert outcome.error(1).startswith(f"{path}{message}")
