"""`LanguageModel`: a trained model for use. Scores, evaluates and generates on engines alone, without torch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from unrolled import engines, metrics, model_directory
from unrolled.engines import Engine, LanguageModelWeights, Sampling
from unrolled.errors import ModelDirectoryError, UsageError
from unrolled.inference import generation, scoring
from unrolled.inference.cache import Cache
from unrolled.inference.network import weights_from
from unrolled.inference.results import Evaluation, Score, TokenScore, evaluation_of
from unrolled.inference.scoring import LINES_AT_ONCE
from unrolled.settings import check_choice
from unrolled.text.pieces import encode_lines
from unrolled.text.settings import UNITS
from unrolled.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # what starts and answers one line does not load these
    from unrolled.inference.session import Session
    from unrolled.inference.suggestions import Words

Ids = npt.NDArray[np.integer[Any]]
ROWS_AT_ONCE = 64
"""Continuations of a prompt that are made side by side."""
UnknownPolicy = Literal["score", "skip", "error"]


class LanguageModel:
    """A language model read from a model directory: p(next token | all tokens so far).

    Attributes:
        config: contents of config.json.
        tokenizer: text to token ids and back.
        weights: the arrays, in the dtype asked for.
        engine: what runs them.
        predictor: the weights as the engine made them ready.
    """

    def __init__(
        self, config: dict[str, Any], tokenizer: Tokenizer, weights: LanguageModelWeights, engine: Engine
    ) -> None:
        self.config, self.tokenizer, self.weights, self.engine = config, tokenizer, weights, engine
        self.predictor = engine.predictor(weights)

    @classmethod
    def load(
        cls, directory: str | Path, *, engine: str = "auto", dtype: Literal["auto", "float32", "float64"] = "auto"
    ) -> "LanguageModel":
        """Read and verify a model directory.

        Args:
            directory: the folder that `unrolled train` wrote.
            engine: name of the engine, or "auto".
            dtype: precision of all calculations. A line's score is to be the same whatever is scored beside it: "auto"
                is float32 on engines that promise that of it (native), and float64 on others (portable).

        Raises:
            ModelDirectoryError: the folder is missing, damaged, or not a language model.
            EngineError: the engine cannot run here, or not this cell.
            UsageError: no such engine, or dtype is neither of the two.
        """
        check_choice("dtype", dtype, ("auto", "float32", "float64"))
        files = model_directory.load(Path(directory))
        if files.config.get("task") != "language":
            raise ModelDirectoryError(
                f'{directory}: its task is {files.config.get("task")!r}, expected "language": unrolled predict and '
                "unrolled evaluate are for all others"
            )
        text = files.config.get("text")
        if not isinstance(text, dict) or text.get("unit") not in UNITS:
            raise ModelDirectoryError('config.json: "text" does not name the unit word, char or bpe: train again')
        tokenizer = Tokenizer.from_json(files.tokenizer_json, text["unit"])
        weights = weights_from(files.config, files.tensors, "float32" if dtype == "auto" else dtype)
        if tokenizer.vocabulary_size != len(weights.embedding):
            raise ModelDirectoryError(
                f"tokenizer.json has {tokenizer.vocabulary_size} tokens, "
                f"config.json says vocabulary_size={len(weights.embedding)}: train again"
            )
        chosen = engines.choose(engine, weights.cell, weights.embedding)
        if dtype == "auto" and not chosen.is_batch_invariant:
            weights = weights_from(files.config, files.tensors, "float64")
        return cls(files.config, tokenizer, weights, chosen)

    def score(
        self,
        lines: Iterable[str],
        *,
        unknown: UnknownPolicy = "score",
        details: bool = False,
        batch_size: int | None = None,
    ) -> list[Score]:
        """Score lines; see `score_stream`, which gives the same one by one."""
        return list(self.score_stream(lines, unknown=unknown, details=details, batch_size=batch_size))

    def score_stream(
        self,
        lines: Iterable[str],
        *,
        unknown: UnknownPolicy = "score",
        details: bool = False,
        batch_size: int | None = None,
        lines_at_once: int = LINES_AT_ONCE,
    ) -> Iterator[Score]:
        """Log-probability of each line, from a zero state, its end included; in order, for any number of lines.

        Args:
            lines: texts without their line ends.
            unknown: tokens the model does not know count with the probability of the unknown token ("score"), do not
                count ("skip"), or raise ("error").
            details: whether each token's own score is wanted.
            batch_size: most lines side by side; scores do not depend on it. None: what is fast.
            lines_at_once: how many lines are read ahead.

        Raises:
            UsageError: batch_size or lines_at_once below 1, unknown is none of the three, or a line has unknown tokens
                and unknown is "error".
        """
        _check_at_least_one("lines_at_once", lines_at_once)
        remaining = iter(lines)
        chunks = iter(lambda: list(islice(remaining, lines_at_once)), [])
        return chain.from_iterable(self.score_chunks(chunks, unknown=unknown, details=details, batch_size=batch_size))

    def score_chunks(
        self,
        chunks: Iterable[Sequence[str]],
        *,
        unknown: UnknownPolicy = "score",
        details: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[list[Score]]:
        """Scores of lines that come some at a time: those of a chunk before the next one is taken.

        A score does not depend on the chunk. Other arguments and errors are those of `score_stream`.
        """
        _check_at_least_one("batch_size", batch_size)
        check_choice("unknown", unknown, get_args(UnknownPolicy))
        return self._score_chunks(chunks, unknown, details, batch_size)

    def _score_chunks(
        self, chunks: Iterable[Sequence[str]], unknown: UnknownPolicy, details: bool, batch_size: int | None
    ) -> Iterator[list[Score]]:
        number = 1
        for chunk in chunks:
            if not chunk:
                continue
            sequences = encode_lines(self.tokenizer, chunk)
            known = self._known_lines(sequences) if unknown == "error" else len(chunk)
            if known:
                results = scoring.score_sequences(
                    self.predictor,
                    sequences[:known],
                    first_input=self.tokenizer.end_of_line_id,
                    batch_size=batch_size,
                    ranks=details,
                )
                each = zip(chunk, sequences, results, strict=False)
                yield [self._score_of(line, ids, result, skip=unknown == "skip") for line, ids, result in each]
            if known < len(chunk):
                raise self._unknown(chunk[known], number + known)
            number += len(chunk)

    def evaluate(
        self, text: str, *, cache: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Evaluation:
        """How well the model predicts a text, read as it was in training: as one stream, or line by line.

        Args:
            text: one or more lines; a missing last line end is added. Lines without a token do not count where the
                model was trained on sentences.
            cache: with what stands in the text's last so many tokens beside the model, see `Cache`; None: the model
                alone.
            progress: called with tokens done and tokens in all.

        Raises:
            UsageError: the text is empty, or the cache below 1.
        """
        start = time.perf_counter()
        text = text if text.endswith("\n") else text + "\n"
        ids: Ids = self.tokenizer.encode(text)
        if self._reads_sentences:
            from unrolled.text.batches import without_blank_lines

            text, ids = without_blank_lines(text, ids, self.tokenizer.end_of_line_id)
        if not text.strip():
            raise UsageError("the text to evaluate is empty: give at least one line with a word in it")
        total, done = 0.0, 0
        for losses in self._losses(ids, None if cache is None else Cache(cache)):
            total += float(losses.sum())
            done += len(losses)
            if progress is not None:
                progress(done, len(ids))
        unknown = int(np.sum(ids == self.tokenizer.unknown_id))
        seconds = time.perf_counter() - start
        return evaluation_of(text, total_nats=total, tokens=len(ids), unknown=unknown, seconds=seconds, cache=cache)

    def generate(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        max_tokens: int = 200,
        sampling: Sampling | None = None,
        seed: int | None = None,
    ) -> list[str]:
        """Continue a prompt `count` times; see `continuations`, which gives the same one by one."""
        return list(self.continuations(prompt, count=count, max_tokens=max_tokens, sampling=sampling, seed=seed))

    def continuations(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        max_tokens: int = 200,
        sampling: Sampling | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a prompt `count` times, side by side in batches of ROWS_AT_ONCE.

        Args:
            prompt: text to go on from; empty starts as at the start of a line.
            count: how many continuations.
            max_tokens: most tokens each; a model of sentences stops at the end of the line too.
            sampling: temperature, top-k, top-p or greedy; plain sampling if None.
            seed: continuation number i is the same for the same seed, whatever `count`; fresh randomness if None.

        Yields:
            The prompt with its continuation, `count` times.

        Raises:
            UsageError: count or max_tokens below 1, seed below 0, or nothing in the prompt is known to the model.
        """
        if count < 1:
            raise UsageError(f"count is {count}: give a whole number of at least 1")
        for start in range(0, count, ROWS_AT_ONCE):
            indices = range(start, min(count, start + ROWS_AT_ONCE))
            tokens: list[list[int]] = [[] for _ in indices]
            for piece in self._decode(prompt, indices, sampling, seed, max_tokens):
                for made, column in zip(tokens, piece.T.tolist(), strict=True):
                    made.extend(token for token in column if token >= 0)
            for row in tokens:
                pieces = generation.text_after(self.tokenizer, prompt)
                yield prompt + "".join(pieces.push(token) for token in row) + pieces.finish()

    def stream(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        sampling: Sampling | None = None,
        seed: int | None = None,
        index: int = 0,
    ) -> Iterator[str]:
        """The text of one continuation, piece by piece as it is made; close the iterator to stop.

        `index` is the number of the continuation: 2 gives what `generate` with the same seed has at place 2 (from 0).
        Other arguments and errors are those of `generate`; the prompt is not among the pieces.
        """
        pieces = generation.text_after(self.tokenizer, prompt)
        for piece in self._decode(prompt, [index], sampling, seed, max_tokens):
            for token in piece[:, 0].tolist():
                yield pieces.push(token)
        yield pieces.finish()

    def session(self, *, history: int | None = None) -> "Session":
        """A text to be fed piece by piece, from its beginning; see `Session`.

        Args:
            history: how many tokens can be taken back; None: `session.HISTORY`.

        Raises:
            UsageError: history is below 1.
        """
        from unrolled.inference.session import HISTORY, Session

        kept = HISTORY if history is None else history
        return Session(self.predictor, self._words, is_of_sentences=self._reads_sentences, history=kept)

    @cached_property
    def _words(self) -> "Words":
        from unrolled.inference.suggestions import Words

        return Words(self.tokenizer, lowercase=bool(self.config["text"].get("lowercase")))

    @property
    def _reads_sentences(self) -> bool:
        return bool(self.config["text"].get("read") == "sentences")

    def _losses(self, ids: Ids, cache: Cache | None) -> Iterator[npt.NDArray[np.float64]]:
        """Losses in nats in the way of reading that the model was trained for; ids end with an end of line."""
        read = scoring.sentence_losses if self._reads_sentences else scoring.stream_losses
        return read(self.predictor, ids, end_of_line_id=self.tokenizer.end_of_line_id, cache=cache)

    def _decode(
        self, prompt: str, indices: Sequence[int], sampling: Sampling | None, seed: int | None, max_tokens: int
    ) -> Iterator[npt.NDArray[np.int64]]:
        """The tokens of each continuation, in pieces (n, len(indices))."""
        return generation.decode_after(
            self.predictor,
            generation.prompt_ids(self.tokenizer, prompt),
            indices,
            sampling=sampling or Sampling(),
            seed=seed,
            forbidden=[] if self.tokenizer.unknown_id is None else [self.tokenizer.unknown_id],
            stop=self.tokenizer.end_of_line_id if self._reads_sentences else None,
            max_tokens=max_tokens,
        )

    def _score_of(self, line: str, ids: Ids, result: scoring.TokenLosses, *, skip: bool) -> Score:
        is_unknown = ids == self.tokenizer.unknown_id
        counts = ~is_unknown if skip else np.ones(len(ids), bool)
        total = float(result.losses[counts].sum())
        details = None
        if result.ranks is not None:
            details = tuple(
                TokenScore(self.tokenizer.token(int(i)), -loss, int(rank), metrics.bits(loss))
                for i, loss, rank in zip(ids[counts], result.losses[counts].tolist(), result.ranks[counts], strict=True)
            )
        tokens = int(counts.sum())  # at least 1: the end of the line is never unknown
        return Score(line, tokens, -total, metrics.perplexity(total / tokens), int(is_unknown.sum()), details)

    def _known_lines(self, sequences: Sequence[Ids]) -> int:
        """How many lines come before the first with a token that the model does not know."""
        unknown = (n for n, ids in enumerate(sequences) if np.any(ids == self.tokenizer.unknown_id))
        return next(unknown, len(sequences))

    def _unknown(self, line: str, number: int) -> UsageError:
        unseen = self.tokenizer.unseen(line) or [self.tokenizer.token(0)]  # the text may hold <unk> itself
        shown = ", ".join(repr(item) for item in unseen[:5])
        return UsageError(
            f"line {number} has tokens that the model does not know: {shown}; "
            "choose unknown=score or unknown=skip to go on"
        )


def _check_at_least_one(name: str, size: int | None) -> None:
    if size is not None and size < 1:
        raise UsageError(f"{name} is {size}: give a whole number of at least 1")
