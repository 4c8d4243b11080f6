"""A second device to test on where there is none."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Torch's own device without memory: nothing in torch has to be told about it.
FAR = torch.device("meta")
CPU = torch.device("cpu")
# Operations that torch allows to mix devices: copies, and indices from the CPU.
MIXED = {"copy_", "_to_copy", "index", "index_put_", "_index_put_impl_"}


class Far(Tensor):
    """A tensor that says it lives on another device, and keeps its values out of reach."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "Far":
        made: Far = Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
        )
        made.near = near
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> npt.NDArray[Any]:
        if not force:
            raise TypeError("a tensor of another device has no NumPy view")
        return self.cpu().numpy()

    @classmethod
    def __torch_dispatch__(
        cls, op: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(op, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While it is on, torch has the device ``FAR``: real values, none of them on the CPU.

    As on an accelerator, an operation on tensors of two devices is an error unless one is a
    single number, and NumPy sees nothing of what lives there.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's compiler is not in play, and telling it so would load it, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(op, args, kwargs or {})


def _run(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    met: set[torch.device] = set()
    inside = [_near(value, met) for value in args]
    named = {name: _near(value, met) for name, value in kwargs.items()}
    wanted = kwargs.get("device")
    far = FAR in met
    if wanted is not None:
        far, named["device"] = torch.device(wanted) == FAR, CPU
    if len(met) > 1 and op.overloadpacket.__name__ not in MIXED:
        raise RuntimeError(f"{op}: expected all tensors to be on the same device")
    out = op(*inside, **named)
    if out is not None and op._schema.arguments and _is_written(op._schema.arguments[0]):
        return args[0]
    return _far(out) if far else out


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _near(value: Any, met: set[torch.device]) -> Any:
    if isinstance(value, Far):
        met.add(FAR)
        return value.near
    if isinstance(value, Tensor):
        if value.dim() > 0:
            met.add(CPU)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)([_near(item, met) for item in value])
    return value


def _far(out: Any) -> Any:
    if isinstance(out, Tensor):
        return Far(out)
    if isinstance(out, (list, tuple)):
        return type(out)(map(_far, out))
    return out


@pytest.fixture(autouse=True)
def threads_as_found() -> Iterator[None]:
    """Give back the number of torch's threads: another number rounds otherwise in later tests.

    It is changed by commands with ``--threads``, and by Numba, whose pool of threads is the same.
    """
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def far() -> Iterator[torch.device]:
    """A device that is not the CPU, for the time of one test."""
    with Elsewhere():
        yield FAR
