"""What scoring and evaluating return, and its form as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from unrolled import metrics


class UnknownTokenWarning(UserWarning):
    """Text has words or characters that the model has never seen; they are read as the unknown token."""


@dataclass(frozen=True)
class TokenScore:
    """One token of a scored line.

    Attributes:
        token: its text; a line's end is a newline character.
        log_probability: in nats, given all tokens before it in the line.
        rank: its place among all tokens by probability; 1 is the most probable.
        surprisal_bits: -log2 of its probability.
    """

    token: str
    log_probability: float
    rank: int
    surprisal_bits: float


@dataclass(frozen=True)
class Score:
    """A scored line.

    Attributes:
        text: the line.
        tokens: how many tokens count, the end of the line among them.
        log_probability: of the whole line in nats; the higher, the more probable.
        perplexity: exp(-log_probability / tokens); comparable only between models with the same tokens.
        unknown: how many of the line's tokens the model does not know.
        details: one entry a token, if asked for.
    """

    text: str
    tokens: int
    log_probability: float
    perplexity: float
    unknown: int
    details: tuple[TokenScore, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; without "details" where there are none."""
        record = asdict(self)
        if self.details is None:
            del record["details"]
        return record


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text.

    Attributes:
        tokens: how many tokens were predicted: all of them, ends of lines too.
        nats_per_token: mean negative log-probability.
        perplexity: exp of it; comparable only between models with the same tokens.
        bits_per_character: total information over the text's characters, ends of lines too.
        bits_per_byte: total information over the text's bytes in UTF-8.
        unknown_rate: share of tokens that the model does not know, from 0 to 1.
        tokens_per_second: speed of this evaluation.
        cache: so many tokens before each were looked back at, see `Cache`; None: the model was alone.
    """

    tokens: int
    nats_per_token: float
    perplexity: float
    bits_per_character: float
    bits_per_byte: float
    unknown_rate: float
    tokens_per_second: float
    cache: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; without "cache" where there was none."""
        record = asdict(self)
        if self.cache is None:
            del record["cache"]
        return record


def evaluation_of(
    text: str, *, total_nats: float, tokens: int, unknown: int, seconds: float, cache: int | None = None
) -> Evaluation:
    """Put an evaluation together from sums over a text, ends of lines included."""
    nats = metrics.nats_per_token(total_nats, tokens)
    return Evaluation(
        tokens,
        nats,
        metrics.perplexity(nats),
        metrics.bits_per_character(total_nats, len(text)),
        metrics.bits_per_byte(total_nats, len(text.encode("utf-8", "surrogatepass"))),
        unknown / tokens,
        tokens / seconds if seconds > 0 else 0.0,
        cache,
    )
