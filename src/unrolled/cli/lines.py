"""Lines of text from a file or standard input, one at a time, so that any number of them can stream through."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from unrolled.errors import CorpusError

GZIP = b"\x1f\x8b"


def read_lines(source: str) -> Iterator[str]:
    """The lines of a UTF-8 file (gzip-compressed or not), or of standard input for "-", without their ends.

    Raises:
        CorpusError: no such file, or bytes that are not UTF-8; names file, line and byte offset.
    """
    name = "standard input" if source == "-" else source
    with ExitStack() as stack:
        offset = 0
        try:
            for number, raw in enumerate(_open(source, stack), 1):
                line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                yield line.decode("utf-8").rstrip("\r\n")
                offset += len(raw)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{name}, line {number}, byte offset {offset + error.start}: is not UTF-8 ({error.reason}): "
                "convert the file, for instance with iconv"
            ) from error
        except (OSError, EOFError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise CorpusError(f"{name}: cannot be read ({reason}): check the path") from error


def _open(source: str, stack: ExitStack) -> IO[bytes] | gzip.GzipFile:
    if source == "-":
        if sys.stdin.isatty():
            print("reading lines from the terminal; end with Ctrl-D", file=sys.stderr)
        return sys.stdin.buffer
    file = stack.enter_context(Path(source).open("rb"))
    is_compressed = file.peek(2)[:2] == GZIP
    return stack.enter_context(gzip.GzipFile(fileobj=file)) if is_compressed else file
