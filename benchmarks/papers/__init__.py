"""Published results, run again. Each module is a command: `python -m benchmarks.papers.NAME`."""
