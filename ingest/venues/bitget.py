"""Bitget futures settled in USDT (`BTCUSDT`) and USDC (`BTCPERP`), of the unified account's version 3.

"Depth channel", topic `books` (a snapshot of up to 1000 levels a side, then what changed, some 20 times a second):
  1. Subscribe. The first push is a `snapshot`, `pseq` 0; the pushes after it are `update`s.
  2. Each update's `pseq` equals the `seq` of the push before it, and `seq` is above `pseq`. The documentation lets the
     snapshot's `seq` lie between both of the first update; in 107,218 recorded updates of 150 books it was its `pseq`.
  3. After a release or a restart of the service the sequence may begin anew, which an update with `pseq` 0 shows. What
     it begins with is not shown, so that this is a gap.
  4. A level's size replaces the former one; 0 deletes it.
  5. After a gap unsubscribe and subscribe again: the snapshot comes on the socket. A connection has 240 such requests
     an hour.

Dated: frames of versions 1 and 2 (until 2026-04-28, as recorders had it) are told apart by their shape; their
`checksum`, CRC32 of the 25 best levels of both sides by turns, is checked where it is not 0. Version 3 has none. The
connection is cut after 24 hours, and after two minutes without a `ping`, whatever else it carries.

Futures settled in coin are not offered: they count the base coin, as linear ones do, and settle in it, as inverse ones
do, which no Contract says. The ticker brings mark and index price, funding and open interest. Liquidations are the
largest long and the largest short of each symbol and second.
"""

from typing import Final

from ingest.venues import Venue
from ingest.venues._bitget_streams import futures_kind
from ingest.venues._bitget_venue import venue

VENUE: Final[Venue] = venue(
    "bitget", futures_kind, ("USDT-FUTURES", "USDC-FUTURES"), ("usdt-futures", "usdc-futures", "mc")
)
