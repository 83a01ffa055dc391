"""Networks and subjects small enough for every number to be checked another way."""

import numpy as np

from unrolled import cells
from unrolled.cells import Cell
from unrolled.engines.contract import LanguageModelWeights, LayerWeights
from unrolled.lab.subject import Subject
from unrolled.text.settings import TextSettings
from unrolled.text.tokenizer import train_tokenizer

TEXT = 'the cat said "no (not yet)" and saw\nA dog. the dog said "yes" and 3 cats\nthe end of it (all)\n' * 3
V, E, H = 7, 3, 4


def weights_of(cell: str | Cell, *, layers: int = 1, vocabulary: int = V, seed: int = 1) -> LanguageModelWeights:
    """Random weights, large enough for gates to open and shut."""
    random = np.random.default_rng(seed)
    made = cells.get(cell) if isinstance(cell, str) else cell
    rows = len(made.gates) * H

    def drawn(*shape: int) -> np.ndarray:
        return 0.7 * random.standard_normal(shape)

    stack = tuple(
        LayerWeights(drawn(rows, E if layer == 0 else H), drawn(rows, H), drawn(rows), drawn(rows))
        for layer in range(layers)
    )
    return LanguageModelWeights(made, drawn(vocabulary, E), stack, drawn(vocabulary, H), drawn(vocabulary))


def tokens(steps: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, (T,) each."""
    random = np.random.default_rng(seed)
    return random.integers(0, V, steps), random.integers(0, V, steps)


def subject_of(cell: str | Cell, *, layers: int = 1, steps: int = 30, seed: int = 1) -> Subject:
    """A network with the words of TEXT."""
    tokenizer = train_tokenizer(TEXT, TextSettings())
    weights = weights_of(cell, layers=layers, vocabulary=tokenizer.vocabulary_size, seed=seed)
    return Subject("small", "TEXT", weights, tokenizer, tokenizer.encode(TEXT)[:steps].astype(np.int64))
