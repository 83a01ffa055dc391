"""The tutorial's network: one hidden layer that sees its own past, no biases.

s_t = f(U x_t + W s_{t-1}),   o_t = softmax(V s_t),   s_{-1} = 0
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from unrolled.cells import Cell, get
from unrolled.errors import ModelDirectoryError, ShapeError, UsageError
from unrolled.reference.arrays import Array, as_float64

ACTIVATIONS = ("tanh", "relu", "sigmoid")
NAMES = ("U", "V", "W")


@dataclass(frozen=True, eq=False)
class TutorialNetwork:
    """The weights and the activation. A value: training makes a new network and leaves the old one as it was.

    V stands for the matrix of the equations and for the size of the vocabulary, as in the literature: V is (V, H).

    Raises:
        ShapeError: U, V and W do not fit each other.
        UsageError: no such activation.
    """

    U: Array
    """(H, I), from the input; I is the size of the vocabulary where inputs are indices or fed back."""
    V: Array
    """(V, H), to the scores of the words."""
    W: Array
    """(H, H), from the state before."""
    activation: str = "tanh"
    """The function f: tanh, relu or sigmoid; the Elman cell of that name."""

    def __post_init__(self) -> None:
        U = as_float64("U", self.U, "H, I", (None, None))
        hidden = U.shape[0]
        V = as_float64("V", self.V, "V, H", (None, hidden))
        W = as_float64("W", self.W, "H, H", (hidden, hidden))
        for name, weight in zip(NAMES, (U, V, W), strict=True):
            weight.setflags(write=False)
            object.__setattr__(self, name, weight)
        if self.activation not in ACTIVATIONS:
            raise UsageError(f'activation "{self.activation}" is not known: choose one of {", ".join(ACTIVATIONS)}')

    @property
    def cell(self) -> Cell:
        """The Elman cell whose function is f."""
        return get(self.activation)

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, in the order U, V, W."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def parameter_count(self) -> int:
        """How many numbers training adjusts: H * (I + V + H)."""
        return sum(weight.size for weight in self.parameters.values())

    def with_parameters(self, parameters: Mapping[str, Array]) -> "TutorialNetwork":
        """Return the same network with other weights."""
        return TutorialNetwork(parameters["U"], parameters["V"], parameters["W"], self.activation)


def random_network(
    vocabulary_size: int,
    hidden_size: int,
    random: np.random.Generator | np.random.RandomState,
    *,
    input_size: int | None = None,
    activation: str = "tanh",
) -> TutorialNetwork:
    """Make a network whose weights are uniform in +-1/sqrt(n), n the number of incoming connections of a unit.

    Args:
        vocabulary_size: V, the number of words that the output chooses between.
        hidden_size: H.
        random: draws U, then V, then W; a RandomState repeats draws of NumPy's older interface.
        input_size: I, for dense inputs of another size than V.
        activation: tanh, relu or sigmoid.

    Raises:
        UsageError: a size is not positive, or no such activation.
    """
    input_size = vocabulary_size if input_size is None else input_size
    if min(vocabulary_size, hidden_size, input_size) < 1:
        raise UsageError(f"sizes {vocabulary_size}, {hidden_size} and {input_size} must all be 1 or more")

    def draw(rows: int, columns: int) -> Array:
        bound = np.sqrt(1 / columns)  # (26)
        return np.asarray(random.uniform(-bound, bound, (rows, columns)))

    U, V, W = draw(hidden_size, input_size), draw(vocabulary_size, hidden_size), draw(hidden_size, hidden_size)
    return TutorialNetwork(U, V, W, activation)


def save_network(network: TutorialNetwork, path: str | PathLike[str]) -> None:
    """Write the tutorial's own format, an .npz with U, V and W. The activation is not part of it.

    Raises:
        ModelDirectoryError: the file cannot be written.
    """
    target = Path(path)
    unfinished = target.with_name(target.name + ".part")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, U=network.U, V=network.V, W=network.W)
        unfinished.replace(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ModelDirectoryError(f"{target}: cannot be written: {error.strerror or error}") from None


def load_network(path: str | PathLike[str], *, activation: str = "tanh") -> TutorialNetwork:
    """Read the tutorial's own format, an .npz with U (H, V), V (V, H) and W (H, H).

    Raises:
        ModelDirectoryError: the file is missing or no such .npz, or a weight is missing or not finite.
        ShapeError: the three do not fit each other.
    """
    try:
        with Path(path).open("rb") as file:
            found = np.load(file, allow_pickle=False)
            archive = found if isinstance(found, np.lib.npyio.NpzFile) else {}
            weights = {name: archive[name] for name in NAMES if name in archive}
    except OSError as error:
        raise ModelDirectoryError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # for a damaged file numpy, zipfile and zlib raise eight kinds between them
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelDirectoryError(f"{path}: not an .npz of plain numbers, expected U, V, W: {reason}") from None
    missing = [name for name in NAMES if name not in weights]
    if missing:
        raise ModelDirectoryError(f"{path}: holds no {', '.join(missing)}: expected U, V and W")
    try:
        network = TutorialNetwork(weights["U"], weights["V"], weights["W"], activation)
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None
    for name, weight in network.parameters.items():
        if not np.isfinite(weight).all():
            raise ModelDirectoryError(
                f"{path}: {name} holds values that are not finite: train again from an earlier file"
            )
    return network
