"""A frame in, another out that is nearly one: JSON is changed as JSON, so that what comes out still gets far.

Numbers keep the digits they were printed with, objects may hold a key twice, and what is no JSON is changed as bytes.
All chance comes from the generator that is handed in.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

#: Values that a careless reader takes: put where a number, a text or anything else stood, as they are printed here.
HOSTILE: Final = (
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e22", "1E5", "-1", "-0", "-0.0", "0", "0.0", "1.5",
    "0.1e1", "1" + "0" * 30, "9" * 5000, "0." + "9" * 60, "2147483648", "4294967296", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1000000000000000000", "999999999999999999",
    '"NaN"', '"nan"', '"inf"', '"-inf"', '"1e400"', '"1e5"', '"-1"', '"-0"', '"-0.00"', '"+1"', '"0"', '"0.000"', '""',
    '" 1"', '"1 "', '"1_000"', '"1,5"', '"."', '"1."', '".5"', '"0x10"', '"\\u0661"', '"\\u00b2"', '"\\ud800"',
    '"\\u0000"', '"1' + "0" * 30 + '"', '"999999999999999999"', '"1000000000000000000"', '"9223372036854775808"',
    '"2262-04-12T00:00:00Z"', '"1969-12-31T23:59:59Z"', '"2024-02-30T00:00:00Z"', '"2024-01-01T24:00:60.9Z"',
    "null", "true", "false", "[]", "{}", "[[]]", "[{}]", '{"":0}', "[null]", "[1,2]", '["1","2"]', '[["1","2"]]',
)  # fmt: skip
_PIECES: Final = (b"\x00", b"\xff", b'"', b"\\", b"{", b"[", b",", b" ", b"\n", b"\xef\xbb\xbf")
#: What depth of brackets is wrapped around a value, now and then.
DEEP: Final = (1, 2, 20, 2000)


class Bare(str):
    """A number, or anything else, as it is printed: no quotes."""

    __slots__ = ()


class Pairs(list[list[Any]]):
    """An object as its [key, value] pairs, so that a key may come twice."""

    __slots__ = ()


def read(frame: bytes) -> Any:
    """Return a frame's tree, or None where it is no JSON."""
    try:
        return json.loads(
            frame,
            parse_int=Bare,
            parse_float=Bare,
            parse_constant=Bare,
            object_pairs_hook=lambda pairs: Pairs(list(pair) for pair in pairs),
        )
    except (ValueError, RecursionError):
        return None


def write(tree: Any) -> bytes:
    """Print a tree as the venues do, without blanks."""
    return _text(tree).encode("utf-8", "surrogatepass")


def shortened(frame: bytes, most: int) -> bytes:
    """Cut a frame's lists to so many items: a book of thousands of levels says no more than one of a few."""

    def cut(tree: Any) -> Any:
        if isinstance(tree, Pairs):
            return Pairs([key, cut(value)] for key, value in tree)
        return [cut(each) for each in tree[:most]] if isinstance(tree, list) else tree

    tree = read(frame)
    return frame if tree is None else write(cut(tree))


def shape(frame: bytes) -> str:
    """Name a frame's structure: its keys and the kinds of its values, lists by their first item."""

    def outline(tree: Any) -> str:
        if isinstance(tree, Pairs):
            return "{" + ",".join(f"{key}:{outline(value)}" for key, value in tree) + "}"
        if isinstance(tree, list):
            return "[" + ",".join(outline(each) for each in (tree if len(tree) < 8 else tree[:1])) + "]"
        return "n" if isinstance(tree, Bare) else type(tree).__name__[0]

    tree = read(frame)
    return frame[:16].decode("latin-1") if tree is None else outline(tree)


def mutated(frame: bytes, others: list[bytes], random: Random) -> bytes:
    """Change a frame once to four times; parts of others may be put into it."""
    tree = read(frame) if random.random() < 0.85 else None
    if isinstance(tree, list):
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            tree = _change(tree, others, random)
        frame = write(tree)
        if random.random() < 0.9:
            return frame
    for _ in range(random.choice((1, 1, 2, 4))):
        frame = random.choice(_OF_BYTES)(frame, random)
    return frame


def _text(tree: Any) -> str:
    if isinstance(tree, Bare):
        return str(tree)
    if isinstance(tree, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(value)}" for key, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_text, tree)) + "]"
    return json.dumps(tree, ensure_ascii=False)


