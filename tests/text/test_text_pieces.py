"""Text that is encoded in other pieces than it comes in has the same tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import TokenizerError
from unrolled.text.pieces import encode_lines, settled_length

from .test_text_tokenizer import CORPUS, every_setting, trained

WHITE_SPACE = " \n\t\r\u00a0\u3000\u2028\x1c\x85"
ANY_TEXT = (
    st.text(max_size=20)
    | st.text(st.sampled_from(CORPUS + WHITE_SPACE + "\u2060'’-.,"), max_size=30)
    | st.text(st.sampled_from(WHITE_SPACE + "aé1.,'\"(\u2060-"), max_size=20)
)


@every_setting
@given(text=ANY_TEXT, more=ANY_TEXT)
def test_no_text_changes_the_tokens_of_what_is_settled(name: str, text: str, more: str) -> None:
    tokenizer = trained(name)
    length = settled_length(text, tokenizer.unit)
    parts = tokenizer.encode(text[:length]), tokenizer.encode(text[length:] + more)
    assert np.concatenate(parts).tolist() == tokenizer.encode(text + more).tolist()


@every_setting
@given(pieces=st.lists(ANY_TEXT, max_size=5))
def test_what_is_settled_does_not_depend_on_how_the_text_came(name: str, pieces: list[str]) -> None:
    unit, tail, settled = trained(name).unit, "", 0
    for piece in pieces:
        tail += piece
        length = settled_length(tail, unit)
        settled, tail = settled + length, tail[length:]
    assert settled == settled_length("".join(pieces), unit)


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("word", "", 0),
        ("word", "the ca", 4),
        ("word", "the ", 4),
        ("word", "a\n\nb", 3),
        ("bpe", "the cat sat", 7),
        ("bpe", "the  ", 3),
        ("bpe", "a\n b", 2),
        ("bpe", " a", 0),
        ("char", "the ca", 6),
    ],
)
def test_what_is_settled_is_nearly_all(unit: str, text: str, expected: int) -> None:
    assert settled_length(text, unit) == expected


@every_setting
@given(lines=st.lists(ANY_TEXT | ANY_TEXT.map(lambda text: text.replace("\n", "")), max_size=8))
def test_lines_together_have_the_tokens_of_each(name: str, lines: list[str]) -> None:
    tokenizer = trained(name)
    encoded = encode_lines(tokenizer, lines)
    assert [ids.tolist() for ids in encoded] == [tokenizer.encode(line + "\n").tolist() for line in lines]


def test_an_error_counts_within_its_line() -> None:
    with pytest.raises(TokenizerError, match=r"^text: character 1 is a lone surrogate"):
        encode_lines(trained("word"), ["the man", "\n", "a\ud800"])
    assert [len(ids) for ids in encode_lines(trained("char"), ["the", "a\ud800"])] == [4, 3]
