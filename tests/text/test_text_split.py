import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError, ModelDirectoryError
from unrolled.text import EMBEDDED, Corpus, TextSettings, find_part, read_corpus, split_text
from unrolled.text.corpus import text_hash


def corpus_of(text: str) -> Corpus:
    pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
    return Corpus(("-",), ("-",), text_hash(text), len(text), lambda: iter(pieces))


def test_cuts_at_the_line_end_nearest_to_the_share() -> None:
    text = "aaaa\nbb\ncccccc\nd\n"  # line ends after 5, 8, 15 and 17 characters
    cuts = {"50/50": 8, "40/60": 8, "30/70": 5, "80/20": 15, "70/30": 15}
    for split, cut in cuts.items():
        parts = split_text(corpus_of(text), TextSettings(split=split))
        assert [parts["train"].end, parts["validation"].start] == [cut, cut]


@given(st.lists(st.text("ab ", min_size=1, max_size=9).map(lambda line: f"x{line}\n"), min_size=30, max_size=60))
def test_parts_are_whole_lines_and_the_whole_text(lines: list[str]) -> None:
    text = "".join(lines)
    parts = split_text(corpus_of(text), TextSettings(split="60/20/20"))
    assert list(parts) == ["train", "validation", "test"]
    assert "".join(part.text for part in parts.values()) == text
    for part in parts.values():
        assert part.text.endswith("\n")
        assert part.text == text[part.start : part.end]
    assert abs(parts["train"].end - 0.6 * len(text)) <= 6  # half of the longest line, and rounding


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(CorpusError, match="validation part would be empty, the corpus has 1 line:"):
        split_text(corpus_of("all in one line\n"), TextSettings(read="sentences"))
    with pytest.raises(CorpusError, match="the corpus has only one word: give more text"):
        split_text(corpus_of("word\n"), TextSettings())
    with pytest.raises(CorpusError, match="test part would be empty"):
        split_text(corpus_of("one\n" * 20 + "two\n" * 20 + "\n" * 40), TextSettings(split="45/45/10"))


def test_one_long_line_is_cut_behind_a_blank_and_characters_anywhere() -> None:
    text = "".join(f"{number} " for number in range(1000)) + "end\n"
    parts = split_text(corpus_of(text), TextSettings(split="80/10/10"))
    assert "".join(part.text for part in parts.values()) == text
    for name, share in (("train", 0.8), ("validation", 0.9)):
        assert parts[name].text.endswith(" ")
        assert abs(parts[name].end - share * len(text)) < 5
    letters = split_text(corpus_of("acgt" * 250 + "\n"), TextSettings(unit="char"))
    assert [letters["train"].end, letters["validation"].end] == [901, 1001]
    short = split_text(corpus_of("first\n" + text), TextSettings())
    assert short["train"].end > 0.8 * len(text), "a line end far away is none to cut at"


def test_a_validation_file_leaves_the_corpus_whole(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("held out\n")
    parts = split_text(corpus_of("one line\n"), TextSettings(validation=str(other)))
    assert {name: part.text for name, part in parts.items()} == {"train": "one line\n", "validation": "held out\n"}
    found = find_part(parts["validation"].as_dict())
    assert found == parts["validation"]


def test_a_part_is_found_again_from_its_record(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("zwei Wörter\nand more\nthird\nfourth line\n".encode("cp1252"))
    parts = split_text(read_corpus(path, encoding="cp1252"), TextSettings(split="50/25/25", encoding="cp1252"))
    for part in parts.values():
        record = json.loads(json.dumps(part.as_dict()))
        assert "text" not in record
        assert find_part(record, encoding="cp1252") == part
        moved = path.rename(tmp_path / f"{part.name}.txt")
        assert find_part(record, [moved], encoding="cp1252").text == part.text
        moved.rename(path)
    path.write_text("other text\n" * 9)
    with pytest.raises(CorpusError, match="not the corpus that the test part was cut from"):
        find_part(parts["test"].as_dict())


def test_the_embedded_corpus_is_found_again_and_its_hash_held_against_it() -> None:
    record = split_text(read_corpus(EMBEDDED), TextSettings())["validation"].as_dict()
    assert len(find_part(record).text) == record["end"] - record["start"]
    with pytest.raises(CorpusError, match="differs between Python versions"):
        find_part(record | {"sha256": "0" * 64})


def test_records_that_cannot_be_used() -> None:
    record = split_text(corpus_of("one line\ntwo lines\n"), TextSettings(split="50/50"))["train"].as_dict()
    with pytest.raises(CorpusError, match="standard input, which cannot be read again"):
        find_part(record)
    with pytest.raises(ModelDirectoryError, match="damaged"):
        find_part({name: value for name, value in record.items() if name != "start"})
    with pytest.raises(ModelDirectoryError, match="damaged"):
        find_part(record | {"end": "here"})


def test_of_two_line_ends_equally_near_the_earlier() -> None:
    parts = split_text(corpus_of("abc\nde\nf\nghi\n" + "x" * 6 + "\n"), TextSettings(split="40/60"))  # 8 of 20
    assert parts["train"].text == "abc\nde\n"
