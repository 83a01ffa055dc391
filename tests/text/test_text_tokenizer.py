"""Every unit: equal to the library's reading of the file, round trips, vocabularies, streams."""

import json
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from unrolled.errors import CorpusError, TokenizerError, UsageError
from unrolled.text import TextSettings, Tokenizer, train_tokenizer
from unrolled.text.settings import DEFAULT_UNIT
from unrolled.text.vocabulary import keep_most_frequent

CORPUS = (
    'The man said: "no!" He didn\'t (ever) leave -- the U.S.A. is 3.5% well-known…\n\n'
    "É Ünïcode ΣΑΣ İstanbul e\u0301 日本語、 \U0001f600\U0001f468\u200d\U0001f469 <unk> a.b \"x\" 'y' f(z)\n"
    "the the the no no <unk>\n"
) * 2
SETTINGS = {
    "word": TextSettings(),
    "word, lower case": TextSettings(lowercase=True),
    "word, few": TextSettings(vocabulary_size=12),
    "pre-tokenized": TextSettings(pre_tokenized=True),
    "char": TextSettings(unit="char"),
    "char, lower case": TextSettings(unit="char", lowercase=True),
    "char, few": TextSettings(unit="char", vocabulary_size=9),
    "bpe": TextSettings(unit="bpe", vocabulary_size=300),
    "bpe, lower case": TextSettings(unit="bpe", vocabulary_size=260, lowercase=True),
}
ANY_TEXT = st.text(max_size=30) | st.text(st.sampled_from(CORPUS), max_size=30)
every_setting = pytest.mark.parametrize("name", SETTINGS)


@cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(CORPUS, SETTINGS[name])


@cache
def library(name: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(trained(name).to_json())


@every_setting
@given(text=ANY_TEXT)
@example(text="")
@example(text="\n\n\n")
@example(text=CORPUS)
@example(text="ΑΣ Σ İ K\u0130\0 \u2028\x85\x0b\x0c\x1c\r\ufeff \u2060")
@example(text="e\u0301\u0301 \U0001f468\u200d\U0001f469")
def test_encoding_and_decoding_equal_the_library(name: str, text: str) -> None:
    ids = trained(name).encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == library(name).encode(text).ids
    assert trained(name).decode(ids) == library(name).decode(ids.tolist(), skip_special_tokens=False)


@every_setting
@given(data=st.data())
def test_decoding_any_ids_equals_the_library_and_the_stream(name: str, data: st.DataObject) -> None:
    tokenizer = trained(name)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=20))
    decoded = tokenizer.decode(ids)
    assert decoded == library(name).decode(ids, skip_special_tokens=False)
    stream = tokenizer.decode_stream()
    assert "".join(stream.push(n) for n in ids) + stream.finish() == decoded


@every_setting
def test_a_stream_goes_on_behind_what_was_written(name: str) -> None:
    tokenizer = trained(name)
    ids = tokenizer.encode("the man said (no)! the\n")
    for cut in range(1, len(ids)):
        stream = tokenizer.decode_stream(after=ids[:cut])
        written = tokenizer.decode(ids[:cut]) + "".join(stream.push(int(n)) for n in ids[cut:]) + stream.finish()
        assert written == tokenizer.decode(ids)


@every_setting
def test_the_file_is_all_there_is(name: str) -> None:
    tokenizer, settings = trained(name), SETTINGS[name]
    read = Tokenizer.from_json(tokenizer.to_json(), settings.unit or DEFAULT_UNIT)
    assert read.tokens == tokenizer.tokens
    assert read.encode(CORPUS).tolist() == tokenizer.encode(CORPUS).tolist()
    assert read.decode(read.encode(CORPUS)) == tokenizer.decode(tokenizer.encode(CORPUS))
    assert train_tokenizer(CORPUS, settings).to_json() == tokenizer.to_json()


@every_setting
def test_each_newline_is_one_token_and_text_without_one_gets_none(name: str) -> None:
    tokenizer = trained(name)
    ids = tokenizer.encode("the \n\n\nman\r\n no")
    assert np.count_nonzero(ids == tokenizer.end_of_line_id) == 4
    assert ids[-1] != tokenizer.end_of_line_id
    assert tokenizer.token(tokenizer.end_of_line_id) == ("Ċ" if tokenizer.unit == "bpe" else "\n")
    assert tokenizer.encode("\u2028\x85\x0b\x0c").tolist().count(tokenizer.end_of_line_id) == 0


