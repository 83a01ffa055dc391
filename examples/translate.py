"""English dates to ISO form, and where the network looks meanwhile: `python examples/translate.py [DIR]`.

Without the model directory DIR a small model is trained first, on dates that Unrolled makes.
"""

import sys
import tempfile

import unrolled

DATES = ("the 7th of december, 1988", "March 3, 1999", "03/19/1992")


def translate(directory: str) -> None:
    """Show the best outputs with their scores, and the source token behind each output token."""
    model = unrolled.Translator.load(directory)
    for answer in model.translate(DATES, beam=5, best=2):
        print(answer.source)
        for output in answer.outputs:
            print(f"    {output.score:8.3f}  {output.text}")
        best = answer.outputs[0]
        if best.alignment is not None:
            looked = [answer.source_tokens[place] for place in best.alignment.argmax(axis=1)]
            print("    " + "  ".join(f"{token}<-{source}" for token, source in zip(best.tokens, looked, strict=False)))


def main() -> None:
    """Train if there is no model, then translate."""
    if len(sys.argv) > 1:
        translate(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        print("training on :dates: for 50 seconds", file=sys.stderr)
        training = unrolled.TrainingSettings(minutes=50 / 60)
        unrolled.train(":dates:", folder, task="translate", training=training, overwrite=True)
        translate(folder)


if __name__ == "__main__":
    main()
