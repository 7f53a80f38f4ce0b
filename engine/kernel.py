"""The one door to the compiler: `@kernel` turns a plain function over arrays into machine code.

Compiler flags live here and nowhere else. No fastmath and no parallel reductions, so that a float is the same float on
every run; the GIL is released, except by what is `brief`, so that shards may share a process; results are cached on
disk, so that only the first start pays for compilation. With NUMBA_DISABLE_JIT=1 the same functions run as plain
Python. What a loop over bits or bytes cannot reach is one instruction or a few here, each with its twin in Python.

The cache's own check is the time of the file that a kernel stands in; it would not notice a change in a kernel of
another file that was compiled into it. So the cache's folder is named after the text of all files that hold kernels:
what was compiled from another text is never met. NUMBA_CACHE_DIR says where those folders are; else beside the sources.
"""

import gc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

import llvmlite.ir
import numba
from numba.core import types
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic, overload

Function = TypeVar("Function", bound=Callable[..., Any])
#: What `pinned` returns: a text's address in a kernel, the text itself in plain Python.
Text: TypeAlias = bytes
Four: TypeAlias = tuple[int, int, int, int]


def _folder(asked: str) -> str:
    here = Path(__file__).parent
    files = [path for folder in (here, here.parent / "ingest") for path in sorted(folder.rglob("*.py"))]
    text = b"".join(path.read_bytes() for path in files)
    return str(Path(asked or here / "__pycache__") / f"kernels-{sha256(text).hexdigest()[:16]}")


numba.config.CACHE_DIR = _folder(numba.config.CACHE_DIR)  # type: ignore[attr-defined]

#: Of every kernel. Most make no array, and the caller keeps alive what it hands over: without `_nrt`, numba's
#: memory management, a call of one kernel by another counts no references. Those counts, atomic, took most of the time
#: of small kernels.
FLAGS: Final[dict[str, Any]] = {
    "nopython": True,
    "nogil": True,
    "fastmath": False,
    "error_model": "numpy",
    "_nrt": False,
    "boundscheck": None,
    # Nobody calls a kernel from C.
    "no_cfunc_wrapper": True,
}


#: Whether kernels are machine code in this process, or plain Python (NUMBA_DISABLE_JIT=1).
COMPILED: Final = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]

# Numba has no types.
_Dispatcher: Final[Any] = CPUDispatcher
_plain: Final[Any] = types.unliteral


