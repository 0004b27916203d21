"""Databases: what each engine can dump, describe, restore beside the live one, and swap."""
