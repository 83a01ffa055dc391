"""Pairs of texts, ready to be trained on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import metrics
from unrolled.model_directory import ModelFiles
from unrolled.models.examples import RowReport, all_too_long, encode_texts, saved_tokenizer, shown_tokens, unknown_rate
from unrolled.models.rows import ExampleSettings, RowData, Rows
from unrolled.models.task import DataReader
from unrolled.models.translate import TranslationSettings
from unrolled.text.examples import ExampleReader, Ids, Integers, Sequences
from unrolled.text.pairs import Pair
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.tokenizer import Tokenizer, train_tokenizer

LEAST_OFTEN = 100
"""How often two neighbours have to occur to become one subword. A vocabulary that grows with the data is far better
where there are few (Sennrich and Zhang, arXiv:1905.11901): each token is met often enough to be learnt, and a number is
read by its digits."""
Sources = Callable[[Integers, int], Sequences]
"""Source tokens of some examples, in a pass."""


class TranslationData(RowData):
    """Beside what all have: by part, tokens of both sides; the sources may be others in each pass."""

    target_tokenizer: Tokenizer
    examples: dict[str, tuple[Sequences, Sequences]]
    kept: dict[str, list[Pair]]
    """The pairs of `examples`."""
    renewed: Sources | None = None
    """What the training part reads instead of its sources."""

    def reader(self, part: str, batch_size: int, seed: int) -> DataReader:
        """Pairs of about equal length side by side."""
        sources, targets = self.examples[part]
        renewed = self.renewed if part == "train" else None
        start = self.target_tokenizer.end_of_line_id

        def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
            read = sources.taken(rows) if renewed is None else renewed(rows, pass_index)
            wanted, everything = targets.padded(rows), np.arange(len(rows))
            inputs = np.concatenate([np.full_like(wanted[:1], start), wanted[:-1]])
            return {
                "source": read.padded(everything),
                "source_lengths": read.lengths,
                "inputs": inputs,
                "targets": wanted,
                "lengths": targets.lengths[rows],
            }

        lengths = sources.lengths + targets.lengths
        return ExampleReader(lengths, targets.lengths, make, batch_size=batch_size, seed=seed)


def make_data(
    rows: Rows[Pair],
    text: TextSettings,
    examples: ExampleSettings,
    settings: TranslationSettings,
    files: ModelFiles | None,
) -> TranslationData:
    """Both sides in tokens; what is too long is left out.

    Raises:
        CorpusError: nothing is short enough, or there is nothing to learn.
    """
    is_shared = bool(settings.shared_vocabulary)
    source, target = tokenizers_of(rows.parts["train"], text, is_shared, files)
    is_default = text.unit == "bpe" and text.min_count is None
    merged = f"subwords: neighbours that occur {LEAST_OFTEN} times at least are merged (--min-count N: another number)"
    notes, kept, encoded = [merged] * is_default, dict[str, list[Pair]](), {}
    for part, held in rows.parts.items():
        sides = [
            encode_texts(tokenizer, texts)
            for tokenizer, texts in (
                (source, [row.source for row in held]),
                (target, [row.target for row in held]),
            )
        ]
        fits = [max(len(one), len(other)) <= examples.most_tokens for one, other in zip(*sides, strict=True)]
        if not any(fits):
            raise all_too_long(part, examples.most_tokens)
        if not all(fits):
            notes.append(
                f"{part}: {fits.count(False):,} pairs of more than {examples.most_tokens:,} tokens are left out"
            )
        kept[part] = [row for row, is_short in zip(held, fits, strict=True) if is_short]
        encoded[part] = [[ids for ids, is_short in zip(side, fits, strict=True) if is_short] for side in sides]
    size = target.vocabulary_size
    counts = [np.bincount(_joined(encoded[part][1]), minlength=size) for part in ("train", "validation")]
    first = min(rows.parts["train"], key=lambda row: abs(len(row.source) - 40))
    report = RowReport(
        tuple(dict.fromkeys(name for names, _ in rows.origins.values() for name in names)),
        {
            part: (len(targets), sum(map(len, sources)) + sum(map(len, targets)), unknown_rate(source, sources))
            for part, (sources, targets) in encoded.items()
        },
        {"both sides": size} if is_shared else {"source": source.vocabulary_size, "target": size},
        text.unit or DEFAULT_UNIT,
        {},
        {"source": first.source[:80], "target": first.target[:80]},
        {
            name: shown_tokens(tokenizer, encode_texts(tokenizer, [side[:80]])[0])
            for name, tokenizer, side in (("source", source, first.source), ("target", target, first.target))
        },
    )
    data = TranslationData(
        rows,
        {"tokenizer_json": source} | ({} if is_shared else {"target_tokenizer_json": target}),
        report,
        uniform=metrics.uniform_baseline(size),
        unigram=metrics.unigram_baseline(*counts),
        notes=notes,
    )
    data.target_tokenizer, data.kept = target, kept
    data.examples = {part: (Sequences(sources), Sequences(targets)) for part, (sources, targets) in encoded.items()}
    return data


def tokenizers_of(
    train: Sequence[Pair], text: TextSettings, is_shared: bool, files: ModelFiles | None
) -> tuple[Tokenizer, Tokenizer]:
    """Of source and target; the same one where the vocabulary is shared."""
    if files is not None:
        source = saved_tokenizer(text, files.tokenizer_json)
        target = files.target_tokenizer_json
        return source, source if target is None else saved_tokenizer(text, target)
    if text.unit == "bpe" and text.min_count is None:
        text = replace(text, min_count=LEAST_OFTEN)
    sides = [[row.source for row in train], [row.target for row in train]]
    if is_shared:
        both = train_tokenizer(_lines([*sides[0], *sides[1]]), text)
        return both, both
    one, other = (train_tokenizer(_lines(side), text) for side in sides)
    return one, other


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _joined(sequences: Sequence[Ids]) -> Ids:
    return np.concatenate([np.empty(0, np.int32), *sequences])
