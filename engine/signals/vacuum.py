"""Vacuum: the state machine's memory, its inputs and a fitted model in; one VACUUM row out.

`engine.vacuum` moves the states, `engine.probability` gives the chances; here both become a record. It is written also
while the book is unknown: then the states say `unknown` with the cause, and nothing is measured.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.fields import Field, Layout, Signal, Why
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID
from engine.probability import MISSING, UNCALIBRATED, columns, estimate
from engine.schema import Rows
from engine.topics import SIGNAL_VACUUM
from engine.vacuum import CAUSES, RATIO, REASONS, REFILL, SPREAD, STATES, UNKNOWN, WITHDRAWAL

NO_MODEL: Final = int(Why.UNCALIBRATED)
UNKNOWN_BOOK: Final = int(Why.UNKNOWN_BOOK)
MISSING_INPUT: Final = int(Why.MISSING_INPUT)
#: A base rate counts as no less than this, so that every lift stays finite.
LEAST_RATE: Final = 1e-12

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def layout() -> Layout:
    """Give the VACUUM row's layout, which an instrument and an asset share."""
    return Layout(SIGNAL.fields, {})


def report(memory: Rows, model: Rows, inputs: Rows, out: Rows) -> None:
    """Fill one VACUUM row; of a book that is unknown the inputs do not count."""
    fill(memory, model, inputs, *columns(inputs), out)


@kernel
def fill(memory: Rows, model: Rows, inputs: Rows, values: Floats, whys: Bytes, out: Rows) -> None:
    """Fill one VACUUM row; `values` and `whys` are the inputs by number."""
    fitted, row = model[0], out[0]
    row["undefined"] = 0
    for side in (BID, ASK):
        lost = fill_state(memory, side, out)
        fill_inputs(inputs, side, lost, out)
        fill_entry(memory, side, out)
        fill_chance(model, values, whys, side, lost, out)
    row["model_why"] = 0 if fitted["knot_count"] > 0 else NO_MODEL
    row["horizon"], row["base_rate"], row["events"] = fitted["horizon"], fitted["base_rate"], fitted["events"]
    if fitted["knot_count"] == 0:
        row["undefined"] = 1


@inner
def fill_state(memory: Rows, side: int, out: Rows) -> bool:
    """Fill where a side's machine stands; say whether the book is not known."""
    own, row = memory[0], out[0]
    state, cause = own["state"][side], own["cause"][side]
    if side == BID:
        row["bid_state"], row["bid_before"], row["bid_cause"] = state, own["before"][side], cause
        row["bid_since"], row["bid_transitions"] = own["since"][side], own["transitions"][side]
    else:
        row["ask_state"], row["ask_before"], row["ask_cause"] = state, own["before"][side], cause
        row["ask_since"], row["ask_transitions"] = own["since"][side], own["transitions"][side]
    return bool(state == UNKNOWN and cause <= REASONS)


@inner
def stood(value: float, stands: bool) -> float:
    """Return a value that stands, else 0."""
    return float(value) if stands else 0.0


@inner
def fill_inputs(inputs: Rows, side: int, lost: bool, out: Rows) -> None:
    """Fill what a side's machine reads now."""
    told, row = inputs[0], out[0]
    ratio_why = UNKNOWN_BOOK if lost else int(told["ratio_why"][side])
    wide_why = UNKNOWN_BOOK if lost else int(told["ratio_wide_why"][side])
    refill_why = UNKNOWN_BOOK if lost else int(told["refill_why"][side])
    withdrawal_why = UNKNOWN_BOOK if lost else int(told["withdrawal_why"][side])
    spread_why = UNKNOWN_BOOK if lost else int(told["spread_why"][side])
    ratio = stood(told["ratio"][side], ratio_why == 0)
    wide = stood(told["ratio_wide"][side], wide_why == 0)
    refill = stood(told["refill"][side], refill_why == 0)
    withdrawal = stood(told["withdrawal"][side], withdrawal_why == 0)
    spread = stood(told["spread"][side], spread_why == 0)
    if side == BID:
        row["bid_ratio"], row["bid_ratio_why"] = ratio, ratio_why
        row["bid_ratio_wide"], row["bid_ratio_wide_why"] = wide, wide_why
        row["bid_refill"], row["bid_refill_why"] = refill, refill_why
        row["bid_withdrawal"], row["bid_withdrawal_why"] = withdrawal, withdrawal_why
        row["bid_spread"], row["bid_spread_why"] = spread, spread_why
    else:
        row["ask_ratio"], row["ask_ratio_why"] = ratio, ratio_why
        row["ask_ratio_wide"], row["ask_ratio_wide_why"] = wide, wide_why
        row["ask_refill"], row["ask_refill_why"] = refill, refill_why
        row["ask_withdrawal"], row["ask_withdrawal_why"] = withdrawal, withdrawal_why
        row["ask_spread"], row["ask_spread_why"] = spread, spread_why
    if max(max(ratio_why, wide_why), max(refill_why, max(withdrawal_why, spread_why))) > 0:
        row["undefined"] = 1


