"""The gradient lab: see what backpropagation through time does in a network, on your own text.

A network is a model directory, or a fresh cell (--cell, --hidden). The text is --text, --file, or the held-out text of
the model. Each command prints what it found; --out makes a page of it, --png pictures, --json data.

Example: unrolled lab flow novel --text "He said that he would come" --out flow.html
"""

import importlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.console import ProgressBar, print_json, say
from unrolled.errors import UsageError

if TYPE_CHECKING:
    from unrolled.lab.report import Finding
    from unrolled.lab.subject import Subject

LOOKS = {
    "unfold": "The network unrolled over a text: words in, states as colours, what it expected and what came.",
    "flow": "How far back each error is felt: the size of dE_t/ds_k over the words and over the lag.",
    "spectra": "Whether errors must vanish or explode: Jacobians, their products, growth rates.",
    "gates": "How open and how saturated gates are, which units are stuck, and which follow the text.",
    "truncation": "What truncated backpropagation leaves out, by window.",
}
STEPS = {"unfold": 20, "truncation": 200}
"""Tokens that are read where --steps is not given, if not 100."""
TELLS = {"spectra", "truncation"}
"""Those that take long enough to say how far they are."""

MOST_COMPARED = 200_000
"""Characters of a text that are read to compare cells."""
EMBEDDED = ":embedded:"

Text = Annotated[str | None, typer.Option(help="The text to read.", show_default=False)]
File = Annotated[str | None, typer.Option(metavar="FILE|-", help="A file with the text to read.", show_default=False)]
Out = Annotated[Path | None, typer.Option(metavar="PAGE.html", help="Write a page.", show_default=False)]
Png = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write pictures.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


def look(name: str) -> Callable[..., None]:
    """The command that looks at a network in one way."""

    def command(
        directory: Annotated[
            Path | None, typer.Argument(metavar="[DIR]", help="Model directory.", show_default=False)
        ] = None,
        cell: Annotated[
            str | None,
            typer.Option(
                metavar="NAME|FILE.py",
                help="Instead of DIR: a fresh network of this cell, or of a file's. With DIR: its cell's file.",
            ),
        ] = None,
        hidden: Annotated[int, typer.Option(help="Units of a fresh network.")] = 64,
        layers: Annotated[int, typer.Option(help="Layers of a fresh network.")] = 1,
        initialization: Annotated[
            str, typer.Option(metavar="uniform|orthogonal|identity|scaled", help="Weights of a fresh network.")
        ] = "uniform",
        initial_range: Annotated[
            float | None,
            typer.Option(help="Bound of its weights where they are uniform.", show_default="1/sqrt(hidden)"),
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of a fresh network.")] = 1,
        unit: Annotated[str, typer.Option(metavar="word|char|bpe", help="Tokens of a fresh network.")] = "word",
        text: Text = None,
        file: File = None,
        steps: Annotated[int, typer.Option(help="Most tokens to read.")] = STEPS.get(name, 100),
        out: Out = None,
        png: Png = None,
        as_json: AsJson = False,
    ) -> None:
        subject = _subject(
            directory, text, file, cell=cell, hidden=hidden, layers=layers, initialization=initialization,
            initial_range=initial_range, seed=seed,
            unit=unit, steps=steps,
        )  # fmt: skip
        module = importlib.import_module(f"unrolled.lab.{name}")
        with ProgressBar(name) as bar:
            tell = [lambda share: bar.update(share, "")] if name in TELLS else []
            finding = getattr(module, name)(subject, *tell)
        show(finding, f"{name}: {subject.name}", _about(subject), out=out, png=png, as_json=as_json)

    command.__doc__ = LOOKS[name] + f"\n\nExample: unrolled lab {name} novel --out {name}.html"
    return command


def check(
    cell: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.py", help="One cell, or those that a file defines.")
    ] = None,
    engine: Annotated[str | None, typer.Option(metavar="portable|native", help="One engine.")] = None,
    out: Out = None,
    png: Png = None,
    as_json: AsJson = False,
) -> None:
    """Check every gradient on this machine, in float64, against central differences, forward mode and PyTorch.

    The table has the worst element of each. Exits with 1 if one is wrong. A file given to --cell is run.

    Example: unrolled lab check --cell mycell.py
    """
    from unrolled.lab.check import check

    with ProgressBar("check") as bar:
        found = check(cell, engine, lambda share: bar.update(share, ""))
    show(found, "check: every gradient against three witnesses", [], out=out, png=png, as_json=as_json)
    if found.failed:
        raise typer.Exit(1)


