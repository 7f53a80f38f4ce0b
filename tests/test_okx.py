"""OKX against what was recorded: a capture, checksums that others computed, documented messages, and a peer's reading."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Flag, Kind, Reference
from ingest.mirror import Mirror
from ingest.venues import Decoded, load
from ingest.venues._okx_streams import index_of, kind_of
from tests.follower import Follower, frames_of, listings, peer_messages, row_of, wide

OKX = load("okx")
MS = 1_000_000
RECORDED = ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT"]


def of(symbol: str, **changed: Any) -> Instrument:
    asset, _, quote = index_of(symbol).partition("-")
    contract = Contract.SPOT if kind_of(symbol) == "SPOT" else Contract.LINEAR
    return wide("okx", symbol, asset, quote, contract=contract, **changed)


@pytest.fixture(scope="module")
def recorded(captures: Path) -> list[Instrument]:
    return OKX.parse_instruments(listings(captures / "OKX.0.gz", "/public/instruments"), RECORDED)


@pytest.mark.tape
def test_every_book_of_the_capture_has_the_checksum_that_okx_states(captures: Path, recorded: list[Instrument]) -> None:
    decoder = OKX.decoder({i.symbol: i for i in recorded})
    follower = Follower(OKX, recorded)
    met: Counter[str] = Counter()
    for at, frame in frames_of(captures / "OKX.ws.1.0.gz"):
        try:
            decoded = decoder.decode(frame, at, 1)
        except BadFrame as refusal:
            met[refusal.reason] += 1
            assert b'"channel":"tickers"' in frame
            continue
        for each in decoded:
            met[Channel(each.channel).name if each.channel else ""] += 1
            if each.channel == Channel.DEPTH:
                follower.follow(each)
    assert follower.counts == {"agreed": 290}
    # Levels that leave the 400 best are deleted by rows.
    assert follower.deepest == 400
    assert met == {"DEPTH": 290, "TRADE": 74, "unknown_channel": 28}


@pytest.mark.tape
def test_the_first_trade_after_subscribing_is_an_old_one(captures: Path, recorded: list[Instrument]) -> None:
    decoder = OKX.decoder({i.symbol: i for i in recorded})
    flags: dict[str, list[int]] = {symbol: [] for symbol in RECORDED}
    ids: dict[str, list[int]] = {symbol: [] for symbol in RECORDED}
    for at, frame in frames_of(captures / "OKX.ws.1.0.gz"):
        if b'"channel":"trades"' in frame:
            for decoded in decoder.decode(frame, at, 1):
                flags[decoded.symbol].append(int(row_of(decoded)["flags"]))
                ids[decoded.symbol] += decoded.rows["id"].tolist()
    assert {symbol: (each[0], sum(each[1:])) for symbol, each in flags.items()} == dict.fromkeys(
        RECORDED, (int(Flag.HISTORY), 0)
    )
    for each in ids.values():
        assert each == list(range(each[0], each[0] + len(each)))


@pytest.mark.tape
def test_a_damaged_book_is_found_by_its_checksum(captures: Path, recorded: list[Instrument]) -> None:
    from engine.errors import Gap

    decoder = OKX.decoder({i.symbol: i for i in recorded})
    follower = Follower(OKX, recorded)
    books = [frame for _, frame in frames_of(captures / "OKX.ws.1.0.gz") if b'"action":"' in frame]
    lost = next(i for i, frame in enumerate(books) if b'"update"' in frame)
    with pytest.raises(Gap):
        for i, frame in enumerate(books):
            if i != lost:
                follower.follow(decoder.decode(frame)[0])


@pytest.mark.tape
def test_listed_instruments_say_what_a_size_is_worth(captures: Path, recorded: list[Instrument]) -> None:
    future, swap, spot = recorded
    assert (future.asset, future.quote, future.contract, future.contract_size) == (
        "BTC",
        "USD",
        Contract.INVERSE,
        100 * 10**8,
    )
    assert (swap.asset, swap.contract_size, swap.tick, swap.price_decimals) == ("UNI", 10 * 10**8, 1, 3)
    assert (spot.contract, spot.price_decimals, spot.size_decimals, spot.lot) == (Contract.SPOT, 1, 8, 1)
    body = listings(captures / "OKX.0.gz", "/public/instruments")
    symbols = {
        entry["instId"] for each in orjson.loads(body) for entry in each["data"] if entry["instType"] != "OPTION"
    }
    every = OKX.parse_instruments(body, sorted(symbols))
    assert len(every) > 700
    (linear,) = OKX.parse_instruments(body, ["BTC-USDT-SWAP"])
    assert (linear.contract, linear.contract_size, linear.lot) == (Contract.LINEAR, 10**6, 1)


@pytest.mark.tape
def test_inferred_instruments_read_the_same_books(captures: Path, recorded: list[Instrument]) -> None:
    frames = [frame for _, frame in frames_of(captures / "OKX.ws.1.0.gz")]
    inferred = {i.symbol: i for i in OKX.infer_instruments(frames)}
    for known in recorded:
        each = inferred[known.symbol]
        assert (each.asset, each.quote, each.contract) == (known.asset, known.quote, known.contract)
        assert (each.price_decimals, each.size_decimals) == (known.price_decimals, known.size_decimals)
        assert each.tick % known.tick == 0


@pytest.mark.tape
def test_checksums_of_others_are_recomputed(checksums: Path) -> None:
    met = 0
    for vector in orjson.loads((checksums / "vectors.json").read_bytes()):
        if "okx" not in vector["venue"]:
            continue
        sides = vector["message"]["data"][0] if "message" in vector else vector
        instrument = of("BTC-USDT")
        row = {"bids": sides["bids"], "asks": sides["asks"], "ts": "1", "checksum": vector["checksum"]}
        content = {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "snapshot", "data": [row]}
        (decoded,) = OKX.decoder({"BTC-USDT": instrument}).decode(orjson.dumps(content))
        assert OKX.rule is not None
        mirror = Mirror(instrument, OKX.rule)
        mirror.replace(decoded.rows, int(decoded.message["bids"][0]))
        assert mirror.check(decoded.checksum, 0, 0)
        met += 1
    assert met == 3


#: File of a documented message -> its channel and rows, or why it is refused.
DOCUMENTED: dict[str, Any] = {
    "ws_bbo_tbt": (Channel.TOUCH, 1),
    "ws_books_snapshot": (Channel.DEPTH, 1),
    "ws_books_update": (Channel.DEPTH, 1),
    "ws_trades": (Channel.TRADE, 1),
    "ws_funding_rate": (Channel.MARK, 1),
    "ws_tickers": "unknown_channel",
    "ws_instruments": "unknown_channel",
    "ws_candle": "structure",
    "ws_opt_summary": "structure",
    "ws_orders": "unknown_channel",
    "ws_account": "unknown_channel",
}


@pytest.mark.tape
@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_documented_message_is_read_or_refused_by_name(name: str, messages: Path) -> None:
    frame = (messages / "okx" / f"{name}.json").read_bytes()
    decoder = OKX.decoder({symbol: of(symbol) for symbol in ("BTC-USDT", "BTC-USD", "BTC-USDT-SWAP")})
    if isinstance(DOCUMENTED[name], str):
        with pytest.raises(BadFrame) as refusal:
            decoder.decode(frame)
        assert refusal.value.reason == DOCUMENTED[name]
        return
    decoded = decoder.decode(frame)
    assert (decoded[0].channel, len(decoded)) == DOCUMENTED[name]
    for each in decoded:
        row_of(each)


@pytest.mark.tape
@pytest.mark.parametrize("kind", ["spot", "swap", "futures"])
def test_documented_listings_parse(kind: str, messages: Path) -> None:
    body = (messages / "okx" / f"http_get_instruments_{kind}.json").read_bytes()
    symbols = [entry["instId"] for entry in orjson.loads(body)["data"]]
    parsed = OKX.parse_instruments(body, symbols)
    assert [i.symbol for i in parsed] == symbols
    assert OKX.parse_instruments(OKX.emulation.instruments(parsed), symbols) == parsed


class Reading:
    """What our rows say, in the peer's words."""

    def __init__(self) -> None:
        self.tickers: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.symbols: Counter[str] = Counter()

    def say(self, decoded: Decoded, state: dict[str, Any]) -> list[dict[str, Any]]:
        row, rows = row_of(decoded), decoded.rows
        levels = (
            [{"price": price / 1e8, "amount": size / 1e8} for price, size in rows.tolist()[:]] if row["bids"] else []
        )
        match Kind(row["kind"]):
            case Kind.SNAPSHOT | Kind.DELTA:
                levels = [{"price": p / 1e8, "amount": s / 1e8} for p, s in rows.tolist()]
                cut = int(row["bids"])
                whole = bool(row["kind"] == Kind.SNAPSHOT)
                return [{"type": "book_change", "isSnapshot": whole, "bids": levels[:cut], "asks": levels[cut:]}]
            case Kind.TOUCH:
                bid, ask = levels
                return [
                    {
                        "type": "book_ticker",
                        "bidPrice": bid["price"],
                        "bidAmount": bid["amount"],
                        "askPrice": ask["price"],
                        "askAmount": ask["amount"],
                    }
                ]
            case Kind.TRADE:
                return [
                    {
                        "type": "trade",
                        "id": str(each["id"]),
                        "price": each["price"] / 1e8,
                        "amount": each["size"] / 1e8,
                        "side": "buy" if each["side"] > 0 else "sell",
                    }
                    for each in rows
                ]
            case Kind.LIQUIDATION:
                # The peer states the order's side, we whose position it closes.
                return [
                    {
                        "type": "liquidation",
                        "price": each["price"] / 1e8,
                        "amount": each["size"] / 1e8,
                        "side": "sell" if each["side"] > 0 else "buy",
                    }
                    for each in rows
                ]
            case Kind.REFERENCE:
                for each in rows:
                    name, scale = {
                        Reference.MARK: ("markPrice", 1e8),
                        Reference.INDEX: ("indexPrice", 1e8),
                        Reference.OPEN_INTEREST: ("openInterest", 1e8),
                        Reference.FUNDING: ("fundingRate", 1e12),
                    }[Reference(each["what"])]
                    state[name] = each["value"] / scale
                return []
            case other:
                raise AssertionError(other)


