"""Bybit, inverse contracts: perpetuals and futures of so many US dollars, settled in the coin.

"Process snapshot/delta" (documentation of version 5, orderbook):
  1. Subscribe `orderbook.1000.SYMBOL`; the first message is a snapshot.
  2. A further snapshot, at any time, overwrites the local book.
  3. `u` of 1 is a snapshot whatever its type says: the service began anew. Overwrite the local book.
  4. A delta's size of 0 deletes the level; a price that is not there is inserted; others are updated.
  5. Each delta's `u` is the one before + 1 (true of every transition of the captures); otherwise subscribe anew.
Levels that leave the depth are deleted by the venue itself. Depth 500 ended on 2025-09-11, 1000 came on 2025-08-14,
every 300 ms until 2025-11-25, every 200 ms since.
"""

from typing import Final

from engine.schema import Contract
from ingest.venues import Venue
from ingest.venues._bybit_venue import make_venue

VENUE: Final[Venue] = make_venue("bybit_inverse", "inverse", Contract.INVERSE, lambda symbol: "adlAlert.inverse")
