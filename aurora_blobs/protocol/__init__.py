"""What AT Protocol writes down: identifiers, encodings, documents, schemas."""
