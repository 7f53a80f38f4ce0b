"""Bybit's recorded frames: a capture, a file of one book, a peer's expectations, documented messages."""

import zipfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Coverage, Kind, PriceKind, Reference
from ingest.captures import What, read_capture
from ingest.decimals import shown
from ingest.mirror import Mirror, Rule
from ingest.venues import Decoded, Decoder, load

LINEAR, INVERSE, SPOT = load("bybit_linear"), load("bybit_inverse"), load("bybit_spot")
CATEGORIES = {"linear": LINEAR, "inverse": INVERSE, "spot": SPOT}
#: What no stream of ours carries, and the capture has.
FOREIGN = {f"bybit_{topic}" for topic in ("linear unknown_topic kline", "spot unknown_topic kline")}
FOREIGN |= {"bybit_spot unknown_topic tickers"}


def instrument(symbol: str, prices: int = 8, sizes: int = 6, contract: Contract = Contract.LINEAR) -> Instrument:
    return Instrument(
        venue="bybit_linear",
        symbol=symbol,
        asset="BTC",
        quote="USDT",
        contract=contract,
        price_decimals=prices,
        size_decimals=sizes,
        tick=1,
        lot=1,
    )


class Chains:
    """Books kept by the venue's rule: consecutive ids, a snapshot begins anew."""

    def __init__(self) -> None:
        self.mirrors: dict[tuple[str, str], Mirror] = {}
        self.last: dict[tuple[str, str], int] = {}
        self.messages = 0
        self.gaps = 0

    def take(self, connection: str, known: Instrument, decoded: Decoded) -> None:
        key = connection, decoded.symbol
        message = decoded.message[0]
        mirror = self.mirrors.setdefault(key, Mirror(known, Rule()))
        self.messages += 1
        if message["kind"] == Kind.SNAPSHOT:
            mirror.replace(decoded.rows, int(message["bids"]))
        else:
            assert message["first"] == message["last"]
            self.gaps += int(message["first"]) != self.last[key] + 1
            mirror.apply(decoded.rows, int(message["bids"]))
        self.last[key] = int(message["last"])
        mirror.check(None, self.last[key], self.last[key])


