"""Reference levels: what rested before the event of 2025-10-10, 20:50 UTC, per band of the baseline.

A level measured before the event stands as it is. One measured since is divided by the share of the depth before the
event that it was: the entry's own, else the published one. Published (CoinDesk Research, 2025-11-11: averages over
hours, summed over "major venues" that it does not name, so that its ratios mean something here and its dollars do not):

    BTC within 1 %: $20m -> $14m, within 0.5 %: $15.5m -> $10m, within 5 %: $40m -> $30m; ETH within 1 %: $8m -> $6m
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.knowledge import ReferenceLevel

#: 2025-10-10 20:50:00 UTC, ns.
EVENT: Final = 1_760_129_400_000_000_000
#: Asset and band (basis points): depth in November 2025 / depth before the event.
PUBLISHED: Final = {("BTC", 100): 0.70, ("BTC", 50): 0.645, ("BTC", 500): 0.75, ("ETH", 100): 0.75}


def references_of(config: EngineConfig, asset: str, instrument: str = "") -> NDArray[np.float64]:
    """Give the level before the event per band of the baseline, quote units, 0 where none is configured.

    Without an instrument those of all venues together. Raises BadConfig where a level is of no band that has a
    baseline, is named twice, or was measured after the event and no share is known.
    """
    found = np.zeros(len(config.baseline.bands))
    for each in config.knowledge.references:
        if (each.asset, each.instrument) != (asset, instrument):
            continue
        if each.band not in config.baseline.bands:
            raise BadConfig(f"band of a reference of {asset} is {each.band}, allowed are {config.baseline.bands}")
        at = config.baseline.bands.index(each.band)
        if found[at] > 0.0:
            raise BadConfig(f"{instrument or asset} has two references within {each.band} bps, allowed is one")
        found[at] = each.depth / share_of(each)
    return found


def share_of(level: ReferenceLevel) -> float:
    """Return what share of the depth before the event a level is."""
    if level.as_of < EVENT:
        if level.share:
            raise BadConfig(
                f"share of a reference of {level.asset} is {level.share}, allowed is none where the depth was measured "
                "before the event"
            )
        return 1.0
    share = level.share or PUBLISHED.get((level.asset, level.band), 0.0)
    if share <= 0.0:
        raise BadConfig(
            f"the reference of {level.asset} within {level.band} bps was measured after the event, and of what share "
            f"that was is not published; allowed are a share above 0, and without one {sorted(PUBLISHED)}"
        )
    return share
