"""Corpus to tokenizer to tokens to batches.

    corpus = read_corpus(["yourtext.txt"])
    parts = split_text(corpus, settings)
    tokenizer = train_tokenizer(parts["train"].text, settings)
    ids = tokenizer.encode(parts["train"].text)
    reader = StreamReader(ids, end_of_line_id=tokenizer.end_of_line_id, batch_size=32, window=64)

Nothing here imports torch.
"""

from unrolled.text.batches import Batch, SentenceReader, StreamReader
from unrolled.text.corpus import EMBEDDED, Corpus, read_corpus
from unrolled.text.report import DataReport, PartReport, data_report
from unrolled.text.settings import TextSettings
from unrolled.text.spelling import DecodingStream
from unrolled.text.split import Part, find_part, split_text
from unrolled.text.tokenizer import Tokenizer, train_tokenizer

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
