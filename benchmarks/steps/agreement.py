"""Whether two contestants compute the same, asked before they are timed."""

from typing import Any

import numpy as np
import numpy.typing as npt

from steps.task import CLIP, Tensors, Tokens, TrainingStep

Array = npt.NDArray[Any]
TOLERANCE = 1e-4
"""Relative, norm-wise; two float32 implementations that are right differ by about a hundredth of it."""
ROUNDING = 2.0**-24
"""Largest relative error of one rounding in float32."""
STEPS = 3
"""Whole steps that are compared, so that clipping, update and the carried state are, too."""


class DisagreementError(Exception):
    """Two contestants that do not compute the same."""


def check_agreement(ours: TrainingStep, peer: TrainingStep, tokens: Tokens) -> None:
    """Compare loss and gradients of one batch, then the losses of whole steps and what these did to the weights.

    Raises:
        DisagreementError: says what differs and by how much; or that nothing was clipped.
    """
    (batch,) = tokens.take(1)
    loss, gradients = ours.gradients(batch)
    peer_loss, peer_gradients = peer.gradients(batch)
    compare("loss", np.array(loss), np.array(peer_loss), peer)
    compare_all("gradient of", gradients, peer_gradients, peer)
    if _norm(gradients) <= CLIP:
        raise DisagreementError(f"the gradient has norm {_norm(gradients):.3g}: {CLIP} clips nothing, make it smaller")
    before = ours.weights()
    for number, batch in enumerate(tokens.take(STEPS), start=1):
        for contestant in (ours, peer):
            contestant.step(contestant.ready(batch))
        compare(f"loss of step {number}", np.array(ours.loss()), np.array(peer.loss()), peer)
    changes, peer_changes = (_all_in_one(contestant.weights(), before) for contestant in (ours, peer))
    # Every step rounds the weights once, to half a unit in their last place, however small the change.
    rounding = STEPS * ROUNDING * _norm(before) / float(np.linalg.norm(peer_changes.astype(np.float64)))
    compare("change of the weights", changes, peer_changes, peer, TOLERANCE + rounding)


def compare_all(what: str, ours: Tensors, theirs: Tensors, peer: TrainingStep) -> None:
    """Compare arrays by name; both sides have to have the same names."""
    if ours.keys() != theirs.keys():
        names = ", ".join(sorted(ours.keys() ^ theirs.keys()))
        raise DisagreementError(f"{what} {names}: ours or {peer.name} ({peer.variant}) has none")
    for name, array in ours.items():
        compare(f"{what} {name}", array, theirs[name], peer)


def compare(what: str, ours: Array, theirs: Array, peer: TrainingStep, tolerance: float = TOLERANCE) -> None:
    """Compare norm-wise."""
    size = np.linalg.norm(theirs.astype(np.float64))
    error = np.linalg.norm(ours.astype(np.float64) - theirs) / size if size > 0 else np.inf
    if not error <= tolerance:
        raise DisagreementError(
            f"{what}: ours differs from {peer.name} ({peer.variant}) by {error:.2g} of its norm {size:.3g}, "
            f"allowed is {tolerance:.2g}: times of different computations say nothing"
        )


def _norm(tensors: Tensors) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in tensors.values())))


def _all_in_one(after: Tensors, before: Tensors) -> Array:
    return np.concatenate([(after[name] - before[name]).ravel() for name in sorted(before)])
