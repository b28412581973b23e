"""Run the migrations on the connection that `Database.upgrade` hands over, in its transaction.

No alembic.ini: what a command line would configure is decided in `store.database`.
"""

from __future__ import annotations

from alembic import context

from sortingoffice.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite can change a table's form only by copying it.
    render_as_batch=connection.dialect.name == "sqlite",
    # Both databases can roll back DDL, SQLite because we say BEGIN ourselves.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
