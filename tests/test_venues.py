"""The contract of a venue, tested of every file of the folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import FAMILY, LEVEL, MESSAGE, Channel, Kind, Rows
from ingest import control, venues
from ingest.mirror import Mirror, Rule
from ingest.session import Session
from ingest.venues import SECOND, Decoded, Decoder, Stream, Venue, load, names
from tests.samples import SAMPLES, instruments

VENUES = [load(name) for name in names()]
#: Those whose sockets open the books.
SOCKETS = [venue for venue in VENUES if venue.resync != "rest"]
AT = 1_790_000_000_000_000_000


def test_every_file_of_the_folder_is_a_venue_with_a_sample() -> None:
    files = {path.stem for path in Path(venues.__path__[0]).glob("[!_]*.py")}
    assert files == set(names()) == set(SAMPLES)


def test_an_unknown_venue_is_named_with_its_neighbours() -> None:
    with pytest.raises(BadConfig, match="did you mean binance_usdm"):
        load("binance_usd")


def symbols_of(venue: Venue) -> tuple[str, str]:
    return SAMPLES[venue.name][0]


def decoder_of(venue: Venue) -> Decoder:
    """Make a decoder of both instruments that has heard that everything is subscribed."""
    made = venue.decoder({each.symbol: each for each in instruments(venue.name)})
    for number, acknowledgement in enumerate(acknowledgements(venue)):
        made.decode(numbered(venue, acknowledgement, "", number), AT, 1)
    return made


def acknowledgements(venue: Venue) -> list[bytes]:
    asked = map(venue.emulation.subscribed, venue.subscribe(venue.streams(symbols_of(venue))))
    return [each[1] for each in asked if each is not None]


def numbered(venue: Venue, frame: bytes, stream: str, number: int) -> bytes:
    return frame if venue.emulation.renumber is None else venue.emulation.renumber(frame, stream, number)


def depth_stream(venue: Venue, symbol: str) -> Stream:
    (found,) = (s for s in venue.streams([symbol]) if s.channel == Channel.DEPTH)
    return found


def sides(instrument: Instrument, best: int) -> tuple[Rows, Rows]:
    unit = 10**instrument.price_decimals
    bids = np.array([((best - n) * unit, 5 + n) for n in range(3)], LEVEL)
    asks = np.array([((best + 1 + n) * unit, 9 + n) for n in range(2)], LEVEL)
    return bids, asks


def opening(venue: Venue, instrument: Instrument, best: int, last: int = 77, number: int = 100) -> bytes:
    """Write the frame that opens a book on the socket."""
    assert venue.emulation.book is not None
    frame = venue.emulation.book(instrument, last, AT, *sides(instrument, best))
    return numbered(venue, frame, depth_stream(venue, instrument.symbol).name, number)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
class TestVenue:
    def test_it_is_named_as_its_file(self, venue: Venue) -> None:
        assert load(venue.name) is venue
        assert venue.sequence in ("previous", "consecutive", "linked", "none")
        # Without ids a book must be proved by something else.
        assert venue.sequence != "none" or venue.numbered or venue.rule is not None or venue.resync != "rest"

    def test_streams_are_whose_they_say_and_on_sockets_that_exist(self, venue: Venue) -> None:
        symbols = symbols_of(venue)
        streams = venue.streams(symbols)
        assert len({stream.name for stream in streams}) == len(streams)
        assert {stream.socket for stream in streams} == set(venue.sockets)
        for symbol in symbols:
            mine = [stream for stream in streams if stream.symbol == symbol]
            # One stream a channel: nothing may be counted twice.
            assert len({stream.channel for stream in mine}) == len(mine)
            (depth,) = (stream for stream in mine if stream.channel == Channel.DEPTH)
            assert 0 < depth.first <= 60 * SECOND
            assert 0 < depth.silence <= 120 * SECOND
            assert any(stream.channel == Channel.TRADE for stream in mine)

    def test_a_url_or_frames_name_every_stream(self, venue: Venue) -> None:
        for socket, base in venue.sockets.items():
            assert base.startswith("wss://")
            mine = [stream for stream in venue.streams(symbols_of(venue)) if stream.socket == socket]
            url = venue.url("ws://127.0.0.1:9", socket, mine)
            assert url.startswith("ws://127.0.0.1:9/")
            asked = set(venue.emulation.streams_of(url.removeprefix("ws://127.0.0.1:9")))
            for frame in venue.subscribe(mine):
                found = venue.emulation.subscribed(frame)
                asked |= set(found[0]) if found is not None else set()
            # A subscription that speaks of the whole venue is one, whoever of ours it is for.
            common = {stream.name.partition("#")[0] for stream in mine}
            assert {name.partition("#")[0] for name in asked} == common

    def test_subscribing_is_acknowledged(self, venue: Venue) -> None:
        decoder = venue.decoder({each.symbol: each for each in instruments(venue.name)})
        for number, acknowledgement in enumerate(acknowledgements(venue)):
            assert decoder.decode(numbered(venue, acknowledgement, "", number), AT, 1) == []
        assert venue.emulation.subscribed(b'{"method":"PING"}') is None

    def test_unsubscribing_is_acknowledged(self, venue: Venue) -> None:
        mine = [depth_stream(venue, symbol) for symbol in symbols_of(venue)]
        frames = venue.unsubscribe(mine)
        assert frames or venue.resync != "resubscribe"
        left = [found for found in map(venue.emulation.unsubscribed, frames) if found is not None]
        assert {name for streams, _ in left for name in streams} == ({s.name for s in mine} if frames else set())
        decoder = decoder_of(venue)
        assert all(decoder.decode(answer, AT, 1) == [] for _, answer in left)

    def test_what_keeps_a_connection_alive_is_answered(self, venue: Venue) -> None:
        if venue.heartbeat is None:
            assert venue.limits.ping_interval or venue.limits.lifetime
            return
        frame, every = venue.heartbeat
        assert 0 < every <= 60
        answer = venue.emulation.answer(frame)
        assert answer is not None
        assert decoder_of(venue).decode(answer, AT, 1) == []

    def test_rest_paths_lead_where_the_emulation_says(self, venue: Venue) -> None:
        route, symbol = venue.emulation.route, symbols_of(venue)[0]
        assert route("/nowhere") is None
        for listing in venue.instruments_path.split():
            found = route(listing)
            assert found is not None
            assert found[0] == "instruments"
        paths = {
            "depth": venue.snapshot_path(symbol),
            "open_interest": venue.open_interest_path(symbol),
            "risk": venue.risk_path(symbol),
        }
        assert (paths["depth"] is not None) == (venue.resync == "rest")
        for what, path in paths.items():
            if path is not None:
                found = route(path)
                assert found is not None
                assert found[:2] == (what, symbol)
                assert 0 < venue.weight(path) < venue.limits.weight

    def test_the_emulated_listing_gives_the_instruments_back(self, venue: Venue) -> None:
        known = instruments(venue.name)
        body = venue.emulation.instruments(known)
        assert venue.parse_instruments(body, symbols_of(venue)) == known
        with pytest.raises(BadConfig, match=known[0].symbol):
            venue.parse_instruments(body, ["NO-SUCH-THING"])

    def test_the_emulated_book_is_what_the_decoder_reads(self, venue: Venue) -> None:
        (known, _), decoder = instruments(venue.name), decoder_of(venue)
        bids, asks = sides(known, 61_800)
        if venue.emulation.book is None:
            (decoded,) = decoder.body(known.symbol, Channel.DEPTH, venue.emulation.snapshot(known, 77, AT, bids, asks))
            assert decoded.message["last"].tolist() == [77]
        else:
            (decoded,) = decoder.decode(opening(venue, known, 61_800), AT, 1)
        whole(decoded, known.symbol)
        assert decoded.message["kind"].tolist() == [Kind.SNAPSHOT]
        assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]

    def test_a_frame_that_is_no_json_is_refused_and_changes_nothing(self, venue: Venue) -> None:
        decoder, before = decoder_of(venue), decoder_of(venue)
        for frame in (b"{", b"", b"\xff\xfe", b'{"a":', b"[1,2", b"null" * 3):
            with pytest.raises(BadFrame):
                decoder.decode(frame, AT, 1)
        if venue.emulation.book is not None:
            frame = opening(venue, instruments(venue.name)[0], 61_800)
            assert said(decoder.decode(frame, AT, 1)) == said(before.decode(frame, AT, 1))


@pytest.mark.parametrize("venue", SOCKETS, ids=lambda venue: venue.name)
class TestSocketBooks:
    def test_a_snapshot_opens_a_book_and_the_next_one_another_epoch(self, venue: Venue) -> None:
        known = instruments(venue.name)
        session = Session(venue, symbols_of(venue), known)
        names = [stream.name for stream in venue.streams(symbols_of(venue))]
        lines = [control.opened(1, next(iter(venue.sockets)), names)]
        lines += [control.source(1)] if venue.numbered else []
        lines += [numbered(venue, each, "", n) for n, each in enumerate(acknowledgements(venue))]
        start = len(acknowledgements(venue))
        lines += [opening(venue, known[0], 61_800, 77, start), opening(venue, known[0], 61_900, 78, start + 1)]
        kinds, book = [], Mirror(known[0], Rule())
        for at, line in enumerate(lines):
            for batch in session.receive(AT + at, line):
                kind = Kind(batch.messages["kind"][0])
                if batch.instrument == known[0].key and kind not in (Kind.STATUS, Kind.REFERENCE, Kind.TOUCH):
                    kinds.append((kind, int(batch.messages["epoch"][0])))
                if batch.instrument == known[0].key and kind in (Kind.SNAPSHOT, Kind.DELTA):
                    bids = int(batch.messages["bids"][0])
                    (book.replace if kind == Kind.SNAPSHOT else book.apply)(batch.levels, bids)
        assert session.synced == {known[0].symbol: True, known[1].symbol: False}
        first = [(Kind.RESYNC, 1), (Kind.INSTRUMENT, 1), (Kind.SNAPSHOT, 1)]
        if venue.rule is not None and venue.rule.whole:
            # Books that are only sent whole go on.
            assert kinds == [*first, (Kind.DELTA, 1)]
        else:
            assert kinds == [*first, (Kind.RESYNC, 2), (Kind.INSTRUMENT, 2), (Kind.SNAPSHOT, 2)]
        shown = [[tuple(row) for row in side.tolist()] for side in sides(known[0], 61_900)]
        assert list(book.best(9)) == shown

    def test_instruments_share_no_state(self, venue: Venue) -> None:
        first, second = instruments(venue.name)
        together, alone = decoder_of(venue), decoder_of(venue)
        frames = [opening(venue, first, 61_800, 77, 100), opening(venue, second, 3_000, 78, 101)]
        both = [said(together.decode(frame, AT, 1)) for frame in frames]
        assert both[0] == said(alone.decode(frames[0], AT, 1))
        assert both[0] != both[1]
        # Nor do decoders.
        assert said(decoder_of(venue).decode(frames[0], AT, 1)) == both[0]


def whole(decoded: Decoded, symbol: str) -> None:
    """Check that a message and its rows fit."""
    message = decoded.message
    assert decoded.symbol == symbol
    assert (message.dtype, message.shape) == (MESSAGE, (1,))
    assert decoded.rows.dtype == FAMILY[Kind(message["kind"][0])]
    assert len(decoded.rows) == message["count"][0]
    assert message["received"][0] == 0


def said(found: Sequence[Decoded]) -> list[tuple[str, bytes, bytes]]:
    return [(each.symbol, each.message.tobytes(), each.rows.tobytes()) for each in found]
