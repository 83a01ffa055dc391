"""Whether two contestants compute the same, asked before they are timed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from decoding.scorer import Ids, Scorer
from decoding.writer import FIRST, Doubles, OurWriter, Tokens, Writer
from steps.agreement import DisagreementError

Array = npt.NDArray[Any]
TOLERANCE = 1e-4
"""In nats; float32 implementations that are right differ by about a hundredth of it."""
PROBABILITY_TOLERANCE = 1e-5
"""In sums of probabilities, of which 10,000 tokens have a ten-thousandth each."""
SUM_TOLERANCE, SUM_RELATIVE = 1e-3, 1e-4
"""Of a sentence's log-probability: in nats, and as a share of it."""
TOKENS = 20


def check_writers(ours: OurWriter, peer: Writer, seed: int = 2) -> None:
    """Compare distributions along fixed tokens, and each one's own choices with what the peer's model says of them.

    The choices show that the loops that are timed feed what they chose and carry the state: ours has to draw the very
    tokens that its random numbers call for, and the peer to choose the most probable ones.

    Raises:
        DisagreementError: says what differs and by how much.
    """
    vocabulary = len(ours.predictor.weights.embedding)
    tokens = np.random.default_rng(seed).integers(0, vocabulary, TOKENS)
    theirs = peer.log_probabilities(tokens)
    error = np.abs(ours.log_probabilities(tokens) - theirs).max()
    _expect("log-probabilities: ours differ", error, TOLERANCE, "nats", peer)

    chosen = peer.generate(TOKENS)
    logs = peer.log_probabilities(_before(chosen))
    error = (logs.max(axis=1) - _at(logs, chosen)).max()
    _expect("choices: its best token is not the most probable one; differs", error, TOLERANCE, "nats", peer)

    drawn = ours.draw(TOKENS, np.random.default_rng(seed))
    probabilities = np.exp(peer.log_probabilities(_before(drawn)))
    upper = _at(probabilities.cumsum(axis=1), drawn)
    lower = upper - _at(probabilities, drawn)
    numbers = np.random.default_rng(seed).random(TOKENS)
    error = np.maximum(lower - numbers, numbers - upper).max()
    _expect("draws: ours differ", error, PROBABILITY_TOLERANCE, "of all probability", peer)


def check_scorers(ours: Scorer, peer: Scorer, sentences: Sequence[Ids]) -> None:
    """Compare the log-probabilities of sentences.

    Raises:
        DisagreementError: says which differs most and by how much.
    """
    mine, theirs = ours.score(sentences), peer.score(sentences)
    errors = np.abs(mine - theirs) / (SUM_TOLERANCE + SUM_RELATIVE * np.abs(theirs))
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    if not errors[worst] <= 1:
        raise DisagreementError(
            f"sentence {worst} of {len(errors)}: ours has log-probability {mine[worst]:.6g}, {peer.name} "
            f"({peer.variant}) has {theirs[worst]:.6g}: times of different computations say nothing"
        )


def _before(tokens: Tokens) -> Tokens:
    """What was fed to get these tokens."""
    return np.concatenate([[FIRST], tokens[:-1]])


def _at(rows: Doubles, tokens: Tokens) -> Doubles:
    return rows[np.arange(len(tokens)), tokens]


def _expect(what: str, error: float, tolerance: float, unit: str, peer: Writer) -> None:
    if not error <= tolerance:
        raise DisagreementError(
            f"{what} from {peer.name} ({peer.variant}) by {error:.2g} {unit}, allowed is {tolerance:.2g}: "
            f"times of different computations say nothing"
        )
