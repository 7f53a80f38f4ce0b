"""Bitget spot, of the unified account's version 3: depth, touch and trades. The book's rule is that of `bitget`."""

from typing import Final

from ingest.venues import Venue
from ingest.venues._bitget_streams import spot_kind
from ingest.venues._bitget_venue import venue

VENUE: Final[Venue] = venue("bitget_spot", spot_kind, ("SPOT",), ("spot", "sp"))
