"""The ERP's side of a dropzone: it takes the orders that it sees."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.dropzones import Dropzone


class Erp:
    """`taken` counts each file, by name and content, as often as it appeared."""

    def __init__(self, dropzone: Dropzone) -> None:
        self._dropzone = dropzone
        self.taken: Counter[tuple[str, bytes]] = Counter()

    def take(self) -> None:
        """Take every file that can be seen."""
        for name, content in self._dropzone.files().items():
            (self._dropzone.exports / name).unlink()
            self.taken[name, content] += 1

    @contextmanager
    def taking_at_once(self) -> Iterator[None]:
        """Take files in the moment they appear, while the block runs."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(0.001):
                self.take()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()
            self.take()
