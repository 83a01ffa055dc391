"""The exceptions that Unrolled raises on purpose.

Every message is one line that says what is wrong, where, what was expected and what to do. The command line prints it
and exits with `exit_status`; anything else that escapes is a defect of ours.
"""


class UnrolledError(Exception):
    """Root of the tree; catch this to catch everything that Unrolled raises on purpose."""

    exit_status = 1
    is_told = False
    """Whether another process of the run has said it already."""


class UsageError(UnrolledError):
    """An option or argument that cannot be meant as given."""

    exit_status = 2


class CorpusError(UnrolledError):
    """Text that cannot be read, decoded or used."""


class LineError(CorpusError):
    """One of many lines, which cannot be used.

    Args:
        number: of the line, from 1.
        fault: what is wrong with it, as it goes on after "line 3 ".
    """

    def __init__(self, number: int, fault: str) -> None:
        super().__init__(f"line {number} {fault}")
        self.number, self.fault = number, fault


class TokenizerError(UnrolledError):
    """A tokenizer that cannot be made, read or applied."""


class ModelDirectoryError(UnrolledError):
    """A model directory that is missing, incomplete, damaged or of another format version."""


class ShapeError(UnrolledError, ValueError):
    """An array whose shape, dtype or length does not fit the operation."""


class EngineError(UnrolledError):
    """An engine that is not available here, or cannot do what was asked."""


class GradientCheckError(UnrolledError, AssertionError):
    """An analytic gradient that differs from the numerical one, or cannot be compared with it."""


class TrainingError(UnrolledError):
    """A training run that cannot start or cannot go on."""


class DivergenceError(TrainingError):
    """A loss or a gradient that is no longer a finite number."""


class UnrolledWarning(UserWarning):
    """Something that works, though not as it might have been expected to."""
