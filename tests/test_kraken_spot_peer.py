"""Kraken spot against a peer: every message that it has an opinion of, row by row."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Contract, Flag, Kind
from ingest.venues import Decoded
from ingest.venues._kraken_spot import KrakenDecoder
from ingest.venues._reading import instant


def instrument(symbol: str) -> Instrument:
    asset, quote = symbol.split("/")
    return Instrument(
        venue="kraken_spot",
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=Contract.SPOT,
        price_decimals=8,
        size_decimals=8,
        tick=1,
        lot=1,
    )


class TestPeer:
    """Every message that a peer has an opinion of."""

    @pytest.mark.tape
    def test_rows_are_the_peers_but_for_what_is_said_here(self, peer_normalised: Path) -> None:
        seen: Counter[str] = Counter()
        for line in (peer_normalised / "messages.jsonl").read_bytes().splitlines():
            case = json.loads(line, parse_float=str)
            if case["exchange"] != "kraken":
                continue
            frame = line[line.index(b'"message":') + 10 : line.index(b',"expected":')]
            reason = differs(frame)
            symbols = [case["message"][-1]] if type(case["message"]) is list else [case["message"]["data"][0]["symbol"]]
            known = {common(symbol): instrument(common(symbol)) for symbol in symbols}
            reader = KrakenDecoder(known)
            if reason == "refused":
                with pytest.raises(BadFrame, match="checksum"):
                    reader.decode(frame)
            elif reason:
                (decoded,) = reader.decode(frame)
                if reason == "history":
                    assert decoded.message["flags"][0] & Flag.HISTORY
                    assert case["expected"] == []
                else:
                    # The peer takes the null behind an old snapshot for its channel, and the channel for its pair.
                    assert (case["expected"][0]["symbol"], decoded.symbol) == ("book-1000", "ADA/CAD")
            else:
                assert rows(reader.decode(frame)) == [expected(each) for each in case["expected"]]
            seen[reason or "equal"] += 1
        assert seen == {"equal": 11, "history": 1, "refused": 1, "null": 1}


def differs(frame: bytes) -> str:
    """Name the difference that a message of the peer is known for."""
    if b'"trade","type":"snapshot"' in frame:
        return "history"
    if b'"book","type":"update"' in frame and b"checksum" not in frame:
        return "refused"
    return "null" if b"},null," in frame else ""


def common(symbol: str) -> str:
    return symbol.replace("XBT", "BTC").replace("XDG", "DOGE")


def expected(case: dict[str, Any]) -> tuple[Any, ...]:
    """Give a peer's row as `rows` gives ours."""
    at, symbol = instant(case["timestamp"]), common(case["symbol"])

    def number(value: Any) -> int:
        return round(float(value) * 1e8)

    if case["type"] == "trade":
        return ("trade", symbol, at, number(case["price"]), number(case["amount"]), case["side"])
    if case["type"] == "book_ticker":
        keys = ("bidPrice", "bidAmount", "askPrice", "askAmount")
        return ("touch", symbol, at, *(number(case[key]) for key in keys))
    sides = [[(number(level["price"]), number(level["amount"])) for level in case[key]] for key in ("bids", "asks")]
    return ("snapshot" if case["isSnapshot"] else "delta", symbol, at, *sides)


def rows(decoded: list[Decoded]) -> list[tuple[Any, ...]]:
    """Give what was decoded, trade by trade."""
    met: list[tuple[Any, ...]] = []
    for each in decoded:
        row, values = each.message[0], each.rows.tolist()
        at, bids = int(row["exchanged"]), int(row["bids"])
        match row["kind"]:
            case Kind.TRADE:
                for trade in values:
                    met.append(("trade", each.symbol, *trade[:3], "buy" if trade[5] > 0 else "sell"))
            case Kind.TOUCH:
                met.append(("touch", each.symbol, at, *values[0], *values[1]))
            case kind:
                name = "snapshot" if kind == Kind.SNAPSHOT else "delta"
                met.append((name, each.symbol, at, values[:bids], values[bids:]))
    return met