@pytest.mark.tape
def test_a_capture_has_six_books_without_a_gap_that_never_cross(captures: Path) -> None:
    entries = list(read_capture([captures / "BYBIT.jsonl.zst"]))
    bodies = {entry.url: entry.raw for entry in entries if entry.what is What.ANSWER}
    urls = {entry.connection: entry.url for entry in entries if entry.what is What.CONNECTED}
    venues = {connection: CATEGORIES[url.rpartition("/")[2]] for connection, url in urls.items()}
    symbols = {"linear": ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"), "spot": ("BTCUSDT", "ETHUSDT")}
    known = {
        CATEGORIES[category].name: {
            each.symbol: each
            for url, body in bodies.items()
            if f"category={category}" in url
            for each in CATEGORIES[category].parse_instruments(body, wanted)
        }
        for category, wanted in symbols.items()
    }
    decoders = {connection: venue.decoder(known[venue.name]) for connection, venue in venues.items()}
    chains, met, refused = Chains(), Counter[tuple[str, Channel | None]](), Counter[str]()
    ticking: dict[tuple[str, str], tuple[str, str]] = {}
    for entry in entries:
        if entry.what is not What.RECEIVED:
            continue
        venue = venues[entry.connection]
        content = orjson.loads(entry.raw)
        topic = content.get("topic", "").partition(".")[0]
        try:
            found = decoders[entry.connection].decode(entry.raw)
        except BadFrame as refusal:
            refused[f"{venue.name} {refusal.reason} {topic}"] += 1
            continue
        for decoded in found:
            met[venue.name, decoded.channel] += 1
            if decoded.channel == Channel.DEPTH:
                its = known[venue.name][decoded.symbol]
                chains.take(entry.connection, its, decoded)
                printed = [
                    (float(shown(price, its.price_decimals)), float(shown(size, its.size_decimals)))
                    for price, size in decoded.rows.tolist()
                ]
                wire = [(float(p), float(q)) for p, q in content["data"]["b"] + content["data"]["a"]]
                assert printed == wire
        if topic == "tickers" and venue is LINEAR:
            _compare_best(ticking, content)
    assert (chains.messages, len(chains.mirrors), chains.gaps) == (2148, 6, 0)
    assert met["bybit_linear", Channel.TRADE] + met["bybit_spot", Channel.TRADE] > 10
    assert met["bybit_linear", Channel.MARK] > 10
    assert set(refused) == FOREIGN
    # Levels that leave the depth are deleted by the venue, so no rule of ours must do it.
    for mirror in chains.mirrors.values():
        bids, asks = mirror.best(1000)
        assert len(bids) == len(asks) == 200
    assert not any(decoder.counts["other_depth"] for decoder in decoders.values())


def _compare_best(ticking: dict[tuple[str, str], tuple[str, str]], content: dict[str, Any]) -> None:
    """Both ways to state open interest agree: `singleOpenInterest` is half of `openInterest`, rounded."""
    data = content["data"]
    if "singleOpenInterest" in data:
        known = LINEAR.decoder({data["symbol"]: instrument(data["symbol"], 8, 3)})
        (decoded,) = known.decode(orjson.dumps(content))
        (half,) = (row["value"] for row in decoded.rows if row["what"] == Reference.OPEN_INTEREST)
        assert abs(int(half) - float(data["singleOpenInterest"]) * 1000) <= 500


@pytest.mark.tape
def test_a_file_of_a_book_of_500_levels_has_no_gap(messages: Path) -> None:
    with zipfile.ZipFile(messages / "bybit" / "xrpusdt-ob500.data.zip") as archive:
        frames = archive.read(archive.namelist()[0]).splitlines()
    (known,) = LINEAR.infer_instruments(frames)
    assert (known.symbol, known.asset, known.quote) == ("XRPUSDT", "XRP", "USDT")
    assert (known.price_decimals, known.size_decimals, known.tick) == (4, 0, 1)
    decoder, chains = LINEAR.decoder({"XRPUSDT": known}), Chains()
    for frame in frames:
        assert LINEAR.emulation.stream_of(frame) == "orderbook.1000.XRPUSDT"
        (decoded,) = decoder.decode(frame)
        chains.take("", known, decoded)
    assert (chains.messages, len(chains.mirrors), chains.gaps) == (50, 1, 0)
    (mirror,) = chains.mirrors.values()
    assert [len(side) for side in mirror.best(1000)] == [500, 500]


#: Why a message of the peer's gives us other rows than it expects; by its number among those of `bybit`, `bybit-spot`.
DEAD = "a topic of version 2 or 3, which ended in 2023: refused by name"
DIFFER = {
    52: "the peer drops `allLiquidation` stamped before 2025-02-26, lest it count twice; we tell the two by coverage",
}


@pytest.mark.tape
def test_a_peer_reads_the_same(peer_normalised: Path) -> None:
    lines = [orjson.loads(line) for line in (peer_normalised / "messages.jsonl").read_bytes().splitlines()]
    ours = [line for line in lines if line["exchange"] in ("bybit", "bybit-spot")]
    symbols = ("BTCUSD", "BTCUSDT", "BTCUSDC", "BTCPERP", "LTCUSDT", "ETHUSD", "XRPUSD", "GALAUSDT", "PIPPINUSDT")
    known = {symbol: instrument(symbol) for symbol in (*symbols, "BTCUSDU23")}
    decoders = {"bybit": LINEAR.decoder(known), "bybit-spot": SPOT.decoder(known)}
    state: dict[str, dict[str, Any]] = {}
    dead, compared = [], Counter[str]()
    for number, line in enumerate(ours):
        frame = orjson.dumps(line["message"])
        try:
            found = decoders[line["exchange"]].decode(frame)
        except BadFrame as refusal:
            dead.append((number, refusal.reason))
            continue
        rows = [row for decoded in found for row in _as_peer(decoded, known, state)]
        if number in DIFFER:
            assert bool(rows) is not bool(line["expected"]), DIFFER[number]
            continue
        expected = [_expectation(each) for each in line["expected"]]
        if not expected and line["message"].get("topic", "").startswith("tickers"):
            assert rows == []
        assert [row for row in rows if row] == expected, (number, line["message"])
        compared.update(each["type"] for each in line["expected"])
    versions_2_and_3 = [*range(1, 24), *range(25, 28), *range(32, 38), *range(54, 59)]
    assert dead == [(number, "unknown_topic") for number in versions_2_and_3], DEAD
    assert compared == {
        "trade": 9, "book_ticker": 5, "book_change": 4, "derivative_ticker": 4, "liquidation": 10,
    }  # fmt: skip


def _expectation(each: dict[str, Any]) -> tuple[Any, ...]:
    at = round(datetime.fromisoformat(each["timestamp"]).timestamp() * 1000) * 1_000_000
    match each["type"]:
        case "trade" | "liquidation":
            return (each["type"], each["symbol"], at, each["price"], each["amount"], each["side"])
        case "book_change":
            sides = [[(level["price"], level["amount"]) for level in each[side]] for side in ("bids", "asks")]
            return ("book_change", each["symbol"], at, each["isSnapshot"], *sides)
        case "book_ticker":
            names = ("bidPrice", "bidAmount", "askPrice", "askAmount")
            return ("book_ticker", each["symbol"], at, *(each[name] for name in names))
        case _:
            following = each["fundingTimestamp"]
            moment = datetime.fromisoformat(following).timestamp() if following else 0
            names = ("markPrice", "indexPrice", "fundingRate", "openInterest")
            return ("derivative_ticker", each["symbol"], at, *(each[name] for name in names), int(moment * 1000))


def _as_peer(
    decoded: Decoded, known: dict[str, Instrument], state: dict[str, dict[str, Any]]
) -> list[tuple[Any, ...] | None]:
    """Say our rows in the peer's words; its tickers repeat what was said before, so `state` remembers."""
    its, message = known[decoded.symbol], decoded.message[0]
    prices, sizes = 10**its.price_decimals, 10**its.size_decimals
    at, kind = int(message["published"]), message["kind"]
    levels = [(price / prices, size / sizes) for price, size in decoded.rows.tolist()] if kind in (1, 2, 3) else []
    match kind:
        case Kind.TRADE:
            return [
                ("trade", its.symbol, int(row["exchanged"]), row["price"] / prices, row["size"] / sizes,
                 "buy" if row["side"] > 0 else "sell")
                for row in decoded.rows
            ]  # fmt: skip
        case Kind.LIQUIDATION:
            assert set(decoded.rows["price_kind"]) == {PriceKind.BANKRUPTCY}
            # A liquidated long is sold.
            return [
                ("liquidation", its.symbol, int(row["exchanged"]), row["price"] / prices, row["size"] / sizes,
                 "sell" if row["side"] > 0 else "buy")
                for row in decoded.rows
            ]  # fmt: skip
        case Kind.TOUCH:
            return [("book_ticker", its.symbol, at, *levels[0], *levels[1])]
        case Kind.REFERENCE:
            memory = state.setdefault(its.symbol, {})
            scales = {Reference.MARK: prices, Reference.INDEX: prices, Reference.FUNDING: 10**12}
            for row in decoded.rows:
                what = Reference(row["what"])
                # The peer leaves open interest two-sided.
                memory[what.name] = row["value"] / scales.get(what, sizes / 2)
                memory["next"] = int(row["next"]) // 1_000_000 or memory.get("next", 0)
            names = ("MARK", "INDEX", "FUNDING", "OPEN_INTEREST")
            return [("derivative_ticker", its.symbol, at, *(memory.get(name) for name in names), memory["next"])]
        case _:
            bids = int(message["bids"])
            return [("book_change", its.symbol, at, kind == Kind.SNAPSHOT, levels[:bids], levels[bids:])]


def test_documented_messages_are_decoded_or_refused_by_name(messages: Path) -> None:
    known = {"BTCUSDT": instrument("BTCUSDT")}
    met: dict[str, str] = {}
    for path in sorted((messages / "bybit").glob("ws_*.json")):
        try:
            found = LINEAR.decoder(known).decode(path.read_bytes())
            met[path.stem] = ",".join(Kind(int(each.message["kind"][0])).name for each in found)
        except BadFrame as refusal:
            met[path.stem] = refusal.reason
    account = {name: met.pop(name) for name in list(met) if "account" in name}
    assert set(account.values()) == {"unknown_topic", "structure"}
    assert met == {
        "ws_auth_failure": "venue_error",
        "ws_auth_success": "",
        "ws_kline": "unknown_topic",
        # A delta of the best level whose predecessor is not here: nothing is known of its other side.
        "ws_orderbook_delta": "",
        "ws_orderbook_snapshot": "TOUCH",
        # The response to an order, which nobody here sends.
        "ws_order_response": "structure",
        # Its topic is `trade.linear.BTCUSDT`, which the venue has nowhere.
        "ws_public_trade": "unknown_topic",
        "ws_subscription_ack": "",
        "ws_subscription_failure": "venue_error",
        "ws_ticker_linear": "REFERENCE",
        "ws_ticker_option": "unknown_symbol",
    }
    body = (messages / "bybit" / "http_get_orderbook.json").read_bytes()
    (decoded,) = LINEAR.decoder(known).body("BTCUSDT", Channel.DEPTH, body)
    assert decoded.message[["kind", "last", "count", "bids"]].tolist() == [(Kind.SNAPSHOT, 1234567, 6, 3)]


def test_documented_listings_are_instruments(messages: Path) -> None:
    def listing(venue: Any, name: str, symbol: str) -> Any:
        body = (messages / "bybit" / f"http_get_instruments_{name}.json").read_bytes()
        (found,) = venue.parse_instruments(body, [symbol])
        return found

    btc = listing(LINEAR, "linear", "BTCUSDT")
    assert (btc.key, btc.asset, btc.quote, btc.contract) == ("bybit_linear:BTCUSDT", "BTC", "USDT", Contract.LINEAR)
    assert (btc.price_decimals, btc.tick, btc.size_decimals, btc.lot) == (1, 5, 3, 1)
    usd = listing(INVERSE, "inverse", "BTCUSD")
    assert (usd.asset, usd.quote, usd.contract, usd.size_decimals, usd.contract_size) == (
        "BTC", "USD", Contract.INVERSE, 0, 100_000_000,
    )  # fmt: skip
    spot = listing(SPOT, "spot", "ETHUSDT")
    assert (spot.contract, spot.price_decimals, spot.size_decimals) == (Contract.SPOT, 2, 5)
    with pytest.raises(BadConfig, match="nearest are BTCUSDT"):
        listing(LINEAR, "linear", "BTCUSDC")
    with pytest.raises(BadFrame, match="not_exchange_information"):
        LINEAR.parse_instruments(b"{}", ["BTCUSDT"])


def rows_of(decoder: Decoder, frame: bytes) -> list[tuple[Any, ...]]:
    return [row for decoded in decoder.decode(frame) for row in decoded.rows.tolist()]


def test_coverage_is_all_since_the_channel_of_all() -> None:
    decoder = LINEAR.decoder({"BTCUSDT": instrument("BTCUSDT", 2, 3)})
    every = b'{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":[%s]}'
    one = b'{"T":1739502302929,"s":"BTCUSDT","S":"%s","v":"2.5","p":"60000.1"}'
    at = 1739502302929 * 1_000_000
    frame = every % b",".join((one % b"Sell", one % b"Buy"))
    bankruptcy = PriceKind.BANKRUPTCY
    assert rows_of(decoder, frame) == [
        (at, 6_000_010, 2500, 0, -1, bankruptcy, Coverage.ALL, 0, 0),
        (at, 6_000_010, 2500, 0, 1, bankruptcy, Coverage.ALL, 0, 0),
    ]
    assert rows_of(decoder, every % b"") == []
    old = b'{"topic":"liquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":%s}'
    single = b'{"updatedTime":1739502302929,"symbol":"BTCUSDT","side":"Buy","size":"2.5","price":"60000.1"}'
    expected = [(at, 6_000_010, 2500, 0, 1, bankruptcy, Coverage.SAMPLED, 0, 0)]
    assert rows_of(decoder, old % single) == expected
