"""What spot and futures of Bitget have in common: one record, made for either."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from ingest.mirror import Rule
from ingest.venues import Limits, Stream, Venue
from ingest.venues._bitget import BitgetDecoder, checksum
from ingest.venues._bitget_emulation import emulation
from ingest.venues._bitget_streams import (
    Kinds,
    infer_instruments,
    instruments_path,
    make_frames,
    make_streams,
    parse_instruments,
)

PATH: Final = "/v3/ws/public"


def url(base: str, socket: str, streams: Sequence[Stream]) -> str:
    """Name the public socket; frames subscribe."""
    return f"{base}{PATH}"


def venue(name: str, kind_of: Kinds, categories: Sequence[str], kinds: tuple[str, ...]) -> Venue:
    """Make a venue of some categories; `kinds` are the values of `instType` that its frames have had, in lower case."""
    return Venue(
        name=name,
        sockets={"public": "wss://ws.bitget.com"},
        rest="https://api.bitget.com",
        limits=Limits(
            sends=5,
            connects=300,
            weight=1200,
            streams=50,
            lifetime=24 * 3600,
            ping_interval=None,
            ping_timeout=None,
            max_size=8 << 20,
            resubscribes=100,
        ),
        streams=make_streams(kind_of),
        url=url,
        subscribe=make_frames(kind_of, "subscribe"),
        unsubscribe=make_frames(kind_of, "unsubscribe"),
        decoder=partial(BitgetDecoder, kinds),
        snapshot_path=lambda symbol: None,
        open_interest_path=lambda symbol: None,
        instruments_path=instruments_path(categories),
        parse_instruments=partial(parse_instruments, name, kind_of),
        infer_instruments=partial(infer_instruments, name, kind_of, kinds),
        weight=lambda path: len(path.split()),
        sequence="linked",
        resync="resubscribe",
        rule=Rule(checksum=checksum),
        heartbeat=(b"ping", 25.0),
        emulation=emulation(kind_of),
    )
