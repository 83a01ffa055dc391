"""From tokens back to text, all at once or one token at a time."""

import codecs
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import TokenizerError


class Spelling:
    """How a vocabulary's tokens are written one after another.

    A blank goes between two tokens unless the first clings to its right or the second to its left: what is written
    depends on neighbours alone, so that a stream of tokens and the whole of them give the same text.

    Args:
        pieces: V byte strings: UTF-8, or a part of a character's UTF-8.
        clings_left: (V,) no blank before the token.
        clings_right: (V,) no blank after the token.
    """

    def __init__(self, pieces: Sequence[bytes], clings_left: Sequence[bool], clings_right: Sequence[bool]) -> None:
        self._clings_left = np.array(clings_left, dtype=bool)
        self._clings_right = np.array(clings_right, dtype=bool)
        self._pieces = [*pieces, *(b" " + piece for piece in pieces)]  # without a blank before, then with one

    def write(self, ids: NDArray[np.int64]) -> str:
        """The text of token ids (N,); bytes that are no UTF-8 become U+FFFD."""
        blank = ~(self._clings_right[ids[:-1]] | self._clings_left[ids[1:]])
        rows = ids.copy()
        rows[1:] += blank * len(self._clings_left)
        return b"".join(map(self._pieces.__getitem__, rows.tolist())).decode("utf-8", "replace")

    def write_next(self, previous: int | None, token: int) -> bytes:
        """What one more token adds after the previous one (None: at the very beginning)."""
        together = previous is None or bool(self._clings_right[previous] or self._clings_left[token])
        return self._pieces[token if together else token + len(self._clings_left)]


class DecodingStream:
    """Writes tokens as they come: `push` each id, then `finish`; the pieces joined are what `decode` gives.

    Args:
        spelling: how tokens are written.
        previous: the id of the token written last, None at the beginning of a text.
    """

    def __init__(self, spelling: Spelling, previous: int | None = None) -> None:
        self._spelling = spelling
        self._previous = previous
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this token adds; a character whose bytes are not complete is held back."""
        piece = self._spelling.write_next(self._previous, token_id)
        self._previous = token_id
        return self._characters.decode(piece)

    def finish(self) -> str:
        """What was held back at the end: nothing, or U+FFFD for an incomplete character."""
        return self._characters.decode(b"", final=True)


def byte_pieces(tokens: Sequence[str]) -> list[bytes]:
    """The bytes behind the tokens of a byte-level vocabulary.

    Its alphabet writes each byte as one visible character: printable Latin-1 as itself, the others in order from
    U+0100 on (Radford et al. 2019, the GPT-2 tokenizer).

    Raises:
        TokenizerError: a token has a character outside the alphabet.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    byte_of = {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(hidden)}
    try:
        return [bytes(byte_of[character] for character in token) for token in tokens]
    except KeyError as error:
        raise TokenizerError(f"tokenizer.json: {error} is no byte-level character: train again") from None
