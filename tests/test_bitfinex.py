"""Bitfinex: what its recorded and documented frames say, and what is refused of them."""

import asyncio
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.emulator import Emulator
from ingest.mirror import Mirror
from ingest.venues import Decoded, Decoder, load
from ingest.venues._bitfinex_checksum import checksum, written
from ingest.venues._bitfinex_emulation import channel_of
from tests.feeding import feeding
from tests.peers import broken, received, survive

VENUE = load("bitfinex")
MS = 1_000_000
TS = 1_737_918_843_800
PERPETUAL = "tBTCF0:USTF0"


def instrument(symbol: str = "tBTCUSD", prices: int = 3) -> Instrument:
    return Instrument(
        venue="bitfinex",
        symbol=symbol,
        asset="BTC",
        quote="USDT" if ":" in symbol else "USD",
        contract=Contract.LINEAR if ":" in symbol else Contract.SPOT,
        price_decimals=prices,
        size_decimals=8,
        tick=1,
        lot=1,
    )


EVENTS = [
    b'{"event":"info","version":2,"platform":{"status":1}}',
    b'{"event":"conf","status":"OK","flags":229376}',
    b'{"event":"subscribed","channel":"book","chanId":1,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"250"}',
    b'{"event":"subscribed","channel":"trades","chanId":2,"symbol":"tBTCUSD","pair":"BTCUSD"}',
    b'{"event":"subscribed","channel":"status","chanId":3,"key":"deriv:tBTCF0:USTF0"}',
    b'{"event":"subscribed","channel":"status","chanId":4,"key":"liq:global"}',
    b'{"event":"subscribed","channel":"ticker","chanId":5,"symbol":"tBTCUSD"}',
    b'{"event":"subscribed","channel":"book","chanId":6,"symbol":"tBTCUSD","prec":"R0"}',
]
DERIVATIVE: list[Any] = [TS, None, 105056.5, 105050.1234, None, 1396531.67460709, None, TS + 60_000, 0.0001056, 6]
DERIVATIVE += [None, -0.00001381344, None, None, 105055.5, None, None, 1234.5, None, None]
LONG: list[Any] = ["pos", 145, TS, None, PERPETUAL, 0.5, 104000.12345, None, 0, 1, None, 101000.5]


def decoder(connection: int = 1) -> Decoder:
    """Make a decoder whose connection has subscribed to everything."""
    reader = VENUE.decoder({each.symbol: each for each in (instrument(), instrument(PERPETUAL))})
    for event in EVENTS:
        assert reader.decode(event, 0, connection) == []
    return reader


def content(channel: int, *parts: Any, seq: int = 1) -> bytes:
    return orjson.dumps([channel, *parts, seq, TS])


FRAMES = [
    content(1, [[105055, 2, 0.5], [105056.5, 1, -0.25]]),
    content(1, [105054, 1, 0.001]),
    content(1, "cs", -745320182),
    content(2, [[10, TS, 0.5, 105056], [9, TS - 5, -0.25, 105055]]),
    content(2, "te", [11, TS, -0.001, 105055]),
    content(3, DERIVATIVE),
    content(4, [LONG]),
]


def one(frame: bytes, reader: Decoder | None = None) -> Decoded:
    (decoded,) = (reader or decoder()).decode(frame, 0, 1)
    return decoded


def refused(frame: bytes) -> str:
    with pytest.raises(BadFrame) as met:
        decoder().decode(frame, 0, 1)
    return met.value.reason


def in_javascript(number: float) -> str:
    """Write a number as JavaScript does, from Python's own shortest text of it."""
    text = repr(number)
    if "e-" in text:
        head, _, power = text.partition("e-")
        zeros = int(power) - 1
        if zeros >= 6:
            return f"{head}e-{int(power)}"
        sign = "-" * head.startswith("-")
        return f"{sign}0.{'0' * zeros}{head.strip('-').replace('.', '')}"
    return text.removesuffix(".0")


def naive_checksum(bids: dict[float, float], asks: dict[float, float]) -> int:
    """Compute the checksum of a book of floats, amounts of asks negative."""
    sides = (sorted(bids.items(), reverse=True), sorted(asks.items()))
    words = []
    for i in range(25):
        for side in sides:
            words += [in_javascript(number) for number in side[i]] if i < len(side) else []
    return int(np.uint32(crc32(":".join(words).encode())).astype(np.int32))


