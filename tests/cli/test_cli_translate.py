"""The verbs with models that translate, correct and fill gaps: train, predict, score, evaluate, info."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled.models.correct.predictor import Corrector
from unrolled.models.fill.predictor import Filler
from unrolled.models.translate.predictor import Translator

from .conftest import Call, printed, weights_of

SMALL: tuple[Any, ...] = ("--hidden", 4, "--embedding", 4, "--epochs", 1, "--threads", 1)
LINES = ["Zoë sees a cat.", "Mr7 doesn't see 日本", "x"]


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")


@pytest.fixture
def pairs(tmp_path: Path, tiny_pairs: str) -> Path:
    path = tmp_path / "pairs.tsv"
    path.write_text(tiny_pairs, encoding="utf-8")
    return path


def piped(lines: list[str], end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


# Answers


def test_a_translation_a_line_however_lines_come(
    sequence_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    model = sequence_model("words")
    expected = [answer.text for answer in Translator.load(model).translate(LINES)]
    packed = tmp_path / "lines.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + piped(LINES, "\r\n")))
    for arguments, stdin in ((("-",), piped(LINES)), ((), piped(LINES, "\r\n")), ((packed,), b"")):
        outcome = unrolled("predict", model, *arguments, stdin=stdin)
        assert (outcome.status, outcome.errors) == (0, "")
        assert outcome.lines == expected
    assert unrolled("predict", model, "--batch", 1, "--engine", "native", stdin=piped(LINES)).lines == expected


def test_the_best_ones_with_scores_and_as_json(sequence_model: Callable[[str], Path], unrolled: Call) -> None:
    model = sequence_model("words")
    answers = Translator.load(model).translate(LINES, beam=4, best=3, length_penalty=0.5, most_output=8)
    options = ("--beam", 4, "--best", 3, "--length-penalty", 0.5, "--most-output", 8)
    outcome = unrolled("predict", model, *options, stdin=piped(LINES))
    shown = [
        f"{number}\t{output.score:.4f}\t{output.log_probability:.4f}\t{output.text}"
        for number, answer in enumerate(answers, 1)
        for output in answer.outputs
    ]
    assert outcome.lines == shown
    as_json = unrolled("predict", model, *options, "--json", stdin=piped(LINES))
    assert [json.loads(line) for line in as_json.lines] == [answer.as_dict() for answer in answers]
    assert "日本" in as_json.output


def test_alignments_on_the_screen_and_in_a_folder(
    sequence_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    model = sequence_model("words")
    outcome = unrolled("predict", model, "--alignment", "-", stdin=piped(LINES[:1]))
    answer, *rows = outcome.lines
    assert answer == Translator.load(model).translate(LINES[:1])[0].text
    assert all(re.fullmatch(r" +\S+ \|[ ·░▒▓█]{6}\| \S+ [01]\.\d\d", row) for row in rows), rows
    assert rows[-1].strip().startswith("⏎")
    folder = tmp_path / "pictures"
    drawn = unrolled("predict", model, "--alignment", folder, stdin=piped(LINES[:1]))
    assert drawn.lines == [answer]
    assert [path.name for path in folder.iterdir()] == ["alignment-0001.png"]
    as_json = unrolled("predict", model, "--alignment", "-", "--json", stdin=piped(LINES[:1]))
    assert len(json.loads(as_json.output)["outputs"][0]["alignment"]) == len(rows)
    (tmp_path / "file").write_text("")
    message = unrolled("predict", model, "--alignment", tmp_path / "file", stdin=piped(LINES[:1])).error(1)
    assert str(tmp_path / "file") in message


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--best", 6), 2, "best is 6 and beam is 5: a beam finds no more than its width"),
        (("--beam", 0), 2, "beam is 0: give a whole number of at least 1"),
        (("--most-output", 0), 2, "most_output is 0: give"),
        (("--length-penalty", -1), 2, "length_penalty is -1.0: give a number of at least 0"),
        (("--top", 3), 2, "--top means nothing to a model of the task translate: its options are --alignment, --beam"),
        (("--explain",), 2, "--explain means nothing"),
    ],
)
def test_options_that_cannot_be_meant(
    sequence_model: Callable[[str], Path], unrolled: Call, options: tuple[Any, ...], status: int, message: str
) -> None:
    outcome = unrolled("predict", sequence_model("words"), *options, stdin=piped(LINES))
    assert outcome.error(status).startswith(message)


def test_lines_that_cannot_be_answered_and_none_at_all(sequence_model: Callable[[str], Path], unrolled: Call) -> None:
    model = sequence_model("words")
    assert unrolled("predict", model, stdin=b"").errors == "there are no lines: nothing to predict\n"
    outcome = unrolled("predict", model, stdin=b"x\n\nx\n")
    assert outcome.status == 1
    assert "line 2 is empty: there is nothing to answer, leave it out" in outcome.errors
    plain = unrolled("predict", sequence_model("plain"), "--alignment", "-", stdin=b"x\n")
    assert plain.error(2).startswith("--alignment: this model has no attention")


def test_pairs_are_scored_and_sorted(sequence_model: Callable[[str], Path], unrolled: Call) -> None:
    model = sequence_model("words")
    lines = ["x\tunerhört", "Zoë sees a cat.\tKatze Zoë sieht.", "Zoë sees a cat.\tJapan Japan Japan"]
    scores = Translator.load(model).scores(lines)
    assert unrolled("score", model, stdin=piped(lines)).lines == [line for each in scores for line in each.lines()]
    ordered = sorted(scores, key=lambda each: -each.log_probability)
    outcome = unrolled("score", model, "--sort", "--json", stdin=piped(lines))
    assert [json.loads(line)["target"] for line in outcome.lines] == [each.target for each in ordered]
    message = unrolled("score", model, stdin=b"a\tb\nno tab\n").error(1, lines=1)
    assert message == "line 2 has 0 tabs, expected one between source and target: give pairs"
    assert "--tokens" in unrolled("score", model, "--tokens", stdin=b"a\tb\n").error(2)


def test_evaluations_with_their_signatures(sequence_model: Callable[[str], Path], unrolled: Call, pairs: Path) -> None:
    model = sequence_model("words")
    outcome = unrolled("evaluate", model, pairs)
    assert outcome.errors == f"data                {pairs}\n"
    assert [line.split("  ")[0] for line in outcome.lines] == [
        *("pairs", "nats per token", "exactly right", "BLEU", "chrF")
    ]
    assert "(nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in outcome.output
    record = json.loads(unrolled("evaluate", model, "--part", "test", "--json").output)
    assert record["pairs"] == Translator.load(model).config["data"]["parts"]["test"]["rows"]
    assert len(record["signatures"]) == 2
    pairs.write_text("a\tb\nc\n", encoding="utf-8")
    assert unrolled("evaluate", model, pairs).error(1).startswith(f"{pairs}, line 2: there is no tab")


def test_corrections_and_what_they_are_worth(sequence_model: Callable[[str], Path], unrolled: Call) -> None:
    model = sequence_model("correct")
    expected = [answer.text for answer in Corrector.load(model).correct(["the the dog"], most_output=5)]
    assert unrolled("predict", model, "--most-output", 5, stdin=b"the the dog\n").lines == expected
    outcome = unrolled("evaluate", model)
    assert re.search(r"^word error rate     \d+\.\d\d%   \(before: \d+\.\d\d%\)$", outcome.output, re.MULTILINE)


def test_gaps_their_candidates_and_scores(sequence_model: Callable[[str], Path], unrolled: Call) -> None:
    model = sequence_model("fill")
    filler, lines = Filler.load(model), ["the cat ___ a dog.", "___, ___!"]
    expected = [line for filling in filler.fill(lines, top=2) for line in filling.lines()]
    assert unrolled("predict", model, "--top", 2, stdin=piped(lines)).lines == expected
    ranked = unrolled("predict", model, "--candidates", "sees, won't see", "--json", stdin=piped(lines[:1]))
    record = json.loads(ranked.output)
    assert {each["word"] for each in record["gaps"][0]} == {"sees", "won't see"}
    for stdin, message in ((b"no gap\n", "line 1 has no gap: write ___"), (b"un___\n", "line 1 has a gap that is a")):
        assert unrolled("predict", model, stdin=stdin).error(1).startswith(message)
    assert unrolled("predict", model, "--candidates", " ,", stdin=b"___\n").error(2).startswith("--candidates names no")
    assert unrolled("predict", model, "--beam", 3, stdin=b"___\n").error(2).startswith("--beam means nothing to a")
    scores = unrolled("score", model, "--sort", stdin="the cat\nqqq Zoë\n".encode())
    found = [float(line.split("\t")[0]) for line in scores.lines]
    assert found == sorted(found, reverse=True)
    assert (
        unrolled("score", model, stdin=b"x\n\n").error(1, lines=1)
        == "line 2 is empty: there is nothing to answer, leave it out"
    )
    outcome = unrolled("evaluate", model, "--part", "test")
    assert outcome.lines[2].startswith("perplexity")


# Training


def test_two_files_train_a_model_that_says_what_it_is(unrolled: Call, pairs: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in pairs.read_text(encoding="utf-8").splitlines()]
    sources, targets = tmp_path / "sources.txt", tmp_path / "targets.txt.gz"
    sources.write_bytes("\r\n".join(row[0] for row in rows).encode())
    targets.write_bytes(gzip.compress("\n".join(row[1] for row in rows).encode()))
    out = tmp_path / "model"
    outcome = unrolled("train", sources, targets, "--task", "translate", "--out", out, *SMALL)
    assert outcome.status == 0, outcome.errors
    assert "1 x 4 gru, embedding 4, additive attention, input feeding" in outcome.errors
    info = unrolled("info", out)
    assert info.status == 0
    assert "translate" in info.output
    again = tmp_path / "again"
    words = printed(outcome, "repeat")
    unrolled(*(str(again) if word == "NEW" else word for word in words[0:]))
    assert weights_of(again) == weights_of(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden", 5), "hidden is 5: give an even number, half for each direction of the encoder"),
        (("--tied", "--hidden", 8, "--embedding", 4), "tied weights need equal sizes: embedding is 4, hidden is 8"),
        (("--attention", "best"), 'attention is "best": choose one of additive, general, dot, none'),
        (("--window", 20), "--window means nothing to the task translate: leave it out"),
        (("--noise", 0.1), "--noise is an option of correct, the task is translate: leave it out"),
        (("--label-column", "x"), "--label-column is an option of classify"),
    ],
)
def test_trainings_that_cannot_be_meant(
    unrolled: Call, pairs: Path, tmp_path: Path, options: tuple[Any, ...], message: str
) -> None:
    outcome = unrolled("train", pairs, "--task", "translate", "--out", tmp_path / "m", *options)
    assert outcome.status == 2
    assert message in outcome.errors
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--unit", "word", "--attention", "none", "--cell", "lstm"),
        ("--unit", "word", "--no-bidirectional", "--reverse-source", "--hidden", 5),
        ("--unit", "char", "--attention", "dot", "--layers", 3, "--reverse-source"),
        ("--attention", "general", "--cell", "gru_reset_before", "--shared-vocabulary", "--no-input-feeding", "--tied"),
    ],
)
def test_each_choice_trains_and_answers(unrolled: Call, pairs: Path, tmp_path: Path, options: tuple[Any, ...]) -> None:
    out = tmp_path / "model"
    outcome = unrolled("train", pairs, "--task", "translate", "--out", out, *SMALL, *options)
    assert outcome.status == 0, outcome.errors
    answers = unrolled("predict", out, "--most-output", 5, stdin=piped(LINES))
    assert (answers.status, len(answers.lines)) == (0, 3)
    assert (out / "target_tokenizer.json").exists() == ("--shared-vocabulary" not in options)
    assert unrolled("evaluate", out, "--json").status == 0


def test_pipes_and_other_locales(process: Call, sequence_model: Callable[[str], Path]) -> None:
    """In a process of its own: letters of any kind in and out, and somebody who stops to listen."""
    model = sequence_model("words")
    outcome = process('printf "Zoë sees 日本\\n" | unrolled predict "$1" --alignment - | head -1', model, LC_ALL="C")
    assert outcome.status == 0, outcome.errors
    assert outcome.lines == [Translator.load(model).translate(["Zoë sees 日本"])[0].text]
