"""Lines of text from a file or standard input, one at a time, so that any number of them can stream through."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from unrolled.errors import CorpusError
from unrolled.text.corpus import GZIP, STANDARD_INPUT

BYTE_ORDER_MARK = "\ufeff"


def read_lines(source: str) -> Iterator[str]:
    """The lines of a UTF-8 file (gzip-compressed or not), or of standard input for "-", without their ends.

    Raises:
        CorpusError: no such file, or bytes that are not UTF-8; names file, line and byte offset.
    """
    name = "standard input" if source == STANDARD_INPUT else source
    offset = 0
    try:
        with _opened(source) as stream:
            for number, raw in enumerate(stream, 1):
                line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                yield line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                offset += len(raw)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{name}, line {number}, byte offset {offset + error.start}: is not UTF-8 ({error.reason}): "
            "convert the file, for instance with iconv"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"{name}: cannot be read ({reason}): check the path") from error


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if source != STANDARD_INPUT:
        with Path(source).open("rb") as file:
            yield _decompressed(file)
        return
    if sys.stdin is None:
        raise CorpusError("standard input is closed: name a file")
    if sys.stdin.isatty():
        print("reading lines from the terminal; end with Ctrl-D", file=sys.stderr)
        yield sys.stdin.buffer
    else:
        yield _decompressed(sys.stdin.buffer)  # type: ignore[arg-type]  # it is a BufferedReader


def _decompressed(file: BufferedReader) -> IO[bytes] | gzip.GzipFile:
    return gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
