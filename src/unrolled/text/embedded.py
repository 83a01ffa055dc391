"""The corpus that every CPython brings along: the English of its language reference."""

import re
from functools import cache

_BULLET = re.compile(r"^(?:[*-]|\d+\.|\[\d+\]) ")
_EMPHASIS = re.compile(r"(?<![\w*\"])\*{1,2}(?=[^\s*])([^*]*[^\s*])\*{1,2}(?![\w*\"])")
_NO_PROSE = ("::=", ">>>", "===", "***", "---", "~~~", "|")
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])|(?<=[.!?][\")”]) (?=[A-Z])")
_LEAST_WORDS = 5


@cache
def embedded_text() -> str:
    """The reference's prose, one sentence a line; some 2,000 lines that differ between Python versions.

    `pydoc_data.topics` holds the reference as it is shown in a terminal. Its paragraphs are kept where they read as
    prose, unwrapped, and only once, since topics overlap: headings, rules, grammar, tables, signatures and programs go.
    """
    from pydoc_data.topics import topics

    kept: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n[ \t]*\n", topics[name]):
            line = _BULLET.sub("", " ".join(paragraph.split()))
            if _is_prose(line):
                kept[_EMPHASIS.sub(r"\1", line)] = None
    sentences = (sentence for line in kept for sentence in _SENTENCE_END.split(line))
    return "".join(f"{sentence}\n" for sentence in sentences)


def _is_prose(line: str) -> bool:
    """Whether a paragraph begins and ends as a sentence does, has words enough, and no sign of anything else."""
    return (
        re.match(r"[A-Z\"“(*]", line) is not None
        and line.endswith((".", ":", "?", ".)", ".”", '."'))
        and len(re.findall(r"[A-Za-z]+", line)) >= _LEAST_WORDS
        and not any(sign in line for sign in _NO_PROSE)
    )
