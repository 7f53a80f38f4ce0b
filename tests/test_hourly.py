"""Hourly tables of several venues: their rows as they are, and money that was made of contracts told and put right."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airpocket.report import lines
from airpocket.verify import verify
from engine.errors import BadConfig, BadRecord
from engine.instrument import from_row
from engine.schema import Batch, Contract, Coverage, Kind, Reference
from ingest.findings import Findings
from ingest.hourly import DECIMALS, FEWEST, LEAST_WORTH, MOST_WORTH, factors_of, is_hourly, read, steps_of

pytestmark = pytest.mark.tape

#: Coins per contract, as the venue publishes them (`ctVal` of its swaps).
CONTRACTS = {
    "okx:BTC": Decimal("0.01"),
    "okx:DOGE": Decimal(1000),
    "okx:ETH": Decimal("0.1"),
    "okx:HYPE": Decimal("0.1"),
    "okx:SOL": Decimal(1),
}
SCALE = 10**DECIMALS


@cache
def played(folder: Path) -> tuple[list[Batch], Findings, Counter[str]]:
    findings, counts = Findings(), Counter[str]()
    return list(read([folder], CONTRACTS, findings, counts)), findings, counts


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return rows


def ns(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def test_without_the_contract_sizes_it_is_refused_by_name(hourly: Path) -> None:
    with pytest.raises(BadRecord) as refused:
        next(read([hourly]))
    told = str(refused.value)
    assert "size_usd of okx is not of coins" in told
    assert "okx:BTC (step 0.01, worth 727 USD), okx:DOGE (step 0.01, worth 0.000988 USD)" in told
    assert "needed are the contract sizes of okx:BTC, okx:DOGE, okx:ETH, okx:HYPE, okx:SOL" in told
    assert "hyperliquid" not in told


def test_contract_sizes_that_do_not_help_are_refused_by_name(hourly: Path) -> None:
    with pytest.raises(BadRecord, match=r"nor is it with the contract sizes given: okx:DOGE \(step 0\.01"):
        next(read([hourly], CONTRACTS | {"okx:DOGE": Decimal(1)}))
    with pytest.raises(BadRecord, match=r"needed are the contract sizes of okx:HYPE$"):
        next(read([hourly], {key: size for key, size in CONTRACTS.items() if key != "okx:HYPE"}))


def test_the_report_has_the_refusal_and_the_status_of_bad_data(hourly: Path) -> None:
    report = verify([hourly])
    assert report.status == 5
    (problem,) = report.problems
    assert problem.startswith("size_usd of okx is not of coins")
    assert problem in lines(report, width=500)


def test_with_them_every_liquidation_is_worth_what_it_was(hourly: Path) -> None:
    batches, _, _ = played(hourly)
    got = [(b.instrument, b.liquidations[0]) for b in batches if b.messages["kind"][0] == Kind.LIQUIDATION]
    stated = sorted(table(hourly, "liquidations"), key=lambda each: (each["timestamp"], each["venue"], each["coin"]))
    assert len(got) == len(stated) == 8059
    for (key, row), each in zip(got, stated, strict=True):
        assert key == f"{each['venue']}:{each['coin']}"
        true = Decimal(repr(each["size_usd"])) * CONTRACTS.get(key, Decimal(1))
        money = Decimal(int(row["price"])) * Decimal(int(row["size"])) / SCALE**2
        assert abs(money - true) <= true * Decimal("1e-12")
        assert row["exchanged"] == ns(each["timestamp"])
        assert row["side"] == (-1 if each["side"] == "buy" else 1)
        assert row["coverage"] == Coverage.LOWER_BOUND


def test_a_correction_is_a_finding_with_its_factor_and_nothing_else_is_found(hourly: Path) -> None:
    _, findings, _ = played(hourly)
    assert [(each.path.name, each.columns) for each in findings.listed] == [("liquidations.parquet", ("size_usd",))] * 4
    rows = table(hourly, "liquidations")
    for each, key in zip(findings.listed, ("okx:BTC", "okx:DOGE", "okx:ETH", "okx:HYPE"), strict=True):
        of = [number for number, row in enumerate(rows, 1) if f"{row['venue']}:{row['coin']}" == key]
        assert each.row == of[0]
        assert f"all {len(of)} rows of {key}" in each.met
        assert f"{CONTRACTS[key]:f} of it" in each.allowed


def test_the_factors_agree_with_another_table_which_the_rule_does_not_look_at(hourly: Path) -> None:
    # The venue's candles count contracts as well: with the same contract sizes, and only so, their volumes are like
    # another venue's in the same hours.
    volumes: dict[tuple[str, str], dict[datetime, float]] = {}
    for each in table(hourly, "candles"):
        volumes.setdefault((each["venue"], each["coin"]), {})[each["timestamp"]] = each["v"]
    shares = {}
    for key, size in CONTRACTS.items():
        mine, other = volumes["okx", key[4:]], volumes["binance", key[4:]]
        both = [at for at in mine if other.get(at)]
        assert len(both) > 2000
        shares[key] = (np.median([mine[at] / other[at] for at in both]), float(size))
    assert all(0.2 < share * size < 1 for share, size in shares.values())
    assert {key for key, (share, _) in shares.items() if not 0.2 < share < 1} == CONTRACTS.keys() - {"okx:SOL"}


def test_open_interest_and_funding_are_what_the_tables_say(hourly: Path) -> None:
    batches, _, counts = played(hourly)
    found: dict[tuple[str, int, int], int] = {}
    for batch in batches:
        if batch.messages["kind"][0] == Kind.REFERENCE:
            row = batch.references[0]
            found[batch.instrument, int(row["what"]), int(row["exchanged"])] = int(row["value"])
    funding = table(hourly, "funding_rates")
    for each in funding:
        value = found[f"{each['venue']}:{each['coin']}", Reference.FUNDING, ns(each["timestamp"])]
        assert value == round(each["funding_rate"] * 10**12)
    closes = {(each["venue"], each["coin"], each["timestamp"]): each["c"] for each in table(hourly, "candles")}
    own = unpriced = 0
    interest = table(hourly, "open_interest")
    for each in interest:
        key = (f"{each['venue']}:{each['coin']}", int(Reference.OPEN_INTEREST), ns(each["timestamp"]))
        unpriced += key not in found
        close = closes.get((each["venue"], each["coin"], each["timestamp"]))
        if close is not None:
            own += 1
            assert found[key] * close / SCALE == pytest.approx(each["oi_usd"], rel=1e-6)
    assert own > 1000
    assert unpriced == counts["unpriced"] == 476
    assert len(found) == len(funding) + len(interest) - unpriced


def test_rows_come_by_time_and_an_instrument_is_known_before_its_first(hourly: Path) -> None:
    batches, _, _ = played(hourly)
    times = [int(batch.messages["received"][0]) for batch in batches]
    assert all(before < after for before, after in pairwise(times))
    known: set[str] = set()
    for batch in batches:
        if batch.messages["kind"][0] == Kind.INSTRUMENT:
            one = from_row(batch.instrument, batch.instruments[0])
            assert (one.contract, one.contract_size, one.size_decimals) == (Contract.LINEAR, 10**8, DECIMALS)
            known.add(batch.instrument)
        assert batch.instrument in known
    assert len(known) == 35


# The rule, on venues that are made up.

Venue = list[tuple[float, int, list[int], int]]


@st.composite
def venues(draw: st.DrawFn) -> Venue:
    """Price, decimals of the step, sizes in steps, and decimals of the contract size of each coin."""
    coins: Venue = []
    for _ in range(draw(st.integers(1, 5))):
        price = round(10 ** draw(st.floats(-2, 5)), 4)
        worth = {places: price * 10.0**-places for places in range(-1, 7)}
        usual = [p for p in worth if worth[p] < MOST_WORTH and (p <= 0 or worth[p] > LEAST_WORTH)]
        places = draw(st.sampled_from(usual))
        # One of ten orders is of the smallest size.
        sizes = draw(st.lists(st.integers(1, 5000), min_size=FEWEST, max_size=40)) + [1] * 5
        coins.append((price, places, sizes, draw(st.integers(-3, 2)) if coins else draw(st.sampled_from([-2, -1, 2]))))
    return coins


def money_of(venue: Venue, *, contracts: bool) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Make the columns of a table: of coins, or of contracts as if they were coins."""
    keys, money, prices = [], [], []
    for index, (price, places, sizes, of) in enumerate(venue):
        for size in sizes:
            keys.append(f"made:{index}")
            money.append(float(Decimal(size).scaleb(-places - (of if contracts else 0))) * price)
            prices.append(price)
    return keys, np.array(money), np.array(prices)


