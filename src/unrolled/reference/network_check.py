"""The gradient check applied to the tutorial's network."""

import numpy as np
from numpy.typing import ArrayLike

from unrolled.reference.checking import GradientReport, Rules, gradient_check
from unrolled.reference.forward_pass import FedBack, Inputs, sequence_loss
from unrolled.reference.gradients import bptt, naive_bptt
from unrolled.reference.network import TutorialNetwork


def check_network(
    network: TutorialNetwork,
    inputs: Inputs,
    targets: ArrayLike,
    *,
    truncate: int | None = None,
    rules: Rules | None = None,
    random: np.random.Generator | None = None,
) -> GradientReport:
    """Check BPTT on the tutorial's network with the sum loss; columns of U whose index does not occur may be zero.

    Args and errors as for `gradient_check`; truncate as for `naive_bptt`, None checks the one-loop version.

    Warns:
        TruncatedGradientWarning: truncate < T-1.
    """
    if truncate is None:
        backward = bptt(network, inputs, targets)
    else:
        backward = naive_bptt(network, inputs, targets, truncate=truncate)
    absent = np.zeros(network.U.shape[1], dtype=bool)
    if not isinstance(inputs, FedBack) and np.asarray(inputs).ndim == 1:
        absent = ~np.isin(np.arange(len(absent)), np.asarray(inputs))
    return gradient_check(
        lambda parameters: sequence_loss(network.with_parameters(parameters), inputs, targets),
        network.parameters,
        backward.gradients,
        rules=rules,
        unused={"U": absent},
        random=random,
        truncate=truncate,
        steps=len(np.asarray(targets)),
    )
