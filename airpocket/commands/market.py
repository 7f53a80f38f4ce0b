"""The verb that makes markets: simulate."""

from typing import Annotated, Literal

import typer

from airpocket.commands.options import Json


def simulate(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="calm, october-10, feed-outage, squeeze, ...")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same bytes.")] = 1,
    to: Annotated[
        Literal["tape", "emulator"], typer.Option("--to", help="Write a tape, or play it as the venue would.")
    ] = "tape",
    folder: Annotated[str, typer.Option("--folder", metavar="FOLDER", help="Where the files go.")] = ".",
    seconds: Annotated[int, typer.Option(min=0, metavar="S", help="Only so many; 0: the scenario's length.")] = 0,
    compression: Annotated[
        float, typer.Option(min=0, metavar="C", help="Of october-10: minutes of it in one of the market; 0: 20.")
    ] = 0,
    speed: Annotated[float, typer.Option(min=0.01, help="Of the emulator: multiple of the market's own pace.")] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the first emulator; 0: free ones.")] = 0,
    json: Json = False,
) -> None:
    """Simulate a market whose truth is known: each venue's frames on a tape, and beside them a log of the truth.

    \b
    Example:
      airpocket simulate october-10 --seed 7 --folder tapes
    """
    from airpocket.simulating import Wanted, serve, write

    wanted = Wanted(scenario=scenario, seed=seed, folder=folder, seconds=seconds, compression=compression)
    if to == "tape":
        write(wanted, json=json)
    else:
        serve(wanted, speed, port, json=json)