@given(venue=venues())
def test_money_of_coins_is_never_accused(venue: Venue) -> None:
    keys, money, prices = money_of(venue, contracts=False)
    steps = steps_of(keys, money, prices)
    assert [steps[f"made:{n}"].step for n in range(len(venue))] == [Decimal(1).scaleb(-p) for _, p, _, _ in venue]
    assert factors_of(keys, steps, {}) == dict.fromkeys(keys, 1)


@given(venue=venues())
def test_money_of_contracts_is_refused_or_corrected_by_the_contract_size_never_passed_on(venue: Venue) -> None:
    keys, money, prices = money_of(venue, contracts=True)
    steps = steps_of(keys, money, prices)
    given_sizes = {f"made:{n}": Decimal(1).scaleb(of) for n, (*_, of) in enumerate(venue)}
    if all(step.can_be for step in steps.values()):
        # The steps show nothing; what the contract sizes would change is refused rather than guessed.
        with pytest.raises(BadRecord, match="may be of contracts or of coins"):
            factors_of(keys, steps, given_sizes)
        return
    with pytest.raises(BadRecord, match="needed are the contract sizes of made:0"):
        factors_of(keys, steps, {})
    factors = factors_of(keys, steps, given_sizes)
    assert factors == given_sizes
    right = money_of(venue, contracts=False)[1]
    corrected = money * np.array([float(factors[key]) for key in keys])
    assert np.allclose(corrected, right, rtol=1e-12, atol=0)


