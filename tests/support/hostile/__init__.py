"""Requests that are made to hurt, and what has to hold whatever comes."""
