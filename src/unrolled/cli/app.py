"""Verbs, and how errors reach a person: one line on standard error and an exit status."""

import importlib
import io
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from unrolled.errors import UnrolledError, UsageError
from unrolled.version import VERSION

VERBS = {
    "demo": "Train on a text that comes with Python, then evaluate, score and generate.",
    "train": "Train a language model on a text, or another task's model on its data.",
    "evaluate": "Say how good a model is on a text or other data.",
    "score": "Give the log-probability of each line of a text.",
    "generate": "Write new text.",
    "predict": "Answer lines: labels, missing words, translations, corrections.",
    "lab": "See what backpropagation through time does in a network, on your own text.",
    "info": "Say what is in a model directory, or what this installation has.",
}
INTERRUPTED = 130

_UsageProblem: type[Any] = typer.BadParameter.__mro__[1]  # typer carries its own copy of click: ask it for the class
_AnyProblem: type[Any] = typer.BadParameter.__mro__[2]


class _Verbs(TyperGroup):
    """Loads a verb's module when the verb is asked for, so that help and short commands start at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"unrolled.cli.{cmd_name}")
        if hasattr(module, "app"):  # a verb with verbs of its own
            group = typer.main.get_command(module.app)
            group.name, group.help = cmd_name, module.__doc__
            return group
        verb = typer.Typer(rich_markup_mode=None, add_completion=False)
        verb.command(cmd_name, help=module.__doc__)(module.verb)
        return typer.main.get_command(verb)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


app = typer.Typer(cls=_Verbs, rich_markup_mode=None, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"unrolled {VERSION}")
        raise typer.Exit


@app.callback(epilog="Each verb has --help with an example. --debug shows the traceback of an error.")
def unrolled(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Recurrent neural networks on sequences: train, score, generate."""


def run(arguments: list[str]) -> int:
    """Run a command line.

    Returns:
        The exit status: 0, 1 for a failure, 2 for a usage that cannot be meant, 130 after Ctrl-C.
    """
    debug = "--debug" in arguments
    _prepare_streams()
    warnings.showwarning = _show_warning
    try:
        command = typer.main.get_command(app)
        words = [word for word in arguments if word != "--debug"]
        with command.make_context("unrolled", words or ["--help"]) as context:
            command.invoke(context)  # not its `main`, which has its own way with a closed pipe and with Ctrl-C
        sys.stdout.flush()
        return 0
    except typer.Exit as end:
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: a pipe to head is no error
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)


def _prepare_streams() -> None:
    """Write UTF-8, which is what all verbs read, whatever the locale; a stream that was closed swallows all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _explain(error: Exception) -> int:
    if isinstance(error, _UsageProblem):
        verb = error.ctx.command_path if getattr(error, "ctx", None) else "unrolled"
        return _failed(f"{error.format_message().rstrip('.')}: see `{verb} --help`", UsageError.exit_status)
    if isinstance(error, _AnyProblem):
        return _failed(error.format_message(), error.exit_code)
    if isinstance(error, UnrolledError):
        return error.exit_status if error.is_told else _failed(str(error), error.exit_status)
    if isinstance(error, OSError):
        where = error.filename or "input or output"
        return _failed(f"{where}: {error.strerror or error}: check the path and the disk", 1)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):  # torch's own
        return _failed("not enough memory: take a smaller model, batch or text", 1)
    return _failed(f"unexpected {type(error).__name__}: {error}: please report it with the output of --debug", 1)


def _failed(message: str, status: int) -> int:
    print(f"unrolled: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"unrolled: warning: {message}", file=sys.stderr)