def _places(tree: Any) -> list[tuple[Any, int]]:
    """List every place of a tree as (container, index); of a pair of an object it is its value."""
    found: list[tuple[Any, int]] = []
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        for i, item in enumerate(each):
            container, at = (item, 1) if isinstance(each, Pairs) else (each, i)
            found.append((container, at))
            if isinstance(container[at], list):
                waiting.append(container[at])
    return found


def _containers(tree: Any) -> list[Any]:
    return [tree, *(container[at] for container, at in _places(tree) if isinstance(container[at], list))]


def _change(tree: Any, others: list[bytes], random: Random) -> Any:
    """Change one place of a tree."""
    places = _places(tree) if isinstance(tree, list) else []
    if not places:
        return Bare(random.choice(HOSTILE))
    container, at = random.choice(places)
    met = container[at]
    match random.randrange(12):
        case 0 | 1 | 2:
            container[at] = Bare(random.choice(HOSTILE))
        case 3 | 4 if isinstance(met, str):
            container[at] = _tweaked(met, random)
        case 5:
            # A value of somewhere else in it: ids that go back, sizes as prices.
            other, index = random.choice(places)
            container[at] = read(write(other[index]))
        case 6:
            donor = read(random.choice(others))
            if isinstance(donor, list) and (theirs := _places(donor)):
                other, index = random.choice(theirs)
                container[at] = other[index]
        case 7:
            deep = random.choice(DEEP)
            container[at] = Bare("[" * deep + _text(met) + "]" * deep)
        case 8:
            container[at] = Pairs([[random.choice(("", "data", "x")), met]])
        case _:
            holder = random.choice(_containers(tree))
            if holder:
                _rearrange(holder, random)
    return tree


def _rearrange(holder: Any, random: Random) -> None:
    """Drop, repeat, move or rename one item of a list or an object."""
    i, j = random.randrange(len(holder)), random.randrange(len(holder))
    match random.randrange(5):
        case 0:
            del holder[i]
        case 1:
            holder.insert(j, _copy(holder[i]))
        case 2:
            holder[i], holder[j] = holder[j], holder[i]
        case 3 if isinstance(holder, Pairs):
            # The same key twice, with another value.
            holder.insert(j, [holder[i][0], _copy(holder[j][1])])
        case 4 if isinstance(holder, Pairs):
            holder[i][0] = random.choice((holder[i][0] + "x", holder[i][0].swapcase(), "", holder[j][0]))
        case _:
            del holder[i:]


def _copy(item: Any) -> Any:
    if isinstance(item, list):
        return type(item)(_copy(each) for each in item)
    return item


def _tweaked(text: str, random: Random) -> str:
    """Change a number or a text a little; or quote a bare number, or bare a quoted one."""
    kind = type(text)
    at = random.randrange(len(text) + 1)
    match random.randrange(7):
        case 0:
            return str(text) if kind is Bare else Bare(text if text and text.isascii() and text[-1].isdigit() else "0")
        case 1:
            return kind(text[:at] + random.choice("0123456789.-eE+ _") + text[at:])
        case 2:
            return kind(text[:at] + text[at + 1 :])
        case 3:
            return kind("-" + text)
        case 4:
            return kind(text + "0" * random.choice((1, 2, 8, 30)))
        case 5 if text.isascii() and text.isdigit():
            return kind(int(text[:25]) + random.choice((-1, 1, 2, 1000)))
        case _:
            return kind(text[:at] + random.choice("0123456789") + text[at + 1 :])


def _truncated(frame: bytes, random: Random) -> bytes:
    return frame[: random.randrange(len(frame) + 1)]


def _flipped(frame: bytes, random: Random) -> bytes:
    if not frame:
        return b"\x00"
    at = random.randrange(len(frame))
    return frame[:at] + bytes([frame[at] ^ 1 << random.randrange(8)]) + frame[at + 1 :]


def _inserted(frame: bytes, random: Random) -> bytes:
    at = random.randrange(len(frame) + 1)
    put = random.choice(
        (b"\x00", b"\xff", b'"', b"\\", b"{", b"[", b",", b" ", b"\n", b"\xef\xbb\xbf", random.randbytes(4))
    )
    return frame[:at] + put + frame[at:]


def _cut(frame: bytes, random: Random) -> bytes:
    start, end = sorted(random.randrange(len(frame) + 1) for _ in range(2))
    return frame[:start] + frame[end:]


def _doubled(frame: bytes, random: Random) -> bytes:
    start, end = sorted(random.randrange(len(frame) + 1) for _ in range(2))
    return frame[:end] + frame[start:]


_OF_BYTES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (_truncated, _flipped, _inserted, _cut, _doubled)
