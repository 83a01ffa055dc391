"""The words that may come next: single tokens of a model of words, else put together from characters or subwords."""

import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor, StackState
from unrolled.text.spelling import byte_pieces
from unrolled.text.tokenizer import Tokenizer
from unrolled.text.word_rules import JOINER

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LONGEST = 32
"""Most tokens of a word that is put together."""
LEAST_WIDTH = 16
"""Beginnings of words that are followed side by side, at the least."""
_INSIDE = frozenset("_'’‐‑-")


@dataclass(frozen=True)
class Suggestion:
    """A word that may come next.

    Attributes:
        text: the word, from its first letter; or a single symbol, or the end of the line as a newline character.
        tokens: the ids that the model would read for it.
        probability: that this comes next, and the word then ends.
    """

    text: str
    tokens: tuple[int, ...]
    probability: float


@dataclass(frozen=True)
class Words:
    """A vocabulary, seen as the beginnings and ends of words.

    A word is letters, marks and digits with apostrophes and hyphens among them; any other symbol stands by itself.

    Attributes:
        tokenizer: whose vocabulary it is.
        lowercase: whether it has small letters only.
    """

    tokenizer: Tokenizer
    lowercase: bool

    @property
    def are_tokens(self) -> bool:
        """Whether each word is one token."""
        return self.tokenizer.unit == "word"

    @cached_property
    def pieces(self) -> list[bytes]:
        """What each token writes, by id, in UTF-8: for bpe it may begin with a blank or be part of a character."""
        tokens = self.tokenizer.tokens
        if self.tokenizer.unit == "bpe":
            return byte_pieces(tokens)
        return [(token.replace(JOINER, "") if self.are_tokens else token).encode() for token in tokens]

    @cached_property
    def is_known(self) -> Mask:
        """(V,) all tokens but the unknown one."""
        known = np.ones(self.tokenizer.vocabulary_size, bool)
        if self.tokenizer.unknown_id is not None:
            known[self.tokenizer.unknown_id] = False
        return known

    @cached_property
    def goes_on(self) -> Mask:
        """(V,) the tokens that belong to a letter's word if they stand behind it."""
        return np.array([_begins_inside(piece) for piece in self.pieces], bool) & self.is_known

    @cached_property
    def ends_word(self) -> Mask:
        """(V,) the tokens that cannot be part of a word that has begun."""
        return self.is_known & ~self.goes_on

    @cached_property
    def begins_word(self) -> Mask:
        """(V,) the tokens that a word, or what stands for one, may begin with behind a blank: those without another."""
        return np.array([not piece.startswith(b" ") for piece in self.pieces], bool) & self.is_known

    def beginning_with(self, text: bytes) -> Ids:
        """Ids of the tokens that begin with a text."""
        pieces, ids = self._sorted
        first, last = bisect_left(pieces, text), bisect_left(pieces, text + b"\xff")  # which no UTF-8 has
        return ids[first:last]

    def towards(self, text: bytes) -> Mask:
        """(V,) the tokens that begin with a text, or are the beginning of it."""
        mask = np.zeros(len(self.is_known), bool)
        mask[self.beginning_with(text)] = True
        pieces, ids = self._sorted
        for length in range(1, len(text)):
            at = bisect_left(pieces, text[:length])
            if at < len(pieces) and pieces[at] == text[:length]:
                mask[ids[at]] = True
        return mask

    @cached_property
    def _sorted(self) -> tuple[list[bytes], Ids]:
        """The known tokens' pieces in the order of their bytes, and their ids."""
        order = sorted(np.flatnonzero(self.is_known).tolist(), key=self.pieces.__getitem__)
        return [self.pieces[n] for n in order], np.array(order, np.int64)


@dataclass(frozen=True)
class _Beginning:
    """The first tokens of a word: their ids, what they write, and the logarithm of their probability."""

    tokens: tuple[int, ...]
    written: bytes
    log_probability: float

    @property
    def word(self) -> str:
        """What is written, without blanks before it; nothing as long as a character's bytes are not complete."""
        try:
            return self.written.decode().lstrip(" ")
        except UnicodeDecodeError:
            return ""


