"""Text to token ids and back."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import CorpusError, TokenizerError
from unrolled.text import word_rules
from unrolled.text.characters import CharacterTable, refuse_surrogates
from unrolled.text.chunks import Text, grouped, line_chunks
from unrolled.text.repetition import Repetition, text_pieces
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.spelling import DecodingStream, Spelling, byte_pieces
from unrolled.text.tokenizer_json import BYTE_LEVEL_END_OF_LINE, END_OF_LINE, Contents, read_tokenizer_json

if TYPE_CHECKING:
    import tokenizers

_AT_ONCE = 1 << 20  # characters, so that the library's own objects stay small


class Tokenizer:
    r"""A vocabulary, and the rules by which a text is cut into its tokens and put together again.

    All that there is to know stands in a `tokenizer.json` of the `tokenizers` library, and `encode` and `decode` agree
    with what the library makes of it. Characters are looked up here, without loading the library; of words and
    subwords the library is asked once for what a text repeats.

    Attributes:
        unit: "word", "char" or "bpe".
        tokens: V strings by id, as they stand in the file.
        vocabulary_size: V.
        unknown_id: id of "<unk>"; None for bpe, which knows every text.
        end_of_line_id: id of the token that ends each line, "\n" itself.
    """

    def __init__(self, text: str, unit: str) -> None:
        """Read the contents of a tokenizer.json: use `from_json`."""
        contents = read_tokenizer_json(text, unit)
        self._json = text
        self.unit = unit
        self.tokens = contents.tokens
        self.vocabulary_size = len(self.tokens)
        self.unknown_id = None if unit == "bpe" else 0
        self.end_of_line_id = self.tokens.index(BYTE_LEVEL_END_OF_LINE if unit == "bpe" else END_OF_LINE)
        self._spelling = _spelling(contents)
        self._repetition = Repetition(self._encode_with_library, self.end_of_line_id)
        self._characters = CharacterTable(self.tokens, lowercase=contents.lowercase) if unit == "char" else None

    @classmethod
    def from_json(cls, text: str, unit: str) -> "Tokenizer":
        """The tokenizer described by the contents of a tokenizer.json.

        Raises:
            TokenizerError: the text is not a tokenizer of this unit.
        """
        return cls(text, unit)

    def to_json(self) -> str:
        """The contents of tokenizer.json, in the `tokenizers` library's format."""
        return self._json

    def token(self, token_id: int) -> str:
        """The token with this id, as it stands in the file."""
        return self.tokens[int(self._checked([token_id])[0])]

    def encode(self, text: str) -> NDArray[np.int32]:
        r"""Token ids (N,) of the text; each "\n" is one token, and nothing is added.

        Raises:
            TokenizerError: the text has lone surrogates, which no file can hold; characters take them as unknown.
        """
        if self._characters is not None:
            return self._characters.encode(text)
        refuse_surrogates(text)
        ids = [ids for _, ids in self.encode_chunks(text)]
        return np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)

    def encode_chunks(self, text: str | Text) -> Iterator[tuple[str, NDArray[np.int32]]]:
        """The text in pieces of about a million characters that end lines, each with its token ids.

        Raises:
            TokenizerError: as `encode`.
        """
        for chunks in grouped(line_chunks(text), _AT_ONCE):
            joined = "".join(chunks)
            if self._characters is not None:
                yield joined, self._characters.encode(joined)
                continue
            refuse_surrogates(joined)
            yield (
                joined,
                self._repetition.encode([piece for chunk in chunks for piece in text_pieces(chunk, self.unit)]),
            )

    def decode(self, ids: ArrayLike) -> str:
        """The text of token ids (N,), with blanks where a reader expects them.

        Raises:
            TokenizerError: an id is not in the vocabulary.
        """
        checked = self._checked(ids)
        if self._characters is not None and checked.all():
            return self._characters.decode(checked)
        return self._spelling.write(checked)

    def decode_stream(self, after: ArrayLike = ()) -> DecodingStream:
        """An object that writes tokens as they come, here behind the text of the ids `after`."""
        written = self._checked(after)
        return DecodingStream(self._spelling, int(written[-1]) if written.size else None)

    def surfaces(self, text: str) -> list[str]:
        """What stands in the text for each of its tokens, also for those that are unknown.

        Raises:
            TokenizerError: as `encode`.
        """
        if self._characters is not None:
            return list(text)
        refuse_surrogates(text)
        found, reached = [], 0
        for start, end in self._library.encode(text).offsets:  # that of a symbol may begin with the letter before it
            found.append(text[max(start, reached) : end].strip(" "))
            reached = end
        return found

    def unseen(self, text: str) -> list[str]:
        """Words or characters of the text that are not in the vocabulary: each once, in order."""
        if self.unknown_id is None:
            return []
        if self._characters is not None:
            return self._characters.unseen(text)
        refuse_surrogates(text)
        known, found = frozenset(self.tokens), dict[str, None]()
        normalizer, pre_tokenizer = self._library.normalizer, self._library.pre_tokenizer
        for chunk in line_chunks(text):
            normal = normalizer.normalize_str(chunk) if normalizer else chunk
            words = (word for word, _ in pre_tokenizer.pre_tokenize_str(normal) if word not in known)
            found |= dict.fromkeys(word.replace(word_rules.JOINER, "") for word in words)
        return list(found)

    @cached_property
    def _library(self) -> "tokenizers.Tokenizer":
        import tokenizers

        try:
            return tokenizers.Tokenizer.from_str(self._json)
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(f"tokenizer.json: the tokenizers library cannot read it: {error}") from error

    def _encode_with_library(self, texts: list[str]) -> "list[tokenizers.Encoding]":
        return self._library.encode_batch_fast(texts)

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        checked = np.asarray(ids, dtype=np.int64).reshape(-1)
        wrong = checked[(checked < 0) | (checked >= self.vocabulary_size)]
        if wrong.size:
            raise TokenizerError(
                f"token id {wrong[0]} is outside the vocabulary: ids go from 0 to {self.vocabulary_size - 1}"
            )
        return checked


