"""Findings on a page: one HTML file that needs nothing else, its pictures as SVG, in light and in dark colours."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from unrolled.errors import UsageError
from unrolled.lab.pictures import Picture
from unrolled.version import VERSION


class Finding(Protocol):
    """What a look at a network found."""

    def lines(self) -> list[str]:
        """For a terminal."""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""

    def pictures(self) -> list[Picture]:
        """To look at."""


def page(title: str, command: str, lines: Sequence[str], pictures: Sequence[Picture]) -> str:
    """A whole page.

    Args:
        title: of the page.
        command: that made it.
        lines: of the findings, in words.
        pictures: each with its title and caption.
    """
    figures = "\n".join(map(_figure, pictures))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{html.escape(title)}</h1>\n"
        f"<p><code>{html.escape(command)}</code></p>\n</header>\n<pre>{html.escape(chr(10).join(lines))}</pre>\n"
        f"<main>\n{figures}\n</main>\n<footer>unrolled {VERSION}</footer>\n</body>\n</html>\n"
    )


def _figure(picture: Picture) -> str:
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    opening = '<figure class="wide">' if picture.is_wide else "<figure>"
    return f"{opening}\n<h2>{title}</h2>\n{picture.svg().strip()}\n<figcaption>{caption}</figcaption>\n</figure>"


def write_page(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}): give another --out") from error


def write_pngs(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Write each picture as NAME.png.

    Raises:
        UsageError: they cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for each in pictures:
            paths.append(folder / f"{each.name}.png")
            paths[-1].write_bytes(each.png())
        return paths
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}): give another --png") from error


_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1c1d; --soft: #5b6068; --line: #d9dce1; --blue: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e4e6e9; --soft: #a2a8b1; --line: #33373d;
  --blue: #4aa3df; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1280px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; }
code, pre { font: 0.82rem/1.5 ui-monospace, monospace; }
code { color: var(--soft); overflow-wrap: anywhere; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 2rem 1.5rem; }
figure { margin: 0; min-width: 0; }
.wide { grid-column: 1 / -1; }
svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 0.9rem; margin-top: 0.5rem; max-width: 42rem; }
footer { color: var(--soft); font-size: 0.8rem; margin-top: 2rem; }
"""
