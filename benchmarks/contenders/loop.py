"""What the machine gives: small files written by temporary name and rename, read and parsed back."""

import json
import os

RECORD = {
    "version": 1, "family": "Node", "module": "contenders.d6tstore_tasks", "hash": "5f1c29ab3d4e6f70",
    "params": {"layer": 5, "index": 17, "width": 100}, "code": "0" * 32,
    "functions": {"Node.run": "0" * 16, "value": "0" * 16},
    "inputs": {
        "Node-5f1c29ab3d4e6f71": {"content": "0" * 32}, "Node-5f1c29ab3d4e6f72": {"content": "0" * 32},
    },
    "outputs": {"data": {"key": "Node/layer=5,index=17,width=100-5f1c29ab3d4e6f70/data-5f1c29ab3d4e6f70.json",
                         "format": "json", "content": "0" * 32, "checksum": "0" * 32, "bytes": 22}},
    "seconds": 0.000123, "author": "somebody", "host": "somewhere",
    "time": "2026-01-01T00:00:00.000000+00:00",
    "versions": {"python": "3.11.0", "d6tstore": "0.1.0"}, "write_id": "5f1c29ab3d4e6f70",
}  # fmt: skip


def _write(path, data):
    temporary = path + ".tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def first(n, folder):
    """Two small files for each task, as large as ours: what it saves and its record, encoded one by one."""
    os.makedirs(folder)
    for i in range(n):
        _write(f"{folder}/{i}.data.json", json.dumps({"layer": 5, "index": i}).encode())
        _write(f"{folder}/{i}.record.json", json.dumps(RECORD).encode())


def bytes_only(n, folder):
    """The same without encoding: what the file system alone gives."""
    os.makedirs(folder)
    record = json.dumps(RECORD).encode()
    for i in range(n):
        _write(f"{folder}/{i}.data.json", b'{"layer":5,"index":17}')
        _write(f"{folder}/{i}.record.json", record)


def again(n, folder):
    """One small file for each task, read and parsed."""
    for i in range(n):
        with open(f"{folder}/{i}.record.json") as file:
            assert json.loads(file.read())["version"] == 1
