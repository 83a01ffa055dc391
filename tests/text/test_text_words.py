"""The word unit: where it cuts, and where it puts blanks."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.text import TextSettings, Tokenizer, train_tokenizer
from unrolled.text.word_rules import CLOSING, JOINER, OPENING

SHARED = Path(__file__).parents[3] / "shared" / "data"
J = JOINER


def words_of(text: str) -> list[str]:
    tokenizer = train_tokenizer(f"{text}\nx y", TextSettings())
    return [tokenizer.token(int(n)) for n in tokenizer.encode(text)]


def again(text: str) -> str:
    """The text after encoding and decoding by a tokenizer that knows all its words."""
    tokenizer = train_tokenizer(f"{text}\nx y", TextSettings(vocabulary_size=100_000))
    return tokenizer.decode(tokenizer.encode(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He left!", ["He", "left", "!"]),
        ("The man said: no!", ["The", "man", "said", ":", "no", "!"]),
        ("don't don’t well-known o'clock's", ["don't", "don’t", "well-known", "o'clock's"]),
        ("3.14 1,000 2,5-3", ["3.14", "1,000", "2,5-3"]),
        ("In 1914, 2.", ["In", "1914", ",", "2", "."]),
        ("a--b -- ... end...", ["a", f"{J}--{J}", "b", "--", "...", "end", "..."]),
        ("a—b", ["a", f"{J}—{J}", "b"]),
        ('"No," he said. "Yes"', [f'"{J}', "No", ",", f'{J}"', "he", "said", ".", f'"{J}', "Yes", f'{J}"']),
        ("'Tis dogs' 'no'", [f"'{J}", "Tis", "dogs", f"{J}'", f"'{J}", "no", f"{J}'"]),
        ("(x) [y]. “z”", ["(", "x", ")", "[", "y", "]", ".", "“", "z", "”"]),
        ("f(x).y", ["f", f"{J}({J}", "x", ")", f"{J}.{J}", "y"]),
        ("on a .py file", ["on", "a", f".{J}", "py", "file"]),
        ("one\n\ntwo", ["one", "\n", "\n", "two"]),
        ("a\u2028b\x0bc\x0cd\x85e\u00a0f", ["a", "b", "c", "d", "e", "f"]),
        ("e\u0301t\u00e9 नमस्ते __init__", ["e\u0301t\u00e9", "नमस्ते", "__init__"]),
        ("5% $3 <unk>", ["5", f"{J}%", "$", "3", f"<{J}", "unk", f"{J}>"]),
        ("no !", ["no", "!"]),
        (f"a{J}b", ["ab"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("✓✓", ["✓", f"{J}✓"]),
    ],
)
def test_where_words_begin_and_end(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The man said: no!",
        "He said, \"Well -- (I think) you're 3.5% 'right'; no?\"",
        "“So—I,” she said... ‘what’ is it?”\n\n“Yes!”",
        "self.name = f(x)[1:2] and/or {a: 'b'} **bold** #5 a@b.org http://x.org/?q=1&r=2",
        "'Twas the dogs' -O flag, e.g. U.S.A., 1914-1918, -5, x-, +1.",
        "a\n\n\nb\n",
        '("x"(y))—“z”',
    ],
)
def test_decoding_puts_blanks_where_they_were(text: str) -> None:
    assert again(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("no !", "no!"), ("( x )", "(x)"), ("a  \t b", "a b"), ("  a \n  b ", "a\nb"), ("wait ... so", "wait... so")],
)
def test_blanks_that_are_not_kept(text: str, expected: str) -> None:
    assert again(text) == expected


MIXED = st.text(st.sampled_from("ab1é.,-'’\"(){}[]“”!?:;/*$%…—_ \n#\u0301\U0001f600"), max_size=40)


@given(MIXED)
def test_decoding_changes_blanks_only(text: str) -> None:
    decoded = again(text)
    assert re.sub(r" ", "", decoded) == re.sub(r" ", "", text)
    opening, closing = re.escape(OPENING), re.escape(CLOSING)
    usual = " ".join(re.split(" +", text))
    usual = re.sub(r" ?\n ?", "\n", usual).strip(" ")
    if not re.search(rf"[{opening}] | [{closing}]", usual):
        assert decoded == usual


@given(MIXED)
def test_encoding_what_was_decoded_gives_the_same_words(text: str) -> None:
    assert words_of(again(text)) == words_of(again(again(text)))


@cache
def novel() -> Tokenizer:
    return train_tokenizer((SHARED / "war-and-peace.txt").read_text(), TextSettings(vocabulary_size=100_000))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the texts for full-size tests, ../shared/data, are not here")
def test_a_novel_comes_back_but_for_blanks_before_dots_and_the_like() -> None:
    text = (SHARED / "war-and-peace.txt").read_text()[:500_000]
    decoded = novel().decode(novel().encode(text))
    before, after = text.split("\n"), decoded.split("\n")
    assert len(before) == len(after)
    differ = [(old, new) for old, new in zip(before, after, strict=True) if " ".join(old.split()) != new]
    assert len(differ) < 20
    assert all(re.sub(r" (?=\.\.\.|[!”?])", "", old) == new for old, new in differ)
