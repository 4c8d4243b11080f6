"""Sixteen cells that are computed side by side, for compiled loops.

A loop over cells that reads and writes seven arrays is more than a compiler turns into whole
vectors by itself. Here the register of sixteen is a value: :data:`Floats`, :data:`Words` (32 bits,
without or with sign) and :data:`Marks` (one bit a cell), with the operators of Python. Each
operation is a plain one, never fused or reordered: the bits are those of a scalar loop, on any
machine, whatever the true width of its registers.
"""

import operator
from collections.abc import Callable
from typing import Any, final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

__all__ = [
    "WIDTH", "Doubles", "Floats", "Marks", "Words", "address", "any_of", "bits_of", "count_bits",
    "doubles", "every", "every_word", "floats", "floor", "greater", "largest", "lesser", "load",
    "load_one", "load_words", "magnitude", "nearest", "negative", "peek_byte", "peek_count",
    "peek_double", "peek_long", "peek_short", "peek_word", "poke_byte", "poke_count",
    "poke_double", "poke_long", "poke_short", "poke_word", "root", "save", "save_one", "save_words",
    "soon", "sum_of_doubles", "where", "where_words", "whole", "words_of",
]  # fmt: skip

WIDTH = 16
_INT = ir.IntType(32)


@final
class _Sixteen(types.Type):
    def __init__(self, name: str, inside: Any) -> None:
        super().__init__(name=f"Sixteen{name}")
        self.inside = ir.VectorType(inside, WIDTH)


Floats = _Sixteen("Floats", ir.FloatType())
Doubles = _Sixteen("Doubles", ir.DoubleType())
Words = _Sixteen("Words", _INT)
Marks = _Sixteen("Marks", ir.IntType(1))


@final
@register_model(_Sixteen)
class _SixteenModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.inside)  # type: ignore[no-untyped-call]


def _operator(function: Any, kinds: tuple[Any, Any, Any], build: Callable[..., Any]) -> None:
    """Give an operator of Python a meaning: ``kinds`` are its result and both arguments."""

    class Template(ConcreteTemplate):
        cases = [signature(*kinds)]  # type: ignore[no-untyped-call]  # noqa: RUF012

    infer_global(function)(Template)  # type: ignore[no-untyped-call]
    lower_builtin(function, *kinds[1:])(  # type: ignore[no-untyped-call]
        lambda context, builder, kind, args: build(builder, args[0], args[1])
    )


for _kind in (Floats, Doubles):
    for _function, _name in (
        (operator.add, "fadd"),
        (operator.sub, "fsub"),
        (operator.mul, "fmul"),
        (operator.truediv, "fdiv"),
    ):
        _operator(_function, (_kind, _kind, _kind), lambda b, x, y, n=_name: getattr(b, n)(x, y))
for _function, _name in (
    (operator.add, "add"),
    (operator.sub, "sub"),
    (operator.mul, "mul"),
    (operator.and_, "and_"),
    (operator.xor, "xor"),
    (operator.or_, "or_"),
    (operator.rshift, "lshr"),
    (operator.lshift, "shl"),
):
    _operator(_function, (Words, Words, Words), lambda b, x, y, n=_name: getattr(b, n)(x, y))
for _function, _sign in ((operator.lt, "<"), (operator.gt, ">")):
    _operator(_function, (Marks, Floats, Floats), lambda b, x, y, s=_sign: b.fcmp_ordered(s, x, y))
    _operator(_function, (Marks, Words, Words), lambda b, x, y, s=_sign: b.icmp_signed(s, x, y))
_operator(operator.and_, (Marks, Marks, Marks), lambda b, x, y: b.and_(x, y))


def _made(build: Callable[..., Any], result: Any, *arguments: Any) -> Any:
    """A named operation on values alone."""
    kinds = signature(result, *arguments)  # type: ignore[no-untyped-call]
    return kinds, lambda context, builder, kind, args: build(builder, *args)


def _same(builder: Any, value: Any) -> Any:
    """A number sixteen times."""
    vector = ir.VectorType(value.type, WIDTH)
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, _INT(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_INT, WIDTH), None))


def _call(name: str) -> Callable[..., Any]:
    """An operation LLVM has for whole vectors."""

    def build(builder: Any, *values: Any) -> Any:
        kind = values[0].type
        short = "i32" if kind.element == _INT else "f32"
        shape = ir.FunctionType(kind, [kind] * len(values))
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, shape, f"llvm.{name}.v{WIDTH}{short}"
        )
        return builder.call(function, values)

    return build


