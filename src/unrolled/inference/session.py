"""`Session`: a language model in the middle of a text that is still being written."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor, Sampling, StackState
from unrolled.errors import UsageError
from unrolled.inference import generation
from unrolled.inference.history import History, common_length
from unrolled.inference.suggestions import Suggestion, Words, most_probable_tokens, most_probable_words
from unrolled.text.pieces import settled_length
from unrolled.text.spelling import DecodingStream

HISTORY = 256
"""Tokens that can be taken back, unless another number is asked for."""
_LONGEST_CHARACTER = 4  # bytes of UTF-8, each of which may be a token


@dataclass(frozen=True, eq=False)
class _Place:
    """Where in the text a session is: a value, so that it changes as a whole or, after an exception, not at all.

    Attributes:
        history: the tokens read.
        settled: the position behind which the tokens may still become others, because the text goes on.
        tail: the text of the tokens behind it.
        is_behind_blank: whether the text ends in a blank that is no token.
        floor: the first position that can be gone back to.
        unknown: how many of the tokens that are forgotten were unknown.
    """

    history: History
    settled: int
    tail: str
    is_behind_blank: bool
    floor: int
    unknown: int


class Session:
    """A language model in the middle of a text: feed it, ask what comes next, branch, go back.

    A session begins as any text does, with an end of line that is read from the zero state. The tokens it has read are
    then those of all the text fed so far: feeding "the c" and "at" is the same as feeding "the cat". What has been
    generated, or left by `rewind`, stays the tokens that it is: text fed behind it begins another token.

    A method either does what it says or raises and leaves the session as it was. Sessions made by `branch` are
    independent of each other; one session is not for several threads at once.

    A model of sentences, too, reads on behind the end of a line: take another session for another line.

    Args:
        predictor: the model.
        words: its vocabulary.
        is_of_sentences: whether what is generated stops at the end of a line.
        history: how many tokens can be taken back at the least, once so many have been read. Memory grows with it, and
            no call reads more than so many tokens again.

    Raises:
        UsageError: history is below 1.
    """

    def __init__(
        self, predictor: Predictor, words: Words, *, is_of_sentences: bool = False, history: int = HISTORY
    ) -> None:
        if history < 1:
            raise UsageError(f"history is {history}: give a whole number of at least 1")
        self._predictor, self._words, self._tokenizer = predictor, words, words.tokenizer
        self._is_of_sentences, self._limit = is_of_sentences, history
        self._reach = history + _LONGEST_CHARACTER  # tokens that must be at hand
        first = History.beginning(predictor, self._tokenizer.end_of_line_id)
        self._place = _Place(first, settled=1, tail="", is_behind_blank=False, floor=1, unknown=0)
        self._next: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None = None  # after which tokens, and what

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that `rewind` can take back: all of the text's, if these are not more than the history."""
        return tuple(self._place.history.since(self._place.floor).tolist())

    @property
    def unknown(self) -> int:
        """How many of all tokens read are unknown to the model."""
        return self._place.unknown + self._count_unknown(self._place.history.tokens)

    def feed(self, text: str) -> None:
        """Go on with more text, cut anywhere.

        What no further text can change is read at once, in one call (two where that is more than the history holds);
        the rest, such as a word that may go on, when it is asked for what follows.

        Raises:
            TokenizerError: the text has lone surrogates; models of characters take them as unknown.
        """
        if not text:
            return
        place, text = self._place, self._place.tail + text
        length = settled_length(text, self._tokenizer.unit)
        done, rest = self._tokenizer.encode(text[:length]), self._tokenizer.encode(text[length:])
        settled = place.settled + len(done)
        history = self._read_settled(place.history.replaced(place.settled, np.concatenate([done, rest])), settled)
        self._hold(history, settled, text[length:], is_behind_blank=self._words.are_tokens and text[-1].isspace())

    def log_probabilities(self) -> npt.NDArray[np.float64]:
        """Log p of each token as the next one, in nats, (V,); not to be written to."""
        tokens = self._place.history.tokens
        if self._next is None or self._next[0] is not tokens:
            logs = self._predictor.log_probabilities(self._state(self._place.history.end))[0]
            logs.flags.writeable = False
            self._next = tokens, logs
        return self._next[1]

    def suggest(self, count: int = 3, prefix: str = "") -> list[Suggestion]:
        """The most probable next words, the most probable first.

        Punctuation and the end of the line are words too; the unknown token never is one. A model of words has each as
        a token. Others put them together, by a beam search of a bounded number of beginnings and of tokens each.

        Args:
            count: how many; there may be fewer.
            prefix: how the word begins, as far as it is known but has not been fed. The probabilities are those of the
                words without this knowledge; divided by that of the prefix they would add up to 1.

        Raises:
            UsageError: count is below 1.
        """
        if count < 1:
            raise UsageError(f"count is {count}: give a whole number of at least 1")
        prefix = prefix.lower() if self._words.lowercase else prefix
        if self._words.are_tokens:
            return most_probable_tokens(self._words, self.log_probabilities(), _bytes(prefix), count)
        place = self._place
        if place.tail.isspace():  # the blank may be the beginning of the next token
            state, prefix, is_in_word = self._state(place.settled), place.tail + prefix, False
        else:
            state = self._state(place.history.end)
            is_in_word = not self._words.pieces[place.history.tokens[-1]].endswith((b" ", b"\n"))
            prefix = f" {prefix}" if prefix and is_in_word else prefix
        return most_probable_words(
            self._predictor, self._words, state, _bytes(prefix), count, is_in_word=is_in_word and not prefix
        )

    def score(self, text: str) -> float:
        """Log-probability of the text as what comes next, in nats; the session stays where it is.

        It is that of all tokens with the text less that of all tokens without it. So the scores of pieces, each fed
        before the next is scored, add up to that of the whole, even where a piece ends within a word.

        Raises:
            TokenizerError: the text has lone surrogates; models of characters take them as unknown.
        """
        place = self._place
        old, new = place.history.since(place.settled), self._tokenizer.encode(place.tail + text).astype(np.int64)
        agree = common_length(old, new)
        sequences = [part[agree:] for part in (new, old) if len(part) > agree]
        if not sequences:
            return 0.0
        last = place.settled + agree - 1
        state, first = self._state(last), place.history.since(last)[:1]
        read = self._predictor.read(
            np.concatenate([part for sequence in sequences for part in (first, sequence[:-1])]),
            np.array([len(sequence) for sequence in sequences]),
            tuple(tuple(np.repeat(part, len(sequences), axis=0) for part in layer) for layer in state),
            targets=np.concatenate(sequences),
        )
        assert read.losses is not None
        added = max(0, len(new) - agree)
        return float(read.losses[added:].sum() - read.losses[:added].sum())

    def branch(self) -> "Session":
        """Another session at the same place in the same text; it shares what there is and copies nothing."""
        return copy(self)  # all that it holds are values

    def rewind(self, tokens: int = 1) -> None:
        """Take back the last tokens, fed or generated.

        Raises:
            UsageError: tokens is below 0, or more than the session remembers.
        """
        place = self._place
        if tokens < 0:
            raise UsageError(f"tokens is {tokens}: give a whole number of at least 0")
        end = place.history.end - tokens
        if end < place.floor:
            raise UsageError(
                f"{tokens} tokens are to be taken back, and only {place.history.end - place.floor} can be: take back "
                "fewer, or begin with model.session(history=...) for more"
            )
        if tokens:
            self._hold(place.history.replaced(end, ()), end)

    def generate(
        self, *, max_tokens: int = 200, sampling: Sampling | None = None, seed: int | None = None
    ) -> Iterator[str]:
        """Go on by itself: the text, piece by piece as it is made. Close the iterator to stop.

        The session has read what was handed out, and nothing else, whenever and however this ends. Behind a prompt
        that was fed, it is what `LanguageModel.generate` makes of prompt and seed.

        Args:
            max_tokens: most tokens; a model of sentences stops at the end of the line too.
            sampling: temperature, top-k, top-p or greedy; plain sampling if None.
            seed: the same text for the same seed; fresh randomness if None.

        Raises:
            UsageError: max_tokens below 1 or seed below 0; or, later, the session was changed by others meanwhile.
            EngineError: the model leaves no token to choose.
        """
        last = self._place.history.end - 1
        pieces = generation.decode_after(
            self._predictor,
            self._place.history.since(last),
            [0],
            state=self._state(last),
            sampling=sampling or Sampling(),
            seed=seed,
            forbidden=[] if self._tokenizer.unknown_id is None else [self._tokenizer.unknown_id],
            stop=self._tokenizer.end_of_line_id if self._is_of_sentences else None,
            max_tokens=max_tokens,
        )
        return self._written(pieces, self._place.history.tokens)

    def _written(self, pieces: Iterator[npt.NDArray[np.int64]], read: npt.NDArray[np.int64]) -> Iterator[str]:
        """Hand out the text of tokens, in pieces (n, 1), and hold each token just before; `read` are those so far."""
        writer, waiting = self._writer(), list[int]()
        for token in (token for piece in pieces for token in piece[:, 0].tolist()):
            self._refuse_change(read)
            waiting.append(token)
            if text := writer.push(token):
                read = self._append(waiting)
                waiting.clear()
                yield text
        if text := writer.finish():  # a character of which there are not all bytes
            self._refuse_change(read)
            self._append(waiting)
            yield text

    def _refuse_change(self, read: npt.NDArray[np.int64]) -> None:
        if self._place.history.tokens is not read:  # asking what comes next leaves the tokens as they are
            raise UsageError("the session was changed while it generated: end that first, or generate from a branch")

    def _writer(self) -> DecodingStream:
        """Writes tokens behind those that were read, of which the last may have left a character incomplete."""
        if self._place.is_behind_blank:
            return self._tokenizer.decode_stream()
        tokens = self._place.history.tokens
        writer = self._tokenizer.decode_stream(tokens[:-_LONGEST_CHARACTER])
        for token in tokens[-_LONGEST_CHARACTER:].tolist():
            writer.push(token)
        return writer

    def _append(self, tokens: list[int]) -> npt.NDArray[np.int64]:
        """Hold tokens that stay as they are; they are read when that is asked for, or when too many have come."""
        place = self._place
        history = place.history.replaced(place.history.end, tokens)
        if history.end - 1 - history.position_before(history.end - 1) > self._reach:
            history = self._read_settled(history, history.end)
        self._hold(history, history.end)
        return self._place.history.tokens

    def _read_settled(self, history: History, settled: int) -> History:
        """With the state before the last settled token, and one that is as far back as `rewind` has to reach."""
        last = settled - 1
        if last - history.position_before(last) > self._reach:
            history = history.read_to(last - self._reach, self._predictor)
        return history.read_to(last, self._predictor)

    def _hold(self, history: History, settled: int, tail: str = "", *, is_behind_blank: bool = False) -> None:
        """Be at another place, and forget what lies too far back."""
        floor = max(self._place.floor, settled - self._limit)
        kept = history.forget_before(floor - _LONGEST_CHARACTER)
        unknown = self._place.unknown + self._count_unknown(history.tokens[: kept.first - history.first])
        self._place = _Place(kept, settled, tail, is_behind_blank, floor, unknown)

    def _state(self, position: int) -> StackState:
        """The state at a position, for which tokens may have to be read; it is then kept."""
        history = self._place.history.read_to(position, self._predictor)
        self._place = replace(self._place, history=history)
        return history.state(position)

    def _count_unknown(self, tokens: npt.NDArray[np.int64]) -> int:
        return 0 if self._tokenizer.unknown_id is None else int(np.sum(tokens == self._tokenizer.unknown_id))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
