r"""Reads pairs of texts, a source and its translation: two columns of one file, or the lines of two files.

Both texts are kept as they stand. Lines end at "\n" only, as `read_corpus` gives them; a line of nothing but white
space is a blank one.
"""

from dataclasses import dataclass, field

from unrolled.errors import CorpusError


@dataclass(frozen=True)
class Pair:
    """A text and what it is to become. Two are equal where both texts are, on whatever line they stand.

    Attributes:
        source: what is translated.
        target: its translation.
        line: of the file, or of both files, from 1.
        file: its name, or both names, for messages.
    """

    source: str
    target: str
    line: int = field(compare=False)
    file: str = field(compare=False, default="")

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}, line {self.line}"


def read_pairs(text: str, name: str) -> list[Pair]:
    """The pairs of a file, in order: source, one tab and target on each line.

    Blank lines give no pair, but count as lines.

    Args:
        text: the whole file.
        name: of the file, for messages.

    Raises:
        CorpusError: no pairs; a line without a tab or with several; an empty source or target. All but the first with
            the number of the line.
    """
    pairs = []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        where, columns = f"{name}, line {number}", line.split("\t")
        if len(columns) == 1:
            raise CorpusError(
                f"{where}: there is no tab, expected one between source and target: write both on the line"
            )
        if len(columns) > 2:
            raise CorpusError(
                f"{where}: there are {len(columns) - 1} tabs, expected one between source and target: keep two columns"
            )
        for side, written in zip(("source", "target"), columns, strict=True):
            if not written.strip():
                raise CorpusError(f"{where}: the {side} is empty: write it, or take the line out")
        pairs.append(Pair(columns[0], columns[1], number, name))
    if not pairs:
        raise CorpusError(f"{name}: there are no pairs: give a file with a source, a tab and a target on each line")
    return pairs


def align(source_text: str, target_text: str, source_name: str, target_name: str) -> list[Pair]:
    """The pairs of two files, in order: each line of one with the same line of the other.

    Lines that are blank in both files give no pair, but count as lines.

    Args:
        source_text: the whole file of sources.
        target_text: the whole file of targets.
        source_name: of the file of sources, for messages.
        target_name: of the file of targets, for messages.

    Raises:
        CorpusError: the files have unequal numbers of lines; a line is blank in one file and not in the other, with its
            number; no pairs.
    """
    sources, targets = _lines(source_text), _lines(target_text)
    if len(sources) != len(targets):
        longer = source_name if len(sources) > len(targets) else target_name
        raise CorpusError(
            f"{source_name} and {target_name} have unequal numbers of lines, {len(sources):,} and {len(targets):,}: "
            f"those of {longer} from line {min(len(sources), len(targets)) + 1:,} on have no counterpart: "
            f"find where the files part, and make them equally long"
        )
    pairs = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), start=1):
        if not source.strip() and not target.strip():
            continue
        if not source.strip() or not target.strip():
            blank, other = (target_name, source_name) if source.strip() else (source_name, target_name)
            raise CorpusError(
                f"{blank}, line {number}: the line is empty, the same line of {other} is not: write its counterpart, "
                f"or take line {number} out of both files"
            )
        pairs.append(Pair(source, target, number, f"{source_name} and {target_name}"))
    if not pairs:
        raise CorpusError(
            f"{source_name} and {target_name}: there are no pairs: all lines are blank: give files with text"
        )
    return pairs


def _lines(text: str) -> list[str]:
    """The lines of a text, whose last one may end in a newline or not."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]
