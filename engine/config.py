"""What the engine may be told: frozen values, checked once, hashed into every signal's header."""

from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from engine.errors import BadConfig

#: Changes whenever the same rows could give other signal bytes.
ENGINE_VERSION: Final = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of the signals; each is part of what makes a signal reproducible."""

    #: Depth bands around the mid, basis points, ascending.
    bands: tuple[int, ...] = (5, 10, 25, 50, 100, 200, 500)
    #: Notionals of the sweep cost, whole units of the quote currency, ascending.
    notionals: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    #: A depth record at least this often in row time while rows arrive, ms.
    cadence: int = 100
    #: A health record at least this often in row time while rows arrive, ms.
    health_cadence: int = 1_000
    #: A record for late joiners (`signal.latest.v1`) at most this often in row time, but for changes of state, ms.
    latest_cadence: int = 1_000
    #: A book whose last message is older than this is not known, ms of row time.
    stale_after: int = 2_000
    #: A book crossed for longer than this is not known, ms of row time.
    crossed_after: int = 100

    def __post_init__(self) -> None:
        if (
            not self.bands
            or list(self.bands) != sorted(set(self.bands))
            or not 1 <= self.bands[0] <= self.bands[-1] < 10_000
        ):
            raise BadConfig(f"bands are {self.bands}, allowed are ascending basis points from 1 to 9999")
        if list(self.notionals) != sorted(set(self.notionals)) or any(n <= 0 for n in self.notionals):
            raise BadConfig(f"notionals are {self.notionals}, allowed are ascending positive whole numbers")
        for name in ("cadence", "health_cadence", "latest_cadence", "stale_after", "crossed_after"):
            if getattr(self, name) <= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are milliseconds above 0")

    def digest(self) -> str:
        """Hash the settings and the engine's version: equal digests promise equal signals for equal rows."""
        text = repr((ENGINE_VERSION, sorted(asdict(self).items())))
        return sha256(text.encode()).hexdigest()[:16]