@pytest.mark.tape
def test_the_recordings_numbers_have_no_hole_and_its_books_are_whole(captures: Path) -> None:
    frames = list(received([captures / "BITFINEX.ws.11.0.gz"]))
    known = {each.symbol: each for each in VENUE.infer_instruments([raw for _, raw in frames])}
    assert VENUE.rule is not None
    mirrors = {symbol: Mirror(each, VENUE.rule) for symbol, each in known.items()}
    naive: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    names: dict[int, tuple[str, str]] = {}
    reader = VENUE.decoder(known)
    numbered = compared = exponents = 0
    for at, raw in frames:
        read = orjson.loads(raw)
        found = reader.decode(raw, at, 1)
        if isinstance(read, dict):
            if read["event"] == "subscribed":
                names[read["chanId"]] = (read["channel"], read["symbol"])
            continue
        # This recording's `conf` asked for numbers alone: they stand last.
        numbered += 1
        assert read[-1] == numbered
        channel, symbol = names.get(read[0], ("", ""))
        if channel != "book" or read[1] == "hb":
            continue
        (decoded,) = found
        mirror, bids = mirrors[symbol], int(decoded.message["bids"][0])
        if decoded.message["kind"][0] == Kind.SNAPSHOT:
            mirror.replace(decoded.rows, bids)
            naive[symbol] = ({}, {})
        else:
            mirror.apply(decoded.rows, bids)
        for price, count, amount in read[1] if isinstance(read[1][0], list) else [read[1]]:
            side = naive[symbol][amount < 0]
            # Nothing is deleted that is not there.
            side[price] = amount if count else side.pop(price)
            if not count:
                del side[price]
        exponents += b"e-" in raw
        mirror.check(naive_checksum(*naive[symbol]), 0, 0)
        compared += 1
    assert (len(known), numbered, compared) == (7, 1670, 1600)
    assert exponents > 0
    # What leaves the length that was asked for is deleted by a frame.
    assert all(len(side) <= 100 for mirror in mirrors.values() for side in mirror.best(1000))
    assert reader.counts == {"channel_ticker": 21}


@pytest.mark.tape
def test_no_recorded_checksum_is_of_this_venue(checksums: Path) -> None:
    cases = orjson.loads((checksums / "vectors.json").read_bytes())
    assert not [case for case in cases if case["venue"].split()[0] in ("bitfinex", "deribit", "bitmex", "hyperliquid")]
    # Aevo's is the nearest: it interleaves the sides too, but leaves the amounts of asks positive.
    (aevo,) = (case for case in cases if case["venue"] == "aevo")
    mirror = Mirror(instrument(prices=0), VENUE.rule)  # type: ignore[arg-type]
    mirror.replace(np.array([(9, 2 * 10**8), (10, 10**8)], LEVEL), 1)
    assert crc32(aevo["preimage"].encode()) == int(aevo["checksum"])
    assert checksum(mirror) == int(np.uint32(crc32(b"9:2:10:-1")).astype(np.int32))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (105_055, 0, "105055"),
        (100_000, 0, "100000"),
        (1_050_550, 1, "105055"),
        (50_000_000, 8, "0.5"),
        (123, 8, "0.00000123"),
        (100, 8, "0.000001"),
        (99, 8, "9.9e-7"),
        (10, 8, "1e-7"),
        (2, 8, "2e-8"),
        (123_456, 12, "1.23456e-7"),
        (10**17, 8, "1000000000"),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(value: int, decimals: int, text: str) -> None:
    assert written(value, decimals) == text


@given(value=st.integers(1, 10**15), decimals=st.integers(0, 12))
def test_written_numbers_are_those_of_an_independent_writer(value: int, decimals: int) -> None:
    assert written(value, decimals) == in_javascript(value / 10**decimals)


