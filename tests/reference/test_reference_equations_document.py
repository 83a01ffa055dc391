"""docs/equations.md derives exactly the lines that are numbered in the code."""

import io
import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
PARTS = re.split(r"\n(?=- \*\*\(\d+\)\*\* )|\n(?=#)", DOCUMENT)
EQUATIONS = {int(found[1]): part for part in PARTS if (found := re.match(r"- \*\*\((\d+)\)\*\* ", part))}


def _numbers(*files: str) -> Counter[int]:
    """How often each number stands in a comment at the end of a line of code."""
    found: Counter[int] = Counter()
    for file in files:
        source = (ROOT / "src" / "unrolled" / file).read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found.update(int(number) for number in re.findall(r"\((\d+)\)", token.string))
    return found


def _files(package: str) -> list[str]:
    return [f"{package}/{path.name}" for path in (ROOT / "src" / "unrolled" / package).glob("*.py")]


def test_code_and_document_have_the_same_numbers() -> None:
    numbered = _numbers(*_files("cells"), *_files("reference"))
    assert sorted(EQUATIONS) == sorted(numbered)
    assert list(EQUATIONS) == list(range(1, len(EQUATIONS) + 1))  # in order, none twice, none left out
    assert len(re.findall(r"\*\*\(\d+\)\*\*", DOCUMENT)) == len(EQUATIONS)


def test_numbers_stand_where_the_document_says() -> None:
    sections = re.findall(r"^###? [^\n]*\((`[^\n]*`)\)\n(.*?)(?=^###? |\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    assert len(sections) == 8
    for names, section in sections:
        package = "cells" if names.strip("`") in {"elman.py", "gru.py", "lstm.py"} else "reference"
        stands_in = set(_numbers(*(f"{package}/{name}" for name in re.findall(r"`(\w+\.py)`", names))))
        derived = {int(number) for number in re.findall(r"^- \*\*\((\d+)\)\*\*", section, flags=re.MULTILINE)}
        assert derived
        assert derived <= stands_in | {30, 31}  # the softmax's gradients are derived with it and stand in gradients.py


def test_every_forward_line_of_a_cell_and_of_unrolling_has_its_backward_line() -> None:
    numbered = _numbers(*_files("cells"), "reference/unrolling.py")
    assert sorted(numbered) == list(range(1, 26))
    for number, times in numbered.items():
        assert times >= 2, f"({number}) stands on one line only"
        assert "Back:" in EQUATIONS[number], f"({number}) is derived in one direction only"


def test_formulas_are_closed_and_the_mathematics_renders_on_github() -> None:
    without_blocks = re.sub(r"\$\$.*?\$\$", "", DOCUMENT, flags=re.DOTALL)
    assert "$$" not in without_blocks
    without_formulas = re.sub(r"\$[^$]+\$", "", without_blocks)
    assert "$" not in without_formulas
    assert "\\" not in without_formulas
    assert not re.findall(r"\\[^A-Za-z]", DOCUMENT)  # Markdown would take the backslash away
    assert not [formula for formula in re.findall(r"\$([^$]+)\$", without_blocks) if "\n" in formula]
    for formula in re.findall(r"\$\$?([^$]+)\$?\$", DOCUMENT):
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left(") == formula.count(r"\right)")
