"""What the compiler is told: which kernels Python may call, and how often one is compiled."""

import gc
from typing import Any, cast

import pytest

from engine.kernel import COMPILED, inlined, inlined_entry, inner, kernel

pytestmark = pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")


@inner
def plus(value: int, more: int) -> int:
    return value + more


@inlined
def minus(value: int, less: int) -> int:
    return value - less


@inlined_entry
def twice(value: int) -> int:
    return 2 * value


@kernel
def reckon(value: int) -> int:
    return plus(plus(minus(twice(value), 1), 3), value)


def test_a_constant_compiles_no_copy_of_its_own() -> None:
    called, caller = cast(Any, plus), cast(Any, reckon)
    assert reckon(10) == 32
    # Of a kernel that was compiled by an earlier process nothing is compiled here.
    caller.recompile()
    assert reckon(10) == 32
    assert [str(each) for each in called.signatures] == ["(int64, int64)"]


@pytest.mark.parametrize("closed", [plus, minus])
def test_an_inner_kernel_has_no_entrance_for_python(closed: Any) -> None:
    with pytest.raises(TypeError, match=f"{closed.py_func.__name__} is for other kernels alone.*@kernel"):
        closed(1, 2)


def test_an_inlined_kernel_may_have_one() -> None:
    assert twice(4) == 8


@pytest.mark.parametrize("collects", [True, False])
def test_compiling_leaves_the_collector_as_it_was(collects: bool) -> None:
    @kernel
    def fresh(value: int) -> int:
        return value + 1

    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        assert fresh(1) == 2
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


def test_a_failure_to_compile_leaves_the_collector_on() -> None:
    @kernel
    def hopeless(value: int) -> Any:
        return value.nothing  # type: ignore[attr-defined]

    with pytest.raises(Exception, match="nothing"):
        hopeless(1)
    assert gc.isenabled()
