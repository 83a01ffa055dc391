"""What training reads of a text."""

from pathlib import Path

import pytest

from unrolled.text.settings import TextSettings
from unrolled.training import data as training_data
from unrolled.training.data import TrainingData, prepare
from unrolled.training.settings import TrainingSettings


def prepared(folder: Path, *, read: str = "stream") -> TrainingData:
    train, validation = folder / "train.txt", folder / "validation.txt"
    train.write_text("the cat sat on the mat\n" * 20, encoding="utf-8")
    validation.write_text("the mat\n\nthe cat sat\non the mat\n", encoding="utf-8")  # 3 + 1 + 4 + 4 tokens
    settings = TextSettings(read=read, validation=str(validation))
    return prepare([train], settings, TrainingSettings(batch=2, window=5))


@pytest.mark.parametrize(("most", "read"), [(12, 12), (11, 8), (8, 8), (7, 4), (2, 2)])
def test_validation_reads_whole_lines_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, read: int
) -> None:
    monkeypatch.setattr(training_data, "VALIDATION_TOKENS", most)
    data = prepared(tmp_path)
    assert data.validation.tokens == read
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
    whole = prepared(tmp_path).validation_bits_per_character(1.0)
    monkeypatch.setattr(training_data, "VALIDATION_TOKENS", 5)
    assert prepared(tmp_path).validation_bits_per_character(1.0) == whole
    assert whole == pytest.approx(12 / 32 / 0.6931471805599453)


def test_blank_lines_do_not_count_where_sentences_are_read(tmp_path: Path) -> None:
    data = prepared(tmp_path, read="sentences")
    assert data.validation.tokens == data.validation_tokens == 11
    assert data.validation_characters == 31
