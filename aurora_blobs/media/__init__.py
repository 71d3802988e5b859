"""Media types, sizes, durations and locations, read from the bytes of images and videos."""
