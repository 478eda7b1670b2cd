"""Backends and formats that ship with d6tstore; found through the same entry points as anybody else's."""
