"""`python -m airpocket`: the command line."""

import sys

from airpocket.cli import main

if __name__ == "__main__":
    sys.exit(main())