class _Kernel(_Dispatcher):  # type: ignore[misc]
    """What numba makes of a function, but that the callers' constants are arguments like others.

    Numba would compile a copy of a kernel for every literal that another kernel calls it with.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        named = {name: _plain(kind) for name, kind in dict(kws).items()}
        return super().get_call_template([_plain(kind) for kind in args], named)

    def compile(self, sig: Any) -> Any:
        # A compiler makes many objects and little garbage: to search them again and again took an eighth of its time.
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if collects:
                gc.enable()


class _Inner(_Kernel):
    """A kernel without an entrance for Python, which would often be larger than the kernel."""

    def __call__(self, *arguments: Any) -> Any:
        name = self.py_func.__name__
        raise TypeError(f"{name} is for other kernels alone: where Python calls it too, decorate it with @kernel")


def _compiled(function: Function, kind: Any = _Kernel, **flags: bool) -> Function:
    if not COMPILED:
        return function
    dispatcher = kind(py_func=function, targetoptions=FLAGS | flags)
    dispatcher.enable_caching()
    return cast(Function, dispatcher)


def kernel(function: Function) -> Function:
    """Compile a function over arrays and scalars; it may call other kernels."""
    return _compiled(function)


def inner(function: Function) -> Function:
    """Compile a kernel that only other kernels call."""
    return _compiled(function, _Inner, no_cpython_wrapper=True)


def allocating(function: Function) -> Function:
    """Compile a kernel that makes arrays, or has numpy copy, sort or reduce them, which may make some."""
    return _compiled(function, _nrt=True)


def brief(function: Function) -> Function:
    """Compile a kernel that Python calls for each frame, and that keeps the GIL.

    To give it up and to take it back takes as long as to read some hundred bytes, and may mean to wait for a thread.
    """
    return _compiled(function, nogil=False)


def inlined(function: Function) -> Function:
    """Compile an inner kernel that becomes a part of each one that calls it, where a call would cost as much.

    A call hands on seven words or more of every array: of a kernel of ten arrays that is as much as a touch's own work.
    """
    return _compiled(function, _Inner, forceinline=True, no_cpython_wrapper=True)


def inlined_entry(function: Function) -> Function:
    """Compile a kernel that becomes a part of each kernel that calls it, and that Python calls too."""
    return _compiled(function, forceinline=True)


def entry(function: Function, *example: Any) -> Function:
    """Return a kernel's machine code for arguments of exactly the example's types, after one call with it.

    A call of the kernel itself looks its arguments' types up each time, which takes as long as to scan some hundred
    bytes of JSON. This does not look: other types are misread.
    """
    function(*example)
    if not COMPILED:
        return function
    compiled: Any = function
    (signature,) = compiled.signatures
    return cast(Function, compiled.overloads[signature].entry_point)


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


def low_bit(word: int) -> int:
    """Return the position of the lowest set bit of a positive word: one instruction in a kernel."""
    return (int(word) & -int(word)).bit_length() - 1


@intrinsic
def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 1))

    return types.int64(types.int64), generate


_ending_zeros: Any = _trailing_zeros


@overload(low_bit)
def _low_bit(word: Any) -> Any:
    def compiled(word: Any) -> Any:
        return _ending_zeros(word)

    return compiled


# Texts. In a kernel, bytes are an array of seven words, which a call hands on one by one, for as long as it takes to
# read a number; so the first one pins them, and the others get an address. Nothing checks that a place is inside.


def pinned(text: bytes) -> Text:
    """Return what the functions below read from; the text must outlive it."""
    return text


def byte_at(text: Text, at: int) -> int:
    """Return the byte at a place."""
    return text[at]


def word_at(text: Text, at: int) -> int:
    """Return the eight bytes from a place on as a signed little-endian integer: one load."""
    return int.from_bytes(text[at : at + 8], "little", signed=True)


def places_of(text: Text, at: int, byte: int) -> int:
    """Return which of the 32 bytes from a place on are `byte`, a bit each: one comparison."""
    return sum(1 << i for i, each in enumerate(text[at : at + 32]) if each == byte)


#: Eight digits as text.
_ZEROS: Final = 0x3030303030303030
_ALL: Final = (1 << 64) - 1


def numbers_of(words: Four, skipped: Four) -> tuple[int, int, int, int, int]:
    """Return 0 and the numbers that four words of eight digits are, earlier digits in lower bytes, all four at once.

    Of each word so many of the lowest bits, 0 to 63, stand for no digits. What comes first is another number where
    anything is no digit; the others mean nothing then.
    """
    numbers: list[int] = []
    bad = 0
    for word, bits in zip(words, skipped, strict=True):
        digits = ((int(word) ^ _ZEROS) >> int(bits) << int(bits) & _ALL).to_bytes(8, "little")
        bad += sum(digit > 9 for digit in digits)
        numbers.append(sum(digit * 10 ** (7 - i) for i, digit in enumerate(digits)))
    first, second, third, fourth = numbers
    return bad, first, second, third, fourth


# It has no types.
ir: Final[Any] = llvmlite.ir
_BYTE: Final = ir.IntType(8)
_LANE: Final = ir.IntType(32)
_WORD: Final = ir.IntType(64)
_BYTES: Final = ir.VectorType(_BYTE, 32)
_FOUR: Final[Any] = types.Tuple([types.int64] * 4)  # type: ignore[no-untyped-call]
_FIVE: Final[Any] = types.Tuple([types.int64] * 5)  # type: ignore[no-untyped-call]


def _load(builder: Any, arguments: Any, kind: Any) -> Any:
    """Load a value of `kind` from an address and an offset, aligned or not."""
    return builder.load(builder.inttoptr(builder.add(arguments[0], arguments[1]), kind.as_pointer()), align=1)


@intrinsic
def _address(typing_context: Any, text: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, _WORD)

    return types.int64(text), generate


@intrinsic
def _byte(typing_context: Any, text: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(_load(builder, arguments, _BYTE), _WORD)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _word(typing_context: Any, text: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments, _WORD)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _places(typing_context: Any, text: Any, at: Any, byte: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_BYTES, ir.Undefined)
        one = builder.insert_element(nothing, builder.trunc(arguments[2], _BYTE), ir.Constant(_LANE, 0))
        each = builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_LANE, 32), [0] * 32))
        equal = builder.icmp_unsigned("==", _load(builder, arguments, _BYTES), each)
        return builder.zext(builder.bitcast(equal, _LANE), _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


def _vector(bits: int, *values: int) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(bits), len(values)), [ir.Constant(ir.IntType(bits), v) for v in values])


@intrinsic
def _numbers(typing_context: Any, words: Any, skipped: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, bits = (ir.Constant(ir.VectorType(_WORD, 4), ir.Undefined) for _ in range(2))
        for i in range(4):
            words = builder.insert_element(words, builder.extract_value(arguments[0], i), ir.Constant(_LANE, i))
            bits = builder.insert_element(bits, builder.extract_value(arguments[1], i), ir.Constant(_LANE, i))
        kept = builder.shl(_vector(64, *[-1] * 4), bits)
        digits = builder.and_(builder.xor(words, _vector(64, *[_ZEROS] * 4)), kept)
        above = builder.icmp_unsigned(">", builder.bitcast(digits, _BYTES), _vector(8, *[9] * 32))
        bad = builder.zext(builder.bitcast(above, _LANE), _WORD)
        # Neighbours are joined to pairs, pairs to fours, fours to one: a lane holds the earlier one in its lower half.
        joined = digits
        for width, scale in ((16, 10), (32, 100), (64, 10_000)):
            count = 256 // width
            joined = builder.bitcast(joined, ir.VectorType(ir.IntType(width), count))
            earlier = builder.and_(joined, _vector(width, *[(1 << width // 2) - 1] * count))
            later = builder.lshr(joined, _vector(width, *[width // 2] * count))
            joined = builder.add(builder.mul(earlier, _vector(width, *[scale] * count)), later)
        numbers = [builder.extract_element(joined, ir.Constant(_LANE, i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, [bad, *numbers])

    return _FIVE(_FOUR, _FOUR), generate


_load_address: Any = _address
_load_byte: Any = _byte
_load_word: Any = _word
_compare: Any = _places
_join: Any = _numbers


@overload(pinned)
def _pinned(text: Any) -> Any:
    def compiled(text: Any) -> Any:
        return _load_address(text)

    return compiled


@overload(byte_at)
def _byte_at(text: Any, at: Any) -> Any:
    def compiled(text: Any, at: Any) -> Any:
        return _load_byte(text, at)

    return compiled


@overload(word_at)
def _word_at(text: Any, at: Any) -> Any:
    def compiled(text: Any, at: Any) -> Any:
        return _load_word(text, at)

    return compiled


@overload(places_of)
def _places_of(text: Any, at: Any, byte: Any) -> Any:
    def compiled(text: Any, at: Any, byte: Any) -> Any:
        return _compare(text, at, byte)

    return compiled


@overload(numbers_of)
def _numbers_of(words: Any, skipped: Any) -> Any:
    def compiled(words: Any, skipped: Any) -> Any:
        return _join(words, skipped)

    return compiled