def compare(
    text: Text = None,
    file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="A file with the text to read [default: Python's documents].")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Larger networks, longer lags: takes a night.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights and tasks.")] = 1,
    jobs: Annotated[int | None, typer.Option(help="Processes (default: as many as there are CPUs).")] = None,
    out: Out = None,
    png: Png = None,
    as_json: AsJson = False,
) -> None:
    """Cells and remedies side by side at equal parameters: gradients over the lag, losses, and what they remember.

    Takes a few minutes.

    Example: unrolled lab compare --out compare.html
    """
    from unrolled.lab.compare import FULL, SHORT, compare

    read, name = _text(text, file)
    if read is None:
        read, name = _text(None, EMBEDDED)
    assert read is not None
    processes = len(os.sched_getaffinity(0)) if jobs is None else jobs
    with ProgressBar("compare") as bar:
        found = compare(
            read[:MOST_COMPARED], FULL if full else SHORT, jobs=processes, seed=seed,
            tell=lambda share: bar.update(share, ""),
        )  # fmt: skip
    show(found, "compare: who remembers", [f"{'text':<12}{name}"], out=out, png=png, as_json=as_json)


def remedies(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory.", show_default=False)],
    cell: Annotated[
        Path | None, typer.Option(metavar="FILE.py", help="The file of a cell of one's own.", show_default=False)
    ] = None,
    text: Text = None,
    file: File = None,
    steps: Annotated[int, typer.Option(help="Most tokens to read.")] = 200,
    out: Out = None,
    png: Png = None,
    as_json: AsJson = False,
) -> None:
    """Say in words what a model suffers from, and which remedy the evidence supports.

    Example: unrolled lab remedies novel
    """
    from unrolled.lab import subject
    from unrolled.lab.remedies import remedies

    if cell is not None:
        from unrolled.lab.own_cells import cells_in

        cells_in(cell)
    looked_at = subject.of_model(directory, *_text(text, file), steps=steps)
    with ProgressBar("remedies") as bar:
        found = remedies(directory, looked_at, lambda share: bar.update(share, ""))
    show(found, f"remedies: {looked_at.name}", _about(looked_at), out=out, png=png, as_json=as_json)


def show(
    finding: "Finding", title: str, before: list[str], *, out: Path | None, png: Path | None, as_json: bool
) -> None:
    """Print a finding and write what is asked for."""
    lines = [*before, *finding.lines()]
    if as_json:
        print_json(finding.as_dict())
    else:
        print("\n".join(lines))
    if out is None and png is None:
        return
    from unrolled.lab import report

    pictures = finding.pictures()
    if out is not None:
        report.write_page(out, report.page(title, f"unrolled {shlex.join(sys.argv[1:])}", lines, pictures))
        say(f"page        {out}")
    if png is not None:
        for path in report.write_pngs(png, pictures):
            say(f"picture     {path}")


def _about(subject: "Subject") -> list[str]:
    return [f"{'network':<12}{subject.name}", f"{'text':<12}{len(subject.ids):,} tokens of {subject.text_name}"]


def _subject(
    directory: Path | None, text: str | None, file: str | None, *, steps: int, unit: str, **fresh: Any
) -> "Subject":
    """What is to be looked at."""
    from unrolled.lab import subject
    from unrolled.text.settings import TextSettings

    if fresh["cell"] is not None and fresh["cell"].endswith(".py"):
        from unrolled.lab.own_cells import cells_in

        cells = cells_in(Path(fresh["cell"]))
        if directory is None and len(cells) > 1:
            names = ", ".join(cell.name for cell in cells)
            raise UsageError(f"{fresh['cell']}: defines {names}: give a file with one cell")
        fresh["cell"] = None if directory is not None else cells[0].name
    if (directory is None) == (fresh["cell"] is None):
        raise UsageError("what is to be looked at: give either a model directory or --cell")
    read, name = _text(text, file)
    if directory is not None:
        return subject.of_model(directory, read, name, steps=steps)
    if read is None:
        raise UsageError("a fresh network has no text of its own: give --text or --file")
    return subject.of_fresh_cell(subject.FreshCell(**fresh), read, name, TextSettings(unit=unit), steps=steps)


def _text(text: str | None, file: str | None) -> tuple[str | None, str]:
    """The text that is asked for, None where none is, and what to call it."""
    if text is not None and file is not None:
        raise UsageError("--text and --file exclude each other: give one of them")
    if file is None:
        return text, "--text"
    from unrolled.text.corpus import read_corpus

    return read_corpus([file]).text, file


for _name in LOOKS:
    app.command(_name)(look(_name))
for _command in (check, compare, remedies):
    app.command()(_command)
