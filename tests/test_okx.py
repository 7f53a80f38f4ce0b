"""OKX against what was recorded: a capture, checksums of others, documented messages, and a peer's reading of them."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Flag, Kind, Reference
from ingest.mirror import Mirror
from ingest.session import Session
from ingest.venues import Decoded, load
from ingest.venues._okx_streams import index_of, kind_of
from tests.follower import Follower, attempt, frames_of, listings, peer_messages, row_of, wide

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


#: File of a documented message -> the channels and how many rows it has.
DOCUMENTED: dict[str, Any] = {
    "ws_bbo_tbt": [(Channel.TOUCH, 2)],
    "ws_books_snapshot": [(Channel.DEPTH, 16)],
    "ws_books_update": [(Channel.DEPTH, 16)],
    "ws_trades": [(Channel.TRADE, 1)],
    "ws_funding_rate": [(Channel.MARK, 1)],
}


@pytest.mark.tape
def test_every_documented_message_is_read_or_refused_by_name(messages: Path) -> None:
    decoder = OKX.decoder({symbol: of(symbol) for symbol in ("BTC-USDT", "BTC-USD", "BTC-USDT-SWAP")})
    paths = sorted((messages / "okx").glob("ws_*.json"))
    assert len(paths) > 20
    for path in paths:
        decoded = attempt(decoder, path.read_bytes())
        # What is not listed is of an account, or an instrument's listing or candle.
        expected = DOCUMENTED.get(path.stem)
        if isinstance(decoded, str):
            assert (expected, decoded in ("unknown_channel", "structure", "bad_type")) == (None, True)
        else:
            assert expected == [(each.channel, len(each.rows)) for each in decoded]
            assert all(row_of(each)["kind"] for each in decoded)
    assert {path.stem for path in paths} > set(DOCUMENTED)


@pytest.mark.tape
@pytest.mark.parametrize("kind", ["spot", "swap", "futures"])
def test_documented_listings_parse(kind: str, messages: Path) -> None:
    body = (messages / "okx" / f"http_get_instruments_{kind}.json").read_bytes()
    symbols = [entry["instId"] for entry in orjson.loads(body)["data"]]
    parsed = OKX.parse_instruments(body, symbols)
    assert [i.symbol for i in parsed] == symbols
    assert OKX.parse_instruments(OKX.emulation.instruments(parsed), symbols) == parsed


#: Reference -> the peer's name of it, and what one is.
REFERENCES = {
    Reference.MARK: ("markPrice", 1e8),
    Reference.INDEX: ("indexPrice", 1e8),
    Reference.OPEN_INTEREST: ("openInterest", 1e8),
    Reference.FUNDING: ("fundingRate", 1e12),
}


def said(decoded: Decoded) -> list[dict[str, Any]]:
    """Say our rows in the peer's words."""
    row, rows = row_of(decoded), decoded.rows
    match Kind(row["kind"]):
        case Kind.SNAPSHOT | Kind.DELTA:
            levels = [{"price": price / 1e8, "amount": size / 1e8} for price, size in rows.tolist()]
            cut, whole = int(row["bids"]), bool(row["kind"] == Kind.SNAPSHOT)
            return [{"type": "book_change", "isSnapshot": whole, "bids": levels[:cut], "asks": levels[cut:]}]
        case Kind.TOUCH:
            numbers = [number / 1e8 for level in rows.tolist() for number in level]
            names = ("bidPrice", "bidAmount", "askPrice", "askAmount")
            return [{"type": "book_ticker", **dict(zip(names, numbers, strict=True))}]
        case kind:
            # The peer states a liquidation order's side, we whose position it closes.
            buy = 1 if kind == Kind.TRADE else -1
            return [
                {
                    "type": kind.name.lower(),
                    "price": each["price"] / 1e8,
                    "amount": each["size"] / 1e8,
                    "side": "buy" if each["side"] == buy else "sell",
                }
                | ({"id": str(each["id"])} if kind == Kind.TRADE else {})
                for each in rows
            ]


@pytest.mark.tape
def test_our_rows_are_what_a_peer_reads(peer_normalised: Path) -> None:
    lines = peer_messages(peer_normalised, ("okex", "okex-swap", "okex-futures"))
    symbols = {
        str(row["instId"])
        for line in lines
        for row in [line["message"].get("arg", {}), *(line["message"].get("data") or [])]
        if "instId" in row and str(row["instId"]).count("-") < 3
    }
    decoder = OKX.decoder({symbol: of(symbol) for symbol in symbols})
    #: What a reader of ours knows of an instrument, since the peer's reader was made.
    states: defaultdict[tuple[str, str, str], dict[str, Any]] = defaultdict(dict)
    seen: Counter[str] = Counter()
    for line in lines:
        content, expected = line["message"], line["expected"]
        channel = content.get("arg", {}).get("channel")
        decoded = attempt(decoder, orjson.dumps(content))
        if isinstance(decoded, str):
            # Before version 5; `tickers`, whose touch we have from bbo-tbt; price-limit, unknown to the peer, too; and
            # `liquidations`, which the peer's own recorder made of REST answers.
            assert decoded == ("dead_protocol" if "table" in content else "unknown_channel")
            assert "table" in content or channel in ("tickers", "liquidations", "price-limit")
            seen[decoded] += 1
            continue
        ours = []
        for each in decoded:
            if row_of(each)["kind"] != Kind.REFERENCE:
                ours += [{"symbol": each.symbol, **one} for one in said(each)]
                continue
            for reference in each.rows:
                name, scale = REFERENCES[Reference(reference["what"])]
                states[line["exchange"], line["localTimestamp"], each.symbol][name] = reference["value"] / scale
        if not expected and ours:
            # The peer reads these two from a date of its recorder's on, and tries both sides of it.
            assert channel in ("liquidation-orders", "bbo-tbt")
            seen["by date"] += 1
            continue
        rest = [each for each in expected if each["type"] != "derivative_ticker"]
        for ticker in (each for each in expected if each not in rest):
            state = states[line["exchange"], line["localTimestamp"], ticker["symbol"]]
            assert {name: state.get(name) for name, _ in REFERENCES.values()}.items() <= ticker.items()
            seen["derivative_ticker"] += 1
        for mine, theirs in zip(ours, rest, strict=True):
            assert mine.items() <= theirs.items()
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


@pytest.mark.tape
@pytest.mark.parametrize("lost", [None, 100])
def test_a_session_proves_the_books_and_asks_the_socket_for_one_that_broke(
    lost: int | None, captures: Path, recorded: list[Instrument]
) -> None:
    session = Session(OKX, RECORDED, recorded)
    met: Counter[str] = Counter()
    asked = []
    books = 0
    for at, frame in frames_of(captures / "OKX.ws.1.0.gz"):
        books += b'"action":"' in frame
        if b'"channel":"tickers"' in frame or (books == lost and b'"action":"' in frame):
            continue
        for batch in session.receive(at, frame):
            met.update(Kind(kind).name for kind in batch.messages["kind"].tolist())
            met["agreed"] += int(((batch.messages["flags"] & Flag.CHECKSUM_OK) > 0).sum())
        asked += [(request.what, request.symbol) for request in session.take_requests()]
    if lost is None:
        assert (met["agreed"], met["GAP"], asked) == (290, 0, [])
    else:
        assert (met["GAP"], len(asked)) == (1, 1)
        assert sorted(session.synced.values()) == [False, True, True]
