r"""Where words begin and end, and where the blanks between them go: the word unit's rules, as regular expressions.

A text is cut into words, numbers and single symbols. Blanks are no tokens, so each symbol has to tell by itself
whether one belongs beside it:

- an opening symbol such as "(" clings to what follows, a closing one such as "," to what precedes;
- any other symbol (a straight quote, a dash, a slash) stands between blanks;
- a symbol that stood otherwise in the text carries U+2060, the word joiner, on each side on which it clings, and
  then clings nowhere else. Straight quotes thus become two tokens, an opening and a closing one, as in the Penn
  Treebank.

A blank between two tokens is left out where either clings to the other. So decoding restores a text but for runs of
blanks, and for a blank before a closing or after an opening symbol, which is dropped: "no !" is read as "no!".

The expressions are Oniguruma's, as the `tokenizers` library runs them; `clings_left` and
`clings_right` say of single tokens what `BLANKS` do to a text.
"""

import re

JOINER = "\u2060"
OPENING = "([{“‘«‹„‚¿¡$£€「『（《〈【"
CLOSING = ".,;:!?)]}”’»›…、。，．！？；：」』）》〉】"

_opening_symbols, _closing_symbols = frozenset(OPENING), frozenset(CLOSING)
_opening = f"[{re.escape(OPENING)}]"
_closing = f"[{re.escape(CLOSING)}]"
_other = rf"[^\w\s{_opening[1:-1]}{_closing[1:-1]}{JOINER}]"
_inside = "['’‐‑\u200c\u200d-]"  # between two letters these belong to the word: don't, well-known

WORDS = (
    rf"\n|\w+(?:(?:{_inside}|(?<=\d)[.,](?=\d))\w+)*"
    rf"|{JOINER}?(?:-{{2,}}|\.{{2,}}|[^\w\s{JOINER}]){JOINER}?"
)
"""A newline; a word or number such as don't, well-known, 3.14; a symbol, "--" or "..." with its joiners."""

# The blank that goes in beside each joiner tells to which of two neighbouring symbols it belongs. Of two symbols that
# touch, one speaks: an opening one before any, a closing one after any, else the right one, but the left before "(".
MARKS = (
    (JOINER, ""),  # a joiner of the text's own, which nobody sees
    # f(x: an opening symbol where a blank should precede; it then also says what it does on its right
    (rf"(?<=[\w{_closing[1:-1]}])(?={_opening})", " " + JOINER),
    (rf"(?<={JOINER}{_opening})(?=\S)", JOINER + " "),
    # self.x, .py: a closing symbol where a blank should follow (but not in 3.14 or don’t), and then its left
    (rf"(?<={_closing})(?=\w)(?!(?<=\d[.,])\d)(?!(?<=\w’)\w)", JOINER + " "),
    (rf"(?<=\S)(?=(?:\.{{2,}}|{_closing}){JOINER})(?!(?<=\.)\.)", " " + JOINER),
    # either side of any other symbol (but not in well-known, nor inside --)
    (rf"(?<=[^\s{_opening[1:-1]}{JOINER}])(?={_other})(?!(?<=\w){_inside}\w)(?!(?<=-)-)", " " + JOINER),
    (rf"(?<={_other})(?=[\w{_opening[1:-1]}])(?!(?<=\w{_inside})\w)", JOINER + " "),
)
"""Expression and replacement, in order: what the normalizer does to mark symbols that do not stand as usual."""

BLANKS = (
    (r" ?\n ?", "\n"),
    (rf"(?<![^ \n]{_opening})(?<={_opening}) ", ""),
    (rf" (?=(?:{_closing}|\.{{2,}})(?![^ \n]))", ""),
    (f" ?{JOINER} ?", ""),
)
"""Expression and replacement, in order: what the decoder does to tokens that were joined by blanks."""


def clings_left(token: str) -> bool:
    """Whether no blank goes before the token, whatever precedes it; the same as `BLANKS` say."""
    return token[0] in {JOINER, "\n"} or token in _closing_symbols or set(token) == {"."}


def clings_right(token: str) -> bool:
    """Whether no blank goes after the token, whatever follows it; the same as `BLANKS` say."""
    return token[-1] in {JOINER, "\n"} or token in _opening_symbols
