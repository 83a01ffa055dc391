"""Finding the text that a model is to be evaluated on."""

from collections.abc import Sequence
from typing import Any

from unrolled.errors import ModelDirectoryError, UsageError
from unrolled.settings import check_choice
from unrolled.text.corpus import read_corpus
from unrolled.text.settings import ERRORS
from unrolled.text.split import find_part


def find_text(
    config: dict[str, Any],
    sources: Sequence[str] | None,
    part: str | None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[str, str]:
    """The text to evaluate on, and what to call it.

    Args:
        config: of the model.
        sources: a corpus; None for the one the model was trained with.
        part: "train", "validation" or "test" as split for training; None for all of the given sources, or for the
            validation part if none are given.
        encoding, errors: of the given sources; the recorded corpus is read as it was in training.

    Raises:
        UsageError: the model has no such part, or `errors` is neither strict nor replace.
        CorpusError: the corpus cannot be read, or is not the one whose part is asked for.
    """
    check_choice("errors", errors, ERRORS)
    if sources and part is None:
        corpus = read_corpus(sources, encoding=encoding, errors=errors)
        return corpus.text, ", ".join(corpus.sources)
    try:
        parts = dict(config["data"]["parts"])
        as_trained = {key: config["text"][key] for key in ("encoding", "errors")}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirectoryError("config.json: has no record of the text's parts: give a corpus") from error
    part = part or "validation"
    if part not in parts:
        raise UsageError(f'part is "{part}": this model has {", ".join(parts)}')
    found = find_part(parts[part], sources or None, **as_trained)
    return found.text, f"{part} part of {', '.join(found.sources)}"
