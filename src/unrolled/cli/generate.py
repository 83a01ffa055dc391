"""Write new text, shown as it is made.

The same --seed gives the same text. Prompts may hold several lines.

Example: unrolled generate novel --prompt "The prince" --temperature 0.8 --count 3
"""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from unrolled.cli.console import print_json
from unrolled.cli.options import EngineName


def verb(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory.", show_default=False)],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    count: Annotated[int, typer.Option(help="How many continuations.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of each continuation.")] = 200,
    temperature: Annotated[float, typer.Option(help="Below 1 safer, above 1 wilder.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Choose among the k most probable tokens; 0: among all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Choose among the most probable tokens of this total share.")] = 1.0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the most probable token.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeat a text exactly.", show_default=False)] = None,
    engine: EngineName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a continuation.")] = False,
) -> None:
    """Parse, generate, print."""
    from unrolled.engines import Sampling
    from unrolled.errors import UsageError
    from unrolled.inference import LanguageModel

    if count < 1:
        raise UsageError(f"--count is {count}: give a whole number of at least 1")
    sampling = Sampling(temperature, top_k, top_p, greedy)
    model = LanguageModel.load(directory, engine=engine)
    seed = secrets.randbits(32) if seed is None else seed
    if as_json:  # nobody watches: side by side
        texts = model.continuations(prompt, count=count, max_tokens=max_tokens, sampling=sampling, seed=seed)
        for index, text in enumerate(texts):
            print_json({"prompt": prompt, "text": text, "seed": seed, "index": index})
        return
    for index in range(count):
        pieces = model.stream(prompt, max_tokens=max_tokens, sampling=sampling, seed=seed, index=index)
        if index > 0:
            print("---")
        ends = "\n"
        for number, piece in enumerate(pieces):
            if number == 0:
                sys.stdout.write(prompt)
            sys.stdout.write(piece)
            sys.stdout.flush()
            ends = piece[-1:] or ends
        if ends != "\n":
            print()
