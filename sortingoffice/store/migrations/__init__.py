"""Alembic migrations: the only way the schema comes to be.

`REVISIONS` names them in order, so that `Database.check` need not load alembic at every start;
a test holds it and the files together.
"""

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
