"""What adversaries do to a log, and who catches them: one table, each line made with real keys."""
