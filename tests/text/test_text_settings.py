from dataclasses import FrozenInstanceError, fields
from fractions import Fraction

import pytest

from unrolled.errors import UsageError
from unrolled.text.settings import TextSettings


def test_every_field_explains_itself() -> None:
    assert all(field.metadata["help"] for field in fields(TextSettings))
    with pytest.raises(FrozenInstanceError):
        TextSettings().unit = "char"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("split", "shares"),
    [(None, ("9/10", "1/10")), ("90/5/5", ("9/10", "1/20", "1/20")), (" 99.5/0.5", ("199/200", "1/200"))],
)
def test_shares_are_exact(split: str | None, shares: tuple[str, ...]) -> None:
    assert TextSettings(split=split).shares == tuple(Fraction(share) for share in shares)


@pytest.mark.parametrize("split", ["", "100", "90/5", "90/20", "80/10/5/5", "110/-10", "100/0", "a/b", "1/0", "nan/1"])
def test_a_split_that_cannot_be_meant(split: str) -> None:
    with pytest.raises(UsageError, match="sum to 100"):
        TextSettings(split=split)


def test_values_out_of_range() -> None:
    with pytest.raises(UsageError, match="word, char, bpe"):
        TextSettings(unit="letter")
    with pytest.raises(UsageError, match="stream, sentences"):
        TextSettings(read="lines")
    with pytest.raises(UsageError, match="strict, replace"):
        TextSettings(errors="ignore")
    with pytest.raises(UsageError, match="at least 256"):
        TextSettings(unit="bpe", vocabulary_size=255)
    with pytest.raises(UsageError, match="at least 3"):
        TextSettings(vocabulary_size=2)
    with pytest.raises(UsageError, match="min_count 0"):
        TextSettings(min_count=0)
    assert TextSettings(unit="bpe", vocabulary_size=256).vocabulary_size == 256


@pytest.mark.parametrize("encoding", ["no-such", "hex", "rot13"])
def test_an_encoding_that_is_none(encoding: str) -> None:
    with pytest.raises(UsageError, match=f'"{encoding}" is not known'):
        TextSettings(encoding=encoding)


def test_values_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        TextSettings(validation="other.txt", split="90/10")
    with pytest.raises(UsageError, match="pre_tokenized is about words"):
        TextSettings(pre_tokenized=True, unit="char")
    assert TextSettings(validation="other.txt", encoding="utf-16").validation == "other.txt"
