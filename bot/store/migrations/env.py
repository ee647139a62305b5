"""Runs migrations on the connection that `bot.store.migrate` hands over; there is no `alembic.ini`.

Alembic loads this file by its path, not as a module of the package.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    # SQLite cannot alter most things in place: Alembic copies the table instead.
    render_as_batch=True,
    # All steps of one upgrade are one transaction, which the caller opened: a crash leaves the old schema.
    transactional_ddl=False,
)
context.run_migrations()
