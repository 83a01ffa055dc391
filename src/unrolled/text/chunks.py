"""A long text in pieces of a size that a step can hold in memory at once."""

from collections.abc import Iterator


def line_chunks(text: str, size: int = 1 << 16) -> Iterator[str]:
    r"""Cut the text at line ends into pieces of about `size` characters; a longer line stays whole.

    Only "\n" ends a line. Nothing is lost: the pieces joined are the text. No piece is empty.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start + size - 1) + 1 or len(text)
        yield text[start:end]
        start = end
