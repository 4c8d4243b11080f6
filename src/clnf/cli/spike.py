"""``clnf spike``: networks of spiking cells, their files and the chips they may run on."""

import typer

from clnf.cli.spike_check import check
from clnf.cli.spike_nir import nir

__all__ = ["app"]

app = typer.Typer(
    help="Spiking networks: do they fit a chip, and what do other tools make of them?",
    no_args_is_help=True,
    epilog="Example: clnf spike check net.toml --chip speck",
)
app.command(epilog="Example: clnf spike check net.toml --chip speck")(check)
app.command(epilog="Example: clnf spike nir model.nir --for norse --dt-s 1e-3 --write norse.nir")(
    nir
)
