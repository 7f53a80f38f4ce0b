"""A market with a seed instead of a venue: the lines of a tape, for the demo and for tests."""
