"""New sequences from the tutorial's network, one token at a time; the state is carried, never recomputed."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from unrolled.errors import UsageError
from unrolled.reference.arrays import as_indices
from unrolled.reference.forward_pass import advance, softmax
from unrolled.reference.network import TutorialNetwork


def generate(
    network: TutorialNetwork,
    prompt: Sequence[int],
    random: np.random.Generator,
    *,
    end: int | None = None,
    excluded: Collection[int] = (),
    max_tokens: int = 100,
) -> Iterator[int]:
    """Draw tokens that follow the prompt, each from the network's own distribution, and yield them as they come.

    Args:
        network: its inputs are indices of words, so that I = V.
        prompt: one token or more that the network hears first; a start-of-sentence token, say.
        random: the only source of chance.
        end: the token after which to stop; it is not yielded.
        excluded: tokens that are never drawn, such as the unknown word; the others share their probability.
        max_tokens: stop after so many.

    Raises:
        UsageError: no token is left to draw, or input and output have different vocabularies.
        ShapeError: a token is not in the vocabulary.
    """
    vocabulary, input_size = network.V.shape[0], network.U.shape[1]
    if vocabulary != input_size:
        raise UsageError(f"a network with {input_size} inputs and {vocabulary} words cannot hear its own words")
    prompt = as_indices("prompt", prompt, "T", None, (0, vocabulary)).tolist()
    barred = as_indices("excluded", list(excluded), "N", len(excluded), (0, vocabulary))
    allowed = ~np.isin(np.arange(vocabulary), barred)
    if not allowed.any():
        raise UsageError(f"all {vocabulary} tokens are excluded: leave at least one to draw")

    def draw() -> Iterator[int]:  # apart, so that what cannot work is refused before the first token is asked for
        heard, state = prompt, np.zeros(network.W.shape[0])
        for _ in range(max_tokens):
            for token in heard:
                state, _, scores = advance(network, token, state)
            drawn = int(random.choice(vocabulary, p=softmax(np.where(allowed, scores, -np.inf))))
            if drawn == end:
                return
            yield drawn
            heard = [drawn]

    return draw()
