"""How fast the office is, measured from outside: `python -m tests.bench`."""
