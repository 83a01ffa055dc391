"""What tasks that give labels have in common: baselines, and numbers for names."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from unrolled import metrics
from unrolled.errors import CorpusError
from unrolled.text.examples import Integers

Row = TypeVar("Row")


def label_list(labels: Iterable[str], name: str) -> list[str]:
    """Each label once, in order.

    Raises:
        CorpusError: there is one only.
    """
    found = sorted(set(labels))
    if len(found) < 2:
        raise CorpusError(f'{name}: every example has the label "{found[0]}": give examples of two labels at least')
    return found


def with_all_labels(parts: dict[str, list[Row]], labels_of: Callable[[Row], Iterable[str]]) -> dict[str, list[Row]]:
    """Parts that chance has split, with those rows moved to training whose labels it would lack.

    Raises:
        CorpusError: nothing would be left of a part.
    """
    known = {label for row in parts["train"] for label in labels_of(row)}
    kept: dict[str, list[Row]] = {}
    for part, rows in parts.items():
        if part != "train":
            kept[part] = [row for row in rows if known.issuperset(labels_of(row))]
            if not kept[part]:
                raise CorpusError(
                    f"the {part} part has no example whose label occurs in training too: give more examples of each"
                )
    moved = [row for part in kept for row in parts[part] if not known.issuperset(labels_of(row))]
    return {"train": [*parts["train"], *moved]} | kept


def label_ids(labels: Sequence[str], known: Sequence[str], where: Sequence[str]) -> Integers:
    """Numbers of labels, (N,).

    Args:
        labels: (N,).
        known: all there are.
        where: what to call the place of each, for the message.

    Raises:
        CorpusError: a label is not known.
    """
    numbers = {label: number for number, label in enumerate(known)}
    for label, place in zip(labels, where, strict=True):
        if label not in numbers:
            raise CorpusError(
                f'{place}: the label "{label}" does not occur in the training data, which has {", ".join(known[:20])}: '
                "correct it, or train with examples of it"
            )
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def label_baselines(train: Integers, validation: Integers, count: int) -> tuple[float, float]:
    """Nats for each label of guessing evenly, and of knowing how frequent each label is."""
    counts = [np.bincount(ids, minlength=count) for ids in (train, validation)]
    return math.log(count), metrics.unigram_baseline(*counts)


def label_counts(labels: Iterable[str]) -> dict[str, int]:
    """How often each occurs, by name."""
    return dict(sorted(Counter(labels).items()))
