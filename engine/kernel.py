"""The one door to the compiler: `@kernel` turns a plain function over arrays into machine code.

Compiler flags live here and nowhere else. No fastmath and no parallel reductions, so that a float is the same float on
every run; the GIL is released, so that shards may share a process; results are cached on disk, so that only the first
start pays for compilation. With NUMBA_DISABLE_JIT=1 the same functions run as plain Python.

The cache's own check is the time of the file that a kernel stands in; it would not notice a change in a kernel of
another file that was compiled into it. So the cache's folder is named after the text of the whole engine: what was
compiled from another text is never met. NUMBA_CACHE_DIR says where those folders are; else beside the sources.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from numba.core import types
from numba.extending import intrinsic, overload

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder(asked: str) -> str:
    here = Path(__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(here.rglob("*.py")))
    return str(Path(asked or here / "__pycache__") / f"kernels-{sha256(text).hexdigest()[:16]}")


numba.config.CACHE_DIR = _folder(numba.config.CACHE_DIR)  # type: ignore[attr-defined]


def kernel(function: Function) -> Function:
    """Compile a function over arrays and scalars; it may call other kernels."""
    return cast(Function, numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))


#: Whether kernels are machine code in this process, or plain Python (NUMBA_DISABLE_JIT=1).
COMPILED: Final = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def top_bit(word: int) -> int:
    """Return the position of the highest set bit of a positive word: one instruction in a kernel."""
    return int(word).bit_length() - 1


@intrinsic
def _leading_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, 1))

    return types.int64(types.int64), generate


_zeros: Any = _leading_zeros


@overload(top_bit)
def _top_bit(word: Any) -> Any:
    def compiled(word: Any) -> Any:
        return 63 - _zeros(word)

    return compiled
