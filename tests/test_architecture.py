"""The layout that README.md shows is the one on the disk, and what must stay light stays light."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unrolled"
NOT_LAYERS = {"__init__.py", "py.typed"}
"""What lies in the package without being a layer: its public face and a marker for type checkers."""


def readme_tree() -> list[str]:
    """The lines of the fenced block of README.md that has a line for src/unrolled/."""
    blocks: list[str] = re.findall(
        r"^```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    trees = [block.splitlines() for block in blocks if re.search("^src/unrolled/ ", block, re.MULTILINE)]
    assert len(trees) == 1, "README.md shows the tree in one fenced block with a line that starts with src/unrolled/"
    return trees[0]


def readme_entries(indent: str) -> list[str]:
    """Names at one depth of the tree, each followed by two spaces or more and its caption."""
    lines = (re.fullmatch(rf"{indent}([\w./-]+)(?: {{2,}}(\S.*))?", line) for line in readme_tree())
    entries = {match[1]: match[2] for match in lines if match}
    assert all(entries.values()), f"entries without a caption: {[name for name in entries if not entries[name]]}"
    return list(entries)


def package_entries() -> set[str]:
    """Folders, with a slash at the end, and modules directly in the package."""
    folders = {f"{path.name}/" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    return folders | {path.name for path in PACKAGE.glob("*.py")}


def source_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not is_ignored(Path(name))]
        yield from (Path(folder) / name for name in names if not is_ignored(Path(name)))


def is_ignored(path: Path) -> bool:
    return any(fnmatch(part, pattern) for part in path.parts for pattern in ignored_patterns())


@cache
def ignored_patterns() -> list[str]:
    return [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()] + [".git"]


def test_readme_lists_what_is_in_the_package() -> None:
    listed = readme_entries("  ")
    assert len(listed) == len(set(listed))
    assert set(listed) == package_entries()


def test_readme_lists_the_top_folders() -> None:
    on_disk = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    on_disk = {name for name in on_disk if not is_ignored(Path(name))}
    listed = {name.replace("src/unrolled/", "src/") for name in readme_entries("") if name.endswith("/")}
    assert listed == on_disk


def test_readme_lists_the_layers_in_the_order_that_is_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    enforced = [layer.strip("()") for layer in reversed(layers)]
    listed = [name.removesuffix("/").removesuffix(".py") for name in readme_entries("  ") if name not in NOT_LAYERS]
    assert listed == enforced


@pytest.mark.parametrize("library", ["torch", "matplotlib", "tokenizers"])
def test_importing_the_package_is_light(run_python: Callable[..., str], library: str) -> None:
    code = f"import sys, unrolled; print({library!r} in sys.modules)"
    assert run_python(code) == "False\n"


def test_importing_what_scores_and_generates_loads_no_torch(run_python: Callable[..., str]) -> None:
    code = """
import sys
from unrolled import cells, engines, inference, metrics, model_directory, reference, text
engines.get("portable")
print({"torch", "matplotlib"} & set(sys.modules))
"""
    assert run_python(code) == "set()\n"


def test_torch_is_pinned_in_one_place() -> None:
    pin = re.compile(r"\btorch\s*={2,3}\s*\d")
    pinned = {str(path.relative_to(ROOT)) for path in source_files() if pin.search(path.read_text(errors="ignore"))}
    assert pinned == {"constraints.txt"}
    (dependency,) = [
        line
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        if line.startswith("torch")
    ]
    assert dependency == "torch>=2.10"
