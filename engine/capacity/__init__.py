"""What this machine can serve: all benchmarks in turn, one page of them, and plans made from it."""
