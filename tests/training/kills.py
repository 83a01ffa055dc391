"""Trains, is killed at random times and resumes, over and over; a program, because it forks before any thread begins.

Arguments: corpus, folder, number of kills, seed. Each run that gets to its end has to have the weights of a run that
was never disturbed. Prints how many kills and how many ends there were, as JSON.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import safetensors.numpy
import tokenizers

from unrolled import model_directory
from unrolled.models.settings import ModelSettings
from unrolled.nn import Regularization
from unrolled.text import TextSettings
from unrolled.training import output
from unrolled.training.events import Finished
from unrolled.training.run import run
from unrolled.training.settings import Settings, TrainingSettings

WANTED = Settings(
    TextSettings(min_count=2),
    ModelSettings("gru", hidden=8, embedding=5, layers=2),
    TrainingSettings(
        epochs=4.5, batch=4, window=12, learning_rate=0.02, threads=1, random_windows=True, checkpoint_every=1e-3
    ),
    Regularization(dropout=0.3, weight_drop=0.2),
)


def main(corpus: Path, folder: Path, kills: int, seed: int) -> None:
    """Train undisturbed, then with as many kills."""
    vars(output)["draw_curve"] = lambda records, **_: b"no picture"
    choose = random.Random(seed)
    began = time.perf_counter()
    undisturbed = folder / "undisturbed"
    os.waitpid(start(corpus, undisturbed), 0)
    whole = time.perf_counter() - began
    expected = (undisturbed / "model.safetensors").read_bytes()
    killed = ends = 0
    while killed < kills or not ends:
        out = folder / f"run {ends}"
        child = start(corpus, out)
        if killed < kills:
            time.sleep(choose.random() * 0.6 * whole)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            if model_directory.has_model(out):
                model_directory.load(out)  # whole, whenever it was
            continue
        assert os.waitstatus_to_exitcode(status) == 0, f"after {killed} kills the run failed: see above"
        assert (out / "model.safetensors").read_bytes() == expected, f"after {killed} kills the weights are others"
        ends += 1
    print(json.dumps({"kills": killed, "ends": ends}))


def start(corpus: Path, out: Path) -> int:
    """The process of a run, begun anew or resumed; it ends with 0 if the run comes to its end."""
    child = os.fork()
    if child:
        return child
    try:
        if not is_finished(out):
            *_, end = run([corpus], out, WANTED, resume=model_directory.has_model(out))
            assert isinstance(end, Finished)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def is_finished(out: Path) -> bool:
    """Whether the run came to its end, so that nothing is left to resume."""
    if not model_directory.has_model(out):
        return False
    is_whole = bool(model_directory.load(out).config["training"]["results"]["finished"])
    return is_whole and not model_directory.has_model(out / "training")


LOADED_BEFORE_FORKING = (safetensors.numpy, tokenizers)
"""What runs load when they first use it: once here instead of in each process."""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
