"""Sources: whatever brings rows in, from exchange sockets, topics or tapes."""