def test_few_rows_and_sizes_without_a_step_are_not_judged() -> None:
    keys = ["made:A"] * (FEWEST - 1) + ["made:B"] * 100
    prices = np.full(len(keys), 50_000.0)
    sizes = np.concatenate((np.full(FEWEST - 1, 0.01), np.random.default_rng(1).uniform(1, 2, 100)))
    assert steps_of(keys, sizes * prices, prices) == {}


def write(path: Path, **columns: list[Any]) -> Path:
    count = len(next(iter(columns.values())))
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(count)]
    base = {"timestamp": pa.array(times, pa.timestamp("us", tz="UTC")), "venue": ["v"] * count, "coin": ["A"] * count}
    pq.write_table(pa.table(base | columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "accused", "met"),
    [
        ({"funding_rate": [0.0001, 0.2, -0.0001]}, "funding_rate", "0.2"),
        ({"funding_rate": [0.0001, float("nan"), -0.0001]}, "funding_rate", "nan"),
        ({"oi_usd": [1.0, -2.0, 3.0]}, "oi_usd", "-2.0"),
        ({"side": ["buy", "long", "S"], "size_usd": [1.0] * 3, "price": [1.0] * 3}, "side", "long"),
        ({"side": ["buy"] * 3, "size_usd": [1.0, float("inf"), 1.0], "price": [1.0] * 3}, "size_usd", "inf"),
        ({"o": [1.0] * 3, "h": [2.0] * 3, "l": [1.0, 1.5, 1.0], "c": [1.5] * 3, "v": [0.0] * 3}, "l", "1.0, 2.0, 1.5"),
        ({"o": [1.0] * 3, "h": [2.0] * 3, "l": [1.0] * 3, "c": [1.5] * 3, "v": [0.0, -1.0, 0.0]}, "v", "-1.0"),
    ],
)
def test_a_row_that_cannot_be_is_named_and_left_out(
    tmp_path: Path, columns: dict[str, list[Any]], accused: str, met: str
) -> None:
    findings = Findings()
    path = write(tmp_path / "table.parquet", **columns)
    rows = [batch for batch in read([path], findings=findings) if batch.messages["kind"][0] != Kind.INSTRUMENT]
    (found,) = findings.listed
    assert found.row == 2
    assert accused in found.columns
    assert met in found.met
    # Candles are no rows of ours, and open interest has no price here.
    assert len(rows) == (2 if {"funding_rate", "side"} & columns.keys() else 0)


def test_what_is_no_such_table_is_refused(tmp_path: Path, hourly: Path) -> None:
    assert is_hourly(hourly)
    assert not is_hourly(tmp_path)
    with pytest.raises(BadConfig, match="no table is named"):
        next(read([tmp_path]))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadRecord, match=r"torn\.parquet is no Parquet file"):
        next(read([tmp_path]))
    holes = write(tmp_path / "torn.parquet", oi_usd=[1.0, None, 2.0])
    with pytest.raises(BadRecord, match="oi_usd has no value in 1 rows"):
        next(read([holes]))
