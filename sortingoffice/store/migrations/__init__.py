"""Alembic migrations: the only way the schema comes to be.

`REVISIONS` names them in order, so that `Database.check` need not load alembic at every start;
a test holds it and the files together.
"""

REVISIONS = tuple(f"{number:04}" for number in range(1, 17))
