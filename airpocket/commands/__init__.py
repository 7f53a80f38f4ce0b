"""The verbs of the command line. Importing one loads typer alone; what a verb needs is loaded when it runs."""
