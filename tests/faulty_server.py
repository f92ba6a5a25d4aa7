"""A web server on 127.0.0.1 that fails when it is told to, and miniature copies of CIFAR for it to serve."""

import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


class FaultyServer(ThreadingHTTPServer):
    """Serves `files`, a dictionary of paths and bytes, and fails as `faults[path]` says.

    A fault is "broken" (half of the body, then the connection closes), "stalled" (half, then silence until the server
    closes), "dripping" (a byte now and then), "dripping header" (the same before the body) or "endless" (zeros, of an
    unknown number). `requests` is the list of the paths that were asked for.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults, self.requests = {}, {}, []
        self.closing = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, *_):
        """A client that goes away is what the tests want."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        if self.path not in server.files:
            return self.send_error(404)
        body, fault = server.files[self.path], server.faults.get(self.path)
        self.send_response(200)
        if fault == "dripping header":
            self.flush_headers()
            self._drip(b"X")
        if fault != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault in ("dripping", "endless"):
            self._drip(b"0" if fault == "dripping" else bytes(10_000))
        else:
            self.wfile.write(body[: len(body) // 2] if fault else body)
            if fault == "stalled":
                server.closing.wait(30)
        return None

    def _drip(self, content):
        while not self.server.closing.wait(0.02):
            self.wfile.write(content)


def miniature(num_classes, seed=0):
    """x_train, y_train, x_test, y_test of 20 and 10 random images: a data set in nothing but its layout."""
    random = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", 20), ("test", 10)):
        arrays[f"x_{split}"] = random.integers(0, 256, (count, 32, 32, 3), dtype="uint8")
        arrays[f"y_{split}"] = random.integers(0, num_classes, count)
    return arrays


def archive(members):
    """A .tar.gz, as bytes, of a dictionary of paths and contents."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), int(time.time())
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def planes(images):
    """(N, 32, 32, 3) -> (N, 3072), a plane of each colour, as the original archives have them."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def python_archive(arrays, names=("data_batch_1", "test_batch"), key=b"labels"):
    batches = (_python_2_batch(arrays[f"x_{split}"], arrays[f"y_{split}"], key) for split in ("train", "test"))
    return archive({f"batches/{name}": batch for name, batch in zip(names, batches, strict=True)})


def _python_2_batch(images, labels, key):
    """The pickle that Python 2 and the NumPy of 2009 made of a batch, opcode by opcode; no Python 3 writes it."""
    content = planes(images).tobytes()
    shape = b"K" + bytes([len(images)]) + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    return (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + (b"(K\x01" + shape + kind + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb")
        + (b"U" + bytes([len(key)]) + key + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu.")
    )


def binary_archive(arrays, names=("data_batch_1.bin", "test_batch.bin"), superclass=False):
    def records(split):
        labels = arrays[f"y_{split}"].astype(np.uint8)[:, None]
        return np.hstack([*([labels // 5] if superclass else []), labels, planes(arrays[f"x_{split}"])]).tobytes()

    return archive({f"bin/{name}": records(split) for name, split in zip(names, ("train", "test"), strict=True)})