@inner
def fill_entry(memory: Rows, side: int, out: Rows) -> None:
    """Fill what a side's machine read when it came into its state."""
    entry, whys, row = memory[0]["entry"][side], memory[0]["entry_why"][side], out[0]
    if side == BID:
        row["bid_entry_ratio"] = stood(entry[RATIO], whys[RATIO] == 0)
        row["bid_entry_ratio_why"] = whys[RATIO]
        row["bid_entry_refill"] = stood(entry[REFILL], whys[REFILL] == 0)
        row["bid_entry_refill_why"] = whys[REFILL]
        row["bid_entry_withdrawal"] = stood(entry[WITHDRAWAL], whys[WITHDRAWAL] == 0)
        row["bid_entry_withdrawal_why"] = whys[WITHDRAWAL]
        row["bid_entry_spread"] = stood(entry[SPREAD], whys[SPREAD] == 0)
        row["bid_entry_spread_why"] = whys[SPREAD]
    else:
        row["ask_entry_ratio"] = stood(entry[RATIO], whys[RATIO] == 0)
        row["ask_entry_ratio_why"] = whys[RATIO]
        row["ask_entry_refill"] = stood(entry[REFILL], whys[REFILL] == 0)
        row["ask_entry_refill_why"] = whys[REFILL]
        row["ask_entry_withdrawal"] = stood(entry[WITHDRAWAL], whys[WITHDRAWAL] == 0)
        row["ask_entry_withdrawal_why"] = whys[WITHDRAWAL]
        row["ask_entry_spread"] = stood(entry[SPREAD], whys[SPREAD] == 0)
        row["ask_entry_spread_why"] = whys[SPREAD]
    for i in range(len(whys)):
        if whys[i] > 0:
            row["undefined"] = 1


@inner
def fill_chance(model: Rows, values: Floats, whys: Bytes, side: int, lost: bool, out: Rows) -> None:
    """Fill a side's probability, raw and calibrated, and how many times the usual that is."""
    row = out[0]
    chance, raw, outcome = estimate(model, values, whys, side)
    why = NO_MODEL if outcome == UNCALIBRATED else UNKNOWN_BOOK if lost else MISSING_INPUT if outcome == MISSING else 0
    chance, raw = stood(chance, why == 0), stood(raw, why == 0)
    lift = chance / max(model[0]["base_rate"], LEAST_RATE)
    if side == BID:
        row["bid_probability"], row["bid_raw_probability"], row["bid_lift"] = chance, raw, lift
        row["bid_probability_why"] = why
    else:
        row["ask_probability"], row["ask_raw_probability"], row["ask_lift"] = chance, raw, lift
        row["ask_probability_why"] = why
    if why > 0:
        row["undefined"] = 1


def fields_of(side: str, vacuum: str) -> tuple[Field, ...]:
    """Give the fields that both sides have."""
    measured = (
        ("ratio", "1", "Depth within the machine's band / its baseline."),
        ("ratio_wide", "1", "Depth within 50 bps / its baseline."),
        ("refill", "1", "Added / (cancelled + executed) within 10 bps over the refill window."),
        ("withdrawal", "0 to 1", "Cancelled / (depth before + added) within 10 bps in the last cell."),
        ("spread", "1", "Spread / its median."),
    )
    then = "when the state began: what brought it about."
    return (
        Field(f"{side}_state", "string", "", f"State of the {side}s: {vacuum}.", values=STATES),
        Field(f"{side}_since", "integer", "ns", "Row time from which the state holds."),
        Field(f"{side}_before", "string", "", "The state before it.", values=STATES),
        Field(
            f"{side}_cause",
            "string",
            "",
            "Why the state is `unknown`: a reason of the book, or a why of the ratio; else `none`.",
            values=CAUSES,
        ),
        Field(f"{side}_transitions", "integer", "changes", "Changes of state since the first row."),
        *(Field(f"{side}_{name}", "number", unit, text, why=f"{side}_{name}_why") for name, unit, text in measured),
        *(
            Field(f"{side}_entry_{name}", "number", unit, f"The {name} {then}", why=f"{side}_entry_{name}_why")
            for name, unit, _ in measured
            if name != "ratio_wide"
        ),
        Field(
            f"{side}_probability",
            "number",
            "0 to 1",
            "Calibrated probability of the model's event on this side within the horizon.",
            why=f"{side}_probability_why",
        ),
        Field(
            f"{side}_raw_probability",
            "number",
            "0 to 1",
            "The same before calibration.",
            why=f"{side}_probability_why",
        ),
        Field(f"{side}_lift", "number", "1", "Probability / base rate.", why=f"{side}_probability_why"),
    )


#: The fields of both records: of an instrument and of an asset.
FIELDS: Final = (
    *fields_of("bid", "a vacuum there lets the price fall"),
    *fields_of("ask", "a vacuum there lets it rise, a squeeze"),
    Field("horizon", "integer", "s", "How far ahead the probabilities look.", why="model_why"),
    Field("base_rate", "number", "0 to 1", "Share of moments that the event followed, when fitted.", why="model_why"),
    Field("events", "integer", "events", "Label events behind the fit; below 50 it gives none.", why="model_why"),
)

SIGNAL: Final = Signal(
    name="vacuum",
    topic=SIGNAL_VACUUM,
    meaning="Whether the makers of one book are there, thin or gone, per side, and how likely a vacuum is.",
    needs_book=False,
    fields=FIELDS,
)
