"""Gate's capture of 2023, as it was and in the frames of today."""

from functools import cache
from pathlib import Path

import orjson

from engine.instrument import Instrument
from engine.schema import Channel
from ingest.captures import Entry, What, read_capture
from ingest.venues import load

GATE = load("gate_futures")


def listed(entries: list[Entry]) -> dict[str, Instrument]:
    """Give the instruments of the capture's books, from the listing that it begins with."""
    (body,) = (entry.raw for entry in entries if entry.url.endswith("/contracts"))
    named = {entry.url.partition("contract=")[2].partition("&")[0] for entry in entries if "order_book?" in entry.url}
    return {each.symbol: each for each in GATE.parse_instruments(body, sorted(named))}


@cache
def as_today(folder: Path) -> tuple[list[tuple[int, bytes]], list[Instrument]]:
    """Say the capture's books in the frames of today: the REST body as the message that opens, deltas as pairs."""
    names = ("GATEIO_FUTURES.0.gz", "GATEIO_FUTURES.ws.1.0.gz", "GATEIO_FUTURES.http.0.0.gz")
    entries = list(read_capture([folder / name for name in names]))
    known = listed(entries)
    decoder = GATE.decoder(known)
    lines: list[tuple[int, bytes]] = []
    ids: dict[str, int] = {}
    for entry in entries:
        if entry.what is What.ANSWER and "order_book?" in entry.url:
            symbol = entry.url.partition("contract=")[2].partition("&")[0]
            (body,) = decoder.body(symbol, Channel.DEPTH, entry.raw)
            ids[symbol] = int(body.message["last"][0])
            at, bids = int(body.message["exchanged"][0]), int(body.message["bids"][0])
            assert GATE.emulation.book is not None
            opening = GATE.emulation.book(known[symbol], ids[symbol], at, body.rows[:bids], body.rows[bids:])
            lines.append((entry.at, opening))
        elif entry.what is What.RECEIVED and b'order_book_update","event":"update"' in entry.raw:
            content = orjson.loads(entry.raw)
            result = content["result"]
            if result["u"] <= ids.get(result["s"], 1 << 62):
                continue
            sides = {side: [[each["p"], str(each["s"])] for each in result[side]] for side in "ba"}
            told = {"t": result["t"], "s": f"ob.{result['s']}.400", "U": result["U"], "u": result["u"], **sides}
            lines.append((entry.at, orjson.dumps({**content, "channel": "futures.obu", "result": told})))
    return lines, list(known.values())
