"""What models are measured by: the likelihood of a text, and labels that were found against those expected."""

from unrolled.metrics.labels import SpanScores, accuracy, confusion, f1_by_label, is_bio, macro_f1, span_scores, spans
from unrolled.metrics.likelihood import (
    bits,
    bits_per_byte,
    bits_per_character,
    nats_per_token,
    perplexity,
    uniform_baseline,
    unigram_baseline,
)

__all__ = [
    "SpanScores",
    "accuracy",
    "bits",
    "bits_per_byte",
    "bits_per_character",
    "confusion",
    "f1_by_label",
    "is_bio",
    "macro_f1",
    "nats_per_token",
    "perplexity",
    "span_scores",
    "spans",
    "uniform_baseline",
    "unigram_baseline",
]
