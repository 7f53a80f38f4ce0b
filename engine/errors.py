"""Every error of the project, told apart by whose fault it is.

    AirpocketError
    ├── BadConfig      the operator's: a name, a number or a combination that cannot be
    ├── BadFrame       the venue's: bytes that are not what its documentation says
    ├── Gap            the venue's (or the path's): a hole in an order book's sequence
    ├── BadRecord      a record or tape of another version, or a corrupt one
    └── Undelivered    the broker's or the disk's: something written did not arrive

Pure code raises; only a shell decides. A bad frame is counted, logged and passed over; a gap resyncs one instrument;
an undelivered record stops the process with a non-zero status.
"""


class AirpocketError(Exception):
    """Any error that this project raises on purpose."""

    #: Exit status of a command that ends with this error.
    status = 1


class BadConfig(AirpocketError):
    """The operator asked for what cannot be; the message names the value met and the values allowed."""

    status = 3


class BadFrame(AirpocketError):
    """A venue's frame is not what its documentation says. `reason` is a short stable word for counters."""

    status = 5

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Gap(AirpocketError):
    """Messages of one order book are missing: `expected` is the id that should have come, `met` the one that did."""

    status = 5

    def __init__(self, instrument: str, expected: int, met: int) -> None:
        super().__init__(f"gap in {instrument}: expected {expected}, met {met}")
        self.instrument = instrument
        self.expected = expected
        self.met = met


class BadRecord(AirpocketError):
    """A record, a tape or a state snapshot is of another version, or corrupt."""

    status = 5


class Undelivered(AirpocketError):
    """Something that was written did not arrive: the broker refused or timed out, or the disk is full."""

    status = 4
