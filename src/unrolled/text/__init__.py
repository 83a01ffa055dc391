"""Corpus to tokenizer to tokens to batches.

    corpus = read_corpus(["yourtext.txt"])
    parts = split_text(corpus, settings)
    tokenizer = train_tokenizer(parts["train"].text, settings)
    ids = tokenizer.encode(parts["train"].text)
    reader = StreamReader(ids, end_of_line_id=tokenizer.end_of_line_id, batch_size=32, window=64)

Nothing here imports torch, and each name is loaded when it is first used: what scores a line needs few of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled.text.batches import Batch, SentenceReader, StreamReader
    from unrolled.text.corpus import EMBEDDED, Corpus, read_corpus
    from unrolled.text.report import DataReport, PartReport, data_report
    from unrolled.text.settings import TextSettings
    from unrolled.text.spelling import DecodingStream
    from unrolled.text.split import Part, find_part, split_text
    from unrolled.text.tokenizer import Tokenizer, train_tokenizer

_NAMES = {
    "batches": ("Batch", "SentenceReader", "StreamReader"),
    "corpus": ("EMBEDDED", "Corpus", "read_corpus"),
    "report": ("DataReport", "PartReport", "data_report"),
    "settings": ("TextSettings",),
    "spelling": ("DecodingStream",),
    "split": ("Part", "find_part", "split_text"),
    "tokenizer": ("Tokenizer", "train_tokenizer"),
}
_HOMES = {name: f"unrolled.text.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "EMBEDDED",
    "Batch",
    "Corpus",
    "DataReport",
    "DecodingStream",
    "Part",
    "PartReport",
    "SentenceReader",
    "StreamReader",
    "TextSettings",
    "Tokenizer",
    "data_report",
    "find_part",
    "read_corpus",
    "split_text",
    "train_tokenizer",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
