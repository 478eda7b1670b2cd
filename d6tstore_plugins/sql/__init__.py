"""Databases: frames as native tables that people query, all else as rows of bytes."""
