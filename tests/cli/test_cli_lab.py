"""`unrolled lab`: what it prints, the pages and pictures it makes, and what it refuses."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unrolled import cells
from unrolled.cli import lab

from ..lab.test_lab_check import OWN, WRONG
from .conftest import Call

TEXT = "the cat sees a dog, again. Zoë won't see <b> & $3"


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "sentences"])
@pytest.mark.parametrize("name", list(lab.LOOKS))
def test_every_look_at_every_kind_of_model(
    tiny_model: Callable[[str], Path], unrolled: Call, name: str, kind: str
) -> None:
    arguments = ("lab", name, tiny_model(kind), "--text", TEXT, "--steps", 12)
    outcome = unrolled(*arguments)
    assert (outcome.status, outcome.errors) == (0, "")
    assert outcome.lines[0].startswith(f"network     {tiny_model(kind).name} (")
    what = "the longest line of --text" if kind == "sentences" else "--text"
    assert outcome.lines[1] in {f"text        {n} tokens of {what}" for n in range(2, 13)}
    assert len(outcome.lines) >= 3
    assert kind != "word" or json.loads(unrolled(*arguments, "--json").output)["text"] == "--text"


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_a_fresh_cell_needs_no_model(unrolled: Call, cell: str) -> None:
    outcome = unrolled("lab", "flow", "--cell", cell, "--hidden", 8, "--text", TEXT, "--unit", "char")
    assert outcome.lines[0] == f"network     fresh 1 x 8 {cell}"
    again = unrolled("lab", "flow", "--cell", cell, "--hidden", 8, "--text", TEXT, "--unit", "char")
    assert again.output == outcome.output
    other = unrolled("lab", "flow", "--cell", cell, "--hidden", 8, "--text", TEXT, "--unit", "char", "--seed", 2)
    assert other.output != outcome.output


def test_a_fresh_cell_may_be_ones_own(unrolled: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))
    (tmp_path / "mine.py").write_text(OWN.format(name="own to look at"))
    outcome = unrolled("lab", "gates", "--cell", tmp_path / "mine.py", "--hidden", 8, "--text", TEXT)
    assert outcome.lines[0] == "network     fresh 1 x 8 own to look at"
    assert re.match(r"layer 1     candidate +mean .* saturated", outcome.lines[2])
    assert re.match(r"layer 1     gate +mean .* saturated", outcome.lines[3])


def test_without_a_text_the_models_own_is_read(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    outcome = unrolled("lab", "flow", tiny_model("word"))
    assert re.match(r"text        \d+ tokens of validation part of .*corpus.txt", outcome.lines[1])


def test_a_file_and_a_pipe_are_read(tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(TEXT, encoding="utf-8")
    by_file = json.loads(unrolled("lab", "flow", tiny_model("char"), "--file", tmp_path / "some.txt", "--json").output)
    by_text = json.loads(unrolled("lab", "flow", tiny_model("char"), "--text", TEXT, "--json").output)
    assert by_file["tokens"][:-1] == by_text["tokens"], "a file ends its line"


class Page(HTMLParser):
    """What of a page matters."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href"}:
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("name", list(lab.LOOKS))
def test_a_page_needs_nothing_else(
    tiny_model: Callable[[str], Path], unrolled: Call, name: str, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    outcome = unrolled("lab", name, tiny_model("word"), "--text", TEXT, "--out", out, "--png", tmp_path / "pictures")
    assert outcome.status == 0
    assert f"page        {out}" in outcome.errors
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links), "no network"
    assert "<script" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "names of parts are its own"
    assert set(re.findall(r"url\(#([^)]*)\)", text)) | {link[1:] for link in page.links if link[0] == "#"} <= set(
        page.ids
    )
    assert page.tags.count("svg") == page.tags.count("figcaption") == page.tags.count("figure") > 0
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "currentColor" in text
    assert "#1b1c1d" not in text.partition("</style>")[2]
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == page.tags.count("svg")
    assert all(each.read_bytes().startswith(b"\x89PNG") and each.stat().st_size > 5000 for each in pictures)


def test_words_stand_in_a_page_as_text(unrolled: Call, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    unrolled("lab", "unfold", "--cell", "gru", "--unit", "char", "--text", "<b>&$x$", "--out", out)
    words = Page(out.read_text(encoding="utf-8")).words
    figure = words.partition("unrolled\n")[2]
    assert all(character in figure for character in "<b>&$x")


def test_compare_and_check_and_remedies(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unrolled.lab import compare

    monkeypatch.setattr(compare, "SHORT", compare.Extent(300, 4, 5, 8, (3,)))
    outcome = unrolled("lab", "compare", "--text", TEXT * 60, "--jobs", 1, "--out", tmp_path / "page.html")
    assert outcome.status == 0
    assert len(outcome.lines) == 1 + 1 + 16 + 1
    outcome = unrolled("lab", "check", "--cell", "tanh", "--engine", "portable")
    assert outcome.status == 0
    assert outcome.lines[-1].endswith("all agree")
    outcome = unrolled("lab", "remedies", tiny_model("word"), "--steps", 60)
    assert (outcome.status, outcome.errors) == (0, "")
    assert sum(line.startswith("- ") for line in outcome.lines) >= 4
    assert len(json.loads(unrolled("lab", "remedies", tiny_model("word"), "--json").output)["findings"]) >= 4


def test_a_wrong_gradient_ends_with_one(unrolled: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))
    path = tmp_path / "mine.py"
    path.write_text(OWN.format(name="wrong by the command line") + WRONG)
    outcome = unrolled("lab", "check", "--cell", path, "--engine", "portable")
    assert outcome.status == 1
    assert "checks fail" in outcome.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flow",), "what is to be looked at: give either a model directory or --cell"),
        (("flow", "DIR", "--cell", "gru"), "what is to be looked at: give either a model directory or --cell"),
        (("flow", "--cell", "gru"), "a fresh network has no text of its own: give --text or --file"),
        (("flow", "--cell", "gro", "--text", "a b c d"), 'cell "gro" is not known'),
        (("flow", "DIR", "--text", "a", "--file", "b"), "--text and --file exclude each other: give one of them"),
        (("flow", "DIR", "--text", ""), "the text has 0 tokens: give at least 2"),
        (("spectra", "DIR", "--text", "a b", "--steps", "1"), "steps is 1: give at least 2"),
        (
            ("unfold", "--cell", "gru", "--hidden", "0", "--text", "a b c"),
            "hidden is 0: give a whole number of at least 1",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    tiny_model: Callable[[str], Path], unrolled: Call, arguments: tuple[str, ...], message: str
) -> None:
    words = [tiny_model("word") if word == "DIR" else word for word in arguments]
    assert unrolled("lab", *words).error(2).startswith(message)


def test_a_page_that_cannot_be_written_is_told_after_the_results(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    for option, name in (("--out", tmp_path / "none" / "page.html"), ("--png", __file__)):
        outcome = unrolled("lab", "flow", tiny_model("word"), "--text", TEXT, option, name)
        assert outcome.status == 2
        assert len(outcome.lines) == 3
        assert outcome.errors.startswith(f"unrolled: error: {name}: cannot be written (")


def test_help_names_all_commands(unrolled: Call) -> None:
    output = unrolled("lab", "--help").output
    for name in (*lab.LOOKS, "check", "compare", "remedies"):
        assert re.search(rf"^\s+{name}\s", output, re.MULTILINE)
        assert "Example: unrolled lab" in unrolled("lab", name, "--help").output
