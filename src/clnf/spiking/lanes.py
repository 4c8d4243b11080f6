"""Some things more that vectors of sixteen can do.

They write past the cache, show their marks as bits, take doubles, which fill two registers, and
read coefficients that are one number for all cells, or one each.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from clnf.devices.sixteen import WIDTH, Doubles, Floats, Marks

__all__ = [
    "beyond", "differs", "every_double", "load_doubles", "lowest", "marked", "place",
    "save_doubles", "stream", "theirs",
]  # fmt: skip

_LONG = ir.IntType(64)


def _stream(_: Any, place: Any, at: Any, value: Any) -> Any:
    """Write sixteen floats past the cache; ``place`` is an address, a multiple of 64 bytes."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        to = builder.bitcast(builder.gep(start, [args[1]]), Floats.inside.as_pointer())
        written = builder.store(args[2], to, align=64)
        past = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        written.set_metadata("nontemporal", past)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, Floats), code


def _marked(_: Any, marks: Any) -> Any:
    """Marks as the lowest sixteen bits of a word."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), _LONG)

    return types.uintp(Marks), code


def _differs(_: Any, x: Any, y: Any) -> Any:
    """Where two are not the same; what is no number is always marked."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_unordered("!=", args[0], args[1])

    return Marks(Floats, Floats), code


def _lowest(_: Any, word: Any) -> Any:
    """Place of the lowest bit that is set; of a word that has one."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uintp(types.uintp), code


def _splat(builder: Any, value: Any) -> Any:
    """A number sixteen times."""
    kind, word = ir.VectorType(value.type, WIDTH), ir.IntType(32)
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, value, word(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(word, WIDTH), None))


def _place(_: Any, one: Any) -> Any:
    """Where coefficients of cells are: the address of an array; a number is its own place."""
    if not isinstance(one, types.Array):
        return types.float32(one), lambda context, builder, sig, args: args[0]

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _LONG)

    return types.uintp(one), code


def _theirs(_: Any, place: Any, at: Any) -> Any:
    """Coefficients of sixteen cells, from what :func:`place` gave."""
    if isinstance(place, types.Float):
        return Floats(place, at), lambda context, builder, sig, args: _splat(builder, args[0])

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        there = builder.gep(start, [args[1]])
        return builder.load(builder.bitcast(there, Floats.inside.as_pointer()), align=4)

    return Floats(types.uintp, at), code


def _every_double(_: Any, x: Any) -> Any:
    """A float64 sixteen times."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return Doubles(types.float64), code


def _doubles_at(builder: Any, address: Any, at: Any) -> Any:
    start = builder.inttoptr(address, ir.DoubleType().as_pointer())
    return builder.bitcast(builder.gep(start, [at]), Doubles.inside.as_pointer())


def _load_doubles(_: Any, address: Any, at: Any) -> Any:
    """Sixteen float64 from ``at`` on."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_doubles_at(builder, *args), align=8)

    return Doubles(types.uintp, types.uintp), code


def _save_doubles(_: Any, address: Any, at: Any, value: Any) -> Any:
    """Write sixteen float64 from ``at`` on."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _doubles_at(builder, *args[:2]), align=8)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, Doubles), code


def _beyond(_: Any, x: Any, y: Any) -> Any:
    """Where the first of two doubles is greater."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_ordered(">", args[0], args[1])

    return Marks(Doubles, Doubles), code


# Numba gives these their types where they are called.
stream: Any = intrinsic(_stream)
differs: Any = intrinsic(_differs)
marked: Any = intrinsic(_marked)
lowest: Any = intrinsic(_lowest)
every_double: Any = intrinsic(_every_double)
load_doubles: Any = intrinsic(_load_doubles)
save_doubles: Any = intrinsic(_save_doubles)
beyond: Any = intrinsic(_beyond)
place: Any = intrinsic(_place)
theirs: Any = intrinsic(_theirs)
