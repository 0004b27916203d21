"""A database backend whose passwords expire as soon as the next one is asked for, like short-lived tokens."""
