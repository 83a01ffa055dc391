"""The example of rescoring: on lists of one's own, what it says of bad ones, and by itself."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from unrolled import LanguageModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "rescore.py"
LISTS = """a\t-1\tthe cat see a dog.
a\t-1.5\tthe cat sees a dog.
b\t-2\tdog a won't see the café
b\t-2.25\ta dog won't see the café.

c\t-1\tno one Zoë sees.
c\t-1.01\tZoë sees no one.
d\t-1.0\tZoë sees sees sees no one again
d\t-1.5\tZoë sees no one, again.
"""
REFERENCES = """a\tthe cat sees a dog.
b\ta dog won't see the café.
d\tZoë sees no one, again.
"""


@pytest.fixture(scope="module")
def rescore() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rescore_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "nbest.tsv").write_text("\ufeff" + LISTS.replace("\n", "\r\n"), encoding="utf-8")
    (tmp_path / "references.tsv").write_text(REFERENCES, encoding="utf-8")
    return str(tmp_path / "nbest.tsv"), str(tmp_path / "references.tsv")


def test_the_weight_is_fitted_and_the_best_are_printed(
    rescore: ModuleType,
    tiny_model: Callable[[str], Path],
    files: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = str(tiny_model("word"))
    assert rescore.main([directory, *files]) == 0
    said = capsys.readouterr()
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [(name, text) for name, _, text in rows] == [
        ("a", "the cat sees a dog."),
        ("b", "a dog won't see the café."),
        ("c", "Zoë sees no one."),
        ("d", "Zoë sees no one, again."),
    ]
    (weight, bonus) = re.findall(r"^weight (\S+), bonus (\S+) for each word$", said.err, re.MULTILINE)[0]
    assert "held out: 2 lines, word error rate 36.4% -> 0.0%\nother: 1 lines, word error rate 80.0% -> 0.0%" in said.err
    model = LanguageModel.load(directory)
    for (_, worth, text), score, words in zip(rows, (-1.5, -2.25, -1.01, -1.5), (5, 6, 4, 5), strict=True):
        expected = score + float(weight) * model.score([text])[0].log_probability + float(bonus) * words
        assert float(worth) == pytest.approx(expected, abs=1e-4)


def test_all_are_printed_best_first_with_a_given_weight(
    rescore: ModuleType,
    tiny_model: Callable[[str], Path],
    files: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rescore.main([str(tiny_model("word")), files[0], "--all", "--weight", "0", "--bonus", "1"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[:4]] == [["a", "4.0000"], ["a", "3.5000"], ["b", "4.0000"], ["b", "3.7500"]]
    assert len(rows) == 8


@pytest.mark.parametrize(
    ("lists", "references", "message"),
    [
        ("a\t-1\tx\n\na\t-1", None, "nbest.tsv, line 3: has 2 of the fields id<TAB>score<TAB>hypothesis: give all"),
        ("a\t-1\tx\na\tx\t-1", None, 'nbest.tsv, line 2: the score is "x": give a number'),
        ("a\tnan\tx", None, 'nbest.tsv, line 1: the score is "nan": give a finite number'),
        ("\n", None, "nbest.tsv: there is no hypothesis: give lines id<TAB>score<TAB>hypothesis"),
        (
            "a\t-1\tx",
            "a\tx\na\ty",
            'references.tsv, line 2: "a" stands here again: give each id of the n-best list once',
        ),
        ("a\t-1\tx", "b\tx", 'references.tsv, line 1: "b" has no hypothesis: give each id of the n-best list once'),
        ("a\t-1\tx", "\n", "nothing tells the weight of the language model: give REFERENCES, or --weight"),
        (None, "a\tx", "nbest.tsv: cannot be read"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    rescore: ModuleType,
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lists: str | None,
    references: str | None,
    message: str,
) -> None:
    names = tmp_path / "nbest.tsv", tmp_path / "references.tsv"
    for path, text in zip(names, (lists, references), strict=True):
        if text is not None:
            path.write_text(text, encoding="utf-8")
    arguments = [str(tiny_model("word")), str(names[0]), *([str(names[1])] if references else [])]
    assert rescore.main(arguments) > 0
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("rescore: error: ")
    assert message in said.err


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [
        ("a b c", "a b c", 0),
        ("", "a b", 2),
        ("a b", "", 2),
        ("a x c", "a b c", 1),
        ("b c", "a b c d", 2),
        ("a b", "b a", 2),
    ],
)
def test_word_errors_are_edits(rescore: ModuleType, one: str, other: str, errors: int) -> None:
    assert rescore.word_errors(one, other) == rescore.word_errors(other, one) == errors


@pytest.mark.slow
def test_by_itself_it_makes_lists_and_betters_them(
    rescore: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert rescore.main(["--epochs", "2"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 160
    rates = re.findall(r"^(?:held out|other): 80 lines, word error rate (\S+)% -> (\S+)%$", said.err, re.MULTILINE)
    assert len(rates) == 2
    for before, after in rates:
        assert float(after) < float(before) - 1
    assert list(tmp_path.iterdir()) == []


def test_who_stops_reading_ends_it_quietly(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "nbest.tsv"
    path.write_text("".join(f"{n}\t-1\tthe cat\n" for n in range(20_000)), encoding="utf-8")
    command = 'set -o pipefail; "$@" --weight 1 | head -1'
    arguments = [sys.executable, str(EXAMPLE), str(tiny_model("word")), str(path)]
    finished = subprocess.run(
        ["bash", "-c", command, "bash", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0
    assert finished.stderr == "weight 1, bonus 0 for each word\n"
    assert len(finished.stdout.splitlines()) == 1
