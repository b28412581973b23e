"""The office's rules.  Pure: facts in, decision out."""