def _fold(join: Callable[..., Any]) -> Callable[..., Any]:
    """All sixteen joined, first to last."""

    def build(builder: Any, value: Any) -> Any:
        out = builder.extract_element(value, _INT(0))
        for k in range(1, WIDTH):
            out = join(builder, out, builder.extract_element(value, _INT(k)))
        return out

    return build


def _pick(test: str) -> Callable[..., Any]:
    return lambda b, x, y: b.select(b.fcmp_ordered(test, x, y), x, y)


def _more(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _any(builder: Any, marks: Any) -> Any:
    bits = ir.IntType(WIDTH)
    return builder.icmp_unsigned("!=", builder.bitcast(marks, bits), bits(0))


def _whole_sum(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(ir.IntType(64), WIDTH)
    return _fold(lambda b, u, v: b.add(u, v))(builder, builder.fptosi(value, kind))


def _load(kind: Any) -> Callable[..., Any]:
    def typer(_: Any, array: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            place = _place(context, builder, sig.args[0], args[0], args[1], kind)
            return builder.load(place, align=4)

        return kind(array, types.uintp), code

    return typer


def _save(kind: Any) -> Callable[..., Any]:
    def typer(_: Any, array: Any, at: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            place = _place(context, builder, sig.args[0], args[0], args[1], kind)
            builder.store(args[2], place, align=4)
            return context.get_dummy_value()

        return types.void(array, types.uintp, value), code

    return typer


def _place(context: Any, builder: Any, array: Any, value: Any, at: Any, kind: Any) -> Any:
    if isinstance(array, types.Integer):
        data = builder.inttoptr(value, kind.inside.element.as_pointer())
    else:
        data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [at]), kind.inside.as_pointer())


def _peek(kind: Any) -> Any:
    def typer(_: Any, address: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            inside = context.get_data_type(kind)
            data = builder.inttoptr(args[0], inside.as_pointer())
            return builder.load(builder.gep(data, [args[1]]))

        return kind(types.uintp, types.uintp), code

    return typer


def _poke(kind: Any) -> Any:
    def typer(_: Any, address: Any, at: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = builder.inttoptr(args[0], context.get_data_type(kind).as_pointer())
            builder.store(args[2], builder.gep(data, [args[1]]))
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, kind), code

    return typer


def _address(_: Any, array: Any) -> Any:
    """Where an array's numbers begin."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.uintp(array), code


def _every(_: Any, x: Any) -> Any:
    """A float32 sixteen times."""
    return _made(_same, Floats, types.float32)


def _every_word(_: Any, x: Any) -> Any:
    """A word of 32 bits sixteen times."""
    return _made(_same, Words, types.uint32)


def _floats(_: Any, x: Any) -> Any:
    """Words with sign as floats."""
    return _made(lambda b, v: b.sitofp(v, Floats.inside), Floats, Words)


def _whole(_: Any, x: Any) -> Any:
    """Floats as words with sign, cut towards 0."""
    return _made(lambda b, v: b.fptosi(v, Words.inside), Words, Floats)


def _bits_of(_: Any, x: Any) -> Any:
    """The floats whose bits words are."""
    return _made(lambda b, v: b.bitcast(v, Floats.inside), Floats, Words)


def _words_of(_: Any, x: Any) -> Any:
    """The words whose bits floats are."""
    return _made(lambda b, v: b.bitcast(v, Words.inside), Words, Floats)


def _doubles(_: Any, x: Any) -> Any:
    """Floats with 64 bits."""
    return _made(lambda b, v: b.fpext(v, Doubles.inside), Doubles, Floats)


def _root(_: Any, x: Any) -> Any:
    """Square roots."""
    return _made(_call("sqrt"), Floats, Floats)


def _magnitude(_: Any, x: Any) -> Any:
    """Absolute values."""
    return _made(_call("fabs"), Floats, Floats)


def _floor(_: Any, x: Any) -> Any:
    """Whole numbers below."""
    return _made(_call("floor"), Floats, Floats)


def _nearest(_: Any, x: Any) -> Any:
    """Nearest whole numbers, halves to even."""
    return _made(_call("rint"), Floats, Floats)


def _count_bits(_: Any, x: Any) -> Any:
    """Bits set in each word."""
    return _made(_call("ctpop"), Words, Words)


def _negative(_: Any, x: Any) -> Any:
    """Words with their highest bit set."""
    return _made(lambda b, v: b.icmp_signed("<", v, ir.Constant(Words.inside, None)), Marks, Words)


def _lesser(_: Any, x: Any, y: Any) -> Any:
    """The lesser of two, cell by cell."""
    return _made(_pick("<"), Floats, Floats, Floats)


def _greater(_: Any, x: Any, y: Any) -> Any:
    """The greater of two, cell by cell."""
    return _made(_pick(">"), Floats, Floats, Floats)


def _where(_: Any, marks: Any, x: Any, y: Any) -> Any:
    """Floats ``x`` where marked, ``y`` elsewhere."""
    return _made(lambda b, m, u, v: b.select(m, u, v), Floats, Marks, Floats, Floats)


def _where_words(_: Any, marks: Any, x: Any, y: Any) -> Any:
    """Words ``x`` where marked, ``y`` elsewhere."""
    return _made(lambda b, m, u, v: b.select(m, u, v), Words, Marks, Words, Words)


def _any_of(_: Any, marks: Any) -> Any:
    """Whether one is marked."""
    return _made(_any, types.boolean, Marks)


def _largest(_: Any, x: Any) -> Any:
    """Largest of words with sign."""
    return _made(_fold(_more), types.int32, Words)


def _sum_of_doubles(_: Any, x: Any) -> Any:
    """Sum of doubles that are whole, as whole numbers."""
    return _made(_whole_sum, types.int64, Doubles)


def _soon(_: Any, address: Any, at: Any) -> Any:
    """Fetch the numbers around a place of an array of 32-bit numbers into the cache meanwhile."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = builder.inttoptr(args[0], _INT.as_pointer())
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        shape = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, shape, "llvm.prefetch.p0i8"
        )
        builder.call(function, [place, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), code


# Numba gives these their types where they are called. Loads and saves count along the array as it
# lies in memory, from ``at`` on, and check no bounds. They take an address too, a plain number: an
# array has its references counted wherever it is handed on, which in an inner loop costs more than
# the work. Whoever takes an address keeps the array.
address: Any = intrinsic(_address)
soon: Any = intrinsic(_soon)
load_one: Any = intrinsic(_peek(types.float32))
peek_byte: Any = intrinsic(_peek(types.uint8))
peek_short: Any = intrinsic(_peek(types.uint16))
peek_word: Any = intrinsic(_peek(types.uint32))
peek_long: Any = intrinsic(_peek(types.uintp))
peek_count: Any = intrinsic(_peek(types.int64))
peek_double: Any = intrinsic(_peek(types.float64))
save_one: Any = intrinsic(_poke(types.float32))
poke_word: Any = intrinsic(_poke(types.uint32))
poke_byte: Any = intrinsic(_poke(types.uint8))
poke_short: Any = intrinsic(_poke(types.uint16))
poke_long: Any = intrinsic(_poke(types.uintp))
poke_count: Any = intrinsic(_poke(types.int64))
poke_double: Any = intrinsic(_poke(types.float64))
load: Any = intrinsic(_load(Floats))
load_words: Any = intrinsic(_load(Words))
save: Any = intrinsic(_save(Floats))
save_words: Any = intrinsic(_save(Words))
every: Any = intrinsic(_every)
every_word: Any = intrinsic(_every_word)
floats: Any = intrinsic(_floats)
whole: Any = intrinsic(_whole)
bits_of: Any = intrinsic(_bits_of)
words_of: Any = intrinsic(_words_of)
doubles: Any = intrinsic(_doubles)
root: Any = intrinsic(_root)
magnitude: Any = intrinsic(_magnitude)
floor: Any = intrinsic(_floor)
nearest: Any = intrinsic(_nearest)
count_bits: Any = intrinsic(_count_bits)
negative: Any = intrinsic(_negative)
lesser: Any = intrinsic(_lesser)
greater: Any = intrinsic(_greater)
where: Any = intrinsic(_where)
where_words: Any = intrinsic(_where_words)
any_of: Any = intrinsic(_any_of)
largest: Any = intrinsic(_largest)
sum_of_doubles: Any = intrinsic(_sum_of_doubles)
