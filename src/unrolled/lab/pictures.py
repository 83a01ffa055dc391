"""How the lab draws: one look for all figures, as PNG, and as SVG that follows a page's light or dark colours.

Colours are those of Okabe and Ito (2008), and matplotlib's viridis and PuOr, which the colour-blind can read. Text
stays text in an SVG, so that it can be selected.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b59f00",
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
INK = "#1b1c1d"
"""Lines and letters; on a page they take the colour of its text."""
WIDTH = 5.2
"""Inches: letters of 9 points then stay legible at 400 pixels, and two figures stand side by side at 1280."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unrolled",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: for a file.
        title, caption: for a page: what is seen, and how to read it.
        figure: matplotlib's.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"

    @property
    def is_wide(self) -> bool:
        """Whether it wants the whole width of a page."""
        return self.figure.get_figwidth() > 1.5 * WIDTH

    def png(self) -> bytes:
        """The picture on white."""
        buffer = io.BytesIO()
        with style():
            self.figure.savefig(buffer, format="png", dpi=160, facecolor="white")
        return buffer.getvalue()

    def svg(self) -> str:
        """The picture on nothing, to stand in a page, whose ink and --blue it takes; its letters are text."""
        buffer = io.StringIO()
        with style():
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        found = buffer.getvalue()
        found = found[found.index("<svg") :].replace(INK, "currentColor").replace(BLUE, f"var(--blue, {BLUE})")
        found = found.replace("font-family: 'DejaVu Sans'", "font-family: 'DejaVu Sans', sans-serif")
        found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
        found = re.sub(
            r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", found, count=1
        )
        return _with_own_names(found, self.name)


def _with_own_names(svg: str, name: str) -> str:
    """Names of parts that no other picture of the page has."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)


@contextmanager
def style() -> Iterator[None]:
    """The look of the lab's figures, while they are made and written."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it, and the page has it
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, *, width: float = WIDTH, **options: Any
) -> tuple["Figure", Any]:
    """An empty figure of so many inches, and its axes; to be called within `style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def log_scale(axes: "Axes") -> None:
    """Powers of ten upwards, written as numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")


def heat_map(axes: "Axes", values: NDArray[np.float64], label: str, **options: Any) -> None:
    """Values as colours, NaN as nothing, with a bar that says what the colours mean."""
    image = axes.imshow(values, aspect="auto", interpolation="nearest", **({"cmap": "viridis"} | options))
    axes.grid(visible=False)
    figure = axes.figure
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.outline.set_edgecolor(INK)


def word_ticks(axes: "Axes", words: Sequence[str], *, along_x: bool = True, along_y: bool = False) -> None:
    """Words as the labels of an axis, one a step."""
    size = max(4.5, min(8.0, 230 / max(len(words), 1)))
    shown = [word if len(word) <= 12 else word[:11] + "…" for word in words]
    if along_x:
        axes.set_xticks(range(len(words)), shown, rotation=90, fontsize=size)
    if along_y:
        axes.set_yticks(range(len(words)), shown, fontsize=size)
