"""Dates, times, money, people and places in a sentence: `python examples/tag.py [DIR]`.

Without the model directory DIR a small model is trained first, on sentences that Unrolled makes. "May" is a month, a
name, or asks for leave; what it is, the words around it tell.
"""

import sys
import tempfile

import unrolled

SENTENCES = (
    "Dr. May moved from Paris to Jordan in May .",
    "May 5 of us come to New York on Thursday ?",
    "It cost 20 pounds at 6 p.m. .",
)


def tag(directory: str) -> None:
    """Show each sentence with its spans."""
    model = unrolled.Tagger.load(directory)
    for answer in model.tag(SENTENCES):
        print(" ".join(answer.tokens))
        print("    " + "; ".join(f"{kind}: {words}" for kind, words in answer.spans()))


def main() -> None:
    """Train if there is no model, then tag."""
    if len(sys.argv) > 1:
        tag(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        print("training on :patterns: for 30 seconds", file=sys.stderr)
        training = unrolled.TrainingSettings(minutes=0.5)
        unrolled.train(":patterns:", folder, task="tag", training=training, overwrite=True)
        tag(folder)


if __name__ == "__main__":
    main()
