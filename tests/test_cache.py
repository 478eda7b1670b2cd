"""Copies of what lies elsewhere: whole or not there, within their limit, never in the way."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import d6tstore
from d6tstore import content
from d6tstore.cache import Cache, size_of
from d6tstore.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("D6TSTORE_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies"


SIZE = 8_192  # two blocks of a disk


def data_of(number, size=SIZE):
    data = number.to_bytes(4, "big") * (size // 4)
    return content.of_bytes(data), data


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def found(cache, checksum, size):
    file = cache.open(checksum, size)
    if file is None:
        return None
    with file:
        return file.read()


def test_what_was_added_is_found(folder, tmp_path):
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    assert cache.open(checksum, SIZE) is None and not folder.exists()
    cache.add(checksum, data)
    assert found(cache, checksum, SIZE) == data
    other, more = data_of(2)
    (tmp_path / "file").write_bytes(more)
    cache.add(other, tmp_path / "file")
    assert found(Cache(100 * SIZE), other, SIZE) == more and (tmp_path / "file").exists()


def test_nobody_else_may_read_it(folder):
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    cache.add(checksum, data)
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_copy_of_another_size_is_none(folder):
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    cache.add(checksum, data)
    (file,) = files(folder)
    file.write_bytes(data[:-1])
    assert cache.open(checksum, SIZE) is None
    cache.add(checksum, data)
    assert found(cache, checksum, SIZE) == data


@pytest.mark.parametrize("limit", [0, 4 * SIZE - 1])
def test_what_would_leave_no_room_for_others_is_not_kept(folder, limit):
    checksum, data = data_of(1)
    Cache(limit).add(checksum, data)
    assert not files(folder) and Cache(limit).open(checksum, SIZE) is None


def test_what_was_not_used_for_longest_goes_first(folder):
    cache, some = Cache(10 * SIZE), [data_of(number) for number in range(40)]
    for age, (checksum, data) in enumerate(some):
        cache.add(checksum, data)
        for path in files(folder):
            if path.name == checksum:
                os.utime(path, (0, 1_000_000 + age))
        with cache.open(some[0][0], SIZE):
            pass  # used again each time
    left = {path.name for path in files(folder)}
    assert sum(path.stat().st_size for path in files(folder)) <= 10 * SIZE
    assert some[0][0] in left and some[-1][0] in left and some[1][0] not in left


def test_what_a_killed_process_left_goes(folder):
    cache, (checksum, data) = Cache(10 * SIZE), data_of(1)
    cache.add(checksum, data)
    debris, fresh = files(folder)[0].with_name("adding-1"), files(folder)[0].with_name("adding-2")
    debris.touch(), fresh.touch()
    os.utime(debris, (0, 0))
    cache.add(*data_of(2))
    assert not debris.exists() and fresh.exists(), "somebody may be writing it"


def test_a_copy_with_other_bytes_is_none(folder):
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    cache.add(checksum, data)
    (file,) = files(folder)
    file.write_bytes(b"x" + data[1:])
    assert cache.open(checksum, SIZE) is None and not files(folder)


@pytest.mark.parametrize("forged", ["../../secret", "/etc/hostname", "a" * 31, "A" * 32, "a\0", ""])
def test_what_is_no_checksum_names_no_file(folder, forged, tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 10)
    cache = Cache(100 * SIZE)
    cache.add(forged, b"x" * 10)
    assert cache.open(forged, 10) is None and not folder.exists()


def test_small_objects_count_as_a_disk_counts_them(folder):
    cache = Cache(10 * SIZE)
    for number in range(100):
        cache.add(*data_of(number, 8))
    assert len(files(folder)) <= 20


def test_a_folder_in_our_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("D6TSTORE_CACHE", "~/copies")
    Cache(100 * SIZE).add(*data_of(1))
    assert files(tmp_path / "copies")


def test_a_write_that_fails_leaves_nothing(folder):
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    with pytest.raises(RuntimeError), cache.adding(checksum) as file:
        file.write(data)
        raise RuntimeError
    assert not files(folder)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no disk that is always full")
def test_a_full_disk_costs_no_result(folder, monkeypatch):
    checksum, data = data_of(1, 100_000)
    monkeypatch.setattr("d6tstore.cache.tempfile.mkstemp", lambda **_: (os.open("/dev/full", os.O_RDWR), "nowhere"))
    Cache(10**9).add(checksum, data)
    assert not files(folder)


def test_a_folder_that_is_a_file_costs_no_result(folder):
    folder.write_text("mine")
    cache, (checksum, data) = Cache(100 * SIZE), data_of(1)
    cache.add(checksum, data)
    assert cache.open(checksum, SIZE) is None and folder.read_text() == "mine"


def test_threads_that_add_and_trim_at_once(folder):
    cache, some = Cache(20 * SIZE), [data_of(number) for number in range(50)]
    begin = threading.Barrier(4)

    def work(number):
        begin.wait()
        for checksum, data in some[number:] + some[:number]:
            cache.add(checksum, data)
            assert found(cache, checksum, SIZE) in (data, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [0, 10, 20, 30]))
    assert all(content.of_file(path) == path.name for path in files(folder))
    cache.add(*some[0])
    assert sum(path.stat().st_size for path in files(folder)) <= 20 * SIZE


@pytest.mark.parametrize(
    ("said", "bytes_"), [(0, 0), (5, 5), ("20 GB", 20 * 10**9), ("1.5kB", 1500), ("7", 7), (" 3 MB ", 3 * 10**6)]
)
def test_sizes(said, bytes_):
    assert size_of(said) == bytes_


@pytest.mark.parametrize("said", [-1, True, 1.5, "much", "-1 GB", None, ""])
def test_sizes_that_are_none(said):
    with pytest.raises(UsageError, match=r"is no size\. Give bytes, or text such as '20 GB'"):
        d6tstore.open("memory://", cache=said)