def test_a_checksum_is_proved_by_the_books_best_levels() -> None:
    reader = decoder()
    mirror = Mirror(instrument(), VENUE.rule)  # type: ignore[arg-type]
    opened = one(FRAMES[0], reader)
    mirror.replace(opened.rows, int(opened.message["bids"][0]))
    right = int(np.uint32(crc32(b"105055:0.5:105056.5:-0.25")).astype(np.int32))
    stated = one(content(1, "cs", right, seq=2), reader)
    assert (stated.message["kind"][0], len(stated.rows), stated.checksum) == (Kind.DELTA, 0, right)
    assert mirror.check(stated.checksum, 0, 0)
    with pytest.raises(Gap):
        mirror.check(right + 1, 0, 0)
    # A side may be shorter than the other.
    mirror.replace(np.array([(1000, 10**8), (2000, 10**8), (3000, 10)], LEVEL), 1)
    assert checksum(mirror) == int(np.uint32(crc32(b"1:1:2:-1:3:-1e-7")).astype(np.int32))


def test_a_book_is_a_list_and_then_one_level_a_frame() -> None:
    reader = decoder()
    opened = one(FRAMES[0], reader)
    assert opened.message[["kind", "bids", "exchanged"]].tolist() == [(Kind.SNAPSHOT, 1, TS * MS)]
    assert opened.rows.tolist() == [(105_055_000, 50_000_000), (105_056_500, 25_000_000)]
    frames = {
        b"[1,[105054,1,1.1e-7],2,1737918843800]": (1, (105_054_000, 11)),
        b"[1,[105057,3,-1000000000.10],3,1737918843800]": (0, (105_057_000, 100_000_000_010_000_000)),
        b"[1,[105055.0,0,1],4,1737918843800]": (1, (105_055_000, 0)),
        b"[1,[105056.5,0,-1],5,1737918843800]": (0, (105_056_500, 0)),
    }
    for frame, (bids, level) in frames.items():
        decoded = one(frame, reader)
        assert (decoded.message["kind"][0], decoded.message["bids"][0]) == (Kind.DELTA, bids)
        assert decoded.rows.tolist() == [level]
    empty = one(content(1, [], seq=6), reader)
    assert (empty.message["kind"][0], len(empty.rows)) == (Kind.SNAPSHOT, 0)


def test_a_hole_in_a_connections_numbers_is_a_gap_of_all() -> None:
    reader = decoder()
    reader.decode(FRAMES[0], 0, 1)
    assert reader.decode(content(1, "hb", seq=2), 0, 1) == []
    # A heartbeat may come before the event that names its channel; it counts, too.
    assert reader.decode(content(99, "hb", seq=3), 0, 1) == []
    assert reader.decode(content(5, [1, 2], seq=4), 0, 1) == []
    assert reader.decode(content(6, [1, 2, 3], seq=5), 0, 1) == []
    with pytest.raises(Gap) as met:
        reader.decode(content(1, [105054, 1, 0.001], seq=7), 0, 1)
    assert (met.value.instrument, met.value.expected, met.value.met) == ("", 6, 7)
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=8), 0, 1)) == 1
    with pytest.raises(Gap):
        reader.decode(content(1, [105054, 1, 0.001], seq=8), 0, 1)
    assert reader.counts == {"channel_ticker": 1, "channel_bookR0": 1}


def test_channels_and_numbers_are_those_of_a_connection() -> None:
    reader = decoder()
    reader.decode(FRAMES[0], 0, 1)
    with pytest.raises(BadFrame, match="not subscribed on this connection"):
        reader.decode(content(1, [105054, 1, 0.001], seq=40), 0, 2)
    for event in EVENTS:
        reader.decode(event, 0, 2)
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=40), 0, 2)) == 1
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=2), 0, 1)) == 1
    reader.forget(2)
    with pytest.raises(BadFrame, match="unknown_channel"):
        reader.decode(content(1, [105054, 1, 0.001], seq=41), 0, 2)
    reader.decode(b'{"event":"unsubscribed","status":"OK","chanId":1}', 0, 1)
    with pytest.raises(BadFrame, match="unknown_channel"):
        reader.decode(content(1, [105054, 1, 0.001], seq=3), 0, 1)


