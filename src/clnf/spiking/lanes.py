"""Some things more that vectors of sixteen can do: write past the cache, and show their marks."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from clnf.devices.sixteen import WIDTH, Floats, Marks

__all__ = ["differs", "lowest", "marked", "stream"]

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


# Numba gives these their types where they are called.
stream: Any = intrinsic(_stream)
differs: Any = intrinsic(_differs)
marked: Any = intrinsic(_marked)
lowest: Any = intrinsic(_lowest)
