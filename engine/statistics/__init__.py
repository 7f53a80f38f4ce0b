"""Statistics: pure functions over arrays, for fits and evaluations off the path of signals and for their tests."""
