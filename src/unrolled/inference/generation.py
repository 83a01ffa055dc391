"""Continuing a prompt: what the model reads of it, how it goes on, and how the new text joins the old."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor, Sampling, StackState, zero_state
from unrolled.errors import UsageError
from unrolled.inference.results import UnknownTokenWarning
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
    predictor: Predictor,
    ids: npt.NDArray[np.int64],
    indices: Sequence[int],
    *,
    state: StackState | None = None,
    sampling: Sampling,
    seed: int | None,
    forbidden: Sequence[int],
    stop: int | None,
    max_tokens: int | None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Read ids, (N,) with N >= 1, once, then continue them in as many ways as there are indices, as one batch.

    Args:
        predictor: the model.
        ids: what to read.
        indices: numbers of the continuations; a continuation depends on the seed and its own number alone.
        state: before the ids, (1, H) for each part; None: zeros.
        sampling: how to choose.
        seed: at least 0; fresh randomness if None.
        forbidden: tokens that are never chosen.
        stop: a continuation ends with this token.
        max_tokens: most tokens of each continuation; None: without end.

    Yields:
        Pieces (n, len(indices)) of tokens; -1 where a continuation has ended.

    Raises:
        UsageError: max_tokens is below 1, or the seed negative.
    """
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max_tokens is {max_tokens}: give a whole number of at least 1")
    if seed is not None and seed < 0:
        raise UsageError(f"seed is {seed}: give a whole number of at least 0")
    state = zero_state(predictor.weights, 1) if state is None else state
    if len(ids) > 1:
        state = predictor.read(ids[:-1], np.array([len(ids) - 1]), state).state
    root = np.random.SeedSequence(seed).entropy
    return predictor.decode(
        tuple(tuple(np.repeat(part, len(indices), axis=0) for part in layer) for layer in state),
        np.repeat(ids[-1:], len(indices)),
        sampling=sampling,
        generators=[np.random.default_rng(np.random.SeedSequence(root, spawn_key=(index,))) for index in indices],
        forbidden=forbidden,
        stop=stop,
        max_tokens=max_tokens,
    )


def text_after(tokenizer: Tokenizer, prompt: str) -> DecodingStream:
    """Writes tokens behind a prompt; a blank that the prompt already ends with is not written again."""
    has_blank = tokenizer.unit == "word" and prompt[-1:].isspace()
    return tokenizer.decode_stream([] if has_blank else tokenizer.encode(prompt))
