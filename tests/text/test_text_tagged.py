import re
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import CorpusError
from unrolled.text.tagged import TaggedSentence, read_tagged

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda word: word.split() == [word] and not word.startswith("-DOCSTART-")
)
SENTENCES = st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), min_size=1, max_size=4)


def refused(text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(message)}") as caught:
        read_tagged(text, "file")
    assert "\n" not in str(caught.value)


def test_two_columns_with_a_tab() -> None:
    found = read_tagged("\n\nEU\tB-ORG\nrejects \t O\n \t \n\nGerman\tB-MISC", "file")
    assert [astuple(sentence)[:3] for sentence in found] == [
        (("EU", "rejects"), ("B-ORG", "O"), 3),
        (("German",), ("B-MISC",), 7),
    ]


def test_first_and_last_column_of_a_file_without_tabs() -> None:
    found = read_tagged(
        "-DOCSTART- -X- -X- O\n\nEU NNP  B-NP B-ORG \n. . O O\n\n\nPeter NNP O\n-DOCSTART- O\nYes O\n", "f"
    )
    assert [astuple(sentence)[:3] for sentence in found] == [
        (("EU", "."), ("B-ORG", "O"), 3),
        (("Peter",), ("O",), 7),
        (("Yes",), ("O",), 9),
    ]


@given(SENTENCES, st.sampled_from(["\t", " ", "  "]), st.sampled_from(["\n", "\n \n", "\n\n\n", "\n-DOCSTART-\n"]))
def test_what_is_written_is_read_again(sentences: list[list[tuple[str, str]]], mark: str, between: str) -> None:
    text, expected = "", []
    for sentence in sentences:
        tokens, labels = zip(*sentence, strict=True)
        expected.append((tokens, labels, text.count("\n") + 1))
        text += "".join(f"{token}{mark}{label}\n" for token, label in sentence) + between
    assert [astuple(sentence)[:3] for sentence in read_tagged(text, "file")] == expected


def test_sentences_are_equal_as_examples() -> None:
    one, other = TaggedSentence(("a",), ("X",), 1), TaggedSentence(("a",), ("X",), 9)
    assert one == other
    assert len({one, other, TaggedSentence(("a",), ("Y",), 1)}) == 2


@pytest.mark.parametrize("text", ["", "\n\n", " \t\n", "-DOCSTART- -X- O\n\n"])
def test_no_sentences(text: str) -> None:
    refused(text, "file: there are no sentences: give a file with a token and its label on each line")


def test_lines_that_are_not_a_token_and_its_label() -> None:
    refused(
        "a\tX\n\nb\n", "file, line 3: there is one column only, expected a token, a tab (this file has tabs) and its la"
    )
    refused(
        "a X\nb\n", "file, line 2: there is one column only, expected a token, a blank and its label: add the label"
    )
    refused("a X\nb\tY\n", "file, line 1: there is one column only, expected a token, a tab (this file has tabs)")
    refused(
        "a\tX\nb\tN\tY\n", "file, line 2: there are 3 columns, expected a token, one tab and its label: keep these two"
    )
    refused("a\tX\n\tY\n", "file, line 2: the token is empty: write one before the tab, or take the line out")
    refused("a\tX\nb\t \n", "file, line 2: the label is empty: write one behind the tab")


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\u2028"])
def test_a_token_with_a_blank(blank: str) -> None:
    refused(f"a\tX\nNew{blank}York\tY\n", f'file, line 2: the token "New{blank}York" has a blank in it: give each word')
