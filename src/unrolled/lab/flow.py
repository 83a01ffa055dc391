"""How far back an error is felt: the size of dE_t/ds_k for each pair of steps k <= t, on one text.

A state is all that a step hands on: h, and for the LSTM h and c, as the future sees them. With one layer that is the
tutorial's dE_t/ds_k; with several, what reaches a layer by way of the layers above is in it.

Sources: Bengio, Simard and Frasconi 1994 (IEEE Transactions on Neural Networks 5); Pascanu et al., arXiv:1211.5063.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engines.through_time import FORGOTTEN, WHOLE, effective_memory, error_sizes, lags_judged, over_the_lag
from unrolled.lab.pictures import COLOURS, Picture, heat_map, log_scale, new_figure, style, word_ticks
from unrolled.lab.subject import Subject

SHOWN = 32
"""Steps that a heat map has room for, with their words."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LagCurve:
    """Sizes over the lag, each (lags,): the median over the steps and the quartiles."""

    median: Floats
    lower: Floats
    upper: Floats

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"median": self.median.tolist(), "lower": self.lower.tolist(), "upper": self.upper.tolist()}


@dataclass(frozen=True)
class Flow:
    """Sizes of errors.

    Attributes:
        sizes: by part of the state ("h", "c", and "state" for all of it), (L, T, T): the norm of dE_t/ds_k of each
            layer at [layer, t, k]; NaN for k > t.
    """

    subject: Subject
    sizes: dict[str, Floats]

    @property
    def layers(self) -> int:
        """L."""
        return len(self.sizes[WHOLE])

    def by_lag(self, layer: int, part: str = WHOLE, *, relative: bool = False) -> LagCurve:
        """Median and quartiles over the steps t at each lag t-k.

        Args:
            layer: from 0.
            part: of the state.
            relative: to the size of the whole state's error at lag 0 of the same t.
        """
        whole = self.sizes[WHOLE][layer] if relative else None
        return LagCurve(*over_the_lag(self.sizes[part][layer], whole).T)

    def effective_memory(self, layer: int) -> int | None:
        """The first lag from which on the median error is under 1% of that at lag 0; None: not within this text."""
        return effective_memory(self.by_lag(layer, relative=True).median)

    def as_dict(self) -> dict[str, Any]:
        """For machines: sizes as rows for t that end at k = t, and curves, by layer and part."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "tokens": self.subject.words(self.subject.ids),
            "sizes": {
                part: [[row[: t + 1].tolist() for t, row in enumerate(of_layer)] for of_layer in sizes]
                for part, sizes in self.sizes.items()
            },
            "layers": [
                {
                    "effective_memory": self.effective_memory(layer),
                    "parts": {
                        part: {
                            "absolute": self.by_lag(layer, part).as_dict(),
                            "relative": self.by_lag(layer, part, relative=True).as_dict(),
                        }
                        for part in self.sizes
                    },
                }
                for layer in range(self.layers)
            ],
        }

    def lines(self) -> list[str]:
        """For a person."""
        steps, lines = len(self.subject.ids), []
        for layer in range(self.layers):
            memory = self.effective_memory(layer)
            judged = lags_judged(steps) - 1
            end = f"falls under 1% at lag {memory}" if memory is not None else f"is above 1% {judged} steps back"
            relative = self.by_lag(layer, relative=True).median
            shown = ", ".join(f"{lag}: {relative[lag]:.3g}" for lag in (1, 2, 5, 10, 20, 50) if lag < steps)
            lines.append(f"layer {layer + 1}     |dE_t/ds_k|, median against lag 0: {shown}; {end}")
        return lines

    def pictures(self) -> list[Picture]:
        """The heat map of each layer over the words, and the curves over the lag."""
        with style():
            maps = [self._map(layer) for layer in range(self.layers)]
            return [*maps, self._curves(relative=True), self._curves(relative=False)]

    def _map(self, layer: int) -> Picture:
        steps = min(SHOWN, len(self.subject.ids))
        sizes = self.sizes[WHOLE][layer, :steps, :steps]
        figure, axes = new_figure(4.6)
        logarithms = np.log10(np.where(sizes > 0, sizes, np.nan))
        heat_map(axes, logarithms, "size of the error, power of ten")
        word_ticks(axes, self.subject.words(self.subject.inputs[:steps]))
        word_ticks(axes, self.subject.words(self.subject.ids[:steps]), along_x=False, along_y=True)
        axes.set_xlabel("felt at the step that reads ...")
        axes.set_ylabel("error of predicting ...")
        name = f" of layer {layer + 1}" if self.layers > 1 else ""
        return Picture(
            f"flow-map-{layer + 1}",
            f"How far back each error is felt{' in layer ' + str(layer + 1) if self.layers > 1 else ''}",
            "Each row is one prediction; to the left its error travels back in time, and its colour is the size of "
            f"dE_t/ds_k{name}. Rows that darken within a few words belong to a network that cannot learn from what "
            "came before them.",
            figure,
        )

    def _curves(self, *, relative: bool) -> Picture:
        figure, axes = new_figure(3.2)
        parts = list(self.sizes)
        for layer in range(self.layers):
            for number, part in enumerate(parts):
                curve = self.by_lag(layer, part, relative=relative)
                shown = curve.median > 0
                label = _label(part, layer, self.layers, len(parts))
                lags = np.arange(len(curve.median))
                colour = COLOURS[layer % len(COLOURS)]
                line = ("-", "--", ":")[min(parts.index(WHOLE) - number if len(parts) > 1 else 0, 2)]
                axes.plot(lags[shown], curve.median[shown], color=colour, linestyle=line, label=label)
                if part == WHOLE:
                    axes.fill_between(lags[shown], curve.lower[shown], curve.upper[shown], color=colour, alpha=0.2)
        log_scale(axes)
        axes.set_xlabel("lag t - k, steps back")
        if relative:
            axes.axhline(FORGOTTEN, color=COLOURS[1], linewidth=0.8, linestyle=":")
            axes.annotate("1%", (axes.get_xlim()[1], FORGOTTEN), va="bottom", ha="right", fontsize=8)
            axes.set_ylabel("size against lag 0")
        else:
            axes.set_ylabel("size of dE_t/ds_k")
        if self.layers * len(parts) > 1:
            axes.legend()
        steps = len(self.subject.ids)
        memories = [_or_more(self.effective_memory(layer), steps) for layer in range(self.layers)]
        memory = ", ".join(
            f"layer {number}: {each}" if self.layers > 1 else each for number, each in enumerate(memories, 1)
        )
        if relative:
            return Picture(
                "flow-relative",
                "What is left of an error, step by step back",
                f"Median over the steps, with quartiles. Effective memory, the lag at which 1% is left: {memory}.",
                figure,
            )
        return Picture("flow-absolute", "The same in absolute size", "Median over the steps, with quartiles.", figure)


def flow(subject: Subject) -> Flow:
    """Measure how errors flow back through a subject's text."""
    return Flow(subject, error_sizes(subject.read()))


def _or_more(memory: int | None, steps: int) -> str:
    return f"more than {lags_judged(steps) - 1}" if memory is None else str(memory)


def _label(part: str, layer: int, layers: int, parts: int) -> str:
    names = [f"layer {layer + 1}"] if layers > 1 else []
    names += [part if part != WHOLE else "both"] if parts > 1 else []
    return " ".join(names)
