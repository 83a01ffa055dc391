import re
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError
from unrolled.text.pairs import Pair, align, read_pairs

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\t"), min_size=1, max_size=8).filter(
    lambda text: bool(text.strip())
)
PAIRS = st.lists(st.none() | st.tuples(TEXTS, TEXTS), min_size=1, max_size=8).filter(any)


def refused(text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(message)}") as caught:
        read_pairs(text, "file")
    assert "\n" not in str(caught.value)


def refused_together(source: str, target: str, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(message)}") as caught:
        align(source, target, "one.de", "one.en")
    assert "\n" not in str(caught.value)


def test_pairs_of_one_file_by_hand() -> None:
    found = read_pairs("\nGeh.\tGo.\n \t\n Lauf! \tRun!\u2028Run!", "file")
    assert [astuple(pair) for pair in found] == [("Geh.", "Go.", 2, "file"), (" Lauf! ", "Run!\u2028Run!", 4, "file")]


def test_pairs_of_two_files_by_hand() -> None:
    both = "one.de and one.en"
    found = align("Geh.\n\n\tLauf!\n", "Go.\n \nRun!", "one.de", "one.en")
    assert [astuple(pair) for pair in found] == [("Geh.", "Go.", 1, both), ("\tLauf!", "Run!", 3, both)]


@given(PAIRS, st.sampled_from(["", "\n"]))
def test_what_is_written_is_read_again(pairs: list[tuple[str, str] | None], end: str) -> None:
    expected = [(*pair, number) for number, pair in enumerate(pairs, start=1) if pair]
    if not pairs[-1]:
        end = "\n"  # a blank line at the end is one only if it ends
    together = "\n".join("\t".join(pair) if pair else "" for pair in pairs) + end
    assert [astuple(pair)[:3] for pair in read_pairs(together, "file")] == expected
    source, target = ("\n".join(pair[side] if pair else "" for pair in pairs) for side in (0, 1))
    assert [astuple(pair)[:3] for pair in align(source + end, target + "\n", "one.de", "one.en")] == expected


def test_pairs_are_equal_as_examples() -> None:
    assert Pair("a", "b", 1) == Pair("a", "b", 2)
    assert len({Pair("a", "b", 1), Pair("a", "b", 2), Pair("b", "a", 1)}) == 2


def test_lines_that_are_not_a_pair() -> None:
    refused(
        "a\tb\n\nc d\n", "file, line 3: there is no tab, expected one between source and target: write both on the line"
    )
    refused("a\tb\tc\n", "file, line 1: there are 2 tabs, expected one between source and target: keep two columns")
    refused("a\tb\n \tb\n", "file, line 2: the source is empty: write it, or take the line out")
    refused("a\tb\nb\t\n", "file, line 2: the target is empty: write it, or take the line out")


@pytest.mark.parametrize("text", ["", "\n", "\n \n"])
def test_no_pairs(text: str) -> None:
    refused(text, "file: there are no pairs: give a file with a source, a tab and a target on each line")
    refused_together(text, text, "one.de and one.en: there are no pairs: all lines are blank: give files with text")


def test_files_of_unequal_length() -> None:
    refused_together(
        "a\nb\nc\n",
        "a\nb",
        "one.de and one.en have unequal numbers of lines, 3 and 2: those of one.de from line 3 on have no counterp",
    )
    refused_together(
        "",
        "a\n" * 1200,
        "one.de and one.en have unequal numbers of lines, 0 and 1,200: those of one.en from line 1 on have no c",
    )
    refused_together(
        "a\n", "a\n\n", "one.de and one.en have unequal numbers of lines, 1 and 2: those of one.en from line 2 on "
    )


def test_a_line_that_is_blank_in_one_file() -> None:
    refused_together(
        "a\n \n", "a\nb\n", "one.de, line 2: the line is empty, the same line of one.en is not: write its coun"
    )
    refused_together(
        "a\n", "\n", "one.en, line 1: the line is empty, the same line of one.de is not: write its counterpart"
    )
