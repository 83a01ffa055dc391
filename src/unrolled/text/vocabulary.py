"""Makes the vocabulary of a training text."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from unrolled.errors import UsageError
from unrolled.text import word_rules
from unrolled.text.characters import count_characters, refuse_surrogates
from unrolled.text.chunks import Text, line_chunks
from unrolled.text.repetition import as_lines, counted_pieces, piece_ids
from unrolled.text.settings import DEFAULT_UNIT, SPECIAL_TOKENS, TextSettings
from unrolled.text.tokenizer_json import END_OF_LINE, EXPRESSIONS, UNKNOWN

if TYPE_CHECKING:
    import tokenizers

_ALL = 1 << 40  # a vocabulary larger than any text
SUBWORD_SAMPLE = 1 << 25
"""Characters of a text from which subwords are learnt, about; of a longer one every so many pieces are taken."""


def train_vocabulary(text: str | Text, settings: TextSettings) -> str:
    """The contents of a tokenizer.json: the unit's rules with the vocabulary of a training text.

    Words and characters: the unknown token, the end of a line, then the most frequent tokens, as many as
    `settings.vocabulary_size` allows in all, each at least `settings.least_count` times in the text; tokens that are
    equally frequent go by code point. Subwords: the 256 bytes, then byte-pair merges (Sennrich et al. 2016), learnt
    from some `SUBWORD_SAMPLE` characters.

    Raises:
        TokenizerError: the text has lone surrogates, which no file can hold.
        UsageError: no token occurs `settings.least_count` times.
    """
    library = _train_subwords(text, settings) if settings.unit == "bpe" else _train_whole(text, settings)
    contents: str = library.to_str(pretty=True)
    return contents


def keep_most_frequent(counts: dict[str, int], settings: TextSettings) -> list[str]:
    """The vocabulary by id: the two special tokens, then the most frequent of the others."""
    frequent = [token for token, count in counts.items() if count >= settings.least_count]
    frequent = [token for token in frequent if token not in {UNKNOWN, END_OF_LINE}]
    frequent.sort(key=lambda token: (-counts[token], token))
    return [UNKNOWN, END_OF_LINE, *frequent][: settings.vocabulary_size]


def _train_whole(text: str | Text, settings: TextSettings) -> "tokenizers.Tokenizer":
    """Words or characters: a table of them."""
    from tokenizers import models

    if settings.unit == "char":
        counts = count_characters(_chunks(text), lowercase=settings.lowercase)
    else:
        counts = _count_words(text, settings)
    library = _rules(settings)
    vocabulary = keep_most_frequent(counts, settings)
    if len(vocabulary) == SPECIAL_TOKENS and settings.least_count > 1:
        raise UsageError(f"min_count {settings.least_count} leaves no token of the training text: give a smaller one")
    library.model = models.WordLevel({token: n for n, token in enumerate(vocabulary)}, unk_token=UNKNOWN)
    return library


def _chunks(text: str | Text) -> Iterator[str]:
    for chunk in line_chunks(text):
        refuse_surrogates(chunk)
        yield chunk


def _count_words(text: str | Text, settings: TextSettings) -> dict[str, int]:
    """How often the text has each word: of different pieces the library finds the words, then tells which has which."""
    from tokenizers import trainers

    counts = Counter[str]()
    for pieces in counted_pieces(_chunks(text), settings.unit or DEFAULT_UNIT):
        pieces.pop("\n", None)
        library = _rules(settings)
        trainer = trainers.WordLevelTrainer(vocab_size=_ALL, min_frequency=0, show_progress=False, special_tokens=[])
        library.train_from_iterator(as_lines(list(pieces)), trainer)
        ids = library.get_vocab()
        totals = np.zeros(len(ids), dtype=np.int64)
        found = piece_ids(list(pieces), library.encode_batch_fast, ids.get(END_OF_LINE, -1))
        for each, times in zip(found, pieces.values(), strict=True):
            np.add.at(totals, each, times)
        counts.update({token: int(totals[n]) for token, n in ids.items()})
    return counts


def _train_subwords(text: str | Text, settings: TextSettings) -> "tokenizers.Tokenizer":
    """Byte pairs: merged until the vocabulary is full or no pair occurs often enough.

    Pieces of a long text, spread evenly over it, stand for all of it: merges hang on what is frequent.
    """
    from tokenizers import pre_tokenizers, trainers

    library = _rules(settings)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        min_frequency=settings.least_count,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    length = sum(len(chunk) for chunk in line_chunks(text))
    taken = (
        chunk for number, chunk in enumerate(_chunks(text)) if number % max(1, round(length / SUBWORD_SAMPLE)) == 0
    )
    library.train_from_iterator(taken, trainer)
    return library


def _rules(settings: TextSettings) -> "tokenizers.Tokenizer":
    """A tokenizer of the library's with the unit's rules, and with an empty vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    lower = [normalizers.Lowercase()] if settings.lowercase else []
    rules = "pre-tokenized" if settings.pre_tokenized else settings.unit or DEFAULT_UNIT
    expression = Regex(EXPRESSIONS[rules])
    if rules == "bpe":
        library = Tokenizer(models.BPE())
        bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        ends = pre_tokenizers.Split(expression, "isolated")
        library.pre_tokenizer = pre_tokenizers.Sequence([ends, bytes_of_words])
        library.decoder = decoders.ByteLevel()
    else:
        library = Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
        library.pre_tokenizer = pre_tokenizers.Split(expression, "removed", invert=True)
        blanks = {"word": word_rules.BLANKS, "pre-tokenized": word_rules.BLANKS[:1], "char": ()}[rules]
        # its prefix cannot begin a token, so that WordPiece puts a blank before every token but the first
        joined = [decoders.WordPiece(prefix=" ", cleanup=False)] if blanks else []
        steps = [decoders.Replace(Regex(found), put) for found, put in blanks]
        library.decoder = decoders.Sequence([*joined, decoders.Fuse(), *steps])
    marks = [normalizers.Replace(Regex(found), put) for found, put in word_rules.MARKS] if rules == "word" else []
    if lower or marks:
        library.normalizer = normalizers.Sequence([*lower, *marks])
    return library
