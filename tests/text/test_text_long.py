"""Texts that are longer than memory should hold: pieces, long lines, tokens in files, and what is kept between runs."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError
from unrolled.text import (
    Part,
    TextSettings,
    Tokenizer,
    chunks,
    decoding,
    read_corpus,
    split_text,
    token_cache,
    vocabulary,
)
from unrolled.text import corpus as corpus_module
from unrolled.text.batches import SentenceReader, StreamReader
from unrolled.text.chunks import grouped, line_chunks
from unrolled.text.encoding import encode
from unrolled.text.tokenizer import train_tokenizer

UNITS = ("word", "char", "bpe")


class Pieces:
    """A text in pieces of a length."""

    def __init__(self, text: str, length: int) -> None:
        self.text, self.length = text, length

    def pieces(self) -> Iterator[str]:
        for start in range(0, len(self.text), self.length):
            yield self.text[start : start + self.length]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as long from 50 characters on, and files are read 7 bytes at a time."""
    monkeypatch.setattr(chunks, "LONGEST", 50)
    monkeypatch.setattr(decoding, "PIECE", 7)
    monkeypatch.setattr(corpus_module, "KEPT", 50)


def settings_of(unit: str, **options: Any) -> TextSettings:
    return TextSettings(unit=unit, vocabulary_size=300, **options)


# Chunks


@given(st.text("ab \n\t", max_size=300), st.integers(1, 40), st.integers(1, 9))
def test_cuts_depend_on_the_text_alone_and_lose_nothing(text: str, size: int, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "LONGEST", 20)
        found = list(line_chunks(text, size))
        assert list(line_chunks(Pieces(text, length), size)) == found
    assert "".join(found) == text
    assert all(0 < len(chunk) <= 40 for chunk in found)


def test_a_long_line_is_cut_before_a_blank_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "LONGEST", 10)
    assert list(line_chunks("one two three four  five\nsix", 4)) == ["one two three", " four  five\n", "six"]
    assert list(line_chunks("x" * 45, 4)) == ["x" * 20, "x" * 20, "x" * 5], "there is no blank"


def test_chunks_come_in_groups() -> None:
    assert list(grouped(["ab", "c", "defg", "h"], 3)) == [["ab", "c"], ["defg"], ["h"]]


