"""Command that makes the bundled weights again."""

from pathlib import Path
from typing import Annotated

import typer

from clnf.cli.options import Threads, place
from clnf.cli.show import Bars

__all__ = ["app"]

app = typer.Typer()


@app.command(epilog="Example: clnf train recipes/emoji_judge.toml -o judge.safetensors")
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe of weights.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    threads: Threads = 0,
) -> None:
    """Train core knowledge or a judge from its recipe, on the bundled data."""
    from clnf.media.making import load_making, make

    place("cpu", threads)
    chosen = load_making(recipe)
    with Bars() as bars:
        for done, total, _ in make(chosen, out):
            bars.at(chosen.name, done, total)
    print(out)
