"""What tasks with examples do with texts: tokens of each, those that are too long, what a person is told of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unrolled.errors import CorpusError, ModelDirectoryError
from unrolled.text.examples import Ids
from unrolled.text.pieces import encode_lines
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class RowReport:
    """Counts of examples and vocabularies.

    Attributes:
        sources: what the examples were read from.
        parts: for each the number of examples, of tokens, and the share of the tokens that are unknown.
        vocabularies: tokens kept, by what they are for.
        unit: what a token is.
        labels: how often the training part has each, if there are labels.
        example: a training example, by its sides.
        example_tokens: the same in tokens.
    """

    sources: tuple[str, ...]
    parts: dict[str, tuple[int, int, float]]
    vocabularies: dict[str, int]
    unit: str
    labels: dict[str, int]
    example: dict[str, str]
    example_tokens: dict[str, tuple[str, ...]]

    def as_dict(self) -> dict[str, Any]:
        """The report as data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people, one string a line."""
        rows = [f"{'data':<12}{', '.join(self.sources)}"]
        for name, (examples, tokens, unknown) in self.parts.items():
            missing = "" if self.unit == "bpe" else f", {unknown:.2%} unknown"
            rows.append(f"{name:<12}{examples:,} examples, {tokens:,} tokens{missing}")
        sizes = ", ".join(f"{size:,} tokens{f' ({side})' if side else ''}" for side, size in self.vocabularies.items())
        rows.append(f"{'vocabulary':<12}{sizes} (unit {self.unit})")
        if self.labels:
            shown = sorted(self.labels.items(), key=lambda pair: (-pair[1], pair[0]))
            more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
            rows.append(f"{'labels':<12}{', '.join(f'{label} {count:,}' for label, count in shown[:8])}{more}")
        for side, text in self.example.items():
            rows.append(f"{side:<12}{text}")
            rows.append(f"{'':<12}{' '.join(self.example_tokens[side])}")
        return rows


def short_enough(
    lengths: Sequence[int], most: int, places: Sequence[str], name: str, *, may_leave_out: bool
) -> tuple[list[int], str]:
    """Numbers of the examples that a model reads, and what to call them.

    Args:
        lengths: of each, in tokens.
        most: tokens that the model reads.
        places: where each stands, for the message.
        name: of the data.
        may_leave_out: whether longer ones are left out, as they were in training, and the name says so.

    Raises:
        CorpusError: one is longer, or all of them; says where.
    """
    fits = [number for number, length in enumerate(lengths) if length <= most]
    if len(fits) == len(lengths):
        return fits, name
    if not may_leave_out:
        length, place = next((length, place) for length, place in zip(lengths, places, strict=True) if length > most)
        raise CorpusError(
            f"{place} has {length:,} tokens, the model reads at most {most:,} (--most-tokens when it was trained): "
            "make it shorter"
        )
    if not fits:
        raise CorpusError(f"{name}: all {len(lengths):,} examples have more than {most:,} tokens: give shorter ones")
    return fits, f"{name}, without {len(lengths) - len(fits):,} of more than {most:,} tokens"


def all_too_long(part: str, most: int) -> CorpusError:
    """What there is to say where a part has nothing that is short enough."""
    return CorpusError(
        f"the {part} part has no example of at most {most:,} tokens: give a larger --most-tokens, or shorter examples"
    )


def saved_tokenizer(
    text: TextSettings, content: str, *, size: int | None = None, name: str = "tokenizer.json"
) -> Tokenizer:
    """The tokenizer of a model directory; `name` is that of its file, for messages.

    Raises:
        TokenizerError: it is none of the unit.
        ModelDirectoryError: it has not so many tokens.
    """
    tokenizer = Tokenizer.from_json(content, text.unit or DEFAULT_UNIT)
    if size is not None and tokenizer.vocabulary_size != size:
        raise ModelDirectoryError(f"{name} has {tokenizer.vocabulary_size} tokens, the model {size}: train again")
    return tokenizer


def saved_labels(config: Mapping[str, Any], count: int) -> list[str]:
    """The labels of a model directory, in the order of their ids.

    Raises:
        ModelDirectoryError: there are not so many.
    """
    data = config.get("data")
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, list) or len(labels) != count or not all(isinstance(label, str) for label in labels):
        raise ModelDirectoryError(f"config.json: does not name the {count} labels of its model: train again")
    return labels


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text with its end; newlines in a text count as blanks."""
    if not texts:
        return []
    return list(encode_lines(tokenizer, [text.replace("\n", " ") for text in texts]))


def unknown_rate(tokenizer: Tokenizer, sequences: Sequence[Ids]) -> float:
    """Share of the tokens that are unknown."""
    ids = np.concatenate([np.empty(0, np.int32), *sequences])
    return float((ids == tokenizer.unknown_id).mean()) if ids.size and tokenizer.unknown_id is not None else 0.0


def shown_tokens(tokenizer: Tokenizer, ids: Ids) -> tuple[str, ...]:
    """Tokens for people, without the end of the line."""
    kept = [int(n) for n in ids if n != tokenizer.end_of_line_id]
    if tokenizer.unit == "bpe":
        return tuple(tokenizer.decode([n]).replace(" ", "␣") for n in kept)
    return tuple(tokenizer.token(n).replace(" ", "␣") for n in kept)
