"""What stands in a tokenizer.json of ours: the `tokenizers` library's format, read here with the json module alone."""

import json
from dataclasses import dataclass

from unrolled.errors import TokenizerError
from unrolled.settings import check_choice
from unrolled.text import word_rules
from unrolled.text.settings import UNITS

UNKNOWN = "<unk>"
END_OF_LINE = "\n"
BYTE_LEVEL_END_OF_LINE = "Ċ"
EXPRESSIONS = {"word": word_rules.WORDS, "pre-tokenized": r"\n|\S+", "char": r"[\s\S]", "bpe": r"\n"}
"""What the pre-tokenizer looks for, by the rules in use: those of a unit, or of pre-tokenized words."""


@dataclass(frozen=True)
class Contents:
    """What our own encoding and decoding need to know.

    Attributes:
        tokens: the vocabulary by id.
        rules: "word", "pre-tokenized", "char" or "bpe".
        lowercase: whether the text is turned into lower case first.
    """

    tokens: list[str]
    rules: str
    lowercase: bool


def read_tokenizer_json(text: str, unit: str) -> Contents:
    """Read the contents of a tokenizer.json.

    Raises:
        TokenizerError: it is not one that `train_tokenizer` made for this unit.
        UsageError: there is no such unit.
    """
    check_choice("unit", unit, UNITS)
    try:
        data = json.loads(text)
        ids = data["model"]["vocab"]
        tokens = sorted(ids, key=ids.__getitem__)
        is_complete = [ids[token] for token in tokens] == list(range(len(tokens)))
        pre_tokenizer = data["pre_tokenizer"]
        expression = (pre_tokenizer["pretokenizers"][0] if unit == "bpe" else pre_tokenizer)["pattern"]["Regex"]
        steps = data["normalizer"]["normalizers"] if data["normalizer"] else []
        lowercase = {"type": "Lowercase"} in steps
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise TokenizerError(
            f"tokenizer.json: this is no tokenizer of Unrolled ({error!r:.100}): train again"
        ) from error
    known = ["word", "pre-tokenized"] if unit == "word" else [unit]
    rules = next((rules for rules in known if EXPRESSIONS[rules] == expression), None)
    special = [BYTE_LEVEL_END_OF_LINE] if unit == "bpe" else [UNKNOWN, END_OF_LINE]
    has_special = tokens[: len(special)] == special or (unit == "bpe" and special[0] in ids)
    has_characters = unit != "char" or all(len(token) == 1 for token in tokens[1:])
    if rules is None or not (is_complete and has_special and has_characters):
        raise TokenizerError(f"tokenizer.json: this is no tokenizer of Unrolled for the unit {unit}: train again")
    return Contents(tokens, rules, lowercase)
