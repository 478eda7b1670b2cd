"""Settings of each connection: those of a role or a database must not change what is stored, or what is found."""

from __future__ import annotations

_VALUES = {
    "array_nulls": "on",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",  # as many digits as a number needs
    "intervalstyle": "postgres",
    # Rows come as they were written: no scan joins another one in its middle, none is shared out.
    "max_parallel_workers_per_gather": "0",
    "synchronize_seqscans": "off",
    "jit": "off",
}
SETTINGS = "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _VALUES.items())
"""The statement that makes them."""
