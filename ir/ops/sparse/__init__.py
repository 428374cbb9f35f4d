"""Rows that indices name: tables, look-ups, features and ids."""
