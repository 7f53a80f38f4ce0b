"""What a session asks of its shell: a REST resource, a subscription or a connection anew; and when."""

from dataclasses import dataclass
from typing import Final

from ingest.venues import SECOND

#: Wait before asking again for what failed, ns: doubles from the first up to the last.
PAUSES: Final = (SECOND // 5, 5 * SECOND)
#: REST status -> shortest wait, ns: too many requests, and banned for having gone on.
STATUS_PAUSES: Final = {429: 10 * SECOND, 418: 120 * SECOND}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the shell should do: fetch a REST resource and bring it back as a body line, or mend a subscription."""

    #: "depth", "instruments", "open_interest", "risk"; or "resubscribe" (of a symbol's book), "reconnect".
    what: str
    symbol: str
    path: str
    #: The book epoch it is for; 0 where it is for none.
    epoch: int
    #: Not before this time, ns; 0: now.
    after: int
    #: Which connection is to be dropped, or carries what is to be subscribed again; 0: of none, or unknown.
    connection: int = 0


def backoff(attempts: int) -> int:
    """Tell how long to wait, ns, before an attempt that follows so many."""
    return min(PAUSES[0] << min(attempts - 1, 16), PAUSES[1]) if attempts else 0
