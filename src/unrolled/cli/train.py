"""Train a model on data and write a model directory; without --task, a language model on a text.

DATA is a file, several files, a folder (all files below it), - for standard input, :embedded: for a text that comes
with Python, or one of the small data with known answers that Unrolled makes, such as :dates: (docs/tasks.md). With
--minutes, the size of a language model and all else that is left open is planned for this text, this machine and this
time; --show-plan prints the plan and ends. Ctrl-C stops and saves; --resume goes on.

Example: unrolled train novel.txt --out novel --unit word --minutes 10
"""

import shlex
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled import model_directory, models
from unrolled.cli import STARTED
from unrolled.cli.console import IS_HEARD, duration, print_json, program, say
from unrolled.cli.options import with_settings
from unrolled.cli.watching import Watcher
from unrolled.errors import UsageError
from unrolled.models.settings import ModelSettings
from unrolled.nn.regularization import Regularization
from unrolled.settings import options_of
from unrolled.text.settings import TextSettings
from unrolled.training.settings import Settings, TrainingSettings

if TYPE_CHECKING:
    from unrolled.training.events import Finished


OWN = tuple(dict.fromkeys(group for name in models.TASKS for group in models.get(name).options))
"""Settings that some tasks have of their own."""
TAKES = "; ".join(f"for {name} {models.get(name).takes}" for name in models.TASKS)
"""What each task is trained on."""


@partial(with_settings, own=OWN)
def verb(
    data: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA]...", help="Text or data to train on.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="|".join(models.TASKS), help=f"What to learn (default: language). DATA is {TAKES}."),
    ] = None,
    out: Annotated[str, typer.Option("--out", help="Model directory to write.", show_default=False)] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in --out.")] = False,
    show_plan: Annotated[bool, typer.Option("--show-plan", help="Print what the run would do, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as one JSON object.")] = False,
    *,
    text: TextSettings,
    model: ModelSettings,
    regularization: Regularization,
    training: TrainingSettings,
    own: dict[type[Any], Any],
) -> None:
    """Parse, train, say what came of it."""
    task = _task_of(task, out if resume else "")
    settings = Settings(text, model, training, regularization, task, _own_of(task, own))
    if show_plan:
        print_plan(data or [], settings, as_json=as_json)
        return
    if not out:
        raise UsageError("--out is missing: name the model directory to write, such as --out model")
    if not data and not resume:
        raise UsageError("DATA is missing: give a file, a folder, - for standard input, or :embedded:")
    finished = train(data or [], Path(out), settings, resume=resume, overwrite=overwrite)
    if as_json:
        print_json(asdict(finished) | {"directory": str(finished.directory)})


def _task_of(given: str | None, resumed: str) -> str:
    """What to learn: what is given or, for a run that goes on in a directory, what it has been learning."""
    found = model_directory.load_config(resumed).get("task") if resumed and model_directory.has_model(resumed) else None
    if given is not None and found not in {None, given}:
        raise UsageError(f"--task is {given}, but the run to resume has {found}: leave it out, or train anew")
    return given or str(found or "language")


def _own_of(task: str, own: dict[type[Any], Any]) -> tuple[Any, ...]:
    """The settings of a task; options that only other tasks have are refused."""
    wanted = models.get(task).options
    for group, settings in own.items():
        given = options_of(settings)
        if given and group not in wanted:
            others = ", ".join(name for name in models.TASKS if group in models.get(name).options)
            raise UsageError(f"{given[0]} is an option of {others}, the task is {task}: leave it out")
    return tuple(own[group] for group in wanted)


def print_plan(sources: list[str], settings: Settings, *, as_json: bool = False) -> None:
    """Print what the run would do: the text on standard error, the plan on standard output."""
    from unrolled.training.events import Planned
    from unrolled.training.run import run

    if not sources:
        raise UsageError("DATA is missing: give a file, a folder, - for standard input, or :embedded:")
    watch = Watcher()
    for event in run(sources, None, settings, started=STARTED):
        if not isinstance(event, Planned):
            watch(event)
        elif as_json:
            print_json(event.plan.as_dict())
        elif IS_HEARD:
            print("\n".join(event.plan.lines()))


def train(
    sources: list[str], out: Path, settings: Settings, *, resume: bool = False, overwrite: bool = False
) -> "Finished":
    """Train while showing progress; ends the process with 130 or 143 when asked to stop.

    Raises:
        UnrolledError: what `training.run` raises.
    """
    from unrolled.training.events import Finished, Reading, Stopped
    from unrolled.training.interrupts import stop_on_signals
    from unrolled.training.run import run

    watch = Watcher()
    with stop_on_signals() as request:
        try:
            events = run(
                sources, out, settings, resume=resume, overwrite=overwrite, started=STARTED, should_stop=request
            )
            for event in events:
                watch(event)
                last = event
                if isinstance(event, Reading) and request():
                    watch.close()
                    say("stopped     before training began: nothing has been written")
                    sys.exit(128 + (request.signal_number or signal.SIGINT))
        finally:
            watch.close()
    if isinstance(last, Stopped):
        say(f"stopped     after {last.steps:,} steps; {last.directory} can be used as it is")
        words = shlex.join([*sources, "--out", str(last.directory)])
        say(f"resume with {program()} train {words} {last.resume}")
        sys.exit(128 + (request.signal_number or signal.SIGINT))
    assert isinstance(last, Finished)
    say(f"finished    {last.steps:,} steps in {duration(last.seconds)}; best weights in {last.directory}")
    if last.repeat:
        say(f"repeat with {program()} train {shlex.join(sources or last.sources)} --out NEW {last.repeat}")
    return last
