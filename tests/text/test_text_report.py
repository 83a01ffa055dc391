import json
from pathlib import Path

import pytest

from unrolled.errors import UsageError
from unrolled.text import DataReport, TextSettings, data_report, read_corpus, split_text, train_tokenizer
from unrolled.text.encoding import encode

LINES = ["", 'He said: "no, I did not leave" then.', "no no He He", "no zebra", "a zebra yak", "no gnu"]


def report_of(tmp_path: Path, settings: TextSettings, *, folder: bool = False) -> DataReport:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n")
    parts = split_text(read_corpus(tmp_path if folder else path), settings)
    tokenizer = train_tokenizer(parts["train"].text, settings)
    return data_report(parts, {name: encode(part, tokenizer) for name, part in parts.items()}, tokenizer)


def test_counts_by_hand(tmp_path: Path) -> None:
    report = report_of(tmp_path, TextSettings(split="70/15/15"))
    train, validation, test = (report.parts[name] for name in ("train", "validation", "test"))
    assert train.characters == len("\n".join(LINES[:4])) + 1
    assert (train.lines, validation.lines, test.lines) == (4, 1, 1)
    assert (train.tokens, validation.tokens, test.tokens) == (4 + 13 + 4 + 2, 4, 3)
    assert (train.unknown_rate, validation.unknown_rate, test.unknown_rate) == (0, 2 / 4, 1 / 3)
    assert (report.rarest, report.rarest_count) == ('\u2060"', 1)
    assert report.vocabulary_size == 2 + 14
    assert report.example == LINES[1]
    assert report.example_tokens[:5] == ("He", "said", ":", '"\u2060', "no")


def test_lines_for_people_tell_everything(tmp_path: Path) -> None:
    text = "\n".join(report_of(tmp_path, TextSettings(split="70/30", vocabulary_size=4)).lines())
    assert str(tmp_path / "text.txt") in text
    assert "sorted by path" not in text
    assert "train       59 characters, 4 lines, 23 tokens, 52.17% unknown" in text
    assert "vocabulary  4 tokens (unit word); rarest kept: He (count 3)" in text
    assert f"before      {LINES[1]}" in text
    assert "after       He <unk> <unk>" in text
    assert "sorted by path" in report_of(tmp_path, TextSettings(split="70/30"), folder=True).lines()[0]


@pytest.mark.parametrize("unit", ["char", "bpe"])
def test_characters_and_subwords_are_shown_so_that_blanks_are_seen(tmp_path: Path, unit: str) -> None:
    report = report_of(tmp_path, TextSettings(unit=unit, vocabulary_size=280, split="70/30"))
    before, after = report.lines()[-2:]
    assert before.endswith(LINES[1])
    assert after.replace(" ", "").endswith(LINES[1].replace(" ", "␣"))
    assert after.count(" ") > 6
    assert ("unknown" in report.lines()[1]) == (unit == "char")
    assert report.rarest_count >= 1


def test_the_report_is_data(tmp_path: Path) -> None:
    report = report_of(tmp_path, TextSettings(split="70/30"))
    data = json.loads(json.dumps(report.as_dict()))
    assert data["parts"]["train"]["tokens"] == report.parts["train"].tokens
    assert data["sources"] == [str(tmp_path / "text.txt")]


def test_a_text_without_a_line_that_shows_well_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 300 + "\nend\n")
    parts = split_text(read_corpus(path), TextSettings(split="90/10", validation=None))
    tokenizer = train_tokenizer(parts["train"].text, TextSettings())
    report = data_report(parts, {name: encode(part, tokenizer) for name, part in parts.items()}, tokenizer)
    assert report.example == ("word " * 300)[:80]


def test_names_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES))
    parts = split_text(read_corpus(path), TextSettings(split="70/30"))
    tokenizer = train_tokenizer(parts["train"].text, TextSettings())
    with pytest.raises(UsageError, match="must agree"):
        data_report(parts, {"train": encode(parts["train"], tokenizer)}, tokenizer)
