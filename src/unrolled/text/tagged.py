r"""Reads sentences whose tokens are labelled one by one: a token and its label a line, a blank line between sentences.

Lines end at "\n" only, as `read_corpus` gives them; a line of nothing but white space is a blank one.
"""

import re
from dataclasses import dataclass, field
from itertools import groupby

from unrolled.errors import CorpusError

_BLANKS = re.compile(" +")
DOCUMENT = "-DOCSTART-"
"""Begins the line that the CoNLL shared tasks' files put before each document."""


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence and the label of each token. Two are equal where these are, on whatever line they stand.

    Attributes:
        tokens: (T,) at least one; none is empty or has white space in it.
        labels: (T,) none is empty.
        line: of the file, from 1, on which the first token stands.
        file: its name, for messages.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    line: int = field(compare=False)
    file: str = field(compare=False, default="")

    def place(self, token: int = 0) -> str:
        """Where a token stands, for messages."""
        return f"{self.file}, line {self.line + token}"


def read_tagged(text: str, name: str) -> list[TaggedSentence]:
    """The sentences of a file, in order.

    A file with a tab anywhere has two columns with a tab between them, token and label; blanks around either do not
    count. One without has columns between blanks, of which the first is the token and the last the label, as in the
    files of the CoNLL shared tasks (2000, 2002, 2003). Blank lines and lines that begin with "-DOCSTART-" stand between
    sentences.

    Args:
        text: the whole file.
        name: of the file, for messages.

    Raises:
        CorpusError: no sentences; a line with one column, or with more than one tab; a token that is empty or has a
            blank in it; an empty label. All but the first with the number of the line.
    """
    has_tabs = "\t" in text
    lines = enumerate(text.split("\n"), start=1)
    sentences = [
        _sentence(list(stretch), name, has_tabs)
        for is_between, stretch in groupby(lines, key=lambda line: _is_between_sentences(line[1]))
        if not is_between
    ]
    if not sentences:
        raise CorpusError(f"{name}: there are no sentences: give a file with a token and its label on each line")
    return sentences


def _is_between_sentences(line: str) -> bool:
    return not line.strip() or line.startswith(DOCUMENT)


def _sentence(lines: list[tuple[int, str]], name: str, has_tabs: bool) -> TaggedSentence:
    columns = [_columns(line, f"{name}, line {number}", has_tabs) for number, line in lines]
    tokens, labels = zip(*columns, strict=True)
    return TaggedSentence(tokens, labels, lines[0][0], name)


def _columns(line: str, where: str, has_tabs: bool) -> tuple[str, str]:
    """Token and label of one line."""
    columns = [column.strip() for column in line.split("\t")] if has_tabs else _BLANKS.split(line.strip(" \r"))
    if len(columns) == 1:
        between = "a tab (this file has tabs)" if has_tabs else "a blank"
        raise CorpusError(
            f"{where}: there is one column only, expected a token, {between} and its label: add the label"
        )
    if has_tabs and len(columns) > 2:
        raise CorpusError(
            f"{where}: there are {len(columns)} columns, expected a token, one tab and its label: keep these two"
        )
    token, label = columns[0], columns[-1]
    if not token:
        raise CorpusError(f"{where}: the token is empty: write one before the tab, or take the line out")
    if len(token.split()) > 1:
        raise CorpusError(f'{where}: the token "{token}" has a blank in it: give each word a line of its own')
    if not label:
        raise CorpusError(f"{where}: the label is empty: write one behind the tab")
    return token, label