@pytest.mark.tape
def test_our_rows_are_what_a_peer_reads(peer_normalised: Path) -> None:
    lines = peer_messages(peer_normalised, ("okex", "okex-swap", "okex-futures"))
    symbols = {
        str(row["instId"])
        for line in lines
        for row in [line["message"].get("arg", {}), *(line["message"].get("data") or [])]
        if "instId" in row and str(row["instId"]).count("-") < 3
    }
    reading, states, seen = Reading(), {}, Counter[str]()  # type: ignore[var-annotated]
    decoder = OKX.decoder({symbol: of(symbol) for symbol in symbols})
    for line in lines:
        content, expected = line["message"], line["expected"]
        arg = content.get("arg", {})
        try:
            decoded = decoder.decode(orjson.dumps(content))
        except BadFrame as refusal:
            # Before version 5; `tickers`, whose touch we have from bbo-tbt; price-limit, unknown to the peer, too; and
            # `liquidations`, which the peer's own recorder made of REST answers.
            assert refusal.reason == ("dead_protocol" if "table" in content else "unknown_channel")
            assert "table" in content or arg["channel"] in ("tickers", "liquidations", "price-limit")
            seen[refusal.reason] += 1
            continue
        mapper = (line["exchange"], line["localTimestamp"])
        ours = [
            {"symbol": each.symbol, **said}
            for each in decoded
            for said in reading.say(each, states.setdefault((mapper, each.symbol), {}))
        ]
        if not expected and ours:
            # The peer reads these two from a date of its recorder's on, and tries both sides of it.
            assert arg["channel"] in ("liquidation-orders", "bbo-tbt")
            seen["by date"] += 1
            continue
        tickers = [each for each in expected if each["type"] == "derivative_ticker"]
        for ticker in tickers:
            state = states.get((mapper, ticker["symbol"]), {})
            for name in ("markPrice", "indexPrice", "openInterest", "fundingRate"):
                assert state.get(name) == ticker[name], (name, line)
            seen["derivative_ticker"] += 1
        rest = [each for each in expected if each not in tickers]
        for ours_, theirs in zip(ours, rest, strict=True):
            assert ours_.items() <= theirs.items()
            seen[theirs["type"]] += 1
    assert seen["dead_protocol"] > 25
    assert {name: seen[name] for name in ("trade", "book_change", "liquidation", "book_ticker", "by date")} == {
        "trade": 4,
        "book_change": 5,
        "liquidation": 1,
        "book_ticker": 1,
        "by date": 2,
    }
    assert seen["derivative_ticker"] == 7
