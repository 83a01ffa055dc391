"""What belongs into a gap, from both sides of it: `python examples/fill.py [DIR]`.

Without the model directory DIR a small model is trained first, on sentences that Unrolled makes: their verbs agree with
subjects that may stand far away, and sometimes it is a word behind the gap that tells.
"""

import sys
import tempfile

import unrolled

SENTENCES = (
    "the keys to the cabinet ___ old .",
    "the key to the cabinets ___ old .",
    "yesterday the dog behind the houses ___ in the garden .",
    "the ___ behind the box see themselves beside the lamps .",
)
VERBS = ("is", "are", "was", "were")


def fill(directory: str) -> None:
    """Show what the model would write, and how it ranks given words."""
    model = unrolled.Filler.load(directory)
    for answer in model.fill(SENTENCES, top=3):
        shown = ", ".join(f"{each.word} {each.probability:.2f}" for each in answer.gaps[0])
        print(f"{answer.text}\n    {shown}")
    for answer in model.fill(SENTENCES[:3], candidates=VERBS):
        print(f"of {', '.join(VERBS)}: {answer.filled}")


def main() -> None:
    """Train if there is no model, then fill."""
    if len(sys.argv) > 1:
        fill(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        print("training on :agreement: for 45 seconds", file=sys.stderr)
        training = unrolled.TrainingSettings(minutes=0.75)
        unrolled.train(":agreement:", folder, task="fill", training=training, overwrite=True)
        fill(folder)


if __name__ == "__main__":
    main()
