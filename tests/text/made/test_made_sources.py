"""What holds of every text that comes along, and of how it is read as a corpus."""

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from unrolled.errors import CorpusError, UsageError
from unrolled.text import EMBEDDED, TextSettings, find_part, read_corpus, split_text
from unrolled.text.corpus import texts_that_come_along
from unrolled.text.made import MADE
from unrolled.text.made.agreement import made_agreement
from unrolled.text.made.brackets import made_brackets
from unrolled.text.made.counting import made_counting
from unrolled.text.made.dates import made_dates
from unrolled.text.made.drawing import draw_different
from unrolled.text.made.numbers import made_numbers, made_words
from unrolled.text.made.patterns import made_patterns
from unrolled.text.made.sentiment import made_sentiment

MAKERS: dict[str, Callable[..., Sequence[Any]]] = {
    ":dates:": made_dates,
    ":numbers:": made_numbers,
    ":words:": made_words,
    ":agreement:": made_agreement,
    ":brackets:": made_brackets,
    ":counting:": made_counting,
    ":sentiment:": made_sentiment,
    ":patterns:": made_patterns,
}
ITEMS = {
    ":dates:": 8000,
    ":numbers:": 8000,
    ":words:": 8000,
    ":agreement:": 6000,
    ":brackets:": 4000,
    ":counting:": 3000,
    ":sentiment:": 3000,
    ":patterns:": 1500,
}


def items_of(name: str) -> list[str]:
    """The text's items as text: sentences of several lines for tags, lines without the header for CSV."""
    text = MADE[name].text()
    assert text.endswith("\n")
    if MADE[name].task == "tag":
        return text[:-1].split("\n\n")
    return text[:-1].split("\n")[1 if MADE[name].task == "classify" else 0 :]


def test_these_tables_are_complete() -> None:
    assert list(MADE) == list(MAKERS) == list(ITEMS)
    assert {source.task for source in MADE.values()} == {"translate", "fill", "language", "classify", "tag"}
    assert list(texts_that_come_along()) == [EMBEDDED, *MADE]


@pytest.mark.parametrize("name", MADE)
def test_items_are_so_many_and_all_different(name: str) -> None:
    items = items_of(name)
    assert len(items) == len(set(items)) == ITEMS[name]
    assert all(item.strip() == item and item for item in items)


@pytest.mark.parametrize("name", MADE)
def test_the_same_seed_gives_the_same_and_another_seed_another(name: str) -> None:
    make = MAKERS[name]
    assert make(40, 5) == make(40, 5)
    assert make(40, 5) != make(40, 6)


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        (":dates:", "b9d9e034306f0250"),
        (":numbers:", "e194f1022c511854"),
        (":words:", "f0ac30b031d20782"),
        (":agreement:", "5f37d5018bdb78ff"),
        (":brackets:", "f6e7781803103b3d"),
        (":counting:", "ee77a9eb75fe678e"),
        (":sentiment:", "afd0fe489f89fe9f"),
        (":patterns:", "7a6b481af1c49b6e"),
    ],
)
def test_the_texts_are_these_on_every_machine(name: str, sha256: str) -> None:
    """A change of a text makes recorded parts of it void: it is to be meant."""
    assert hashlib.sha256(MADE[name].text().encode()).hexdigest().startswith(sha256)


@pytest.mark.parametrize("name", MADE)
def test_the_order_is_random(name: str) -> None:
    """The halves are alike in length, which follows the kind of most items."""
    lengths = [len(item) for item in items_of(name)]
    middle = len(lengths) // 2
    first, second = sum(lengths[:middle]) / middle, sum(lengths[middle:]) / (len(lengths) - middle)
    assert abs(first / second - 1) < 0.05


def test_more_than_there_are() -> None:
    assert sorted(draw_different(lambda generator: generator.randrange(7), str, count=7, seed=1)) == list(range(7))
    with pytest.raises(
        UsageError, match=r"^made data: 8 different items are more than there are, about 7: ask for fewer$"
    ):
        draw_different(lambda generator: generator.randrange(7), str, count=8, seed=1)


@pytest.mark.parametrize("name", MADE)
def test_every_name_is_a_source(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = read_corpus(name, encoding="utf-16")  # which is for files
    assert (corpus.sources, corpus.files) == ((name,), (name,))
    assert corpus.text == MADE[name].text()
    part = split_text(corpus, TextSettings())["validation"]
    assert find_part(part.as_dict()) == part
    with pytest.raises(CorpusError, match="differs between versions of Unrolled"):
        find_part(part.as_dict() | {"sha256": "0" * 64})


def test_sources_stand_beside_files_and_each_other(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("one\n")
    corpus = read_corpus([":counting:", path, EMBEDDED, ":brackets:"])
    assert corpus.sources == (":counting:", str(path), EMBEDDED, ":brackets:")
    counting, brackets = MADE[":counting:"].text(), MADE[":brackets:"].text()
    assert corpus.text == counting + "one\n" + read_corpus(EMBEDDED).text + brackets


def test_unknown_names_are_told_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=r"^:date:: there is no such file") as caught:
        read_corpus(":date:")
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in (EMBEDDED, *MADE))
    (tmp_path / ":date:").write_text("a file\n")
    assert read_corpus(":date:").sources == (str(tmp_path / ":date:"),)
    for name in (":", ":dates", "dates:"):
        with pytest.raises(CorpusError, match="no such file or directory"):
            read_corpus(name)


def test_who_reads_a_file_does_not_load_what_makes_texts(run_python: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("one\n")
    code = (
        "import sys; from unrolled.text import read_corpus; read_corpus(sys.argv[1]); "
        "print('unrolled.text.made' in sys.modules)"
    )
    assert run_python(code, str(path)) == "False\n"
    assert run_python(code, ":counting:") == "True\n"


def test_csv_is_read_as_csv() -> None:
    rows = list(csv.reader(MADE[":sentiment:"].text().splitlines()))
    assert rows[0] == ["text", "label"]
    assert [(text, label) for text, label in rows[1:]] == [(line.text, line.label) for line in made_sentiment()]
    assert sum("," in text for text, _ in rows[1:]) > 500
