"""Results go between places: pipes compare both sides, decide, move objects, and publish records."""
