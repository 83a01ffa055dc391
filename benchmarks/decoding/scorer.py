"""What is asked of everyone who scores: the log-probability of each sentence. And ours."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from decoding.model import Model, engine_weights
from steps.task import Tensors
from unrolled import engines
from unrolled.inference.scoring import LINES_AT_ONCE, score_sequences

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
FEWEST_WORDS, MOST_WORDS = 3, 60
END_OF_LINE = 0
"""The token before each sentence's first word and after its last."""


def random_sentences(model: Model, count: int, seed: int = 1) -> list[Ids]:
    """Sentences of random words and random lengths, all equally probable, each with its end of line.

    Real text has few words that are frequent and is easier on tables and caches.
    """
    generator = np.random.default_rng(seed)
    lengths = generator.integers(FEWEST_WORDS, MOST_WORDS + 1, count)
    words = [generator.integers(END_OF_LINE + 1, model.vocabulary, length) for length in lengths]
    return [np.append(sentence, END_OF_LINE) for sentence in words]


class Scorer(ABC):
    """A language model that scores sentences, each from a zero state.

    Attributes:
        name: whose it is.
        variant: which of several ways of doing it.
        threads: how many threads it is to have; who calls it sets torch's.
    """

    name: str
    variant: str
    threads: int

    @abstractmethod
    def score(self, sentences: Sequence[Ids]) -> Doubles:
        """Log p of each sentence, its end of line included, in nats, (N,), in the order given."""


class PeerScorer(Scorer):
    """One that has to be told how many sentences are read side by side.

    Attributes:
        batch: how many.
    """

    batch: int


class OurScorer(Scorer):
    """The way of `LanguageModel.score_stream`, from tokens on: sentences as they come, so many at once."""

    name = "unrolled"

    def __init__(self, model: Model, tensors: Tensors, threads: int, engine: str = "auto") -> None:
        self.variant, self.threads = engine, threads
        torch.set_num_threads(threads)  # a predictor is made for so many
        self._predictor = engines.get(engine).predictor(engine_weights(model, tensors))

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        """A chunk after the other; what a chunk needed is let go before the next."""
        scores = []
        for start in range(0, len(sentences), LINES_AT_ONCE):
            chunk = sentences[start : start + LINES_AT_ONCE]
            results = score_sequences(self._predictor, chunk, first_input=END_OF_LINE, batch_size=None, ranks=False)
            scores.append(np.array([-result.losses.sum() for result in results]))
        return np.concatenate(scores)


def batches(sentences: Sequence[Ids], size: int) -> Iterator[tuple[npt.NDArray[np.intp], list[Ids]]]:
    """Where the sentences of each batch stand among all, and these themselves: longest first, so of like length."""
    by_length = np.argsort([-len(sentence) for sentence in sentences], kind="stable")
    for start in range(0, len(sentences), size):
        places = by_length[start : start + size]
        yield places, [sentences[place] for place in places]


def middle(sentences: Sequence[Ids], count: int) -> list[Ids]:
    """Sentences of about the median length, as alike as those of a batch cut from all of them; longest first."""
    by_length = sorted(sentences, key=len, reverse=True)
    start = max(0, (len(sentences) - count) // 2)
    return by_length[start : start + count]
