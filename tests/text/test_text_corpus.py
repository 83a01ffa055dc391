import gzip
import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from unrolled.errors import CorpusError, UsageError
from unrolled.text import EMBEDDED, read_corpus
from unrolled.text.embedded import embedded_text


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write_file(data: bytes, name: str = "text.txt") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return write_file


Write = Callable[..., str]


@pytest.mark.parametrize(
    "data",
    [
        "é one\ntwo\n".encode(),
        "é one\r\ntwo\r\n".encode(),
        "é one\rtwo".encode(),
        "\ufeffé one\ntwo".encode(),
        gzip.compress("\ufeffé one\r\ntwo".encode(), mtime=0),
        gzip.compress("é one\n".encode(), mtime=0) + gzip.compress(b"two", mtime=0),
    ],
)
def test_the_same_text_however_it_is_stored(write: Write, data: bytes) -> None:
    corpus = read_corpus(write(data))
    assert corpus.text == "é one\ntwo\n"
    assert corpus.sha256 == hashlib.sha256("é one\ntwo\n".encode()).hexdigest()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig"])
def test_other_encodings(write: Write, encoding: str) -> None:
    assert read_corpus(write("é one\n".encode(encoding)), encoding=encoding).text == "é one\n"


def test_only_the_newline_ends_a_line(write: Write) -> None:
    text = "a\u2028b\x0bc\x0cd\x85e\x1cf\n"
    assert read_corpus(write(text.encode())).text == text


def test_several_files_stay_apart_and_in_order(write: Write) -> None:
    corpus = read_corpus([write(b"two", "b.txt"), Path(write(b"one\n", "a.txt"))])
    assert corpus.text == "two\none\n"
    assert [Path(source).name for source in corpus.sources] == ["b.txt", "a.txt"]


def test_a_directory_is_all_its_visible_files_by_path(write: Write, tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a.txt", "a/deep/y", ".hidden", ".git/x.txt", "a/.h/x"):
        write(name.encode(), name)
    (tmp_path / "a" / "none").mkdir()
    corpus = read_corpus(tmp_path)
    assert corpus.text == "a.txt\na/deep/y\na/z.txt\nb.txt\n"
    assert corpus.sources == (str(tmp_path),)
    assert corpus.files[0] == str(tmp_path / "a.txt")


def test_sources_are_absolute(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(b"text\n", "here.txt")
    monkeypatch.chdir(tmp_path)
    assert read_corpus("here.txt").sources == (str(tmp_path / "here.txt"),)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(gzip.compress(b"from a pipe", mtime=0))))
    corpus = read_corpus("-")
    assert (corpus.text, corpus.sources) == ("from a pipe\n", ("-",))
    with pytest.raises(UsageError, match="more than once"):
        read_corpus(["-", "-"])


def test_standard_input_errors_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xff")))
    with pytest.raises(CorpusError, match="standard input, line 1, byte offset 0"):
        read_corpus("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed"):
        read_corpus("-")


def test_undecodable_bytes_name_file_line_and_offset(write: Write) -> None:
    path = write("é\r\nzwei\nd\xfcnn\n".encode("latin-1").replace(b"\xe9", "é".encode()))
    with pytest.raises(
        CorpusError, match=r"text\.txt, line 3, byte offset 10: byte 0xfc .*--encoding.*--errors replace"
    ):
        read_corpus(path)
    assert read_corpus(path, errors="replace").text == "é\nzwei\nd\ufffdnn\n"
    assert read_corpus(path, encoding="cp1252").text == "Ã©\nzwei\ndünn\n"


def test_utf_16_is_recognised(write: Write) -> None:
    with pytest.raises(CorpusError, match="--encoding utf-16"):
        read_corpus(write("two words".encode("utf-16")))
    with pytest.raises(CorpusError, match="UTF-16"):
        read_corpus(write("two words".encode("utf-16-le")))
    with pytest.raises(CorpusError, match="is not utf-16"):
        read_corpus(write(b"abc"), encoding="utf-16")


def test_text_that_is_none(write: Write, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"line 2: a NUL character.*binary"):
        read_corpus(write(b"ELF\n\0\1\2"))
    with pytest.raises(CorpusError, match=r"line 1, byte offset 4: byte 0xd0 .* looks like a binary file"):
        read_corpus(write(b"ELF\0\xd0\0"))
    for data in (b"", b" \n\t\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)):
        with pytest.raises(CorpusError, match=r"text\.txt: the corpus is empty"):
            read_corpus(write(data))
    with pytest.raises(CorpusError, match="no such file"):
        read_corpus(tmp_path / "missing.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusError, match="holds no files"):
        read_corpus(tmp_path / "folder")
    with pytest.raises(CorpusError, match=r"cannot be read: Not a directory"):
        read_corpus(Path(write(b"text")) / "below")
    with pytest.raises(UsageError, match="no source"):
        read_corpus([])


def test_damaged_gzip(write: Write) -> None:
    whole = gzip.compress(b"some text " * 50, mtime=0)
    flipped = whole[:20] + bytes([whole[20] ^ 0xFF]) + whole[21:]
    for data in (whole[:-9], whole[:1] + b"\x8b", flipped, whole + b"rest"):
        with pytest.raises(CorpusError, match="gzip data is damaged"):
            read_corpus(write(data))


def test_the_embedded_corpus_is_prose() -> None:
    corpus = read_corpus(EMBEDDED)
    lines = corpus.text.split("\n")[:-1]
    assert corpus.text == embedded_text()
    assert 150_000 < len(corpus.text) < 600_000
    assert not any(sign in corpus.text for sign in ("::=", ">>>", "====", "****", "\t", "  "))
    assert sum(line[-1] in '.:?)”"' for line in lines) > 0.99 * len(lines)
    assert len(set(lines)) > 0.95 * len(lines)
    assert any(line.startswith("Assignment") for line in lines)


def test_the_embedded_corpus_may_stand_beside_files(write: Write) -> None:
    corpus = read_corpus([write("é\n".encode("latin-1")), EMBEDDED], encoding="latin-1")
    assert corpus.text == "é\n" + embedded_text()
    assert corpus.sources[1] == EMBEDDED
