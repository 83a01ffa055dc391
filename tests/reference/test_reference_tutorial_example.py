"""The tutorial's walk-through, with fewer epochs."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "tutorial.py"


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_walk_through_says_what_it_promises(
    tutorial: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "curve.png"
    tutorial.main(["--out", str(picture), "--epochs", "2"])
    said = capsys.readouterr().out
    assert "1,610,000 parameters" in said
    assert "naive 1035, truncated after 4 215, in one loop 45" in said
    assert "log 8000, which is what a blind guess costs, 8.9872" in said
    assert "central differences agree: 100% of 36 elements" in said
    assert "truncate=4 is less than T-1=6" in said
    assert re.search(r"6 of 36 gradient elements fail, the worst W\[0, 0\]", said)
    losses = [float(loss) for loss in re.findall(r"epoch +\d+ +loss (\S+)", said)]
    assert losses[0] == pytest.approx(np.log(250), abs=0.1)
    assert losses[2] < losses[0] - 1
    assert f"Loss curve: {picture}" in said
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    sentences = said.split("New sentences:\n")[1].splitlines()[:-1]
    assert len(sentences) == 6
    assert all(re.fullmatch(r"  [A-Z,.'-][a-z ,.'-]+", sentence) for sentence in sentences)


def test_the_text_is_prepared_as_in_the_tutorial(tutorial: ModuleType) -> None:
    corpus = tutorial.prepare([["to", "be", "or", "to", "be"], ["be", "not"]])
    assert corpus.words == ["SENTENCE_START", "SENTENCE_END", "UNKNOWN_TOKEN", "be", "to", "not", "or"]
    assert [row.tolist() for row in corpus.examples[0]] == [[0, 4, 3, 6, 4, 3], [4, 3, 6, 4, 3, 1]]
    share = np.array([2, 3, 2, 1, 1]) / 9  # of the end, be, to, not, or
    assert corpus.unigram_loss == pytest.approx(-(share * np.log(share)).sum(), rel=1e-12)
    sentences = tutorial.read_sentences()
    assert len(sentences) > 300
    assert all(4 <= len(sentence) <= 16 and sentence[-1] == "." for sentence in sentences)