def train_tokenizer(text: str | Text, settings: TextSettings) -> Tokenizer:
    """A tokenizer with the vocabulary of the training text, and of nothing else; `train_vocabulary` says which.

    Raises:
        CorpusError: the text has fewer than two tokens beside the ends of lines.
        TokenizerError: the text has lone surrogates, which no file can hold.
        UsageError: no token occurs `settings.least_count` times.
    """
    from unrolled.text.vocabulary import train_vocabulary  # which only training loads

    tokenizer = Tokenizer.from_json(train_vocabulary(text, settings), settings.unit or DEFAULT_UNIT)
    if not _has_two_tokens(tokenizer, text):
        raise CorpusError(
            "training text: it has fewer than two tokens, so that there is nothing to learn: give more text"
        )
    return tokenizer


def _has_two_tokens(tokenizer: Tokenizer, text: str | Text) -> bool:
    """Whether there is a token to predict another from; ends of lines do not count."""
    found = 0
    for chunk in line_chunks(text):
        found += int((tokenizer.encode(chunk) != tokenizer.end_of_line_id).sum())
        if found >= 2:
            return True
    return False


def _spelling(contents: Contents) -> Spelling:
    """How the tokens are written."""
    tokens = contents.tokens
    if contents.rules == "word":
        return Spelling(
            [token.replace(word_rules.JOINER, "").encode() for token in tokens],
            [word_rules.clings_left(token) for token in tokens],
            [word_rules.clings_right(token) for token in tokens],
        )
    pieces = byte_pieces(tokens) if contents.rules == "bpe" else [token.encode() for token in tokens]
    clings = [contents.rules != "pre-tokenized" or token == END_OF_LINE for token in tokens]
    return Spelling(pieces, clings, clings)
