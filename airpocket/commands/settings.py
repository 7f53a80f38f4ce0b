"""Verbs about the configuration: show, validate, schema."""

import typer

from airpocket.commands.options import Bootstrap, File, Json, configuration, emit, say

app = typer.Typer(help="Show, check and describe the configuration.", no_args_is_help=True)


@app.command()
def show(file: File = None, bootstrap: Bootstrap = None, json: Json = False) -> None:
    """Print every value with its origin: default, file, environment or flag. Secrets are masked.

    \b
    Example:
      AIRPOCKET__KAFKA__LINGER=2 airpocket config show
    """
    rows = configuration(file, kafka_bootstrap=bootstrap).rows()
    if json:
        emit({name: {"value": value, "origin": origin} for name, value, origin in rows})
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        typer.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")


@app.command()
def validate(file: File = None) -> None:
    """Check the configuration, names of venues included: exit status 0 where it is right, 3 where it is not.

    \b
    Example:
      airpocket config validate --config airpocket.toml
    """
    from airpocket.running import check_venues

    config = configuration(file)
    check_venues(config)
    say(f"the configuration is right; engine {config.engine.digest()}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for an editor to complete from.

    \b
    Example:
      airpocket config schema > airpocket.schema.json
    """
    from airpocket.config import known_keys
    from airpocket.keys import schema as describe

    emit(describe(known_keys()))
