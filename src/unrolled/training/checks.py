"""What is found out before a run begins, so that it does not fail later: the folder and the device."""

from pathlib import Path

import torch

from unrolled import model_directory
from unrolled.errors import UsageError
from unrolled.training.settings import TrainingSettings


def check_directory(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to resume where nothing is, and to replace a model that is not to be replaced.

    Raises:
        UsageError: says which options would do.
        ModelDirectoryError: the folder may not be looked into, or holds what is not a model's.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other: give one of them")
    exists = model_directory.has_model(out)
    if resume and not exists:
        raise UsageError(f"{out}: there is no run to resume: leave out --resume to start one")
    if exists and not resume and not overwrite:
        raise UsageError(f"{out}: holds a model: give --overwrite to replace it, --resume to go on, or another --out")
    model_directory.refuse_foreign_files(out)


def device_of(options: TrainingSettings) -> torch.device:
    """The device to train on, tried with one number.

    Raises:
        UsageError: torch does not know it, or it cannot be used here.
    """
    try:
        device = torch.device(options.device)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f'--device is "{options.device}", which cannot be used here ({reason}): try cpu') from error
    return device
