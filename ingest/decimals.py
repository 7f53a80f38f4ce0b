"""Decimal texts in, integers at a scale out; no float ever, and no digit lost in silence.

A price or size must be what the venue's documentation shows: ASCII digits, at most one point with digits on both
sides, no sign, no exponent, no blank. `float()` and `int()` are not that strict: they take `nan`, `1_000`, ` 1`.
"""

from typing import Any, Final

from engine.errors import BadFrame

#: Every result is below this: 18 digits, so that 64 bits are never left.
LIMIT: Final = 10**18
#: Longest text looked at; a longer one is refused before anything is computed from it.
LONGEST: Final = 48

#: Stamps below the first are milliseconds; from the second up to the third microseconds; others are refused.
MILLISECONDS_END: Final = 9_200_000_000_000
MICROSECONDS_START: Final = 1_000_000_000_000_000
MICROSECONDS_END: Final = 9_200_000_000_000_000

#: Texts of this length cannot reach the limit: a point and 18 digits.
_SHORT: Final = 19
_TENS: Final[tuple[int, ...]] = tuple(10**power for power in range(LONGEST))


def scaled(text: Any, decimals: int) -> int:
    """Return text x 10^decimals exactly. Raises BadFrame: not_decimal, negative, lost_digit, overflow."""
    # What venues print nearly always: no more digits than the instrument's decimals, and few in all.
    if type(text) is str and len(text) <= _SHORT and text.isascii():
        whole, point, part = text.partition(".")
        missing = decimals - len(part)
        if missing >= 0 and whole and (part or not point) and (digits := whole + part).isdigit():
            if not missing and part:
                return int(digits)
            value = int(digits) * _TENS[missing]
            if value < LIMIT:
                return value
    digits, surplus = _digits(text, decimals)
    if surplus > 0:
        if digits[-surplus:].strip("0"):
            raise BadFrame("lost_digit", f"{text!r} has more than the {decimals} decimals of its instrument")
        return _bounded(int(digits[:-surplus]), text)
    return _bounded(int(digits) * _TENS[-surplus], text)


def rounded(text: Any, decimals: int) -> int:
    """Return text x 10^decimals to the nearest integer, halves to even: for prices that no order has (mark, index)."""
    digits, surplus = _digits(text, decimals)
    if surplus <= 0:
        return _bounded(int(digits) * _TENS[-surplus], text)
    value, rest = divmod(int(digits), _TENS[surplus])
    half = _TENS[surplus] // 2
    return _bounded(value + (rest > half or (rest == half and value % 2 == 1)), text)


def signed(text: Any, decimals: int) -> int:
    """Return text x 10^decimals exactly, a leading minus allowed: for rates."""
    if isinstance(text, str) and text.startswith("-"):
        return -scaled(text[1:], decimals)
    return scaled(text, decimals)


def places(text: str) -> int:
    """Count the decimals that a text shows, trailing zeros included."""
    return len(text.partition(".")[2])


def shown(value: int, decimals: int) -> str:
    """Write an integer at a scale the way the venues do: all its decimals, `61737.60`."""
    if not decimals:
        return str(value)
    digits = f"{value:0{decimals + 1}d}"
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def _digits(text: Any, decimals: int) -> tuple[str, int]:
    """Return a text's digits without the point, and how many of them are beyond the decimals."""
    if not isinstance(text, str):
        raise BadFrame("not_decimal", f"{_excerpt(text)} is not a text of digits")
    if len(text) > LONGEST - decimals:
        raise BadFrame("overflow", f"{_excerpt(text)} is longer than any price or size")
    whole, point, part = text.partition(".")
    digits = whole + part
    if not (digits.isascii() and digits.isdigit() and whole and (part or not point)):
        negative = text.startswith("-") and text[1:].replace(".", "", 1).isdigit()
        raise BadFrame("negative" if negative else "not_decimal", f"{text!r} is not a plain decimal number")
    return digits, len(part) - decimals


def _bounded(value: int, text: str) -> int:
    if value >= LIMIT:
        raise BadFrame("overflow", f"{text!r} needs more than 18 digits")
    return value


def _excerpt(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
