"""``clnf spike``: networks of spiking cells, their files and where they fit."""

import typer

from clnf.cli.spike_nir import nir

__all__ = ["app"]

app = typer.Typer(
    help="Spiking networks: files of other tools, and what they make of ours.",
    no_args_is_help=True,
    epilog="Example: clnf spike nir model.nir",
)
app.command(epilog="Example: clnf spike nir model.nir --for norse --dt-s 1e-3 --write norse.nir")(
    nir
)
