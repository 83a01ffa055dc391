"""What is to be done to a text before a model sees it: one frozen dataclass, checked on construction."""

from dataclasses import dataclass
from fractions import Fraction

from unrolled.errors import UsageError
from unrolled.settings import check_choice, option

UNITS = ("word", "char", "bpe")
DEFAULT_UNIT = "word"
READINGS = ("stream", "sentences")
ERRORS = ("strict", "replace")
DEFAULT_SPLIT = "90/10"
BYTES = 256
SPECIAL_TOKENS = 2  # the unknown token and the end of a line


@dataclass(frozen=True)
class TextSettings:
    """How a corpus is decoded, split, tokenized and read.

    Raises:
        UsageError: a value is out of its range, or two contradict each other.
    """

    unit: str | None = option(None, "What a token is (default: word; to translate and to correct bpe)", choices=UNITS)
    read: str = option("stream", "One text with carried state, or each line from a zero state.", choices=READINGS)
    vocabulary_size: int = option(8000, "Keep this many tokens, the most frequent ones.")
    min_count: int | None = option(
        None,
        "Keep only tokens that the training text has at least this often (default: 1; subwords to translate or correct "
        "are merged from 100 on)",
    )
    lowercase: bool = option(False, "Turn the text into lower case.")
    pre_tokenized: bool = option(False, "Words are what stands between blanks; <unk> is the unknown word.")
    encoding: str = option("utf-8", "How the corpus is encoded.")
    errors: str = option("strict", "Bytes that cannot be decoded: stop, or put U+FFFD.", choices=ERRORS)
    validation: str | None = option(None, "A file to validate on; the whole corpus is then for training.")
    split: str | None = option(
        None, f"Percent for training, validation and, if given, test, in that order. [default: {DEFAULT_SPLIT}]"
    )

    def __post_init__(self) -> None:
        check_choice("unit", self.unit or DEFAULT_UNIT, UNITS)
        check_choice("read", self.read, READINGS)
        check_choice("errors", self.errors, ERRORS)
        self._check_vocabulary()
        check_encoding(self.encoding)
        if self.validation is not None and self.split is not None:
            raise UsageError("validation and split exclude each other: a validation file leaves the corpus whole")
        self.shares  # noqa: B018 - raises when the split cannot be meant

    def _check_vocabulary(self) -> None:
        least = BYTES if self.unit == "bpe" else SPECIAL_TOKENS + 1
        if self.vocabulary_size < least:
            what = "all bytes" if self.unit == "bpe" else "the unknown token, the end of a line and one more"
            raise UsageError(f"vocabulary_size {self.vocabulary_size} is too small: at least {least} hold {what}")
        if self.min_count is not None and self.min_count < 1:
            raise UsageError(f"min_count {self.min_count} is too small: a token that is kept occurs at least once")
        if self.pre_tokenized and self.unit not in {None, "word"}:
            raise UsageError(f"pre_tokenized is about words, the unit is {self.unit}: leave out one of them")

    @property
    def least_count(self) -> int:
        """How often the training text must have a token that is kept, where a task has no other wish."""
        return 1 if self.min_count is None else self.min_count

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The parts' shares of the corpus in order: training, validation and perhaps test; their sum is 1."""
        split = DEFAULT_SPLIT if self.split is None else self.split
        try:
            shares = tuple(Fraction(share.strip()) / 100 for share in str(split).split("/"))
        except (ValueError, ZeroDivisionError):
            shares = ()
        if len(shares) not in {2, 3} or min(shares) <= 0 or sum(shares) != 1:
            raise UsageError(
                f'split "{split}" is not two or three percentages that sum to 100, such as 90/10 or 90/5/5'
            )
        return shares


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that Python does not know, or that is not one of text.

    Raises:
        UsageError: with the name, and what to give instead.
    """
    try:
        b"a".decode(encoding)
    except LookupError:
        raise UsageError(f'encoding "{encoding}" is not known: try utf-8, utf-16, latin-1 or cp1252') from None
    except UnicodeError:
        pass  # one letter is not a whole text in every encoding
