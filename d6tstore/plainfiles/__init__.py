"""Folders of plain files as pipes: those of a vendor or a colleague, without records."""
