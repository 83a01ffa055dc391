"""What training reads of a text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unrolled.models.language import data as training_data
from unrolled.models.language.data import TrainingData, prepare
from unrolled.text.settings import TextSettings
from unrolled.training.settings import TrainingSettings

OPTIONS = TrainingSettings(batch=2, window=5)


def prepared(folder: Path, *, read: str = "stream") -> TrainingData:
    train, validation = folder / "train.txt", folder / "validation.txt"
    train.write_text("the cat sat on the mat\n" * 20, encoding="utf-8")
    validation.write_text("the mat\n\nthe cat sat\non the mat\n", encoding="utf-8")  # 3 + 1 + 4 + 4 tokens
    settings = TextSettings(read=read, validation=str(validation))
    return prepare([train], settings)


@pytest.mark.parametrize(("most", "read"), [(12, 12), (11, 8), (8, 8), (7, 4), (2, 2)])
def test_validation_reads_whole_lines_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, read: int
) -> None:
    monkeypatch.setattr(training_data, "VALIDATION_TOKENS", most)
    data = prepared(tmp_path)
    assert data.validation_reader(OPTIONS).tokens == read
    assert data.validation_tokens == 12
    notes = [note for note in data.notes() if note.startswith("validation while training reads")]
    assert notes == (
        []
        if read == 12
        else [
            f"validation while training reads the first {read} of 12 tokens; unrolled evaluate reads them all",
        ]
    )


def test_bits_per_character_are_those_of_the_whole_validation_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepared(tmp_path).figures(1.0, None)["bits_per_character"]
    monkeypatch.setattr(training_data, "VALIDATION_TOKENS", 5)
    assert prepared(tmp_path).figures(1.0, None)["bits_per_character"] == whole
    assert whole == pytest.approx(12 / 32 / 0.6931471805599453)


def test_blank_lines_do_not_count_where_sentences_are_read(tmp_path: Path) -> None:
    data = prepared(tmp_path, read="sentences")
    assert data.validation_reader(OPTIONS).tokens == data.validation_tokens == 11
    assert data.validation_characters == 31


def shapes_of(data: TrainingData, pass_index: int = 0, **options: Any) -> list[tuple[int, ...]]:
    """Of the inputs in a pass."""
    reader = data.training_reader(replace(OPTIONS, **options))
    return [batch.inputs.shape for batch in reader.batches(pass_index)]


def test_batch_and_window_reach_the_reader_of_the_training_text(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    for batch, window in ((2, 5), (3, 5), (2, 8)):
        shapes = shapes_of(data, batch=batch, window=window)
        assert set(shapes[:-1]) == {(window, batch)}
        assert len(shapes) > 3
    assert shapes_of(prepared(tmp_path, read="sentences"), batch=3)[0] == (7, 3), "a line is a window"


def test_windows_are_of_random_lengths_only_where_asked_for_and_by_the_seed(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    plain = shapes_of(data, window=8)
    assert plain == shapes_of(data, 1, window=8) == shapes_of(data, window=8, seed=2)
    options: dict[str, Any] = {"window": 8, "random_windows": True}
    moved = [shapes_of(data, index, seed=seed, **options) for index, seed in ((0, 1), (1, 1), (0, 2))]
    assert len({tuple(each) for each in [*moved, plain]}) == 4
    assert shapes_of(data, seed=1, **options) == moved[0]
    cut = data.validation_reader(replace(OPTIONS, seed=1, **options))
    assert {batch.inputs.shape[0] for batch in list(cut.batches(0))[:-1]} <= {8}, "validation is always cut alike"


def test_sentences_come_in_an_order_that_the_seed_makes(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"a line {'and more ' * (n % 9)}\n" for n in range(60)), encoding="utf-8")
    data = prepare([path], TextSettings(read="sentences"))
    assert shapes_of(data, seed=1) == shapes_of(data, seed=1) != shapes_of(data, seed=2)
    assert sorted(shapes_of(data, seed=1)) == sorted(shapes_of(data, seed=2))
