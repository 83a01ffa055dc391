"""Where things are kept that can be made again."""

import os
from pathlib import Path


def cache_home() -> Path:
    """UNROLLED_CACHE, else unrolled in XDG_CACHE_HOME, else in ~/.cache; it need not be there.

    Raises:
        RuntimeError: there is no home.
    """
    if os.environ.get("UNROLLED_CACHE"):
        return Path(os.environ["UNROLLED_CACHE"]).absolute()
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # XDG: a path that is not absolute counts for nothing
    return (given if given.is_absolute() else Path.home() / ".cache") / "unrolled"
