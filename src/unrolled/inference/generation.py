"""Continuing a prompt: what the model reads of it, how it goes on, and how the new text joins the old."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from unrolled.engines import Engine, LanguageModelWeights, Sampling
from unrolled.errors import UsageError
from unrolled.inference.network import advance, zero_state
from unrolled.inference.results import UnknownTokenWarning
from unrolled.inference.scoring import WINDOW
from unrolled.text.spelling import DecodingStream
from unrolled.text.tokenizer import Tokenizer

_SHOWN = 5


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> npt.NDArray[np.int64]:
    """Ids to feed, (1 + N,): an end of line, as before any text, then the prompt.

    Raises:
        UsageError: nothing in the prompt is known to the model.

    Warns:
        UnknownTokenWarning: something in it is not.
    """
    ids = tokenizer.encode(prompt).astype(np.int64)
    unseen = tokenizer.unseen(prompt)
    if unseen:
        kind = "characters" if tokenizer.unit == "char" else "words"
        shown = ", ".join(repr(item) for item in unseen[:_SHOWN]) + (", ..." if len(unseen) > _SHOWN else "")
        message = f"the prompt has {kind} that the model has never seen: {shown}"
        known = [i for i in ids.tolist() if i not in {tokenizer.unknown_id, tokenizer.end_of_line_id}]
        if not any(tokenizer.token(i).strip() for i in known):
            raise UsageError(f"{message}; nothing in it is known: prompt with text like that of the training")
        warnings.warn(f"{message}; they are read as unknown", UnknownTokenWarning, stacklevel=5)
    return np.concatenate([[tokenizer.end_of_line_id], ids])


def decode_after(
    engine: Engine,
    weights: LanguageModelWeights,
    ids: npt.NDArray[np.int64],
    indices: Sequence[int],
    *,
    sampling: Sampling,
    seed: int | None,
    forbidden: int | None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Read ids, (N,) with N >= 1, once, then continue them without end, in as many ways as there are indices.

    Args:
        engine: does the work.
        weights: the model.
        ids: what to read.
        indices: numbers of the continuations; a continuation depends on the seed and its own number alone.
        sampling: how to choose.
        seed: at least 0; fresh randomness if None.
        forbidden: a token that is never chosen.

    Raises:
        UsageError: the seed is negative.
    """
    if seed is not None and seed < 0:
        raise UsageError(f"seed is {seed}: give a whole number of at least 0")
    state = zero_state(weights, 1)
    for start in range(0, len(ids) - 1, WINDOW):
        window = ids[start : min(start + WINDOW, len(ids) - 1)]
        _, state = advance(engine, weights, window[:, None], state)
    root = np.random.SeedSequence(seed).entropy
    return engine.decode(
        weights,
        [tuple(np.repeat(part, len(indices), axis=0) for part in layer) for layer in state],
        np.repeat(ids[-1:], len(indices)),
        sampling=sampling,
        forbidden=[] if forbidden is None else [forbidden],
        generators=[np.random.default_rng(np.random.SeedSequence(root, spawn_key=(index,))) for index in indices],
    )


def text_after(tokenizer: Tokenizer, prompt: str) -> DecodingStream:
    """Writes tokens behind a prompt; a blank that the prompt already ends with is not written again."""
    has_blank = tokenizer.unit == "word" and prompt[-1:].isspace()
    return tokenizer.decode_stream([] if has_blank else tokenizer.encode(prompt))
