"""The pure core: rows in, rows out. No clock, socket, disk, log, environment or randomness."""
