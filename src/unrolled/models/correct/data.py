"""Clean lines and copies with mistakes, which are others in each pass."""

import random

from unrolled.model_directory import ModelFiles
from unrolled.models.correct import CorrectionSettings
from unrolled.models.examples import encode_texts
from unrolled.models.rows import ExampleSettings, Rows
from unrolled.models.translate import TranslationSettings
from unrolled.models.translate.data import TranslationData
from unrolled.models.translate.data import make_data as make_pairs
from unrolled.text.examples import Integers, Sequences
from unrolled.text.noise import noisy
from unrolled.text.pairs import Pair
from unrolled.text.settings import TextSettings


def make_data(
    rows: Rows[Pair],
    text: TextSettings,
    examples: ExampleSettings,
    translation: TranslationSettings,
    correction: CorrectionSettings,
    files: ModelFiles | None,
) -> TranslationData:
    """As of pairs; but the training part's sources are made anew in each pass, from its number and the line's.

    Raises:
        CorpusError: nothing is short enough, or there is nothing to learn.
    """
    data = make_pairs(rows, text, examples, translation, files)
    clean = data.kept["train"]

    def renewed(numbers: Integers, pass_index: int) -> Sequences:
        copies = [
            noisy(clean[number].target, correction.noise, random.Random(f"{pass_index} {number}"))
            for number in numbers.tolist()
        ]
        ids = encode_texts(data.tokenizer, copies)
        return Sequences([each[: examples.most_tokens] for each in ids])

    data.renewed = renewed
    return data
