"""What the bytes of pictures and films say of themselves."""
