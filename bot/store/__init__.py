"""The ledger in SQL: tables, migrations, the verbs of `bot.protocols.Ledger`, and the engine that runs them."""
