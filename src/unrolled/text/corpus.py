r"""Reads a corpus: files, directories, standard input or the embedded one, as one text.

The text is normalised as little as possible: a byte order mark goes, CRLF and a lone CR become LF, and a file that
does not end in a newline gets one. Lines end at "\n" only, never at the other characters that Unicode calls
separators.
"""

import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.errors import CorpusError, UsageError
from unrolled.text.embedded import embedded_text
from unrolled.text.settings import check_encoding

EMBEDDED = ":embedded:"
STANDARD_INPUT = "-"

GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """A text and where it comes from.

    Attributes:
        sources: what was asked for: absolute paths, "-" or ":embedded:".
        files: what was read: the sources, with each directory replaced by the files below it, sorted by path.
        text: all of them one after another; every line ends in a newline.
        sha256: of the text as UTF-8, in hexadecimal digits.
    """

    sources: tuple[str, ...]
    files: tuple[str, ...]
    text: str
    sha256: str


def read_corpus(
    sources: str | Path | Sequence[str | Path], *, encoding: str = "utf-8", errors: str = "strict"
) -> Corpus:
    """Read a corpus.

    Args:
        sources: a path or several: a file, or a directory, which stands for all regular files below it whose names
            and whose folders' names do not begin with a dot, sorted by path; "-" is standard input and ":embedded:"
            the text that comes with Python. Files may be compressed by gzip, whatever their names.
        encoding: of every source but the embedded one.
        errors: "strict", or "replace" to put U+FFFD for bytes that cannot be decoded.

    Raises:
        CorpusError: a source is missing, unreadable, empty, binary or wrongly encoded, or there is no text at all.
        UsageError: no source, standard input twice, or an unknown encoding.
    """
    check_encoding(encoding)
    names = [str(name) for name in ([sources] if isinstance(sources, str | Path) else sources)]
    if not names:
        raise UsageError("corpus: no source is given: name a file, a directory, - or :embedded:")
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("corpus: standard input (-) is given more than once, but can be read only once")
    absolute = tuple(name if name in {STANDARD_INPUT, EMBEDDED} else str(Path(name).absolute()) for name in names)
    files = tuple(file for name in absolute for file in _files(name))
    text = "".join(_read(file, encoding, errors) for file in files)
    if not text or text.isspace():
        raise CorpusError(f"{_listed(absolute)}: the corpus is empty: give a file with text in it")
    return Corpus(sources=absolute, files=files, text=text, sha256=text_hash(text))


def text_hash(text: str) -> str:
    """SHA-256 of the text as UTF-8, in hexadecimal digits."""
    digest = hashlib.sha256()
    for start in range(0, len(text), _HASHED_AT_ONCE):
        digest.update(text[start : start + _HASHED_AT_ONCE].encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _listed(names: Sequence[str]) -> str:
    return ", ".join("standard input" if name == STANDARD_INPUT else name for name in names)


def _files(name: str) -> list[str]:
    """The source itself, or the files below a directory."""
    if name in {STANDARD_INPUT, EMBEDDED} or not Path(name).is_dir():
        return [name]
    found = sorted(_below(name))
    if not found:
        raise CorpusError(f"{name}: the directory holds no files (hidden ones do not count): name one that does")
    return found


def _below(directory: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: the directory cannot be read: {error.strerror}") from error

    for folder, folders, names in os.walk(directory, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (str(path) for path in paths if path.is_file())


def _read(file: str, encoding: str, errors: str) -> str:
    """One file as normalised text."""
    if file == EMBEDDED:
        return embedded_text()
    name = _listed([file])
    text = _decode(name, _decompress(name, _bytes(file)), encoding, errors)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorpusError(
            f"{name}, line {line}: a NUL character: this looks like a binary file, or like UTF-16 or "
            f"UTF-32 text: give a text file, or its --encoding"
        )
    return text if not text or text.endswith("\n") else text + "\n"


def _bytes(file: str) -> bytes:
    if file == STANDARD_INPUT:
        if sys.stdin is None:
            raise CorpusError("standard input is closed: name a file")
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{file}: there is no such file or directory: check the path") from None
    except OSError as error:
        raise CorpusError(f"{file}: the file cannot be read: {error.strerror}") from error


def _decompress(name: str, data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name}: the gzip data is damaged or cut short ({error}): fetch the file again") from error


def _decode(name: str, data: bytes, encoding: str, errors: str) -> str:
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        at, line = error.start, data.count(b"\n", 0, error.start) + 1
        if data.startswith(_UTF_16):
            advice = "it begins with a UTF-16 byte order mark: give --encoding utf-16"
        elif b"\0" in data:
            advice = "it looks like a binary file: give a text file"
        else:
            advice = "give its --encoding, or --errors replace to go on"
        raise CorpusError(
            f"{name}, line {line}, byte offset {at}: byte 0x{data[at]:02x} is not {encoding} ({error.reason}): {advice}"
        ) from None
    except UnicodeError as error:
        raise CorpusError(f"{name}: the file is not {encoding} ({error}): give its --encoding") from None
