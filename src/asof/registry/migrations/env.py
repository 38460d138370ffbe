"""Alembic's entry: runs the migrations on the connection that `migrate.py` holds, inside its transaction."""

from alembic import context

if hasattr(context, "config"):  # not so when something else imports this file, such as a search for doctests
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
    context.run_migrations()
