"""One file a signal: a kernel over VIEW rows, the dtype of its memory and the dtype of its output."""