@pytest.mark.parametrize("unit", UNITS)
def test_tokens_of_a_long_line_are_those_of_the_line_in_one_piece(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(3)
    words = ["don't", "(yes)", "--", "3.14", "a", '"so', 'it"', "U.S.", "well-known,", "…", "f(x)", "é", "  "]
    line = " ".join(choose.choices(words, k=400)) + "\n"
    tokenizer = train_tokenizer(line, settings_of(unit))
    whole = tokenizer.encode(line)
    monkeypatch.setattr(chunks, "LONGEST", 30)
    assert len(list(line_chunks(line))) > 10
    np.testing.assert_array_equal(tokenizer.encode(line), whole)
    assert train_tokenizer(line, settings_of(unit)).to_json() == tokenizer.to_json()


# Files in pieces


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-le", "cp1252"])
def test_a_file_in_pieces_is_the_text(encoding: str, tmp_path: Path) -> None:
    text = "naïve\r\nFüchsin\rZoë €\n\nx" * 20
    (tmp_path / "text").write_bytes(text.encode(encoding))
    corpus = read_corpus(tmp_path / "text", encoding=encoding)
    assert corpus.text == text.replace("\r\n", "\n").replace("\r", "\n") + "\n"
    assert corpus.characters == len(corpus.text)
    assert corpus.sha256 == corpus_module.text_hash(corpus.text)


@pytest.mark.usefixtures("short")
def test_what_is_wrong_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for at in (0, 6, 7, 8, 13, 14, 40):
        lines = b"a\n" * (at // 2) + b"a" * (at % 2)
        path.write_bytes(lines + b"\xff" + b"b" * 30)
        with pytest.raises(CorpusError, match=rf"line {at // 2 + 1}, byte offset {at}: byte 0xff is not utf-8"):
            read_corpus(path)
        path.write_bytes(lines + b"\0" + b"b" * 30)
        with pytest.raises(CorpusError, match=rf"line {at // 2 + 1}: a NUL character"):
            read_corpus(path)
    path.write_bytes(b"abc\n" * 3 + "é".encode()[:1])
    with pytest.raises(CorpusError, match="line 4, byte offset 12: byte 0xc3 is not utf-8"):
        read_corpus(path)


@pytest.mark.usefixtures("short")
def test_a_file_that_changes_between_two_readings_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("one two\n" * 20)
    corpus = read_corpus(path)
    path.write_text("one two\n" * 21)
    with pytest.raises(CorpusError, match=r"text: has changed while it was read: try again"):
        list(corpus.pieces())


@pytest.mark.usefixtures("short")
def test_a_file_that_is_changed_without_another_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("one two\n" * 20)
    os.utime(path, (1, 1))
    corpus = read_corpus(path)
    assert "".join(corpus.pieces()) == "one two\n" * 20
    path.write_text("two one\n" * 20)
    with pytest.raises(CorpusError, match=r"text: has changed while it was read: try again"):
        list(corpus.pieces())


@pytest.mark.usefixtures("short")
def test_nothing_is_kept_of_a_file_that_changes_behind_the_part(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("one two\n" * 20)
    os.utime(path, (1, 1))
    part = split_text(read_corpus(path), TextSettings())["train"]
    tokenizer = train_tokenizer(part.text, TextSettings())
    path.write_text("two one\n" * 20)
    for keep in (
        lambda: token_cache.kept_tokenizer(part, Pieces("two one\n", 3), TextSettings()),
        lambda: token_cache.kept_tokens(part, Pieces("two one\n", 3), tokenizer, by_lines=False),
    ):
        with pytest.raises(CorpusError, match=r"text: has changed while it was read: try again"):
            keep()
    assert not [entry for name in ("tokens", "tokenizers") for entry in (cache / name).iterdir()]


@pytest.mark.usefixtures("short")
def test_shares_are_told_while_files_are_read(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("one two\n" * 20)
    told: list[float] = []
    read_corpus(tmp_path, report=told.append)
    assert told == sorted(told)
    assert told[0] < 0.1
    assert told[-1] == 1.0


# Tokens in files


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("by_lines", [False, True])
def test_tokens_in_a_file_are_those_in_memory(unit: str, by_lines: bool, tiny_text: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tiny_text, settings_of(unit))
    kept = encode(tiny_text, tokenizer, by_lines=by_lines)
    mapped = encode(Pieces(tiny_text, 11), tokenizer, by_lines=by_lines, path=tmp_path / "ids")
    assert isinstance(mapped.ids, np.memmap)
    np.testing.assert_array_equal(mapped.ids, tokenizer.encode(tiny_text))
    np.testing.assert_array_equal(kept.ids, mapped.ids)
    for one in (kept, mapped):
        assert (one.characters, one.lines) == (len(tiny_text), tiny_text.count("\n"))
        np.testing.assert_array_equal(one.counts, np.bincount(kept.ids, minlength=tokenizer.vocabulary_size))
        blank = tiny_text.count("\n\n") if by_lines else 0
        assert one.read_characters == len(tiny_text) - blank > 0
        assert one.read_counts.sum() == len(one.ids) - blank


def test_readers_read_from_a_map(tiny_text: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tiny_text, TextSettings())
    mapped = encode(tiny_text, tokenizer, path=tmp_path / "ids").ids
    end = tokenizer.end_of_line_id
    makers: tuple[Any, ...] = (
        lambda ids: StreamReader(ids, end_of_line_id=end, batch_size=4, window=9, random_windows=True),
        lambda ids: SentenceReader(ids, end_of_line_id=end, batch_size=4, seed=2),
    )
    for make in makers:
        of_map, of_memory = make(mapped), make(np.array(mapped))
        for one, other in zip(of_map.batches(1), of_memory.batches(1), strict=True):
            np.testing.assert_array_equal(one.inputs, other.inputs)
            np.testing.assert_array_equal(one.targets, other.targets)


# What is kept between runs


@pytest.fixture
def part(tiny_text: str, tmp_path: Path) -> Part:
    path = tmp_path / "corpus.txt"
    path.write_text(tiny_text, encoding="utf-8")
    return split_text(read_corpus(path), TextSettings())["train"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Untouchable:
    """A text that nobody may read."""

    def pieces(self) -> Iterator[str]:
        raise AssertionError("it was to be taken from the cache")


@pytest.mark.parametrize("unit", UNITS)
def test_vocabulary_and_tokens_are_made_once(unit: str, part: Part, cache: Path) -> None:
    settings = settings_of(unit)
    tokenizer = token_cache.kept_tokenizer(part, part, settings)
    assert tokenizer.to_json() == train_tokenizer(part.text, settings).to_json()
    assert token_cache.kept_tokenizer(part, Untouchable(), settings).to_json() == tokenizer.to_json()
    for by_lines in (False, True):
        made = token_cache.kept_tokens(part, part, tokenizer, by_lines=by_lines)
        found = token_cache.kept_tokens(part, Untouchable(), tokenizer, by_lines=by_lines)
        for one in (made, found):
            np.testing.assert_array_equal(one.ids, tokenizer.encode(part.text))
            assert one.read_characters == encode(part, tokenizer, by_lines=by_lines).read_characters
    assert sorted(path.name for path in cache.iterdir()) == ["tokenizers", "tokens"]


def test_other_settings_and_other_texts_are_others(part: Part, cache: Path) -> None:
    token_cache.kept_tokenizer(part, part, settings_of("word"))
    for changed in ({"min_count": 2}, {"lowercase": True}, {"pre_tokenized": True}):
        with pytest.raises(AssertionError, match="cache"):
            token_cache.kept_tokenizer(part, Untouchable(), settings_of("word", **changed))
    other = Part(part.name, part.sources, part.sha256, part.start, part.end - 1, part.corpus)
    with pytest.raises(AssertionError, match="cache"):
        token_cache.kept_tokenizer(other, Untouchable(), settings_of("word"))


@pytest.mark.parametrize("name", ["ids", "counts"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_is_damaged_is_made_again(name: str, damage: str, part: Part, cache: Path) -> None:
    tokenizer = train_tokenizer(part.text, TextSettings())
    made = token_cache.kept_tokens(part, part, tokenizer, by_lines=False)
    expected = np.array(made.ids)
    (path,) = cache.glob(f"tokens/*/{name}")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[: -1 if damage == "cut" else None])
    again = token_cache.kept_tokens(part, part, tokenizer, by_lines=False)
    np.testing.assert_array_equal(again.ids, expected)
    np.testing.assert_array_equal(again.counts, made.counts)
    found = token_cache.kept_tokens(part, Untouchable(), tokenizer, by_lines=False)
    np.testing.assert_array_equal(found.ids, expected)


def test_a_damaged_tokenizer_is_made_again(part: Part, cache: Path) -> None:
    tokenizer = token_cache.kept_tokenizer(part, part, settings_of("word"))
    (path,) = cache.glob("tokenizers/*.json")
    path.write_text("{}")
    assert token_cache.kept_tokenizer(part, part, settings_of("word")).to_json() == tokenizer.to_json()
    assert Tokenizer.from_json(path.read_text(encoding="utf-8"), "word").tokens == tokenizer.tokens


def test_what_was_not_used_for_long_goes(part: Part, cache: Path) -> None:
    tokenizer = train_tokenizer(part.text, TextSettings())
    token_cache.kept_tokens(part, part, tokenizer, by_lines=False)
    (entry,) = cache.glob("tokens/*")
    (cache / "tokens" / "making-left").mkdir()
    old = time.time() - 86_400 * token_cache.KEPT_DAYS - 60
    for path in (entry, cache / "tokens" / "making-left"):
        os.utime(path, (old, old))
    token_cache.kept_tokens(part, part, tokenizer, by_lines=True)
    left = list(cache.glob("tokens/*"))
    assert entry not in left
    assert len(left) == 1


def test_a_cache_that_cannot_be_is_explained(part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file"))
    with pytest.raises(CorpusError, match=r"cannot be kept there .*: name a folder with room in UNROLLED_CACHE$"):
        token_cache.kept_tokenizer(part, part, TextSettings())


def test_subwords_of_a_long_text_are_learnt_from_pieces_of_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{'early' if number < 100_000 else 'later'} {number % 7}\n" for number in range(200_000))
    settings = TextSettings(unit="bpe", vocabulary_size=300)
    whole = Tokenizer.from_json(vocabulary.train_vocabulary(text, settings), "bpe")
    monkeypatch.setattr(vocabulary, "SUBWORD_SAMPLE", len(text) // 4)
    sampled = Tokenizer.from_json(vocabulary.train_vocabulary(Pieces(text, 1000), settings), "bpe")
    assert {"early", "later"} <= {token.strip("Ġ") for token in sampled.tokens}
    assert set(sampled.tokens) == set(whole.tokens)