@given(st.text())
def test_bpe_round_trips_any_text(text: str) -> None:
    assert trained("bpe").decode(trained("bpe").encode(text)) == text


@given(st.text(st.sampled_from(CORPUS)))
def test_characters_round_trip_any_text_over_their_vocabulary(text: str) -> None:
    assert trained("char").decode(trained("char").encode(text)) == text


def test_lower_case_of_every_character_is_the_librarys() -> None:
    known = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in {"Cn", "Cs"}]
    text = "".join(c for c in known if c < "\u2000" or c.lower() != c or c.upper() != c)
    tokenizer = train_tokenizer(text, TextSettings(unit="char", lowercase=True, vocabulary_size=2_000_000))
    theirs = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert tokenizer.encode(text).tolist() == theirs.encode(text).ids


def test_special_tokens_have_fixed_places() -> None:
    for name in ("word", "pre-tokenized", "char"):
        assert trained(name).tokens[:2] == ["<unk>", "\n"]
        assert (trained(name).unknown_id, trained(name).end_of_line_id) == (0, 1)
    assert trained("bpe").unknown_id is None


def test_a_literal_unknown_token() -> None:
    assert trained("pre-tokenized").encode("the <unk> zzz").tolist()[1:] == [0, 0]
    assert 0 not in trained("word").encode("<unk>")
    assert trained("word").decode(trained("word").encode("<unk>")) == "<unk>"
    characters = trained("char").encode("<unk>")
    assert (len(characters), 0 in characters) == (5, False)


def test_pre_tokenized_text_is_cut_at_blanks_only() -> None:
    tokenizer = train_tokenizer("no , said the N-word don 't .\nyes", TextSettings(pre_tokenized=True))
    ids = tokenizer.encode("said  the N-word ,\n yes .")
    assert [tokenizer.token(int(n)) for n in ids] == ["said", "the", "N-word", ",", "\n", "yes", "."]
    assert tokenizer.decode(ids) == "said the N-word ,\nyes ."


def test_the_vocabulary_is_the_most_frequent_tokens_ties_by_code_point() -> None:
    text = "b b b c c a a é é Z d\n" * 2
    assert train_tokenizer(text, TextSettings()).tokens == ["<unk>", "\n", "b", "a", "c", "é", "Z", "d"]
    assert train_tokenizer(text, TextSettings(vocabulary_size=5)).tokens == ["<unk>", "\n", "b", "a", "c"]
    assert train_tokenizer(text, TextSettings(min_count=4)).tokens == ["<unk>", "\n", "b", "a", "c", "é"]
    assert train_tokenizer(text, TextSettings(lowercase=True)).tokens[6:] == ["d", "z"]
    characters = train_tokenizer("ba ab\nc", TextSettings(unit="char"))
    assert characters.tokens == ["<unk>", "\n", "a", "b", " ", "c"]
    assert characters.vocabulary_size == 6
    assert train_tokenizer("bbaab\nbca", TextSettings(unit="char", vocabulary_size=4)).tokens[2:] == ["b", "a"]


def test_special_tokens_are_not_counted_twice() -> None:
    assert keep_most_frequent({"<unk>": 9, "a": 2, "\n": 5}, TextSettings()) == ["<unk>", "\n", "a"]


def test_lower_case_counts_capitals_with_small_letters() -> None:
    tokenizer = train_tokenizer("AaBİ\n", TextSettings(unit="char", lowercase=True))
    assert tokenizer.tokens == ["<unk>", "\n", "a", "b", "i", "\u0307"]
    assert tokenizer.decode(tokenizer.encode("BAİ")) == "bai\u0307"


def test_bpe_learns_pairs_within_its_size() -> None:
    tokenizer = trained("bpe")
    assert tokenizer.vocabulary_size == 300
    assert tokenizer.encode("the the").size < len("the the")
    assert train_tokenizer(CORPUS, TextSettings(unit="bpe", vocabulary_size=256)).vocabulary_size == 256


