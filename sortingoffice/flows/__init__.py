"""One file per thing that happens, from trigger to commit."""
