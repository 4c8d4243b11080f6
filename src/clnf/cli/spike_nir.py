"""``clnf spike nir``: what is in a NIR file, what is wrong with it, and which tools can take it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from clnf.cli.options import Json, within
from clnf.cli.show import emit, say, show_table
from clnf.core.files import check_file

if TYPE_CHECKING:
    from clnf.spiking.exchange.dialects import Dialect, Finding, Fitted
    from clnf.spiking.exchange.faults import Fault
    from clnf.spiking.exchange.graph import Graph
    from clnf.spiking.exchange.reading import Reading
    from clnf.spiking.exchange.shapes import Shapes

__all__ = ["nir"]

Tool = Literal["snntorch", "norse", "sinabs", "rockpool", "spikingjelly"]
_ROWS = 40
FAULTY = 1


class _Found(NamedTuple):
    """All that is shown."""

    graph: "Graph"
    shapes: "Shapes"
    how: "Reading"
    faults: "list[Fault]"
    tools: "list[tuple[Dialect, list[Finding], Fitted | str]]"


def nir(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A NIR file.")],
    tool: Annotated[
        Tool | None, typer.Option("--for", help="One tool in full, and the file for it.")
    ] = None,
    dt_s: Annotated[
        float | None, typer.Option("--dt-s", help="Seconds of a step it is to be run with.")
    ] = None,
    drive: Annotated[
        Literal["hold", "kick", "dirac"] | None,
        typer.Option("--drive", help="What a value in a step stands for; hold if not said."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="OUT", help="Write the file mended, or for the tool."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at a NIR file: nodes, faults, and what other tools make of it; ends with 1 for errors.

    With --write, errors that are left in the new file end it so, and nothing is written.
    """
    from clnf.spiking.exchange.files import read_nir, write_nir
    from clnf.spiking.exchange.linting import find_faults

    within("--dt-s", dt_s, (1e-9, 10.0), "s")
    out = None if write is None else check_file(write)
    found = _find(read_nir(file), tool, (dt_s, drive))
    new = None if out is None else _new(found, tool)
    wrong = _errors(found.faults if new is None else find_faults(new, dt_s))
    if wrong:
        out = None
    elif out is not None and new is not None:
        write_nir(out, new)
    emit(_values(found, out), as_json, lambda: _show(found, tool, out))
    if not wrong:
        return
    if write is not None and not as_json:
        say(f"not written: {len(wrong)} errors would be left, first {_said(wrong[0])}")
    raise typer.Exit(FAULTY)


def _errors(faults: "list[Fault]") -> "list[Fault]":
    return [one for one in faults if one.level == "error"]


def _said(fault: "Fault") -> str:
    return fault.sentence.replace("mended()", "--write")


def _find(graph: "Graph", tool: str | None, said: tuple[float | None, Any]) -> _Found:
    from clnf.core.errors import DataError
    from clnf.spiking.exchange.dialects import DIALECTS, fit, judge
    from clnf.spiking.exchange.flat import flattened
    from clnf.spiking.exchange.linting import find_faults
    from clnf.spiking.exchange.shapes import shapes_of

    how = _how(graph, said)
    tools: list[tuple[Dialect, list[Finding], Fitted | str]] = []
    for dialect in DIALECTS:
        if tool in (None, dialect.name):
            try:
                fitted: Fitted | str = fit(graph, dialect, how)
            except DataError as error:
                fitted = str(error)
            tools.append((dialect, judge(graph, dialect, how), fitted))
    faults = find_faults(graph, said[0])
    return _Found(graph, shapes_of(flattened(graph)), how, faults, tools)


def _how(graph: "Graph", said: tuple[float | None, Any]) -> "Reading":
    """As is asked for; else as the file says; else the step its numbers hint at."""
    from clnf.core.errors import DataError
    from clnf.spiking.exchange.extras import ours
    from clnf.spiking.exchange.linting import unit_gain_s
    from clnf.spiking.exchange.reading import Reading

    dt_s, drive = said
    try:
        own = Reading.of(graph)
    except DataError:
        hints = {unit_gain_s(node) for _, node in graph.walk()} - {None}
        hint = hints.pop() if len(hints) == 1 else None
        told = ours(graph.metadata).get("for")
        step = told.get("dt_s") if isinstance(told, dict) else hint
        own = Reading(dt_s=step if isinstance(step, float) and step > 0 else 1e-3)
    return Reading(dt_s=dt_s or own.dt_s, drive=drive or own.drive, method=own.method)


