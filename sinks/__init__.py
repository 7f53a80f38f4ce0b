"""Sinks: whatever takes records away. Each has `write(records)`, `flush()` and `close()`."""
