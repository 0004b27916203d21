"""Options that several management commands share."""
