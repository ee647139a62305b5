"""The ledger in SQL: tables, migrations, the verbs of `bot.protocols.ledger.Ledger`, and the engine that runs them."""
