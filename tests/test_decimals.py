"""Decimal texts: exact or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadFrame
from ingest.decimals import places, rounded, scaled, shown, signed


@pytest.mark.parametrize(
    ("text", "decimals", "value"),
    [
        ("61737.63000000", 8, 6_173_763_000_000),
        ("61737.63000000", 2, 6_173_763),
        ("0.014", 3, 14),
        ("7", 0, 7),
        ("7", 4, 70_000),
        ("0", 8, 0),
        ("0.00000000", 0, 0),
        ("007.50", 1, 75),
        ("999999999999999999", 0, 10**18 - 1),
    ],
)
def test_a_decimal_becomes_an_integer(text: str, decimals: int, value: int) -> None:
    assert scaled(text, decimals) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0145", "lost_digit"),
        ("-1", "negative"),
        ("-0.5", "negative"),
        ("+1", "not_decimal"),
        ("NaN", "not_decimal"),
        ("nan", "not_decimal"),
        ("inf", "not_decimal"),
        ("1e400", "not_decimal"),
        ("1e5", "not_decimal"),
        ("1_000", "not_decimal"),
        (" 1", "not_decimal"),
        ("1 ", "not_decimal"),
        ("", "not_decimal"),
        (".", "not_decimal"),
        ("1.", "not_decimal"),
        (".5", "not_decimal"),
        ("1.2.3", "not_decimal"),
        ("--1", "not_decimal"),
        ("٣", "not_decimal"),
        ("²", "not_decimal"),
        ("1000000000000000000", "overflow"),
        ("9" * 5000, "overflow"),
        (1.5, "not_decimal"),
        (2**64, "not_decimal"),
        (None, "not_decimal"),
        (True, "not_decimal"),
        (["1"], "not_decimal"),
        (b"1", "not_decimal"),
    ],
)
def test_anything_else_is_refused_by_name(text: object, reason: str) -> None:
    with pytest.raises(BadFrame) as refusal:
        scaled(text, 3 if reason == "lost_digit" else 0)
    assert refusal.value.reason == reason


@given(st.integers(0, 10**18 - 1), st.integers(0, 12))
def test_what_is_shown_is_read_back(value: int, decimals: int) -> None:
    text = shown(value, decimals)
    assert scaled(text, decimals) == value
    assert places(text) == decimals
    assert Decimal(text).scaleb(decimals) == value


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{0,20}\.?[0-9]{0,20}", fullmatch=True), st.integers(0, 12))
def test_a_result_is_what_decimal_says(text: str, decimals: int) -> None:
    try:
        value = scaled(text, decimals)
    except BadFrame:
        return
    assert text.isascii()
    assert Decimal(text).scaleb(decimals) == value < 10**18


@given(st.from_regex(r"[0-9]{1,9}\.[0-9]{1,12}", fullmatch=True), st.integers(0, 8))
def test_rounding_goes_to_the_nearest_and_halves_to_even(text: str, decimals: int) -> None:
    assert rounded(text, decimals) == round(Decimal(text).scaleb(decimals))


def test_a_rate_may_be_negative() -> None:
    assert signed("-0.00038167", 12) == -381_670_000
    assert signed("0.00038167", 12) == 381_670_000
    with pytest.raises(BadFrame):
        signed("--1", 12)
