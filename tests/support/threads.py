"""A function in many threads at once."""

import threading


def in_threads(function, count):
    """Run *function* in *count* threads that start together; the errors they raised."""
    errors, start = [], threading.Barrier(count)

    def run():
        start.wait(10)
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors
