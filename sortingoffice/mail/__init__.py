"""Formats.  Pure: knows RFCs, not relationships."""
