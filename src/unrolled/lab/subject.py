"""What the lab looks at: a trained model or a fresh cell, and the tokens of a text that it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.engines.contract import LanguageModelWeights
from unrolled.engines.through_time import Record, record
from unrolled.errors import UsageError
from unrolled.text.settings import TextSettings
from unrolled.text.tokenizer import Tokenizer, train_tokenizer
from unrolled.text.word_rules import JOINER

Report = Callable[[float], None]
"""Is told which share of the work is done."""
STEPS = 100
"""Tokens that are read where nothing else is asked for."""
CHARACTERS_A_TOKEN = 500
"""So much of a text is read for each token that is wanted, so that a long text takes no time."""
_VISIBLE = str.maketrans({JOINER: "‿", " ": "␣", "\n": "⏎", "\t": "⇥"})


def nobody(share: float) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True)
class FreshCell:
    """A network that has learnt nothing.

    Attributes:
        cell: its name, or one that is not registered.
        hidden, layers: H and L; token vectors have H elements too.
        initialization, initial_range, forget_bias: as training has them.
        seed: of the weights.
    """

    cell: str = "lstm"
    hidden: int = 64
    layers: int = 1
    initialization: str = "uniform"
    initial_range: float | None = None
    forget_bias: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Subject:
    """A network with a text to read.

    Attributes:
        name: of the network, for a person.
        text_name: of the text.
        weights: in float64.
        tokenizer: of the network.
        ids: tokens of the text, (T,); the one at step t is the target there, and what is read is the one before, an end
            of line before the first.
    """

    name: str
    text_name: str
    weights: LanguageModelWeights
    tokenizer: Tokenizer
    ids: NDArray[np.int64]

    @property
    def inputs(self) -> NDArray[np.int64]:
        """What is read at each step, (T,)."""
        return np.concatenate([[self.tokenizer.end_of_line_id], self.ids[:-1]])

    def read(self) -> Record:
        """The network's way through the text.

        Raises:
            UsageError: its numbers are not finite.
        """
        with np.errstate(all="ignore"):
            done = record(self.weights, self.inputs, self.ids)
        wrong = np.flatnonzero(~np.isfinite(done.losses))
        if len(wrong):
            raise UsageError(
                f"{self.name}: its loss at step {wrong[0] + 1} is {done.losses[wrong[0]]}: it has diverged"
            )
        return done

    def words(self, ids: NDArray[np.int64]) -> list[str]:
        """Tokens for a person, blanks and ends of lines made visible."""
        if self.tokenizer.unit == "bpe":
            return [self.tokenizer.decode([token]).translate(_VISIBLE) for token in ids]
        return [self.tokenizer.token(int(token)).translate(_VISIBLE) for token in ids]


def of_model(directory: Path, text: str | None, text_name: str, *, steps: int = STEPS) -> Subject:
    """A model directory's network.

    Args:
        directory: that `unrolled train` wrote.
        text: to read; None for the part that the model was validated on.
        text_name: what to call it.
        steps: most tokens.

    Raises:
        ModelDirectoryError: the folder is no language model.
        CorpusError: the model's own text is asked for and cannot be found.
        UsageError: the text has no tokens.
    """
    from unrolled.inference import LanguageModel
    from unrolled.inference.evaluation_text import find_text

    model = LanguageModel.load(directory, engine="portable", dtype="float64")
    if text is None:
        text, text_name = find_text(model.config, None, None)
    layers, hidden = len(model.weights.layers), model.weights.layers[0].hidden_size
    name = f"{directory.name} ({layers} x {hidden} {model.weights.cell.name})"
    ids = _tokens(model.tokenizer, text, steps)
    if model.config["text"].get("read") == "sentences":
        ids, text_name = _longest_line(ids, model.tokenizer.end_of_line_id), f"the longest line of {text_name}"
    return Subject(name, text_name, model.weights, model.tokenizer, ids)


def of_fresh_cell(
    fresh: FreshCell, text: str, text_name: str, settings: TextSettings, *, steps: int = STEPS
) -> Subject:
    """A network that has learnt nothing, with the vocabulary of the text.

    Raises:
        UsageError: the cell is unknown, or cannot be initialised so.
        CorpusError: the text has too few tokens.
    """
    for name, size in (("hidden", fresh.hidden), ("layers", fresh.layers)):
        if size < 1:
            raise UsageError(f"{name} is {size}: give a whole number of at least 1")
    tokenizer = train_tokenizer(text, settings)
    weights = fresh_weights(fresh, tokenizer.vocabulary_size)
    name = f"fresh {fresh.layers} x {fresh.hidden} {fresh.cell}"
    return Subject(name, text_name, weights, tokenizer, _tokens(tokenizer, text, steps))


def fresh_weights(fresh: FreshCell, vocabulary_size: int) -> LanguageModelWeights:
    """Weights as training begins with them, in float64."""
    import torch

    from unrolled.models import LanguageModelNetwork, LanguageModelShape

    shape = LanguageModelShape(fresh.cell, vocabulary_size, fresh.hidden, fresh.hidden, fresh.layers, tied=False)
    network = LanguageModelNetwork(
        shape,
        initialization=fresh.initialization,
        initial_range=fresh.initial_range,
        forget_bias=fresh.forget_bias,
        generator=torch.Generator().manual_seed(fresh.seed),
    )
    return network.weights(np.float64)


def _longest_line(ids: NDArray[np.int64], end_of_line: int) -> NDArray[np.int64]:
    """Of a text for a network that reads each line by itself, the line that shows most."""
    ends = np.flatnonzero(ids == end_of_line) + 1
    return max(np.split(ids, ends), key=len)


def _tokens(tokenizer: Tokenizer, text: str, steps: int) -> NDArray[np.int64]:
    if steps < 2:
        raise UsageError(f"steps is {steps}: give at least 2")
    ids = tokenizer.encode(text[: CHARACTERS_A_TOKEN * steps])[:steps].astype(np.int64)
    if len(ids) < 2:
        raise UsageError(f"the text has {len(ids)} tokens: give at least 2")
    return ids
