"""What a network drops and penalises while it learns: settings, each with its source."""

from dataclasses import dataclass, fields

from unrolled.errors import UsageError
from unrolled.settings import option

_SHARES = ("dropout", "dropout_input", "dropout_between", "dropout_output", "dropout_embedding", "weight_drop")


@dataclass(frozen=True)
class Regularization:
    """What a network of tokens drops and penalises while it learns; nothing of it remains when it is used.

    `docs/recipes.md` has formulas and sources. None leaves a choice to the recipe, which is 0 unless a run is planned.

    Raises:
        UsageError: a share is outside 0 <= p < 1, or a factor is below 0.
    """

    dropout: float | None = option(None, "Share of elements dropped: of inputs, between layers and of outputs")
    dropout_input: float | None = option(None, "The same of inputs alone (default: as --dropout)")
    dropout_between: float | None = option(None, "The same between layers alone (default: as --dropout)")
    dropout_output: float | None = option(None, "The same of outputs alone (default: as --dropout)")
    dropout_embedding: float | None = option(None, "Share of the vocabulary whose vectors are dropped in a window")
    locked: bool = option(True, "Drop the same elements at all steps of a window (variational), or others at each step")
    weight_drop: float | None = option(None, "Share of the recurrent weights dropped in a window (DropConnect)")
    activation: float | None = option(None, "Penalty on the size of outputs (AR): factor of their mean square")
    temporal_activation: float | None = option(None, "Penalty on changes of outputs from step to step (TAR): factor")
    signal_norm: float | None = option(
        None, "Penalty on backward signals that shrink or grow from step to step: factor; Elman cells only"
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _SHARES and value is not None and not 0 <= value < 1:
                raise UsageError(f"{each.name} is {value}: give a share of at least 0 and below 1")
            if each.name not in {*_SHARES, "locked"} and value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{each.name} is {value}: give a factor of at least 0")

    @property
    def of_inputs(self) -> float:
        """Share of input elements that are dropped."""
        return self._or_dropout(self.dropout_input)

    @property
    def between_layers(self) -> float:
        """Share of elements that are dropped between layers."""
        return self._or_dropout(self.dropout_between)

    @property
    def of_outputs(self) -> float:
        """Share of output elements that are dropped."""
        return self._or_dropout(self.dropout_output)

    def _or_dropout(self, share: float | None) -> float:
        return (self.dropout or 0.0) if share is None else share
