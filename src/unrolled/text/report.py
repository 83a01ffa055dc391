"""What a text looks like before a model sees it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import UsageError
from unrolled.text.chunks import line_chunks
from unrolled.text.encoding import Encoded
from unrolled.text.split import Part
from unrolled.text.tokenizer import Tokenizer
from unrolled.text.word_rules import JOINER

_SHOWN = range(25, 80)  # characters of a line that tells enough and fits a screen
_SEARCHED = 1 << 14
_VISIBLE = str.maketrans({JOINER: "‿", " ": "␣", "\n": "⏎"})


@dataclass(frozen=True)
class PartReport:
    """The size of one part: characters, lines, tokens, and the share of the tokens that are unknown."""

    characters: int
    lines: int
    tokens: int
    unknown_rate: float


@dataclass(frozen=True)
class DataReport:
    """Counts of a corpus, its parts and its vocabulary.

    Attributes:
        sources: what the parts were read from.
        unit: what a token is.
        vocabulary_size: tokens kept, the special ones too.
        rarest: the kept token that the training text has least often, of several the last by id; a subword as text.
        rarest_count: how often the training text has it.
        parts: sizes by part, in order.
        example: a line of the training text, cut short.
        example_tokens: the tokens of that stretch.
    """

    sources: tuple[str, ...]
    unit: str
    vocabulary_size: int
    rarest: str
    rarest_count: int
    parts: dict[str, PartReport]
    example: str
    example_tokens: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people, one string a line."""
        rows = [f"{'corpus':<12}{', '.join(map(_described, self.sources))}"]
        for name, part in self.parts.items():
            unknown = "" if self.unit == "bpe" else f", {part.unknown_rate:.2%} unknown"
            rows.append(
                f"{name:<12}{part.characters:,} characters, {part.lines:,} lines, {part.tokens:,} tokens{unknown}"
            )
        rows.append(
            f"{'vocabulary':<12}{self.vocabulary_size:,} tokens (unit {self.unit}); "
            f"rarest kept: {_visible(self.rarest)} (count {self.rarest_count:,})"
        )
        tokens = " ".join(_visible(token) for token in self.example_tokens)
        return [*rows, f"{'before':<12}{self.example}", f"{'after':<12}{tokens}"]


def data_report(parts: Mapping[str, Part], encoded: Mapping[str, Encoded], tokenizer: Tokenizer) -> DataReport:
    """Count what is in a corpus.

    Args:
        parts: as split, by name; there is one named "train".
        encoded: each part as tokens, by the same names.
        tokenizer: made from the training part.

    Raises:
        UsageError: parts and encoded have different names, or there is no training part.
    """
    if set(parts) != set(encoded) or "train" not in parts:
        raise UsageError(f"data report: parts {', '.join(parts)} and {', '.join(encoded)} must agree and have train")
    counts = encoded["train"].counts
    special = {tokenizer.unknown_id, tokenizer.end_of_line_id}
    kept = [n for n in range(tokenizer.vocabulary_size) if n not in special and counts[n]]
    rarest = min(reversed(kept), key=counts.__getitem__) if kept else tokenizer.end_of_line_id
    example, example_tokens = _example(parts["train"], tokenizer)
    return DataReport(
        sources=tuple(dict.fromkeys(source for part in parts.values() for source in part.sources)),
        unit=tokenizer.unit,
        vocabulary_size=tokenizer.vocabulary_size,
        rarest=_written(rarest, tokenizer),
        rarest_count=int(counts[rarest]),
        parts={name: _part_report(each, tokenizer) for name, each in encoded.items()},
        example=example,
        example_tokens=example_tokens,
    )


def _part_report(part: Encoded, tokenizer: Tokenizer) -> PartReport:
    unknown = 0 if tokenizer.unknown_id is None else int(part.counts[tokenizer.unknown_id])
    tokens = len(part.ids)
    return PartReport(part.characters, part.lines, tokens, unknown / max(tokens, 1))


def _example(text: Part, tokenizer: Tokenizer) -> tuple[str, tuple[str, ...]]:
    """One of the first lines that shows well, cut short where there is none, as text and as tokens."""
    first = next((chunk for chunk in line_chunks(text) if not chunk.isspace()), "")[:_SEARCHED].split("\n")
    written = [line for line in first if line.strip()]
    line = next((line for line in written if len(line) in _SHOWN), (written or [""])[0][: _SHOWN.stop])
    return line, tuple(_written(int(n), tokenizer) for n in tokenizer.encode(line))


def _described(source: str) -> str:
    return f"{source} (all files below it, sorted by path)" if Path(source).is_dir() else source


def _written(token_id: int, tokenizer: Tokenizer) -> str:
    """A token for people: a subword as text, not in the byte-level alphabet."""
    return tokenizer.decode([token_id]) if tokenizer.unit == "bpe" else tokenizer.token(token_id)


def _visible(token: str) -> str:
    return token.translate(_VISIBLE)
