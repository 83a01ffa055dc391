r"""Reads a corpus: files, directories, standard input or what comes along, as one text.

A short text is kept in memory; a longer one is read again from where it lies whenever it is needed, so that memory does
not grow with it. Lines end at "\n" only, never at the other characters that Unicode calls separators.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from unrolled.errors import CorpusError, UsageError
from unrolled.text.decoding import decoded
from unrolled.text.embedded import embedded_text
from unrolled.text.settings import check_encoding

EMBEDDED = ":embedded:"
STANDARD_INPUT = "-"
KEPT = 1 << 25
"""Most characters that are kept in memory."""

Report = Callable[[float], None]
"""Is told from time to time which share of the work is done; what it raises ends the work."""


@dataclass(frozen=True)
class Corpus:
    """A text and where it comes from.

    Attributes:
        sources: what was asked for: absolute paths, "-" or names such as ":embedded:".
        files: what was read: the sources, with each directory replaced by the files below it, sorted by path.
        sha256: of the text as UTF-8, in hexadecimal digits.
        characters: of all files one after another; every line ends in a newline.
    """

    sources: tuple[str, ...]
    files: tuple[str, ...]
    sha256: str
    characters: int
    _read: Callable[[], Iterator[str]] = field(repr=False, compare=False)
    _is_as_read: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)

    def pieces(self) -> Iterator[str]:
        """The text in pieces of any length, cut anywhere.

        Raises:
            CorpusError: it cannot be read any more, or has changed.
        """
        found = 0
        for piece in self._read():
            found += len(piece)
            yield piece
        if found != self.characters:
            self._refuse()
        self.refuse_changes()

    def refuse_changes(self) -> None:
        """Make sure that what is read now is what `sha256` was made of: to be called before anything of it is kept.

        Raises:
            CorpusError: a file has changed.
        """
        if not self._is_as_read():
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise CorpusError(f"{listed(self.sources)}: has changed while it was read: try again")

    @property
    def text(self) -> str:
        """All of it at once."""
        return "".join(self.pieces())


def read_corpus(
    sources: str | Path | Sequence[str | Path],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    report: Report = lambda share: None,
) -> Corpus:
    """Read a corpus.

    Args:
        sources: a path or several: a file, or a directory, which stands for all regular files below it whose names
            and whose folders' names do not begin with a dot, sorted by path; "-" is standard input, ":embedded:"
            the text that comes with Python, and each name of `text.made.MADE` what that makes. Files may be compressed
            by gzip, whatever their names.
        encoding: of files and standard input.
        errors: "strict", or "replace" to put U+FFFD for bytes that cannot be decoded.
        report: is told the share that has been read.

    Raises:
        CorpusError: a source is missing, unknown, unreadable, empty, binary or wrongly encoded, or there is no text at
            all.
        UsageError: no source, standard input twice, or an unknown encoding.
    """
    check_encoding(encoding)
    names = [str(name) for name in ([sources] if isinstance(sources, str | Path) else sources)]
    if not names:
        raise UsageError("corpus: no source is given: name a file, a directory, - or :embedded:")
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("corpus: standard input (-) is given more than once, but can be read only once")
    absolute = tuple(_absolute(name) for name in names)
    files = tuple(file for name in absolute for file in _files(name))

    def pieces(tell: Report = lambda share: None) -> Iterator[str]:
        return (piece for file in files for piece in _pieces(file, encoding, errors, _part_of(tell, file, files)))

    stamps = _stamps(files)
    digest, store, characters, is_blank = hashlib.sha256(), _Store(STANDARD_INPUT in names), 0, True
    for piece in pieces(report):
        digest.update(as_utf_8(piece))
        store.add(piece)
        characters += len(piece)
        is_blank = is_blank and piece.isspace()
    if is_blank:
        raise CorpusError(f"{listed(absolute)}: the corpus is empty: give a file with text in it")
    if store.has_all:
        return Corpus(absolute, files, digest.hexdigest(), characters, store.pieces, lambda: True)
    return Corpus(absolute, files, digest.hexdigest(), characters, pieces, lambda: _stamps(files) == stamps)


def _stamps(files: Sequence[str]) -> list[Any]:
    """What differs when a file does: which it is, its size, and when it was changed."""
    found: list[Any] = []
    for name in files:
        try:
            stat = Path(name).stat()
        except OSError:  # what reads it says so, if it is a file at all
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def read_files(
    sources: Sequence[str | Path],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    report: Report = lambda share: None,
) -> tuple[tuple[str, ...], list[Corpus]]:
    """Read files that begin anew, each with a header of its own for instance, and not one text.

    Returns:
        the sources as `Corpus.sources` has them; and what each file holds, those of a directory sorted by path.

    Raises:
        CorpusError, UsageError: as `read_corpus`, but that each file has to hold something.
    """
    names = [str(name) for name in sources]
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("corpus: standard input (-) is given more than once, but can be read only once")
    absolute = tuple(_absolute(name) for name in names)
    files = tuple(file for name in absolute for file in _files(name))
    return absolute, [
        read_corpus(file, encoding=encoding, errors=errors, report=_part_of(report, file, files)) for file in files
    ]


class _Store:
    """Text that is kept: in memory while it is short, then, if it cannot be read again, in a file without name."""

    def __init__(self, needs_all: bool) -> None:
        self._needs_all, self.has_all = needs_all, True
        self._pieces: list[str] = []
        self._characters = 0
        self._file: BinaryIO | None = None

    def add(self, piece: str) -> None:
        self._characters += len(piece)
        if not self.has_all:
            return
        self._pieces.append(piece)
        if self._characters <= KEPT:
            return
        if not self._needs_all:
            self.has_all = False
        else:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the corpus is
            self._file.write(as_utf_8("".join(self._pieces)))
        self._pieces = []

    def pieces(self) -> Iterator[str]:
        if self._file is not None:
            self._file.seek(0)
            yield from decoded("standard input", self._file, encoding="utf-8", errors="surrogatepass")
        yield from self._pieces


def as_utf_8(text: str) -> bytes:
    """UTF-8, with lone surrogates as if they were characters."""
    return text.encode("utf-8", "surrogatepass")


def text_hash(text: str) -> str:
    """SHA-256 of the text as UTF-8, in hexadecimal digits."""
    return hashlib.sha256(as_utf_8(text)).hexdigest()


def listed(names: Sequence[str]) -> str:
    """Sources as a person knows them."""
    return ", ".join("standard input" if name == STANDARD_INPUT else name for name in names)


@cache
def texts_that_come_along() -> dict[str, Callable[[], str]]:
    """What makes each text that needs no file, by the name that it has as a source."""
    from unrolled.text.made import MADE  # only who names such a source pays for the import

    return {EMBEDDED: embedded_text} | {name: source.text for name, source in MADE.items()}


def comes_along(name: str) -> bool:
    """Whether a source is a text that comes with Unrolled or Python."""
    return _is_between_colons(name) and name in texts_that_come_along()


def _is_between_colons(name: str) -> bool:
    return len(name) > 1 and name[0] == name[-1] == ":"


def _absolute(name: str) -> str:
    """The source, wherever the program goes."""
    if name == STANDARD_INPUT or comes_along(name):
        return name
    if _is_between_colons(name) and not Path(name).exists():
        known = ", ".join(texts_that_come_along())
        raise CorpusError(f"{name}: there is no such file, and no such text comes with Unrolled: name one of {known}")
    return str(Path(name).absolute())


def _files(name: str) -> list[str]:
    """The source itself, or the files below a directory."""
    if name == STANDARD_INPUT or comes_along(name) or not Path(name).is_dir():
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


def _pieces(file: str, encoding: str, errors: str, report: Report) -> Iterator[str]:
    """One file as normalised text."""
    if comes_along(file):
        yield texts_that_come_along()[file]()
        return
    if file == STANDARD_INPUT:
        if sys.stdin is None:
            raise CorpusError("standard input is closed: name a file")
        yield from decoded("standard input", sys.stdin.buffer, encoding=encoding, errors=errors)
        return
    try:
        with Path(file).open("rb") as opened:
            size = max(1, os.fstat(opened.fileno()).st_size)
            for piece in decoded(file, opened, encoding=encoding, errors=errors):
                report(min(1.0, opened.tell() / size))
                yield piece
    except FileNotFoundError:
        raise CorpusError(f"{file}: there is no such file or directory: check the path") from None
    except OSError as error:
        raise CorpusError(f"{file}: the file cannot be read: {error.strerror}") from error


def _part_of(report: Report, file: str, files: Sequence[str]) -> Report:
    """What tells the share of one file as a share of all, which count alike."""
    before = files.index(file)
    return lambda share: report((before + share) / len(files))
