"""Bitfinex: what its recorded and documented frames say, and what is refused of them."""

import asyncio

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame
from engine.schema import LEVEL, Channel, Coverage, Flag, PriceKind, Reference, Status
from ingest.emulator import Emulator
from ingest.venues._bitfinex_emulation import channel_of
from tests.bitfinex import (
    DERIVATIVE,
    EVENTS,
    FRAMES,
    LONG,
    MS,
    PERPETUAL,
    TS,
    VENUE,
    content,
    decoder,
    instrument,
    one,
    refused,
)
from tests.feeding import feeding
from tests.peers import broken, survive


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
