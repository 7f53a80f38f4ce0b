"""OKX: spot, perpetuals and futures, told apart by the symbol (`BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USD-250627`).

"Order book channel", of the documentation of version 5, channel `books` (400 levels, a message each 100 ms at most):
  1. Subscribe. The first push is a `snapshot` with `prevSeqId` -1, the pushes after it are `update`s.
  2. Each update's `prevSeqId` equals the `seqId` of the message before it. Steps are arbitrary: only equality counts.
  3. An update with `prevSeqId` equal to `seqId` and no levels says that nothing changed for about a minute.
  4. During maintenance the sequence may be reset: `seqId` is then below `prevSeqId`, once; the chain goes on from it.
  5. A level's size replaces the former one; 0 deletes it. Levels that leave the 400 best are deleted by a message, so
     no book ever grows beyond them.
  6. Otherwise unsubscribe and subscribe again: the snapshot comes on the socket. A connection has 480 such requests an
     hour.

Dated: `checksum`, CRC32 of the 25 best levels of both sides by turns, is 0 in every book since 2026-06-23; a book that
is older is checked, unless it is 0 there, too. Ids are absent from books of 2022 and before. Port 8443 is closed since
2026-10-31. Maintenance is announced by notice 64008, 60 s before the connection closes.

The mark price is subscribed together with its index and, for perpetuals, the funding rate: one stream of ours. A size
is a number of contracts, `contract_size` what one is worth. Liquidations are at most one a contract and second.
"""

from collections.abc import Sequence
from typing import Final

from ingest.mirror import Rule
from ingest.venues import Limits, Stream, Venue
from ingest.venues._okx import OkxDecoder, checksum
from ingest.venues._okx_emulation import emulation
from ingest.venues._okx_streams import (
    INSTRUMENTS_PATH,
    NAME,
    infer_instruments,
    parse_instruments,
    streams,
    subscribe,
    unsubscribe,
)

PATH: Final = "/ws/v5/public"


def url(base: str, socket: str, streams: Sequence[Stream]) -> str:
    """Name the public socket; frames subscribe."""
    return f"{base}{PATH}"


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://ws.okx.com"},
    rest="https://openapi.okx.com",
    limits=Limits(
        sends=3,
        connects=300,
        weight=600,
        streams=240,
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=8 << 20,
        resubscribes=200,
    ),
    streams=streams,
    url=url,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    decoder=OkxDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS_PATH,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: len(path.split()),
    sequence="linked",
    resync="resubscribe",
    rule=Rule(checksum=checksum, optional=True),
    heartbeat=(b"ping", 20.0),
    emulation=emulation(),
)
