"""The picture of a run: what is drawn is what the log says, and any log can be drawn."""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from unrolled.training.curve import SMALL_PANELS, draw_curve
from unrolled.training.events import Record

from .runs import log_of, train

BASELINES: dict[str, Any] = {"uniform": 6.0, "unigram": 5.0}
Points = list[tuple[float, float]]
Drawn = dict[str, Any]
"""The axes by their titles."""


@pytest.fixture
def axes_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Drawn]:
    """What `draw_curve` is about to paint."""

    def draw(records: Sequence[Record], **options: Any) -> Drawn:
        figures: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(FigureCanvasAgg, "print_png", lambda self, file: figures.append(self.figure))
            assert draw_curve(records, title="losses", **(BASELINES | options)) == b""
        (figure,) = figures
        return {axes.get_title(): axes for axes in figure.axes}

    return draw


def lines_of(axes: Any) -> dict[str, Points]:
    """The lines by their labels; those without one are "_child0" and so on."""
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.lines}


def pixels_of(png: bytes) -> npt.NDArray[np.uint8]:
    """The pixels (rows, columns, 4) of a PNG, each part of which has to be whole; filters are left as they are."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, data, size = 8, b"", (0, 0)
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        content = png[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length)[0] == zlib.crc32(kind + content)
        if kind == b"IHDR":
            size = struct.unpack_from(">II", content)
            assert content[8:10] == bytes([8, 6]), "eight bits of red, green, blue and opacity"
        data += content if kind == b"IDAT" else b""
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(size[1], 1 + 4 * size[0])
    return rows[:, 1:].reshape(size[1], size[0], 4)


def trained(count: int, **fields: Callable[[int], float | None]) -> list[Record]:
    """Lines of a log, ten a pass."""
    return [{"step": n, "passes": n / 10} | {name: value(n) for name, value in fields.items()} for n in range(1, count)]


def test_a_run_leaves_a_picture_of_its_log(corpus: Path, tmp_path: Path, axes_of: Callable[..., Drawn]) -> None:
    out = tmp_path / "model"
    train(corpus, out)
    pixels = pixels_of((out / "curve.png").read_bytes())
    assert min(pixels.shape[:2]) > 400
    assert len(np.unique(np.ascontiguousarray(pixels).view(np.uint32))) > 50
    log = log_of(out)
    drawn = axes_of(log)
    assert len(drawn) == 7
    for name, title, _ in SMALL_PANELS:
        points = [(line["passes"], line[name]) for line in log if line.get(name) is not None]
        assert len(points) > 1, name
        assert lines_of(drawn[title]) == {"_child0": points}


def test_losses_are_drawn_beside_the_baselines(axes_of: Callable[..., Drawn]) -> None:
    records = trained(30, training_loss=lambda n: 5 - n / 9)
    validation = [{"step": 9 * n, "passes": float(n), "validation_loss": 4.5 - n} for n in range(1, 4)]
    baselines = {"unigram (5.00)": [(0, 5.0), (1, 5.0)], "uniform (6.00)": [(0, 6.0), (1, 6.0)]}
    losses = {
        "training": [(r["passes"], r["training_loss"]) for r in records],
        "validation": [(r["passes"], r["validation_loss"]) for r in validation],
    }
    for shown, names in (
        ([], ()),
        (records, ("training",)),
        (validation, ("validation",)),
        (sorted(records + validation, key=lambda r: r["step"]), ("training", "validation")),
    ):
        assert lines_of(axes_of(shown)["losses"]) == {name: losses[name] for name in names} | baselines


def test_what_explains_the_losses_is_drawn_on_the_scale_that_suits_it(axes_of: Callable[..., Drawn]) -> None:
    fields: dict[str, Callable[[int], float | None]] = {
        "learning_rate": lambda n: 0.1 / n,
        "gradient_norm": lambda n: 10.0 ** -(n % 7),
        "clipped": lambda n: (n % 3) / 2,
        "update_ratio": lambda n: 1e-3 / n if n % 4 else None,  # not measured in every line
        "tokens_per_second": lambda n: 9000.0 + n,
        "effective_memory": lambda n: float(n) if n % 2 else None,  # none where it is longer than what is looked at
    }
    records = trained(20, **fields)
    drawn = axes_of(records)
    scales = {"linear": "linear", "share": "linear", "log": "log"}
    for name, title, scale in SMALL_PANELS:
        points = [(r["passes"], r[name]) for r in records if r[name] is not None]
        assert lines_of(drawn[title]) == {"_child0": points}
        assert drawn[title].get_yscale() == scales[scale], name
        low, high = drawn[title].get_ylim()
        lowest, highest = min(y for _, y in points), max(y for _, y in points)
        assert low <= lowest < highest < high, name
        if scale == "linear":
            assert high - highest > 0.01 * (high - low), f"{name} lies beside the frame, not under it"
    assert drawn["tokens per second"].get_ylim()[0] == drawn["learning rate"].get_ylim()[0] == 0
    assert drawn["share of steps clipped"].get_ylim() == (-0.03, 1.03)
    assert len({axes.get_xlim() for axes in drawn.values()}) == 1, "all over the same passes"


def test_an_old_log_that_knows_losses_and_rates_alone_is_drawn(axes_of: Callable[..., Drawn]) -> None:
    records = trained(9, training_loss=lambda n: 5 - n / 9, learning_rate=lambda n: 0.1)
    drawn = axes_of(records)
    counts = {title: len(drawn[title].lines) for _, title, _ in SMALL_PANELS}
    assert [title for title, count in counts.items() if count] == ["learning rate"]
    assert lines_of(drawn["learning rate"]) == {"_child0": [(r["passes"], 0.1) for r in records]}


@pytest.mark.parametrize(("uniform", "unigram", "loss"), [(3.0, 3.5, 9.0), (3.0, 3.0, 3.0), (3.0, 2.0, 1e9)])
def test_losses_worse_than_guessing_can_be_drawn(uniform: float, unigram: float, loss: float) -> None:
    records = [{"step": 1, "passes": 0.5, "training_loss": loss}, {"step": 2, "passes": 1.0, "validation_loss": loss}]
    pixels_of(draw_curve(records, uniform=uniform, unigram=unigram, title="worse"))


def test_nothing_but_zeros_in_a_single_line_can_be_drawn() -> None:
    zeros: dict[str, Callable[[int], float | None]] = {name: lambda n: 0.0 for name, _, _ in SMALL_PANELS}
    pixels_of(draw_curve(trained(2, **zeros), title="zeros", **BASELINES))


def test_huge_and_tiny_values_can_be_drawn() -> None:
    values = {
        "training_loss": (1e300, 5e-324),
        "learning_rate": (1e38, 1e-38),
        "gradient_norm": (1e300, 0.0),
        "clipped": (0.0, 1.0),
        "update_ratio": (1e30, 1e-300),
        "tokens_per_second": (1e12, 1e-3),
        "effective_memory": (1e12, 0.0),
    }
    records = [
        {"step": n, "passes": n / 1000} | {name: pair[n % 2] for name, pair in values.items()} for n in range(1, 6)
    ]
    pixels_of(draw_curve(records, title="extreme", **BASELINES))


def test_steps_that_were_done_twice_are_drawn_once(axes_of: Callable[..., Drawn]) -> None:
    first = [{"step": n, "passes": n, "training_loss": 9.0 - n, "clipped": 0.1 * n} for n in (1, 2, 3, 4)]
    again = [{"step": n, "passes": n, "training_loss": 8.0 - n, "clipped": 0.05 * n} for n in (3, 4, 5)]
    drawn, expected = axes_of(first + again), first[:2] + again
    for title, name, label in (
        ("losses", "training_loss", "training"),
        ("share of steps clipped", "clipped", "_child0"),
    ):
        assert lines_of(drawn[title])[label] == [(r["passes"], r[name]) for r in expected]
