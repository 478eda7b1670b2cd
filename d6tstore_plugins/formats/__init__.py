"""Formats that ship with d6tstore."""
