"""Attention as a matrix, drawn: a row for each output token, a column for each of the source."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHADES = " ·░▒▓█"
LONGEST = 12
"""Characters of a token that a row is named by."""
INCHES_A_TOKEN, MOST_NAMED = 0.26, 100
"""Of more tokens than that, the picture grows no further and names some only."""


def alignment_text(weights: npt.NDArray[np.float32], source: Sequence[str], target: Sequence[str]) -> list[str]:
    """The matrix in shades, and beside each row the source token that was looked at most.

    Args:
        weights: (T, S), each row adds up to 1.
        source: (S,) tokens.
        target: (T,) tokens.
    """
    rows = []
    for token, row in zip(target, weights, strict=True):
        shades = "".join(SHADES[min(int(weight * len(SHADES)), len(SHADES) - 1)] for weight in row)
        most = int(row.argmax())
        rows.append(f"  {token[:LONGEST]:>{LONGEST}} |{shades}| {source[most][:LONGEST]} {row[most]:.2f}")
    return rows


def draw_alignment(
    weights: npt.NDArray[np.float32], source: Sequence[str], target: Sequence[str], *, title: str = ""
) -> bytes:
    """The matrix as a PNG.

    Args:
        weights: (T, S), each row adds up to 1.
        source: (S,) tokens, along the top.
        target: (T,) tokens, down the side.
        title: stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    named = [range(0, len(tokens), -(-len(tokens) // MOST_NAMED)) for tokens in (source, target)]
    size = [1.6 + INCHES_A_TOKEN * min(max(8, len(tokens)), MOST_NAMED) for tokens in (source, target)]
    figure = Figure(figsize=(size[0], size[1]), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(named[0], [_shown(source[place]) for place in named[0]], rotation=90, fontsize=8)
    axes.set_yticks(named[1], [_shown(target[place]) for place in named[1]], fontsize=8)
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=2)
    axes.set_xlabel("source")
    axes.set_ylabel("output")
    if title:
        axes.set_title(_shown(title, 60), fontsize=9)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _shown(text: str, most: int = LONGEST) -> str:
    """A text cut short, in which no dollar begins a formula."""
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")
