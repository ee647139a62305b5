"""The backlog as the command line works on it: through the bot, on GitHub without a bot, or in a file under git."""
