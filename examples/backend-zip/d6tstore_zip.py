"""Backend `zip`: all results in one zip file, which every tool opens. `d6tstore.init("zip:///path/results.zip")`"""

import contextlib
import fcntl  # Linux and macOS
import os
import time
import uuid
from io import BytesIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from d6tstore.backend import Backend, Entry, check_key
from d6tstore.errors import BackendError, Denied, NotFound


class ZipBackend(Backend):
    def __init__(self, url):
        self.file = os.path.abspath(url.removeprefix("zip://"))
        self.url = f"zip://{self.file}"

    def read(self, key):
        with self._errors(), self._archive() as archive:
            if check_key(key) not in archive.namelist():
                raise NotFound(f"no object under {key!r} in {self.file}.")
            return archive.read(key)

    def list(self, prefix=""):
        with self._errors(), self._archive() as archive:
            found = [info for info in archive.infolist() if info.filename.startswith(prefix)]
        for info in found:
            yield Entry(info.filename, info.file_size, info.comment.decode(), time.mktime((*info.date_time, 0, 0, -1)))

    def delete(self, key):
        self.write(key, None)  # keep all but this one

    def write(self, key, data):
        info = ZipInfo(check_key(key), time.localtime()[:6])
        info.comment = uuid.uuid4().hex.encode()  # the version of the entry: another one after each write
        with self._errors(), open(f"{self.file}.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one writer at a time; it goes with the process, however that ends
            with self._archive() as old, ZipFile(f"{self.file}.new", "w") as new:
                for kept in (member for member in old.infolist() if member.filename != key):
                    new.writestr(kept, old.read(kept))
                if data is not None:
                    new.writestr(info, data if isinstance(data, bytes) else data.read_bytes())
            os.replace(f"{self.file}.new", self.file)  # all or nothing
            if isinstance(data, os.PathLike):
                os.unlink(data)  # a path from staging() is consumed

    def _archive(self):
        with contextlib.suppress(FileNotFoundError):
            return ZipFile(self.file)  # stays as it is while it is open, whoever replaces the file
        return ZipFile(BytesIO(), "w")  # nothing was written yet

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except (OSError, BadZipFile) as exc:
            kind = Denied if isinstance(exc, PermissionError) else BackendError
            raise kind(f"{self.file} cannot be used: {exc}. Check path and rights, or use another file.") from exc
