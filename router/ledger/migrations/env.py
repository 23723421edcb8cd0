"""Run by Alembic on the connection that `router.ledger.upgrade` gives it, which holds the lock."""

from alembic import context

from router.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
