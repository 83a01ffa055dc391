"""Units whose state follows a property of the text, such as being inside quotation marks, and by how much."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.lab.subject import Subject
from unrolled.text.word_rules import JOINER

STILL = 1e-3
"""A unit whose state has a smaller standard deviation over the text is dead."""
SELECTIVE = 6
"""Units whose traces are drawn."""
STRETCH = 10
"""Steps that are taken together, as neighbours are alike."""
LEAST_TIMES = 5
"""A property is looked for only where so many steps of either half have it, and as many have not."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selective:
    """A unit that follows a property of the text.

    Attributes:
        unit: from 0.
        feature: the property, in words.
        score: the correlation of the unit's state with it, over steps that had no part in choosing it, -1 to 1.
    """

    unit: int
    feature: str
    score: float


def features(subject: Subject) -> dict[str, NDArray[np.bool_]]:
    """Properties of the text at each step, of what has been read by then: name to (T,)."""
    read = [_written(subject, int(token)) for token in subject.inputs]
    found: dict[str, list[bool]] = {name: [] for name in (*_PAIRS, *_OF_TOKENS)}
    depth = dict.fromkeys(_PAIRS, 0)
    for written in read:
        for name, (opening, closing) in _PAIRS.items():
            for character in written:
                if character == "\n":  # what was not closed by then was no pair
                    depth[name] = 0
                elif opening == closing and character in opening:
                    depth[name] = 1 - depth[name]
                elif character in opening:
                    depth[name] += 1
                elif character in closing:
                    depth[name] = max(0, depth[name] - 1)
            found[name].append(depth[name] > 0)
        for name, holds in _OF_TOKENS.items():
            found[name].append(holds(written))
    return {name: np.array(values) for name, values in found.items()}


def _written(subject: Subject, token: int) -> str:
    """A token as it stands in a text."""
    if subject.tokenizer.unit == "bpe":
        return subject.tokenizer.decode([token])
    return subject.tokenizer.token(token).replace(JOINER, "")


def selective_units(
    states: Floats, properties: dict[str, NDArray[np.bool_]], count: int = SELECTIVE
) -> list[Selective]:
    """Units whose state goes with a property of the text: chosen on every other stretch of steps, scored on the rest.

    So the best of many units does not owe its score to chance. What does not pass twice the standard error there, and
    units that hardly move, are left out.

    Args:
        states: (T, H).
        properties: name to (T,).
        count: most units.
    """
    is_seen = np.arange(len(states)) // STRETCH % 2 == 0
    found: dict[int, Selective] = {}
    for name, values in properties.items():
        halves = values[is_seen], values[~is_seen]
        if min(int((half == wanted).sum()) for half in halves for wanted in (True, False)) < LEAST_TIMES:
            continue
        seen, rest = (_correlations(states[rows], values[rows]) for rows in (is_seen, ~is_seen))
        for unit in np.argsort(-np.abs(seen))[:count]:
            score = float(rest[unit]) if seen[unit] * rest[unit] > 0 else 0.0
            known = found.get(int(unit))
            if abs(score) > chance(int((~is_seen).sum())) and (known is None or abs(score) > abs(known.score)):
                found[int(unit)] = Selective(int(unit), name, score)
    return sorted(found.values(), key=lambda each: -abs(each.score))[:count]


def chance(steps: int) -> float:
    """A correlation over so many independent steps stays below this in 19 of 20 cases: twice its standard error."""
    return 2 / math.sqrt(max(steps, 4))


def _correlations(states: Floats, values: NDArray[np.bool_]) -> Floats:
    """Of each unit's state with a property; 0 for a unit that hardly moves."""
    centred, wanted = states - states.mean(0), values - values.mean()
    deviations = states.std(0)
    sizes = np.where(deviations > STILL, np.linalg.norm(centred, axis=0), np.inf)
    scores: Floats = wanted @ centred / (sizes * np.linalg.norm(wanted))
    return scores


_PAIRS = {
    "inside quotation marks": ("\u201c", "\u201d"),
    "inside straight quotation marks": ('"', '"'),
    "inside brackets": ("([{", ")]}"),
}
_OF_TOKENS: dict[str, Callable[[str], bool]] = {
    "ends of lines": lambda token: "\n" in token,
    "capital letters": lambda token: any(character.isupper() for character in token),
    "digits": lambda token: any(character.isdigit() for character in token),
    "blanks": lambda token: bool(token) and not token.strip(" "),
    "vowels": lambda token: len(token) == 1 and token in "aeiouAEIOU",
    "punctuation": lambda token: bool(token.strip()) and not any(c.isalnum() or c.isspace() for c in token.strip()),
}
