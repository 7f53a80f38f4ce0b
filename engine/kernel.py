"""The one door to the compiler: `@kernel` turns a plain function over arrays into machine code.

Compiler flags live here and nowhere else. No fastmath and no parallel reductions, so that a float is the same float on
every run; the GIL is released, so that shards may share a process; results are cached on disk, so that only the first
start pays for compilation. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function over arrays and scalars; it may call other kernels."""
    return cast(Function, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))
