"""Tests of fleet backups."""
