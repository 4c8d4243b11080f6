"""``clnf spike``: spiking nets, their files and the chips they may run on."""

import typer

from clnf.cli.spike_check import check

__all__ = ["app"]

app = typer.Typer(
    help="Spiking nets: do they fit a chip?",
    no_args_is_help=True,
    epilog="Example: clnf spike check net.toml --chip speck",
)
app.command(epilog="Example: clnf spike check net.toml --chip speck")(check)
