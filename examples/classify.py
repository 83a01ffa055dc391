"""Which label a text has, and which words decided it: `python examples/classify.py [DIR]`.

Without the model directory DIR a small model is trained first, on short reviews that Unrolled makes.
"""

import sys
import tempfile

import unrolled

REVIEWS = (
    "the food was great, but overall the hotel was bad.",
    "not a bad hotel: the staff was friendly and the room was excellent.",
    "somebody wants to know whether the music is good.",
)


def classify(directory: str) -> None:
    """Show label, probability, and the words that moved the decision most."""
    model = unrolled.Classifier.load(directory)
    for answer in model.classify(REVIEWS, explain=True):
        print(f"{answer.label} ({answer.probability:.2f})  {answer.text}")
        strongest = sorted(answer.moved, key=lambda pair: -abs(pair[1]))[:4]
        print("    " + ", ".join(f"{word} {nats:+.1f}" for word, nats in strongest))


def main() -> None:
    """Train if there is no model, then classify."""
    if len(sys.argv) > 1:
        classify(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        print("training on :sentiment: for 30 seconds", file=sys.stderr)
        training = unrolled.TrainingSettings(minutes=0.5)
        unrolled.train(":sentiment:", folder, task="classify", training=training, overwrite=True)
        classify(folder)


if __name__ == "__main__":
    main()
