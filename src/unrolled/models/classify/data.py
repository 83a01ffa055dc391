"""Texts with labels, ready to be trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.model_directory import ModelFiles
from unrolled.models.classify import ClassificationSettings
from unrolled.models.examples import RowReport, all_too_long, encode_texts, saved_tokenizer, shown_tokens, unknown_rate
from unrolled.models.labels import label_baselines, label_counts, label_ids, label_list
from unrolled.models.rows import ExampleSettings, RowData, Rows
from unrolled.models.task import DataReader
from unrolled.text.examples import ExampleReader, Ids, Integers, Sequences
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.tables import LabelledText
from unrolled.text.tokenizer import train_tokenizer


class ClassificationData(RowData):
    """Beside what all have: token ids and label of each text, by part, and how much each label counts."""

    counted = "label"
    examples: dict[str, tuple[Sequences, Integers]]
    class_weights: list[float]

    def reader(self, part: str, batch_size: int, seed: int) -> DataReader:
        """Texts of about equal length side by side."""
        texts, labels = self.examples[part]

        def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
            return {"ids": texts.padded(rows), "lengths": texts.lengths[rows], "targets": labels[rows]}

        return ExampleReader(texts.lengths, np.ones_like(labels), make, batch_size=batch_size, seed=seed)


def make_data(
    rows: Rows[LabelledText],
    text: TextSettings,
    examples: ExampleSettings,
    settings: ClassificationSettings,
    files: ModelFiles | None,
) -> ClassificationData:
    """Texts in tokens, labels in numbers; what is too long is left out.

    Raises:
        CorpusError: one label only, a label in validation that training has not, or nothing short enough.
    """
    train = rows.parts["train"]
    tokenizer = (
        train_tokenizer("".join(f"{row.text.replace(chr(10), ' ')}\n" for row in train), text)
        if files is None
        else saved_tokenizer(text, files.tokenizer_json)
    )
    notes, kept, sequences = list[str](), dict[str, list[LabelledText]](), dict[str, list[Ids]]()
    for part, held in rows.parts.items():
        ids = encode_texts(tokenizer, [row.text for row in held])
        fits = [len(each) <= examples.most_tokens for each in ids]
        if not any(fits):
            raise all_too_long(part, examples.most_tokens)
        if not all(fits):
            notes.append(
                f"{part}: {fits.count(False):,} texts of more than {examples.most_tokens:,} tokens are left out"
            )
        kept[part] = [row for row, is_short in zip(held, fits, strict=True) if is_short]
        sequences[part] = [each for each, is_short in zip(ids, fits, strict=True) if is_short]
    labels = label_list([row.label for row in kept["train"]], "training data")
    encoded = {part: (sequences[part], numbers_of(held, labels)) for part, held in kept.items()}
    uniform, unigram = label_baselines(encoded["train"][1], encoded["validation"][1], len(labels))
    first = min(kept["train"], key=lambda row: abs(len(row.text) - 60))
    report = RowReport(
        tuple(dict.fromkeys(name for names, _ in rows.origins.values() for name in names)),
        {part: (len(ids), sum(map(len, ids)), unknown_rate(tokenizer, ids)) for part, ids in sequences.items()},
        {"": tokenizer.vocabulary_size},
        text.unit or DEFAULT_UNIT,
        label_counts(row.label for row in kept["train"]),
        {"example": f"{first.text[:80]} -> {first.label}"},
        {"example": shown_tokens(tokenizer, encode_texts(tokenizer, [first.text[:80]])[0])},
    )
    data = ClassificationData(
        rows, {"tokenizer_json": tokenizer}, report, uniform=uniform, unigram=unigram, notes=notes, labels=labels
    )
    data.examples = {part: (Sequences(ids), numbers) for part, (ids, numbers) in encoded.items()}
    data.class_weights = weights_of(encoded["train"][1], len(labels), settings.class_weights)
    return data


def numbers_of(rows: Sequence[LabelledText], labels: Sequence[str]) -> Integers:
    """Label of each row as a number.

    Raises:
        CorpusError: a label that training did not have; says on which line.
    """
    return label_ids([row.label for row in rows], labels, [row.place for row in rows])


def weights_of(numbers: Integers, count: int, kind: str) -> list[float]:
    """How much an example of each label counts: 1, or the same for all labels together; the mean over examples is 1."""
    if kind == "none":
        return [1.0] * count
    often = np.maximum(np.bincount(numbers, minlength=count), 1)
    weights = len(numbers) / (np.count_nonzero(often) * often)
    return [float(weight) for weight in weights / (weights[numbers].mean())]
