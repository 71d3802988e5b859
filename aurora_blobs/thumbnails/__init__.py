"""Smaller pictures, made in processes of their own and cached."""
