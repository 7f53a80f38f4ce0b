"""The command line: arguments in, an exit status out.

    0    done
    1    whoever read our output has gone; or, with a traceback, a bug of ours
    2    usage: an unknown verb or option
    3    configuration: a name, a number or a combination that cannot be
    4    the broker was not reached, or something did not arrive
    5    data: a tape or a record is corrupt, or of another version
    130  interrupted

Importing this file loads typer alone, so that help answers at once.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from airpocket.commands import live, look, market, settings, tapes
from airpocket.commands.options import Json, emit, say
from engine.errors import AirpocketError

app = typer.Typer(
    help="Order books from exchange websockets, through Kafka, to depth and liquidity signals.",
    epilog="Exit status: 0 done, 2 usage, 3 configuration, 4 broker or delivery, 5 data, 130 interrupted.",
    no_args_is_help=True,
    # Markup would load rich, half of the time that help may take; frames of locals could show a secret.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
VERBS: tuple[Callable[..., None], ...] = (
    live.demo,
    live.ingest,
    live.engine,
    live.record,
    tapes.replay,
    tapes.convert,
    tapes.verify,
    tapes.whatif,
    market.simulate,
    look.tail,
    look.broker,
    look.doctor,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(look.topics, name="topics")
app.add_typer(settings.app, name="config")


@app.callback()
def root(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Order books from exchange websockets, through Kafka, to depth and liquidity signals.

    \b
    Begin here, with no network and no broker of your own:
      airpocket demo
    """


@app.command()
def version(json: Json = False) -> None:
    """Print the versions of airpocket, of its formats and of Python.

    \b
    Example:
      airpocket version --json
    """
    from airpocket import version as installed
    from engine.config import ENGINE_VERSION

    versions = {"airpocket": installed(), "engine": ENGINE_VERSION, "python": sys.version.split()[0]}
    if json:
        emit(versions)
    else:
        typer.echo(" ".join(f"{name} {text}" for name, text in versions.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="airpocket")
    except AirpocketError as error:
        return report(error, "--debug" in given)
    except BaseExceptionGroup as group:
        ours = first(group)
        if ours is None:
            raise
        return report(ours, "--debug" in given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def report(error: AirpocketError, debug: bool) -> int:
    """Say what went wrong in one line; the status tells whose fault it is."""
    if debug:
        import traceback

        traceback.print_exception(error)
    say(f"airpocket: {' '.join(str(error).split())}")
    return error.status


def first(group: BaseExceptionGroup[BaseException]) -> AirpocketError | None:
    """Find our own error among those of several tasks."""
    found = group.subgroup(AirpocketError)
    while isinstance(found, BaseExceptionGroup):
        inner = found.exceptions[0]
        if isinstance(inner, AirpocketError):
            return inner
        found = inner if isinstance(inner, BaseExceptionGroup) else None
    return None
