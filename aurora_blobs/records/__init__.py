"""The index of records: what they say, what they name, and how they come."""