def most_probable_tokens(words: Words, log_probabilities: Doubles, prefix: bytes, count: int) -> list[Suggestion]:
    """The most probable words where each is a token: log_probabilities (V,); tokens that read alike count once."""
    ids = words.beginning_with(prefix)
    found: dict[bytes, Suggestion] = {}
    for token in ids[np.argsort(-log_probabilities[ids], kind="stable")].tolist():
        if len(found) == count:
            break
        piece = words.pieces[token]
        found.setdefault(piece, Suggestion(piece.decode(), (token,), float(np.exp(log_probabilities[token]))))
    return list(found.values())


def most_probable_words(
    predictor: Predictor, words: Words, state: StackState, prefix: bytes, count: int, *, is_in_word: bool
) -> list[Suggestion]:
    """The most probable words where they are put together of tokens, found by a beam search.

    Args:
        predictor: the model.
        words: its vocabulary.
        state: after the text so far, (1, H) for each part.
        prefix: what the text is to go on with.
        count: how many.
        is_in_word: whether the text so far ends in a word, so that the first token has to end it; where it has a prefix
            that alone says so.
    """
    beginnings, found = [_Beginning((), b"", 0.0)], dict[str, Suggestion]()
    width = max(2 * count, LEAST_WIDTH)
    for _ in range(LONGEST):
        logs = predictor.log_probabilities(state)
        for row, beginning in zip(logs, beginnings, strict=True):
            _note_word(found, beginning, prefix, float(np.logaddexp.reduce(row[words.ends_word])))
        allowed = np.stack([_may_follow(words, beginning, prefix, is_in_word) for beginning in beginnings])
        best = sorted(found.values(), key=lambda suggestion: -suggestion.probability)[:count]
        least = best[-1].probability if len(best) == count else 0.0  # what goes on only gets less probable
        parents, grown = _grow(words, beginnings, np.where(allowed, logs, -np.inf), width, least)
        if not grown:
            break
        beginnings, last = grown, np.array([beginning.tokens[-1] for beginning in grown], np.int64)
        before = tuple(tuple(part[parents] for part in layer) for layer in state)
        state = predictor.read(last, np.ones(len(last), np.int64), before).state
    return best


def _note_word(found: dict[str, Suggestion], beginning: _Beginning, prefix: bytes, log_end: float) -> None:
    """Add what is a whole word to the suggestions; where two ways lead to it, the more probable one."""
    word = beginning.word
    if not word or not beginning.written.startswith(prefix):
        return
    log_probability = beginning.log_probability + (log_end if _is_inside(word[0]) else 0.0)
    suggestion = Suggestion(word, beginning.tokens, float(np.exp(log_probability)))
    if word not in found or found[word].probability < suggestion.probability:
        found[word] = suggestion


def _may_follow(words: Words, beginning: _Beginning, prefix: bytes, is_in_word: bool) -> Mask:
    """(V,) the tokens that a beginning may go on with."""
    remaining = prefix[len(beginning.written) :]
    if remaining:
        return words.towards(remaining)
    if not beginning.tokens and is_in_word:
        return words.ends_word
    if not beginning.written.strip(b" "):
        return words.begins_word
    word = beginning.word
    return words.goes_on if not word or _is_inside(word[0]) else np.zeros_like(words.goes_on)


def _grow(
    words: Words, beginnings: list[_Beginning], logs: Doubles, width: int, least: float
) -> tuple[Ids, list[_Beginning]]:
    """The most probable beginnings of one more token, and the rows they come from.

    Args:
        words: the vocabulary.
        beginnings: B of them.
        logs: (B, V) log p of the next token, -inf where it is ruled out.
        width: how many at most.
        least: the probability that they are above.
    """
    totals = (logs + np.array([[beginning.log_probability] for beginning in beginnings])).reshape(-1)
    places = np.argpartition(-totals, width - 1)[:width] if width < len(totals) else np.arange(len(totals))
    places = places[np.exp(totals[places]) > least]
    places = places[np.argsort(-totals[places], kind="stable")]
    rows, tokens = np.divmod(places, logs.shape[1])
    grown = [
        _Beginning(
            (*beginnings[row].tokens, token), beginnings[row].written + words.pieces[token], float(totals[place])
        )
        for place, row, token in zip(places.tolist(), rows.tolist(), tokens.tolist(), strict=True)
    ]
    return rows, grown


def _begins_inside(piece: bytes) -> bool:
    first = piece.decode("utf-8", "replace")[0]
    return first == "\ufffd" or _is_inside(first)  # a part of a character may belong to a letter


def _is_inside(character: str) -> bool:
    """Whether a word may hold the character."""
    return character in _INSIDE or unicodedata.category(character)[0] in "LMN"
