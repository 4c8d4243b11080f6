"""Eight numbers that are computed side by side, for compiled loops.

A loop over lines, with the state of eight of them in one register, is not found by Numba's own
vectoriser once more than a few arrays take part. These operations name the register outright.
Each is a plain sum or product, never a fused one: the bits are those of a scalar loop.
"""

from collections.abc import Callable
from typing import Any, final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, register_model

__all__ = ["WIDTH", "load", "mad", "mul", "save", "total", "turn"]

WIDTH = 8
_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_ANY = ir.Constant(_VECTOR, ir.Undefined)
_Made = tuple[Any, Callable[..., Any]]


@final
class _Eight(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Eight")


_EIGHT = _Eight()


@final
@register_model(_Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _wide(builder: Any, value: Any) -> Any:
    """A number becomes eight times itself."""
    if isinstance(value.type, ir.VectorType):
        return value
    first = builder.insert_element(_ANY, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, _ANY, _mask([0] * WIDTH))


def _load(_: Any, array: Any, at: Any) -> _Made:
    """Eight numbers of a flat float64 array from ``at`` on; nothing checks the bounds."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, kind.args[0], *args), align=8)

    return _EIGHT(array, types.intp), code


def _save(_: Any, array: Any, at: Any, value: Any) -> _Made:
    """Write eight numbers to a flat float64 array from ``at`` on."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        place = _place(context, builder, kind.args[0], args[0], args[1])
        builder.store(_wide(builder, args[2]), place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


def _mul(_: Any, a: Any, b: Any) -> _Made:
    """Products of eights, or of an eight and a number."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return builder.fmul(*(_wide(builder, value) for value in args))

    return _EIGHT(a, b), code


def _mad(_: Any, a: Any, b: Any, c: Any) -> _Made:
    """The sum a + b c, rounded twice."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        first, left, right = (_wide(builder, value) for value in args)
        return builder.fadd(first, builder.fmul(left, right))

    return _EIGHT(a, b, c), code


def _total(_: Any, value: Any) -> _Made:
    """The sum of eight numbers, first to last."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        parts = [builder.extract_element(args[0], ir.IntType(32)(k)) for k in range(WIDTH)]
        out = parts[0]
        for part in parts[1:]:
            out = builder.fadd(out, part)
        return out

    return types.float64(value), code


def _turn(_: Any, array: Any, step: Any, out: Any, at: Any, out_step: Any) -> _Made:
    """Turn eights at 0, step, 2 step ... of ``array`` into eights at ``at``, at + out_step ..."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        source, stride, target, start, apart = args
        word = start.type
        rows = []
        for k in range(WIDTH):
            place = builder.mul(stride, word(k))
            rows.append(
                builder.load(_place(context, builder, kind.args[0], source, place), align=8)
            )
        for half in (4, 2, 1):
            # Exchange the off-diagonal quarters of each square of side 2 half.
            low = [k if not k & half else WIDTH + k - half for k in range(WIDTH)]
            high = [k + half if not k & half else WIDTH + k for k in range(WIDTH)]
            for k in [k for k in range(WIDTH) if not k & half]:
                pair = rows[k], rows[k + half]
                rows[k] = builder.shuffle_vector(*pair, _mask(low))
                rows[k + half] = builder.shuffle_vector(*pair, _mask(high))
        for k, row in enumerate(rows):
            place = builder.add(start, builder.mul(apart, word(k)))
            builder.store(row, _place(context, builder, kind.args[2], target, place), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, out, types.intp, types.intp), code


# Numba gives these their types where they are called.
load: Any = intrinsic(_load)
save: Any = intrinsic(_save)
mul: Any = intrinsic(_mul)
mad: Any = intrinsic(_mad)
total: Any = intrinsic(_total)
turn: Any = intrinsic(_turn)
