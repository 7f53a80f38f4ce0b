"""The console and memory sinks."""

import io

import orjson
from rich.console import Console

from engine.schema import Record
from engine.topics import SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_HEALTH, SIGNAL_LATEST, SIGNAL_VACUUM
from sinks.console import ConsoleSink, Row, name, table
from sinks.memory import MemorySink

SECOND = 1_000_000_000
DEPTH = {
    "state": "ok",
    "reason": None,
    "mid": 60_000.5,
    "spread_bps": 0.25,
    "imbalance": -0.6,
    "bands": [10, 50, 100],
    "bid_quote": [1.5e6, 2.0e7, 3.0e7],
    "ask_quote": [900_000.0, 2.5e7, 3.5e7],
    "notionals": [100_000.0],
    "sell_bps": [1.25],
}
HEALTH = {"state": "ok", "reason": None, "messages": 100, "gaps": 2, "clock_offset_ns": -1_270_000_000}


def record(topic: str, value: object, time: int = SECOND, key: str = "venue:BTCUSDT") -> Record:
    return Record(topic=topic, key=key, asset="BTC", time=time, value=orjson.dumps(value))


def drawn(sink_width: int, *records: Record) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=sink_width, color_system=None, legacy_windows=False
    )
    sink = ConsoleSink(console=console)
    for each in records:
        sink.write([each])
    sink.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_every_value_as_a_line_in_order() -> None:
    pipe = io.BytesIO()
    sink = ConsoleSink(lines=True, pipe=pipe)
    records = [record(SIGNAL_DEPTH, {"n": n}) for n in range(5)]
    sink.write(records[:2])
    sink.write(records[2:])
    sink.close()
    assert pipe.getvalue() == b"".join(each.value + b"\n" for each in records)


def test_a_terminal_shows_one_row_of_the_newest_numbers() -> None:
    text = drawn(
        200,
        record(SIGNAL_DEPTH, DEPTH | {"mid": 1.0}),
        record(SIGNAL_HEALTH, HEALTH),
        record(SIGNAL_HEALTH, HEALTH | {"messages": 400}, 3 * SECOND),
        record(SIGNAL_DEPTH, DEPTH, 4 * SECOND),
    )
    last = [line for line in text.splitlines() if "venue:BTCUSDT" in line][-1].split()
    shown = [
        "venue:BTCUSDT",
        "ok",
        "60,000.50",
        "0.250",
        "1.5M",
        "|",
        "900k",
        "20.0M",
        "|",
        "25.0M",
        "30.0M",
        "|",
        "35.0M",
    ]
    assert last[: len(shown)] == shown
    # Imbalance, sweep, 300 messages in 2 s, clock, gaps.
    assert last[len(shown) :] == ["-0.60", "1.25", "150", "-1,270.0", "2"]


def test_an_asset_has_a_row_of_its_own_with_its_reference_price() -> None:
    whole = {
        name: value for name, value in DEPTH.items() if name in ("state", "reason", "bands", "bid_quote", "ask_quote")
    }
    text = drawn(200, record(SIGNAL_DEPTH, whole | {"reference": 60_001.25}, key="BTC"), record(SIGNAL_DEPTH, DEPTH))
    (last,) = [line.split() for line in text.splitlines() if line.startswith("BTC")][-1:]
    assert last[:7] == ["BTC", "ok", "60,001.25", "–", "1.5M", "|", "900k"]
    assert last[-5:] == ["–"] * 5


def test_an_unknown_book_shows_its_reason_and_no_number() -> None:
    unknown = dict.fromkeys(DEPTH) | {"state": "unknown", "reason": "gap", "bands": [10, 50, 100]}
    text = drawn(200, record(SIGNAL_DEPTH, unknown | {"notionals": [100_000.0]}))
    line = [line for line in text.splitlines() if "venue:BTCUSDT" in line][-1]
    assert "unknown: gap" in line
    assert "60,000" not in line
    assert line.count("–") == 12


def test_a_narrow_terminal_keeps_what_matters_whole() -> None:
    text = drawn(90, record(SIGNAL_DEPTH, DEPTH), record(SIGNAL_HEALTH, HEALTH))
    line = [line for line in text.splitlines() if "venue:BTCUSDT" in line][-1]
    assert "60,000.50" in line
    assert "1.5M | 900k" in line
    assert "-1,270.0" not in line
    assert "…" not in text


def test_the_vacuum_and_the_critical_shock_have_columns_once_they_are_told() -> None:
    sides = ("bid", "ask")
    vacuum = {f"{side}_state": state for side, state in zip(sides, ("vacuum", "thin"), strict=True)}
    ratios = {f"{side}_ratio": ratio for side, ratio in zip(sides, (0.034, None), strict=True)}
    cascade = {"state": "ok", "reason": None, "drops": [50, 100], "fall_critical_quote": [1e5, 3.34e6]}
    text = drawn(
        200, record(SIGNAL_DEPTH, DEPTH), record(SIGNAL_VACUUM, vacuum | ratios), record(SIGNAL_CASCADE, cascade)
    )
    line = [line for line in text.splitlines() if "venue:BTCUSDT" in line][-1]
    assert line.split()[-7:] == ["vacuum", "|", "thin", "0.03", "|", "–", "3.3M"]
    alone = drawn(200, record(SIGNAL_VACUUM, vacuum | ratios))
    assert "vacuum | thin" in alone
    assert "critical" not in drawn(200, record(SIGNAL_DEPTH, DEPTH))


def test_what_is_said_stands_above_the_table_and_not_in_a_pipe() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None, legacy_windows=False)
    sink = ConsoleSink(console=console)
    sink.write([record(SIGNAL_DEPTH, DEPTH)])
    sink.say("bids: normal -> [thin]")
    sink.close()
    assert isinstance(console.file, io.StringIO)
    assert "bids: normal -> [thin]" in console.file.getvalue()
    pipe = io.BytesIO()
    ConsoleSink(lines=True, pipe=pipe).say("bids: normal -> thin")
    assert pipe.getvalue() == b""


def test_a_record_for_late_joiners_is_shown_under_its_instrument() -> None:
    late = record(SIGNAL_LATEST, HEALTH, key="health|venue:BTCUSDT")
    assert name(late) == ("venue:BTCUSDT", "health")
    row = Row()
    row.take("health", late)
    assert table({"venue:BTCUSDT": row}).row_count == 1


def test_the_memory_sink_keeps_records_and_reads_them() -> None:
    sink = MemorySink()
    sink.write([record(SIGNAL_DEPTH, {"n": 1}), record(SIGNAL_HEALTH, {"n": 2})])
    sink.flush()
    sink.close()
    assert sink.values() == [{"n": 1}, {"n": 2}]
    assert sink.values(SIGNAL_HEALTH) == [{"n": 2}]
    assert [each.topic for each in sink.records] == [SIGNAL_DEPTH, SIGNAL_HEALTH]
