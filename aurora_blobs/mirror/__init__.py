"""Keeps what a PDS publishes: follows its stream of events and fetches the blobs that are named."""