def test_unseen_words_and_characters() -> None:
    assert trained("word").unseen('the zebra "zebra" said: Q\nqux') == ["zebra", "Q", "qux"]
    assert trained("word, lower case").unseen("THE Zebra") == ["zebra"]
    assert trained("pre-tokenized").unseen("the zebra <unk>") == ["zebra"]
    assert trained("char").unseen("жuжqшu\ud800") == ["ж", "q", "ш", "\ud800"]
    assert trained("bpe").unseen("ж zebra") == []


def test_lone_surrogates() -> None:
    assert trained("char").encode("a\ud800b").tolist()[1] == 0
    for name in ("word", "bpe"):
        with pytest.raises(TokenizerError, match=r"character 1 is a lone surrogate \(U\+D800\)"):
            trained(name).encode("a\ud800b")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        trained("word").unseen("\udfff")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        train_tokenizer("two words \udfff", TextSettings(unit="char"))


@every_setting
def test_ids_outside_the_vocabulary(name: str) -> None:
    size = trained(name).vocabulary_size
    for wrong in (-1, size):
        with pytest.raises(TokenizerError, match=f"token id {wrong} is outside .* to {size - 1}"):
            trained(name).decode([0, wrong])
    with pytest.raises(TokenizerError, match="outside"):
        trained(name).token(size)


@pytest.mark.parametrize("unit", ["word", "char", "bpe"])
def test_too_little_text(unit: str) -> None:
    for text in ("", "\n\n", "a\n"):
        with pytest.raises(CorpusError, match="fewer than two tokens"):
            train_tokenizer(text, TextSettings(unit=unit))
    with pytest.raises(CorpusError, match="fewer than two tokens"):
        train_tokenizer("word\n\n", TextSettings())
    with pytest.raises(UsageError, match="min_count 3 leaves no token"):
        train_tokenizer("a b b\n", TextSettings(min_count=3))


def changed(name: str, change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(trained(name).to_json())
    change(data)
    return json.dumps(data)


def test_files_that_are_no_tokenizer_of_ours() -> None:
    for text in ("", "[]", "{}", '{"model": {}}', "null"):
        with pytest.raises(TokenizerError, match=r"tokenizer\.json: this is no tokenizer of Unrolled"):
            Tokenizer.from_json(text, "word")
    for name, unit in (("word", "char"), ("char", "word"), ("bpe", "word"), ("word", "bpe"), ("char", "bpe")):
        with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
            Tokenizer.from_json(trained(name).to_json(), unit)
    with pytest.raises(UsageError, match="unit"):
        Tokenizer.from_json(trained("word").to_json(), "letter")


@pytest.mark.parametrize("name", ["word", "char", "bpe"])
def test_files_with_a_damaged_vocabulary(name: str) -> None:
    def vocabulary(data: dict[str, Any]) -> dict[str, Any]:
        return data["model"]["vocab"]  # type: ignore[no-any-return]

    newline = "Ċ" if name == "bpe" else "\n"
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda data: vocabulary(data).pop(newline),
        lambda data: vocabulary(data).update({"a": 10_000}),
        lambda data: vocabulary(data).update({"a": "b"}),
    ]
    for change in changes:
        with pytest.raises(TokenizerError, match="no tokenizer of Unrolled"):
            Tokenizer.from_json(changed(name, change), SETTINGS[name].unit or DEFAULT_UNIT)
    if name != "word":  # a longer character, or one outside the byte-level alphabet
        text = changed(name, lambda data: vocabulary(data).update({"\u2603\u2603": len(vocabulary(data))}))
        with pytest.raises(TokenizerError, match="train again"):
            Tokenizer.from_json(text, SETTINGS[name].unit or DEFAULT_UNIT)


def test_characters_need_no_library_and_nothing_needs_torch(run_python: Callable[..., str]) -> None:
    code = """
import sys
from unrolled.text import Tokenizer
tokenizer = Tokenizer.from_json(sys.argv[1], "char")
print(tokenizer.decode(tokenizer.encode("the man\\n")), end="")
print(sorted({"torch", "tokenizers", "matplotlib"} & set(sys.modules)))
"""
    assert run_python(code, trained("char").to_json()) == "the man\n[]\n"
