"""The backlog as the command line works on it: through the bot, or on GitHub without a bot."""
