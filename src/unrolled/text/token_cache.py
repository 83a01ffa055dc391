"""Vocabularies and tokens of long texts, kept between runs by what the text is and how it is cut, not by where it lies.

    tokenizers/KEY.json     a tokenizer.json
    tokens/KEY/ids          the token ids of a part of a corpus, as they are mapped
    tokens/KEY/counts  what else there is to know of them

in the folder that `cache.cache_home` names. All of it may be deleted at any time between runs; what was not used for
`KEPT_DAYS` goes by itself.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.cache import cache_home
from unrolled.errors import CorpusError, TokenizerError
from unrolled.text.chunks import Text
from unrolled.text.encoding import Encoded, encode, mapped, token_dtype
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.split import Part
from unrolled.text.tokenizer import Tokenizer, train_tokenizer

FORMAT = 1
"""Raised where tokens or rules change, so that what older programs kept is not taken."""
KEPT_DAYS = 30
_IDS, _COUNTS, _MAKING = "ids", "counts", "making-"
_READ_AT_ONCE = 1 << 24


def kept_tokenizer(part: Part, text: Text, settings: TextSettings) -> Tokenizer:
    """`train_tokenizer`, unless the same was done before.

    Args:
        part: for training.
        text: of that part.
        settings: of the run.

    Raises:
        CorpusError: nothing can be kept, or as `train_tokenizer`.
    """
    import tokenizers

    rules = [
        settings.unit or DEFAULT_UNIT,
        settings.vocabulary_size,
        settings.least_count,
        settings.lowercase,
        settings.pre_tokenized,
    ]
    key = _key([*_identity(part), *rules, tokenizers.__version__])
    with _folder("tokenizers") as folder:
        path = folder / f"{key}.json"
        with suppress(FileNotFoundError, UnicodeDecodeError, TokenizerError):
            tokenizer = Tokenizer.from_json(path.read_text(encoding="utf-8"), settings.unit or DEFAULT_UNIT)
            os.utime(path)
            return tokenizer
        tokenizer = train_tokenizer(text, settings)
        part.corpus.refuse_changes()
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=_MAKING, delete=False) as file:
            file.write(tokenizer.to_json())
        Path(file.name).replace(path)
        return tokenizer


def kept_tokens(part: Part, text: Text, tokenizer: Tokenizer, *, by_lines: bool) -> Encoded:
    """`encode`, unless the same was done before; the tokens are mapped from a file.

    Raises:
        CorpusError: nothing can be kept.
        TokenizerError: as `encode`.
    """
    key = _key([*_identity(part), hashlib.sha256(tokenizer.to_json().encode()).hexdigest(), by_lines])
    with _folder("tokens") as folder:
        found = _load(folder / key, tokenizer)
        if found is not None:
            return found
        making = Path(tempfile.mkdtemp(dir=folder, prefix=_MAKING))
        try:
            made = encode(text, tokenizer, by_lines=by_lines, path=making / _IDS)
            part.corpus.refuse_changes()
            _write_counts(making / _COUNTS, _record(made, making / _IDS))
            shutil.rmtree(folder / key, ignore_errors=True)  # it is damaged
            with suppress(OSError):  # somebody else has made it meanwhile
                making.rename(folder / key)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        found = _load(folder / key, tokenizer)
        if found is None:
            raise CorpusError(f"{folder / key}: cannot be read again: try again, or name a folder in UNROLLED_CACHE")
        return found


def _load(entry: Path, tokenizer: Tokenizer) -> Encoded | None:
    """What was kept; None if it is not there or damaged."""
    dtype = token_dtype(tokenizer.vocabulary_size)
    try:
        record = _read_counts(entry / _COUNTS)
        counts, read_counts = (np.array(record[name], dtype=np.int64) for name in ("counts", "read_counts"))
        if _checksum(entry / _IDS) != record["crc32"] or len(counts) != tokenizer.vocabulary_size:
            return None
        os.utime(entry)
        ids = mapped(entry / _IDS, dtype)
        return Encoded(ids, record["characters"], record["lines"], counts, record["read_characters"], read_counts)
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError, TypeError):
        return None


def _record(made: Encoded, ids: Path) -> dict[str, Any]:
    return {
        "characters": made.characters,
        "lines": made.lines,
        "read_characters": made.read_characters,
        "counts": made.counts.tolist(),
        "read_counts": made.read_counts.tolist(),
        "crc32": _checksum(ids),
    }


def _write_counts(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record)
    path.write_text(f"{zlib.crc32(text.encode())}\n{text}", encoding="utf-8")


def _read_counts(path: Path) -> dict[str, Any]:
    """What `_write_counts` wrote.

    Raises:
        ValueError: it is damaged.
    """
    checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
    if str(zlib.crc32(text.encode())) != checksum:
        raise ValueError("damaged")
    record: dict[str, Any] = json.loads(text)
    return record


def _checksum(path: Path) -> int:
    """CRC-32: against disks, not against people."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_AT_ONCE):
            value = zlib.crc32(piece, value)
    return value


def _identity(part: Part) -> list[Any]:
    return [FORMAT, part.sha256, part.start, part.end]


def _key(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """A folder of the cache, made and tidied; what the system refuses meanwhile is explained."""
    folder = None
    try:
        folder = cache_home() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(folder)
        yield folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise CorpusError(
            f"{folder or 'cache'}: the tokens of a long text cannot be kept there ({error}): name a folder with room "
            "in UNROLLED_CACHE"
        ) from error


def _tidy(folder: Path) -> None:
    """Remove what was not used for long, and what a process that was killed has left."""
    now = time.time()
    for path in folder.iterdir():
        days = 1 if path.name.startswith(_MAKING) else KEPT_DAYS
        with suppress(OSError):
            if now - path.stat().st_mtime > days * 86_400:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