@pytest.mark.parametrize(
    ("flags", "frame", "exchanged"),
    [
        (229_376, b"[1,[105054,1,0.5],7,1737918843800]", TS * MS),
        (65_536, b"[1,[105054,1,0.5],7]", 0),
        (32_768, b"[1,[105054,1,0.5],1737918843800]", TS * MS),
        (0, b"[1,[105054,1,0.5]]", 0),
        # Fields may be added at the end.
        (229_376, b"[1,[105054,1,0.5],7,1737918843800,null]", TS * MS),
    ],
)
def test_where_number_and_time_stand_follows_from_the_flags(flags: int, frame: bytes, exchanged: int) -> None:
    reader = decoder()
    reader.decode(b'{"event":"conf","status":"OK","flags":%d}' % flags, 0, 1)
    assert one(frame, reader).message["exchanged"][0] == exchanged


def test_trades_are_read_when_they_happen_and_lists_are_history() -> None:
    reader = decoder()
    listed = one(content(2, [[10, TS, 0.5, 105056], [9, TS - 5, -0.25, 105055]]), reader)
    assert listed.message["flags"][0] == Flag.HISTORY
    rows = [(9, 105_055_000, 25_000_000, -1), (10, 105_056_000, 50_000_000, 1)]
    assert listed.rows[["id", "price", "size", "side"]].tolist() == rows
    struck = one(content(2, "te", [11, TS, -0.001, 105055], seq=2), reader)
    assert struck.message[["flags", "exchanged", "published"]].tolist() == [(0, TS * MS, TS * MS)]
    assert struck.rows.tolist() == [(TS * MS, 105_055_000, 100_000, 11, 1, -1, 0, 0)]
    assert reader.decode(content(2, "tu", [11, TS, -0.001, 105055], seq=3), 0, 1) == []
    assert reader.decode(content(2, [], seq=4), 0, 1) == []


def test_a_derivative_tells_its_references() -> None:
    decoded = one(FRAMES[5])
    assert (decoded.symbol, decoded.channel) == (PERPETUAL, Channel.MARK)
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 105_055_500, 0),
        (Reference.INDEX, 105_050_123, 0),
        (Reference.FUNDING, -13_813_440, (TS + 60_000) * MS),
        (Reference.OPEN_INTEREST, 123_450_000_000, 0),
        (Reference.INSURANCE, 139_653_167_460_709, 0),
    ]
    unknown = [each if place in (0, 14) else None for place, each in enumerate(DERIVATIVE)]
    assert one(content(3, unknown)).rows["what"].tolist() == [Reference.MARK]


@pytest.mark.parametrize(("amount", "side"), [(0.5, 1), (-0.5, -1)])
def test_a_liquidation_tells_whose_position_it_was(amount: float, side: int) -> None:
    row = [*LONG[:5], amount, *LONG[6:]]
    decoded = one(content(4, [row]))
    assert (decoded.symbol, decoded.channel) == (PERPETUAL, Channel.LIQUIDATION)
    rows = [(TS * MS, 101_000_500, 50_000_000, 0, side, PriceKind.BANKRUPTCY, Coverage.ALL, 0, 0)]
    assert decoded.rows.tolist() == rows
    # Not taken over: where it was opened is all that is known. One alone, too.
    assert one(content(4, [*row[:11], None])).rows["price"].tolist() == [104_000_123]


