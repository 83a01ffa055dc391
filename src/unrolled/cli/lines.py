"""Lines of text from a file or standard input, as many at a time as are there; any number can stream through."""

import gzip
import select
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from unrolled.errors import CorpusError
from unrolled.text.corpus import STANDARD_INPUT
from unrolled.text.decoding import GZIP

BYTE_ORDER_MARK = "\ufeff"
SECONDS_TO_WAIT = 0.01
"""So long more lines are waited for before those that are there go on: a filter's answer may be waited for."""
BYTES_AT_ONCE = 1 << 24
"""Lines go on before there are many if they are that long together."""
_BLOCK = 1 << 16


def read_chunks(source: str, lines_at_once: int) -> Iterator[list[str]]:
    """The lines of a UTF-8 file (gzip-compressed or not), or of standard input for "-", without their ends.

    They come in lists of `lines_at_once`; of fewer, at least one, where no more are there: at the end, while a pipe is
    empty or a person types, and where lines are very long.

    Raises:
        CorpusError: no such file, or bytes that are not UTF-8; names file, line and byte offset.
    """
    name = "standard input" if source == STANDARD_INPUT else source
    number, offset = 0, 0
    try:
        with _opened(source) as stream:
            for chunk in _raw_chunks(stream, lines_at_once):
                lines = list[str]()
                for raw in chunk:
                    number += 1
                    try:
                        line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                    except UnicodeDecodeError as error:
                        if lines:
                            yield lines
                        raise CorpusError(
                            f"{name}, line {number}, byte offset {offset + error.start}: is not UTF-8 "
                            f"({error.reason}): convert the file, for instance with iconv"
                        ) from error
                    lines.append(line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line)
                    offset += len(raw)
                yield lines
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"{name}: cannot be read ({reason}): check the path") from error


def _raw_chunks(stream: BufferedReader | gzip.GzipFile, lines_at_once: int) -> Iterator[list[bytes]]:
    """Lines with their ends, as many as are there; the last may lack its end."""
    lines, size, begun = list[bytes](), 0, list[bytes]()  # begun: the parts of a line whose end has not come
    for block in _blocks(stream):
        *ended, rest = block.split(b"\n")
        for last_part in ended:
            lines.append(b"".join([*begun, last_part, b"\n"]))
            begun, size = [], size + len(lines[-1])
            if len(lines) >= lines_at_once or size >= BYTES_AT_ONCE:
                yield lines
                lines, size = [], 0
        if rest:
            begun.append(rest)
        if lines and not block:
            yield lines
            lines, size = [], 0
    if begun:
        lines.append(b"".join(begun))
    if lines:
        yield lines


def _blocks(stream: BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    """What the stream has, as it comes; an empty block says that the next one has to be waited for."""
    while block := stream.read1(_BLOCK):
        yield block
        if not _has_more(stream):
            yield b""


def _has_more(stream: BufferedReader | gzip.GzipFile) -> bool:
    """Whether more can be read (or the end is there), now or very soon; blocks leave nothing in the stream's buffer."""
    if isinstance(stream, gzip.GzipFile):
        return True  # it holds back bytes of which nobody knows, and nobody waits for single lines of it
    try:
        return bool(select.select([stream], [], [], SECONDS_TO_WAIT)[0])
    except (OSError, ValueError):  # nothing that can be waited for
        return True


@contextmanager
def _opened(source: str) -> Iterator[BufferedReader | gzip.GzipFile]:
    if source != STANDARD_INPUT:
        with Path(source).open("rb") as file:
            yield _decompressed(file)
        return
    if sys.stdin is None:
        raise CorpusError("standard input is closed: name a file")
    stream: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]  # it is one
    if sys.stdin.isatty():
        print("reading lines from the terminal; end with Ctrl-D", file=sys.stderr)
        yield stream
    else:
        yield _decompressed(stream)


def _decompressed(file: BufferedReader) -> BufferedReader | gzip.GzipFile:
    return gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
