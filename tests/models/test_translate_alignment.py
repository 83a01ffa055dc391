"""Attention as a matrix: in shades of text, and as a picture."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unrolled.models.predictor import PredictionSettings
from unrolled.models.translate.alignment import LONGEST, MOST_NAMED, SHADES, alignment_text, draw_alignment
from unrolled.models.translate.predictor import Translator

WEIGHTS = np.array([[0.0, 0.17, 0.83], [1.0, 0.0, 0.0], [0.34, 0.33, 0.33]], np.float32)


def test_shades_and_what_was_looked_at_most() -> None:
    assert alignment_text(WEIGHTS, ["the", "␣cat", "⏎"], ["die", "␣Donaudampfschifffahrt", "⏎"]) == [
        "           die | ·▓| ⏎ 0.83",
        "  ␣Donaudampfs |█  | the 1.00",
        "             ⏎ |░··| the 0.34",
    ]
    shades = [alignment_text(np.array([[w, 1 - w]], np.float32), "ab", "c")[0].split("|")[1][0] for w in
              (0.0, 0.16, 0.2, 0.4, 0.6, 0.7, 0.9)]  # fmt: skip
    assert "".join(shades) == " " + SHADES
    (row,) = alignment_text(np.array([[1.0]], np.float32), ["x" * 40], ["y" * 40])
    assert row == f"  {'y' * LONGEST} |█| {'x' * LONGEST} 1.00"


def test_rows_and_tokens_have_to_be_as_many() -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        alignment_text(WEIGHTS, ["a", "b", "c"], ["x", "y"])


def size_of(picture: bytes) -> tuple[int, int]:
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def pixels_of(picture: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """(height, width, 4), of the unfiltered kind of picture that matplotlib reads back."""
    import io

    from matplotlib.image import imread

    return np.round(255 * imread(io.BytesIO(picture))).astype(np.uint8)


def test_a_picture_is_darkest_where_was_looked_most() -> None:
    source, target = [f"s{n}" for n in range(12)], [f"t{n}" for n in range(9)]
    weights = np.zeros((9, 12), np.float32)
    weights[np.arange(9), 11 - np.arange(9)] = 1.0
    picture = draw_alignment(weights, source, target, title="a $title$ with signs")
    pixels = pixels_of(picture)[:, :, :3].astype(int)
    dark = (pixels[..., 2] > pixels[..., 0] + 60) & (pixels[..., 2] < 140)  # the deepest blue
    rows, columns = np.nonzero(dark)
    assert dark.sum() > 9 * 20 * 20
    slope = np.polyfit(columns, rows, 1)
    assert slope[0] < 0, "from the upper right to the lower left"
    assert np.corrcoef(columns, rows)[0, 1] < -0.95


def test_odd_tokens_are_drawn_without_a_warning() -> None:
    source, target = ["$x", "x$", "日本", "\\frac", "\t", "_^{", "⏎"], ["$", "%", "⏎"]
    picture = draw_alignment(np.full((3, 7), 1 / 7, np.float32), source, target, title="$x$ of 日本 \\ $")
    assert min(size_of(picture)) > 300
    assert zlib.crc32(picture) != 0


def test_a_picture_stops_growing() -> None:
    few, many = (
        size_of(draw_alignment(np.full((3, count), 1 / count, np.float32), ["x"] * count, ["y"] * 3))
        for count in (MOST_NAMED, 5 * MOST_NAMED)
    )
    assert few == many
    assert few[0] > 3000


def test_a_folder_gets_a_picture_for_each_line(sequence_model: Callable[[str], Path], tmp_path: Path) -> None:
    model, folder = Translator.load(sequence_model("backwards")), tmp_path / "new" / "pictures"
    lines = ["Zoë sees a cat.", "x $y$"]
    answers = model.answers(lines, PredictionSettings(alignment=str(folder), most_output=4), first=9)
    assert sorted(path.name for path in folder.iterdir()) == ["alignment-0009.png", "alignment-0010.png"]
    assert all(size_of(path.read_bytes()) for path in folder.iterdir())
    assert [answer.lines() for answer in answers] == [[answer.text] for answer in answers]
    drawn = model.answers(lines, PredictionSettings(alignment="-", most_output=4))
    for answer in drawn:
        output = answer.outputs[0]
        assert answer.lines()[0] == output.text
        assert len(answer.lines()) == 1 + len(output.steps)
        assert output.alignment is not None
        assert answer.lines()[1:] == alignment_text(output.alignment, answer.source_tokens, output.steps)
