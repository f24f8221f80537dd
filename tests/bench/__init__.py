"""The benchmark: this program beside what users would run instead; `python -m tests.bench --help`."""
