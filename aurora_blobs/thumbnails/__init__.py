"""Thumbnails, made in processes of their own and cached."""
