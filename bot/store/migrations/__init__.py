"""Alembic's folder: `env.py` and one file per revision in `versions/`. Used through `bot.store.migrate` only."""
