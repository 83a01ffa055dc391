"""Tagged sentences, ready to be trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import TokenizerError
from unrolled.model_directory import ModelFiles
from unrolled.models.examples import RowReport, all_too_long, encode_texts, saved_tokenizer, shown_tokens, unknown_rate
from unrolled.models.labels import label_baselines, label_counts, label_ids, label_list
from unrolled.models.rows import ExampleSettings, RowData, Rows
from unrolled.models.task import DataReader
from unrolled.text.examples import ExampleReader, Ids, Integers, Sequences
from unrolled.text.settings import TextSettings
from unrolled.text.tagged import TaggedSentence
from unrolled.text.tokenizer import Tokenizer, train_tokenizer

MOST_BYTES = 40
"""Of a token; of a longer one the first and the last half of so many."""


class TaggingData(RowData):
    """Beside what all have: by part, token ids, spelling and labels of each sentence."""

    counted = "label"
    examples: dict[str, tuple[Sequences, list[tuple[str, ...]], Sequences]]

    def reader(self, part: str, batch_size: int, seed: int) -> DataReader:
        """Sentences of about equal length side by side."""
        sentences, tokens, labels = self.examples[part]

        def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
            return {
                "ids": sentences.padded(rows),
                "lengths": sentences.lengths[rows],
                "targets": labels.padded(rows),
                **spelled([tokens[row] for row in rows]),
            }

        return ExampleReader(sentences.lengths, sentences.lengths, make, batch_size=batch_size, seed=seed)


def spelled(sentences: Sequence[Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """The bytes of the tokens: spelling (C, T, B) and spelling_lengths (T, B), which is 1 where there is no token."""
    steps = max(len(tokens) for tokens in sentences)
    found = [[_bytes(token) for token in tokens] for tokens in sentences]
    longest = max(len(each) for tokens in found for each in tokens)
    spelling = np.zeros((longest, steps, len(sentences)), dtype=np.int64)
    lengths = np.ones((steps, len(sentences)), dtype=np.int64)
    for column, tokens in enumerate(found):
        for step, each in enumerate(tokens):
            spelling[: len(each), step, column] = np.frombuffer(each, np.uint8)
            lengths[step, column] = len(each)
    return {"spelling": spelling, "spelling_lengths": lengths}


def _bytes(token: str) -> bytes:
    whole = token.encode("utf-8", "surrogatepass")
    return whole if len(whole) <= MOST_BYTES else whole[: MOST_BYTES // 2] + whole[-MOST_BYTES // 2 :]


def encode_tokens(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> list[Ids]:
    """Ids (T,) of the tokens of each sentence, one for each token.

    Raises:
        TokenizerError: the tokenizer cuts a token.
    """
    encoded = [ids[:-1] for ids in encode_texts(tokenizer, [" ".join(tokens) for tokens in sentences])]
    for tokens, ids in zip(sentences, encoded, strict=True):
        if len(tokens) != len(ids):
            raise TokenizerError(f'"{" ".join(tokens)[:80]}": is {len(ids)} tokens for tokenizer.json: train again')
    return encoded


def make_data(
    rows: Rows[TaggedSentence], text: TextSettings, examples: ExampleSettings, files: ModelFiles | None
) -> TaggingData:
    """Tokens and labels in numbers; what is too long is left out.

    Raises:
        CorpusError: one label only, a label in validation that training has not, or nothing short enough.
    """
    notes, kept = list[str](), dict[str, list[TaggedSentence]]()
    for part, held in rows.parts.items():
        kept[part] = [row for row in held if len(row.tokens) <= examples.most_tokens]
        if not kept[part]:
            raise all_too_long(part, examples.most_tokens)
        if len(kept[part]) < len(held):
            notes.append(
                f"{part}: {len(held) - len(kept[part]):,} sentences of more than {examples.most_tokens:,} tokens are "
                "left out"
            )
    train = kept["train"]
    tokenizer = (
        train_tokenizer("".join(f"{' '.join(row.tokens)}\n" for row in train), text)
        if files is None
        else saved_tokenizer(text, files.tokenizer_json)
    )
    labels = label_list((label for row in train for label in row.labels), "training data")
    encoded = {part: encode_tokens(tokenizer, [row.tokens for row in held]) for part, held in kept.items()}
    numbers = {part: numbers_of(held, labels) for part, held in kept.items()}
    uniform, unigram = label_baselines(
        np.concatenate(numbers["train"]), np.concatenate(numbers["validation"]), len(labels)
    )
    first = min(train, key=lambda row: abs(len(row.tokens) - 10))
    report = RowReport(
        tuple(dict.fromkeys(name for names, _ in rows.origins.values() for name in names)),
        {part: (len(ids), sum(map(len, ids)), unknown_rate(tokenizer, ids)) for part, ids in encoded.items()},
        {"": tokenizer.vocabulary_size},
        "word",
        label_counts(label for row in train for label in row.labels),
        {"example": " ".join(f"{token}/{label}" for token, label in zip(first.tokens, first.labels, strict=True))},
        {"example": shown_tokens(tokenizer, encode_tokens(tokenizer, [first.tokens])[0])},
    )
    data = TaggingData(
        rows, {"tokenizer_json": tokenizer}, report, uniform=uniform, unigram=unigram, notes=notes, labels=labels
    )
    data.examples = {
        part: (Sequences(encoded[part]), [row.tokens for row in held], Sequences(numbers[part]))
        for part, held in kept.items()
    }
    return data


def numbers_of(rows: Sequence[TaggedSentence], labels: Sequence[str]) -> list[Integers]:
    """The labels of each sentence as numbers.

    Raises:
        CorpusError: a label that training did not have; says on which line.
    """
    return [label_ids(row.labels, labels, [row.place(n) for n in range(len(row.labels))]) for row in rows]