def test_fills_and_other_pairs_liquidations_are_counted() -> None:
    reader = decoder()
    other = [*LONG[:4], "tETHUSD", *LONG[5:]]
    fill = [*LONG[:8], 1, *LONG[9:]]
    (decoded,) = reader.decode(content(4, [other, fill, LONG]), 0, 1)
    assert len(decoded.rows) == 1
    assert reader.counts == {"other_symbol": 1, "fill": 1}
    assert reader.decode(content(4, [], seq=2), 0, 1) == []


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (b'{"event":"info","code":20051,"msg":"Stop/Restart"}', Status.MAINTENANCE),
        (b'{"event":"info","code":20060}', Status.MAINTENANCE),
        (b'{"event":"info","code":20061}', Status.TRADING),
        (b'{"event":"info","version":2,"platform":{"status":0}}', Status.MAINTENANCE),
    ],
)
def test_what_the_venue_announces_is_said_of_every_instrument(event: bytes, state: Status) -> None:
    said = decoder().decode(event, 0, 1)
    assert [(each.symbol, int(each.message["status"][0])) for each in said] == [("tBTCUSD", state), (PERPETUAL, state)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"[1", "not_json"),
        (b"7", "structure"),
        (b"[1]", "structure"),
        (b'{"event":"error","msg":"symbol: invalid","code":10300}', "venue_error"),
        (b'{"event":"conf","status":"FAILED"}', "venue_error"),
        (b'{"event":"auth"}', "unknown_channel"),
        (b'{"event":"subscribed","channel":"book"}', "bad_id"),
        (b"[1,[105054,1,0.5]]", "bad_id"),
        (b"[1,[105054,1,0.5],1]", "bad_id"),
        (b"[1,[105054,1,0.5],1,99999999999999]", "bad_time"),
        (content(77, [1, 2, 3]), "unknown_channel"),
        (content(1, "te", [1, 2, 3]), "structure"),
        (content(1, "cs", "1"), "bad_checksum"),
        (content(1, "cs", 1 << 31), "bad_checksum"),
        (content(1, [105054, 1]), "structure"),
        (content(1, [105054, -1, 1]), "structure"),
        (content(1, [105054, 0, 0.5]), "structure"),
        (content(1, [-105054, 1, 0.5]), "negative"),
        (content(1, [105054, 1, 0]), "zero"),
        (content(1, [105054.0001, 1, 1]), "lost_digit"),
        # 10^12 coins at eight decimals are more than 18 digits.
        (content(1, [105054, 1, -(10**12)]), "overflow"),
        (content(1, [[105054, 1, 1], [105054, 1, 1]]), "bad_snapshot"),
        (content(2, "xx", [1]), "structure"),
        (content(2, "te", [1, TS, 0.5]), "structure"),
        (content(2, "te", [-1, TS, 0.5, 2]), "bad_id"),
        (content(2, "te", [1, "now", 0.5, 2]), "bad_time"),
        (content(3, [TS, None]), "structure"),
        (content(3, [*DERIVATIVE[:14], "dear", *DERIVATIVE[15:]]), "not_decimal"),
        (content(4, {}), "structure"),
        (content(4, [["neg", *LONG[1:]]]), "structure"),
        (content(4, [[*LONG[:6], 0, *LONG[7:11], None]]), "zero"),
    ],
)
def test_what_is_refused(frame: bytes, reason: str) -> None:
    assert refused(frame) == reason


def test_a_refusal_changes_nothing() -> None:
    reader = decoder()
    reader.decode(FRAMES[0], 0, 1)
    for frame in (content(1, [1, 2], seq=2), content(9, [1, 2, 3], seq=2), b'{"event":"conf","status":"OK"}'):
        with pytest.raises(BadFrame):
            reader.decode(frame, 0, 1)
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=2), 0, 1)) == 1


@given(frame=broken([*FRAMES, *EVENTS]), after=st.sampled_from(FRAMES))
def test_no_frame_breaks_the_decoder(frame: bytes, after: bytes) -> None:
    reader = decoder()
    survive(reader, frame)
    survive(reader, after)
    assert len(decoder(2).decode(FRAMES[0], 0, 2)) == 1


def test_streams_are_subscribed_after_the_flags_are_set() -> None:
    streams = VENUE.streams(["tBTCUSD", PERPETUAL])
    assert [stream.channel for stream in streams] == [
        Channel.DEPTH,
        Channel.TRADE,
        Channel.LIQUIDATION,
        Channel.DEPTH,
        Channel.TRADE,
        Channel.MARK,
        Channel.LIQUIDATION,
    ]
    frames = [orjson.loads(each) for each in VENUE.subscribe(streams)]
    assert frames[0] == {"event": "conf", "flags": 229_376}
    assert {"event": "subscribe", "channel": "status", "key": "deriv:tBTCF0:USTF0"} in frames
    # The whole venue's liquidations are one subscription.
    assert frames.count({"event": "subscribe", "channel": "status", "key": "liq:global"}) == 1
    assert len(frames) == 7


