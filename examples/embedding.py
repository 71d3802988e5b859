from aurora_blobs import open_store

with open_store("my-blobs") as store, open("examples/rocket.jpg", "rb") as photo:
    entry = store.upload(photo, did="did:web:alice.test")
    print(entry.cid, entry.mime_type, entry.size)
