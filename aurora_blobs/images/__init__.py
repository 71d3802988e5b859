"""What the bytes of pictures and films say, and smaller pictures made of them."""
