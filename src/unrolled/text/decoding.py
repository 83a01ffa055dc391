r"""One file as pieces of normalised text, in one pass and little memory.

The text is normalised as little as possible: a byte order mark goes, CRLF and a lone CR become LF, and a file that
does not end in a newline gets one. Files may be compressed by gzip, whatever their names.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from unrolled.errors import CorpusError

GZIP = b"\x1f\x8b"
PIECE = 1 << 20
"""Bytes that are read and decoded at once."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def decoded(name: str, file: BinaryIO, *, encoding: str, errors: str) -> Iterator[str]:
    r"""The text of an open file in pieces, the last of which ends in a newline; none for an empty file.

    Args:
        name: of the file, for messages.
        file: open for reading bytes.
        encoding: of the text.
        errors: "strict", or "replace" to put U+FFFD for bytes that cannot be decoded.

    Raises:
        CorpusError: a byte cannot be decoded, there is a NUL character, or the gzip data is damaged.
        OSError: the file cannot be read.
    """
    lines, last = 1, "\n"
    for number, piece in enumerate(_translated(_Decoder(name, encoding, errors), _pieces(name, file))):
        text = piece if number else piece.removeprefix("\ufeff")
        if "\0" in text:
            raise CorpusError(
                f"{name}, line {lines + text.count(chr(10), 0, text.index(chr(0)))}: a NUL character: this looks like "
                f"a binary file, or like UTF-16 or UTF-32 text: give a text file, or its --encoding"
            )
        if text:
            yield text
            lines, last = lines + text.count("\n"), text[-1]
    if last != "\n":
        yield "\n"


def _pieces(name: str, file: BinaryIO) -> Iterator[bytes]:
    """What the file holds, decompressed."""
    source = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
    start = source.read(PIECE)
    if not start.startswith(GZIP):
        while start:
            yield start
            start = source.read(PIECE)
        return
    compressed = gzip.GzipFile(fileobj=_Rejoined(start, source))
    try:
        while piece := compressed.read(PIECE):
            yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name}: the gzip data is damaged or cut short ({error}): fetch the file again") from error


class _Rejoined(io.RawIOBase):
    """A stream of which the beginning has been read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._rest.read(size)
        size = len(self._start) if size < 0 else size
        given, self._start = self._start[:size], self._start[size:]
        return given


def _translated(decoder: "_Decoder", pieces: Iterator[bytes]) -> Iterator[str]:
    """Decoded, with every end of line a newline."""
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    for piece in pieces:
        yield lines.decode(decoder.decode(piece))
    yield lines.decode(decoder.decode(b"", final=True), final=True)


class _Decoder:
    """Bytes to text, piece by piece; knows where it is, to say what is wrong and where."""

    def __init__(self, name: str, encoding: str, errors: str) -> None:
        self._name, self._encoding = name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._fed = self._lines = 0
        self._start = b""

    def decode(self, piece: bytes, *, final: bool = False) -> str:
        self._start = self._start or piece[:2]
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            raise self._explained(error, piece) from None
        except UnicodeError as error:
            raise CorpusError(
                f"{self._name}: the file is not {self._encoding} ({error}): give its --encoding"
            ) from None
        self._fed += len(piece)
        self._lines += piece.count(b"\n")
        return text

    def _explained(self, error: UnicodeDecodeError, piece: bytes) -> CorpusError:
        data = error.object  # the piece behind what was kept of the one before
        kept = len(data) - len(piece)
        at, line = self._fed - kept + error.start, self._lines + data.count(b"\n", kept, error.start) + 1
        if self._start in _UTF_16:
            advice = "it begins with a UTF-16 byte order mark: give --encoding utf-16"
        elif b"\0" in data:
            advice = "it looks like a binary file: give a text file"
        else:
            advice = "give its --encoding, or --errors replace to go on"
        return CorpusError(
            f"{self._name}, line {line}, byte offset {at}: byte 0x{data[error.start]:02x} is not {self._encoding} "
            f"({error.reason}): {advice}"
        )