@pytest.mark.parametrize(
    ("price", "decimals"), [("105055", 3), ("16000000", 3), ("0.068961", 9), ("2.505e-05", 12), ("98.5", 6)]
)
def test_a_last_price_tells_the_decimals(price: str, decimals: int) -> None:
    body = b'[["fUSD",1],["tDUSK:USD",1,2,3,4,5,6,%b,8]]' % price.encode()
    (known,) = VENUE.parse_instruments(body, ["tDUSK:USD"])
    assert (known.asset, known.quote, known.price_decimals, known.size_decimals) == ("DUSK", "USD", decimals, 8)
    with pytest.raises(BadConfig, match="tDUSK:USD"):
        VENUE.parse_instruments(body, ["tDUSKUSD"])
    with pytest.raises(BadConfig, match="no price"):
        VENUE.parse_instruments(b'[["tNEWUSD",1,2,3,4,5,6,0]]', ["tNEWUSD"])


def test_the_emulated_venue_speaks_as_the_real_one() -> None:
    emulation, names = VENUE.emulation, ["tBTCUSD", PERPETUAL]
    known = [instrument(each, prices) for each, prices in zip(names, (3, 9), strict=True)]
    assert VENUE.parse_instruments(emulation.instruments(known), names) == known
    reader = VENUE.decoder({each.symbol: each for each in known})
    carried: list[str] = []
    for frame in VENUE.subscribe(VENUE.streams(names)):
        asked = emulation.subscribed(frame)
        assert asked is not None
        carried += asked[0]
        assert reader.decode(asked[1], 0, 1) == []
    assert carried[:3] == ["book:tBTCUSD", "trades:tBTCUSD", "status:liq:global"]
    alive = emulation.answer(VENUE.heartbeat[0])  # type: ignore[index]
    assert alive is not None
    assert reader.decode(alive, 0, 1) == []
    bids, asks = np.array([(105_055_000, 15)], LEVEL), np.array([(105_056_500, 10**8), (105_057_000, 7)], LEVEL)
    assert emulation.book is not None
    assert emulation.renumber is not None
    opened = emulation.renumber(emulation.book(known[0], 0, TS * MS, bids, asks), "book:tBTCUSD", 0)
    decoded = one(opened, reader)
    assert decoded.message["exchanged"][0] == TS * MS
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    # A frame of a tape gets this connection's numbers: of its channel, and of what was sent before.
    for raw in (b"[225206,[105054,1,0.50],18]", b"[225206,[105054,1,0.50],18,1737918843800]"):
        own = emulation.renumber(raw, "book:tBTCUSD", 1)
        assert own.startswith(b"[%d,[105054,1,0.50],2," % channel_of("book:tBTCUSD"))
    assert one(own, reader).rows.tolist() == [(105_054_000, 50_000_000)]
    assert emulation.renumber(alive, "", 2) is alive


def test_books_trades_and_liquidations_play_to_a_feed_without_a_hole() -> None:
    played = [
        *FRAMES[:2],
        content(4, [LONG]),
        content(2, "te", [11, TS, -0.001, 105055]),
        content(1, [105053, 1, 0.5]),
    ]
    numbered = [orjson.dumps([*orjson.loads(raw)[:-2], seq, TS]) for seq, raw in enumerate(played, 1)]
    lines = [(10**18 + i * 10**7, raw) for i, raw in enumerate([*EVENTS, *numbered])]
    instruments = [instrument(), instrument(PERPETUAL)]

    async def play() -> tuple[int, dict[str, int], dict[str, bool]]:
        async with (
            Emulator(VENUE, lines, instruments) as venue,
            feeding(VENUE, [each.symbol for each in instruments], venue) as caught,
        ):
            async with asyncio.timeout(30):
                await venue.finished()
            await caught.until(lambda: caught.feed.session.counts["frames"] >= len(numbered))
            await caught.drained()
            return venue.counts["frames"], dict(caught.feed.session.counts), caught.feed.session.synced

    frames, counts, synced = asyncio.run(play())
    assert frames == len(numbered)
    # Two connections carry it, each numbered by itself: the liquidations' is not that of the books.
    assert "lost_frames" not in counts
    assert "gaps" not in counts
    assert synced["tBTCUSD"]
