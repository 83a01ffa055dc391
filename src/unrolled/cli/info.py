"""Say what is in a model directory; without DIR, what this installation has.

Example: unrolled info novel
"""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled import cells, engines, model_directory
from unrolled.cli.console import print_json
from unrolled.errors import EngineError, UsageError
from unrolled.version import VERSION

PACKAGES = ("numpy", "torch", "tokenizers", "safetensors")


def verb(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Model directory.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Parse, collect, print."""
    facts = _installation() if directory is None else _model(directory)
    if as_json:
        print_json(facts)
        return
    rows = _flat(facts)
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        print(f"{name:<{width}}{value}")


def _installation() -> dict[str, Any]:
    return {
        "unrolled": VERSION,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "threads": len(os.sched_getaffinity(0)),
        "cells": ", ".join(cells.names()),
        "engines": {name: _engine(name) for name in engines.names()},
        "engine auto": _engine("auto"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _engine(name: str) -> str:
    try:
        return engines.get(name).description()
    except (EngineError, UsageError) as error:
        return f"not available: {error}"


def _model(directory: Path) -> dict[str, Any]:
    files = model_directory.load(directory)
    config = files.config
    sizes = {path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.is_file()}
    return {
        "directory": str(directory.absolute()),
        "task": config.get("task"),
        "written by": config.get("unrolled_version"),
        "parameters": sum(array.size for array in files.tensors.values()),
        "model": config.get("model"),
        "text": config.get("text"),
        "data": config.get("data"),
        "training": config.get("training"),
        "bytes": sizes,
    }


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested facts as lines: "model.cell", "lstm"; what is not set is left out."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _flat(item, f"{name}.{key}".lstrip("."))]
    if value is None or value == "" or (name.endswith("example_tokens")):
        return []
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and not name.endswith("seed")
    return [(name, f"{value:,}" if is_count else value)]