def _new(found: _Found, tool: str | None) -> "Graph":
    from clnf.core.errors import DataError
    from clnf.spiking.exchange.mending import mended

    if tool is None:
        return mended(found.graph)
    ((dialect, _, fitted),) = found.tools
    if isinstance(fitted, str):
        raise DataError(f"no file for {dialect.title}: {fitted}")
    refused = [one for one in fitted.left if one.level == "refuses"]
    if refused:
        where = f"{refused[0].where}: " if refused[0].where else ""
        raise DataError(
            f"no file for {dialect.title}, which would refuse it ({where}{refused[0].what}); "
            "nothing was written"
        )
    return fitted.graph


def _word(findings: "list[Finding]") -> str:
    levels = {one.level for one in findings}
    return "no" if "refuses" in levels else "changes it" if "changes" in levels else "yes"


def _values(found: _Found, out: Path | None) -> dict[str, Any]:
    """What was found as JSON values."""
    graph, shapes = found.graph, found.shapes
    return {
        "version": graph.version,
        "read_as": {"dt_s": found.how.dt_s, "drive": found.how.drive},
        "nodes": [
            {
                "name": name,
                "kind": node.kind,
                "takes": [*shapes.into.get(name, ())],
                "gives": [*shapes.out.get(name, ())],
            }
            for name, node in graph.walk()
        ],
        "edges": [[*edge] for edge in graph.edges],
        "faults": [fault._asdict() for fault in found.faults],
        "tools": [
            {
                "tool": dialect.name,
                "title": dialect.title,
                "takes_it": _word(findings),
                "findings": [one._asdict() for one in findings],
                "rewritten": _rewritten(fitted),
            }
            for dialect, findings, fitted in found.tools
        ],
        "written": None if out is None else str(out),
    }


def _rewritten(fitted: "Fitted | str") -> dict[str, Any]:
    if isinstance(fitted, str):
        return {"takes_it": "no", "findings": [fitted], "dt_s": None}
    left = [one._asdict() for one in fitted.left]
    return {"takes_it": _word(fitted.left), "findings": left, "dt_s": fitted.dt_s}


def _show(found: _Found, tool: str | None, out: Path | None) -> None:
    graph, shapes = found.graph, found.shapes
    nodes = [
        (name, node.kind, _shape(shapes.into.get(name)), _shape(shapes.out.get(name)))
        for name, node in graph.walk()
    ]
    title = f"NIR {graph.version or 'of an unknown version'}: {len(nodes)} nodes"
    show_table(("node", "kind", "takes", "gives"), nodes[:_ROWS], title=title)
    if len(nodes) > _ROWS:
        say(f"and {len(nodes) - _ROWS} more; --json gives all")
    for fault in found.faults[:_ROWS]:
        say(f"{fault.level}: {_said(fault)}")
    if len(found.faults) > _ROWS:
        say(f"and {len(found.faults) - _ROWS} more; --json gives all")
    say(f"Read with steps of {found.how.dt_s:g} s; a value in a step: {found.how.drive}.")
    if tool is None:
        _show_tools(found)
    else:
        _show_tool(found)
    if out is not None:
        print(f"written: {out}")


def _show_tools(found: _Found) -> None:
    rows = []
    for dialect, findings, fitted in found.tools:
        left = "no" if isinstance(fitted, str) else _word(fitted.left)
        rows.append((dialect.title, _word(findings), _why(findings), left))
    show_table(("tool", "takes it", "because", "rewritten"), rows)
    say("--for TOOL says all, and with --write gives the rewritten file.")


def _why(findings: "list[Finding]") -> str:
    """The first findings, each once."""
    told = list(dict.fromkeys(one.what for one in findings))
    more = f"; {len(told) - 2} more" if len(told) > 2 else ""
    return "; ".join(told[:2]) + more


def _show_tool(found: _Found) -> None:
    ((dialect, findings, fitted),) = found.tools
    print(f"{dialect.title} takes the file as it is: {_word(findings)}")
    for one in findings:
        say(f"  {one.level}{' ' + one.where if one.where else ''}: {one.what}")
    if isinstance(fitted, str):
        say(f"It cannot be rewritten: {fitted}")
        return
    print(f"{dialect.title} takes it rewritten: {_word(fitted.left)}")
    for one in fitted.left:
        say(f"  {one.level}{' ' + one.where if one.where else ''}: {one.what}")
    if dialect.dt_s is None:
        say(f"The rewritten file is for steps of {fitted.dt_s:g} s and no others.")
    else:
        say(
            f"In the rewritten file, a step of the tool's own {fitted.dt_s:g} s stands for one of "
            f"{found.how.dt_s:g} s."
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else " x ".join(map(str, shape))
