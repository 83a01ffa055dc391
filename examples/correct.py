"""Mistakes undone: `python examples/correct.py [DIR]`.

Without the model directory DIR a small model is trained first, on sentences that Unrolled makes and spoils itself:
words that are missing, doubled, swapped or misspelt, others in each pass.
"""

import sys
import tempfile

import unrolled

LINES = (
    "teh boxes are are in the garden today .",
    "the windows that the farmer knows are misisng today .",
    "the women near box the wait for the teacher .",
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
        print("training on :agreement: for twelve passes", file=sys.stderr)
        training = unrolled.TrainingSettings(epochs=12)
        unrolled.train(":agreement:", folder, task="correct", training=training, overwrite=True)
        correct(folder)


if __name__ == "__main__":
    main()
