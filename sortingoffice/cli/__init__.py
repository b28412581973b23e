"""The terminal: main and one file per noun."""
