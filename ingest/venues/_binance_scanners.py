"""Binance's frames in, who scans them and by what plan out."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from engine.instrument import Instrument
from engine.schema import FAMILY, LEVEL, Channel, Kind
from ingest.flat import scan_flat
from ingest.form import plan as make_plan
from ingest.rows import Words
from ingest.scan import depth_plan, scan_depth
from ingest.scanner import FlatScanner, Scanner
from ingest.venues import Decoded, Plain
from ingest.venues._binance_forms import forms

#: What scans a stream's frames, its plan, and the symbol and channel that it is told.
Scanned: TypeAlias = tuple[Callable[[bytes, Words, str, Channel], Decoded | int], Words, str, Channel]

_WRAPPER: Final = b'{"stream":"'
#: Where the stream's name begins.
_NAME: Final = len(_WRAPPER)
_BARE_DEPTH: Final = b'{"e":"depthUpdate"'


class Scanners:
    """The scanners and plans of some instruments."""

    def __init__(
        self, instruments: Mapping[str, Instrument], streams: Mapping[str, tuple[str, str]], futures: bool
    ) -> None:
        """Make a plan for each stream that a scanner reads; `streams` tells a stream's event and symbol."""
        known = forms(futures)
        self._depth = Scanner(scan_depth, LEVEL)
        flat = {event: FlatScanner(scan_flat, FAMILY[form.kind], len(form.rows)) for event, (_, form) in known.items()}
        #: What a frame begins with, up to its stream's name; or a bare diff's symbol.
        self._known: dict[bytes, Scanned] = {}
        #: Symbol -> plan of its REST body.
        self._bodies: dict[str, Words] = {}
        #: What a stream's frames usually begin with, cut to a span that reaches beyond every stream's name: to look up
        #: a slice takes a third of the time of finding where a name ends.
        self.heads: dict[bytes, Scanned] = {}
        self.span = max((_NAME + len(stream) + 1 for stream in streams), default=0)
        #: The same for many frames at once.
        self.plain: list[Plain] = []
        #: Event and symbol -> who scans it.
        scanned: dict[tuple[str, str], Scanned] = {}
        for symbol, instrument in instruments.items():
            name, decimals = symbol.encode(), (instrument.price_decimals, instrument.size_decimals)
            self._bodies[symbol] = depth_plan(b"", *decimals, futures, True)
            diff = depth_plan(name, *decimals, futures, False)
            scanned["depthUpdate", symbol] = self._known[name] = (self._depth.scan, diff, symbol, Channel.DEPTH)
            for event, (channel, form) in known.items():
                scanned[event, symbol] = (flat[event].scan, make_plan(form, symbol, *decimals), symbol, channel)
        for stream, (event, symbol) in streams.items():
            if (event, symbol) in scanned:
                begin = _WRAPPER + stream.encode()
                # Spot's bookTicker names no event.
                first = b'"u":' if event == "bookTicker" and not futures else b'"e":"%b","' % event.encode()
                self._known[begin] = scanned[event, symbol]
                head = (begin + b'","data":{' + first)[: self.span]
                self.heads[head] = scanned[event, symbol]
                if len(head) == self.span:
                    _, plan, _, channel = scanned[event, symbol]
                    kind, rows = Kind.DELTA, 0
                    if event in known:
                        kind, rows = known[event][1].kind, len(known[event][1].rows)
                    self.plain.append(Plain(head=head, plan=plan, symbol=symbol, channel=channel, kind=kind, rows=rows))

    def find(self, frame: bytes) -> Scanned | None:
        """Return who scans a frame, however its blanks stand; the usual ones are found in `heads`."""
        known = self._known.get(frame[: frame.find(b'"', _NAME)])
        if known is None and frame.startswith(_BARE_DEPTH):
            start = frame.find(b'"s":"') + 5
            known = self._known.get(frame[start : frame.find(b'"', start)])
        return known

    def scan_body(self, body: bytes, symbol: str) -> Decoded | int:
        """Return what a symbol's REST snapshot says, or the kernel's refusal."""
        return self._depth.scan(body, self._bodies[symbol], symbol, Channel.DEPTH)
