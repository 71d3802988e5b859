"""What happens to a blob: upload, verification, deletion, public links."""
