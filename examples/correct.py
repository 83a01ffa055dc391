"""Mistakes undone: `python examples/correct.py [DIR]`.

Without the model directory DIR a small model is trained first, on sentences that Unrolled makes and spoils itself:
words that are missing, doubled, swapped or misspelt, others in each pass.
"""

import sys
import tempfile

import unrolled

LINES = (
    "teh keys to the cabinet are old .",
    "the keys to to the cabinet are old .",
    "the keys the to cabinet are old .",
)


def correct(directory: str) -> None:
    """Show each line before and after."""
    model = unrolled.Corrector.load(directory)
    for answer in model.correct(LINES):
        print(f"{answer.source}\n    {answer.text}")


def main() -> None:
    """Train if there is no model, then correct."""
    if len(sys.argv) > 1:
        correct(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        print("training on :agreement: for 50 seconds", file=sys.stderr)
        training = unrolled.TrainingSettings(minutes=50 / 60)
        unrolled.train(":agreement:", folder, task="correct", training=training, overwrite=True)
        correct(folder)


if __name__ == "__main__":
    main()
