"""The conformance kit finds what is wrong: each broken plug-in below fails the tests that tell why."""

import subprocess

import pytest
from kit import PYTEST, check

HEAD = """
import contextlib, fcntl, json, os, pickle, sys, time, uuid
import pytest
from pathlib import Path
from d6tstore.backend import Backend, Entry, check_key
from d6tstore.errors import Denied, FormatError, Held, InvalidKey, NotFound
from d6tstore.format import Format
from d6tstore.testing import BackendTests, FormatTests, Refused
from d6tstore_plugins.memory import MemoryBackend

class Dict(Backend):
    "The least that a backend is."
    def __init__(self, url="dict://"):
        self.url, self.objects = url, {}
    def read(self, key):
        try:
            return self.objects[check_key(key)][0]
        except KeyError:
            raise NotFound(f"no {key!r}") from None
    def write(self, key, data):
        check_key(key)
        if isinstance(data, Path):
            path, data = data, data.read_bytes()
            path.unlink()
        count = int(self.objects[key][1]) if key in self.objects else 0
        self.objects[key] = data, str(count + 1), time.time()
    def delete(self, key):
        self.objects.pop(check_key(key), None)
    def list(self, prefix=""):
        for key, (data, version, modified) in self.objects.copy().items():
            if key.startswith(prefix):
                yield Entry(key, len(data), version, modified)

class Suite(BackendTests):
    shared = False
    rounds = 20
    deviations = {"test_pickles": "a plain dictionary is copied"}
    @pytest.fixture
    def backend(self):
        return self.cls()

class Guarded(Dict):
    "One that may refuse."
    refuses = False
    def allow(self):
        if self.refuses:
            raise Denied("refused. Ask for the right to it.")
    def read(self, key):
        self.allow()
        return super().read(key)
    def write(self, key, data):
        self.allow()
        super().write(key, data)
    def delete(self, key):
        self.allow()
        super().delete(key)
    def list(self, prefix=""):
        self.allow()
        yield from super().list(prefix)

class GuardedSuite(Suite):
    @contextlib.contextmanager
    def denying(self, backend):
        backend.refuses = True
        yield
        backend.refuses = False

class Shared(Backend):
    "The least that is shared: one file with a dictionary, replaced as a whole, under a lock of the system."
    def __init__(self, folder):
        self.url, self.file = f"pickle://{folder}", f"{folder}/all"
    def load(self):
        try:
            with open(self.file, "rb") as file:
                return pickle.load(file)
        except FileNotFoundError:
            return {}
    @contextlib.contextmanager
    def locked(self):
        with open(self.file + ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    def store(self, objects):
        with open(self.file + ".new", "wb") as file:
            pickle.dump(objects, file)
        os.replace(self.file + ".new", self.file)
    def read(self, key):
        try:
            return self.load()[check_key(key)][0]
        except KeyError:
            raise NotFound(f"no {key!r}") from None
    def write(self, key, data):
        check_key(key)
        if isinstance(data, Path):
            path, data = data, data.read_bytes()
            path.unlink()
        with self.locked():
            self.store({**self.load(), key: (data, uuid.uuid4().hex, time.time())})
    def delete(self, key):
        check_key(key)
        with self.locked():
            self.store({k: v for k, v in self.load().items() if k != key})
    def list(self, prefix=""):
        for key, (data, version, modified) in self.load().items():
            if key.startswith(prefix):
                yield Entry(key, len(data), version, modified)

class SharedSuite(BackendTests):
    patience = 3.0
    @pytest.fixture
    def backend(self, tmp_path):
        return self.cls(tmp_path)
"""

# name of what is wrong -> the source, and the tests that must find it
BACKENDS = {
    "nothing": ("class Broken(Dict): pass", set()),
    "writes are not whole": ("""
        class Broken(Dict):
            def write(self, key, data):
                data = data if isinstance(data, bytes) else data.read_bytes()
                check_key(key)
                for part in (data[: len(data) // 2], data):
                    super().write(key, part)
                    time.sleep(0)
        """, {"test_readers_see_whole_values_at_any_time", "test_write_consumes_a_staged_file"}),
    "replaces by removing first": ("""
        class Broken(Dict):
            def write(self, key, data):
                self.delete(key)
                time.sleep(0.0005)
                super().write(key, data)
        """, {"test_readers_see_whole_values_at_any_time", "test_entries_tell_size_version_and_time"}),
    "KeyError instead of NotFound": ("""
        class Broken(Dict):
            def read(self, key):
                return self.objects[check_key(key)][0]
        """, {"test_missing_key_is_not_found", "test_many_at_once"}),
    "prefix is a folder": ("""
        class Broken(Dict):
            def list(self, prefix=""):
                folder = prefix.rstrip("/")
                return (e for e in super().list() if not folder or (e.key + "/").startswith(folder + "/"))
        """, {"test_list_takes_the_prefix_to_the_letter"}),
    "prefix is a pattern": ("""
        import fnmatch
        class Broken(Dict):
            def list(self, prefix=""):
                return (e for e in super().list() if fnmatch.fnmatchcase(e.key, prefix + "*"))
        """, {"test_list_takes_the_prefix_to_the_letter"}),
    "folds case": ("""
        class Broken(Dict):
            def write(self, key, data): super().write(key.lower(), data)
            def read(self, key): return super().read(key.lower())
        """, {"test_keys_differ_in_case", "test_list_takes_the_prefix_to_the_letter"}),
    "decodes percent signs": ("""
        from urllib.parse import unquote
        class Broken(Dict):
            def write(self, key, data): super().write(unquote(key), data)
            def read(self, key): return super().read(unquote(key))
        """, {"test_keys_are_kept_as_they_are"}),
    "checks no keys": ("""
        class Broken(Dict):
            def delete(self, key): self.objects.pop(key, None)
        """, {"test_illegal_keys_are_refused"}),
    "version stays": ("""
        class Broken(Dict):
            def list(self, prefix=""):
                return (e._replace(version="1") for e in super().list(prefix))
        """, {"test_entries_tell_size_version_and_time"}),
    "size is wrong": ("""
        class Broken(Dict):
            def list(self, prefix=""):
                return (e._replace(size=e.size + 1) for e in super().list(prefix))
        """, {"test_reads_what_was_written", "test_many_at_once", "test_flow_runs_once"}),
    "time is wrong": ("""
        class Broken(Dict):
            def list(self, prefix=""):
                return (e._replace(modified=0.0) for e in super().list(prefix))
        """, {"test_entries_tell_size_version_and_time"}),
    "leaves the staged file": ("""
        class Broken(Dict):
            def write(self, key, data):
                super().write(key, data if isinstance(data, bytes) else data.read_bytes())
        """, {"test_write_consumes_a_staged_file"}),
    "deletes what is below": ("""
        class Broken(Dict):
            def delete(self, key):
                check_key(key)
                for other in [k for k in self.objects if k.startswith(key)]:
                    del self.objects[other]
        """, {"test_delete", "test_delete_of_a_missing_key_is_no_error"}),
    "deleting nothing is an error": ("""
        class Broken(Dict):
            def delete(self, key):
                del self.objects[check_key(key)]
        """, {"test_delete_of_a_missing_key_is_no_error"}),
    "shows its secret": ("""
        class Broken(Dict):
            def __init__(self): super().__init__("dict://ann:hunter2@host")
        class Suite(Suite):
            secret = "hunter2"
        """, {"test_shows_no_secret"}),
    "shows its secret in what caused an error": ("""
        class Broken(Dict):
            def read(self, key):
                try:
                    return super().read(key)
                except NotFound as exc:
                    exc.__context__ = ConnectionError("no row: user=ann password=hun%2Fter2")
                    raise
        class Suite(Suite):
            secret = "hun/ter2"
        """, {"test_shows_no_secret"}),
    "pickles its secret": ("""
        class Broken(Dict):
            def __init__(self):
                super().__init__()
                self.password = "hunter2"
        class Suite(Suite):
            secret = "hunter2"
        """, {"test_shows_no_secret"}),
    "refuses as it should": ("""
        class Broken(Guarded): pass
        Suite = GuardedSuite
        """, set()),
    "denied is absent": ("""
        class Broken(Guarded):
            def read(self, key):
                if self.refuses:
                    raise NotFound(f"no {key!r}")
                return super().read(key)
        Suite = GuardedSuite
        """, {"test_denied_is_not_absent"}),
    "denied exists not": ("""
        class Broken(Guarded):
            def exists(self, key):
                return not self.refuses and super().exists(key)
        Suite = GuardedSuite
        """, {"test_denied_is_not_absent"}),
    "denied is an empty list": ("""
        class Broken(Guarded):
            def list(self, prefix=""):
                return iter(()) if self.refuses else super().list(prefix)
        Suite = GuardedSuite
        """, {"test_denied_is_not_absent"}),
    "denied, and written none the less": ("""
        class Broken(Guarded):
            def write(self, key, data):
                Dict.write(self, key, data)
                self.allow()
        Suite = GuardedSuite
        """, {"test_denied_is_not_absent"}),
    "denied, and tells its secret": ("""
        class Broken(Guarded):
            def allow(self):
                if self.refuses:
                    raise Denied("refused") from PermissionError("login ann:hunter2")
        class Suite(GuardedSuite):
            secret = "hunter2"
        """, {"test_denied_is_not_absent"}),
    "shared as it should be": ("""
        class Broken(Shared): pass
        Suite = SharedSuite
        """, set()),
    "a killed writer leaves half": ("""
        class Broken(Shared):
            def store(self, objects):
                data = pickle.dumps(objects)
                with open(self.file, "wb", buffering=0) as file:
                    for i in range(0, len(data), 4096):
                        file.write(data[i : i + 4096])
        Suite = SharedSuite
        """, {"test_killed_writer_leaves_whole_values"}),
    "a killed writer has not written what it said": ("""
        class Broken(Shared):
            def store(self, objects):
                late, self.objects = getattr(self, "objects", objects), objects
                super().store(late)
        Suite = SharedSuite
        """, {"test_killed_writer_leaves_whole_values"}),
    "what is being written is listed": ("""
        class Broken(Shared):
            def write(self, key, data):
                data = data if isinstance(data, bytes) else data.read_bytes()
                super().write(key + ".new", data)
                super().write(key, data)
                self.delete(key + ".new")
        Suite = SharedSuite
        """, {"test_killed_writer_leaves_whole_values"}),
    "a killed writer blocks the next": ("""
        class Broken(Shared):
            @contextlib.contextmanager
            def locked(self):
                while True:
                    try:
                        os.close(os.open(self.file + ".lock", os.O_CREAT | os.O_EXCL))
                        break
                    except FileExistsError:
                        time.sleep(0.001)
                yield
                os.unlink(self.file + ".lock")
            def store(self, objects):
                for _ in range(8):  # slow enough that most are killed with the lock in hand
                    super().store(objects)
        Suite = SharedSuite
        """, {"test_killed_writer_leaves_whole_values"}),
    "writers lose what others write": ("""
        class Broken(Shared):
            def store(self, objects):
                mine = f"{self.file}.{uuid.uuid4().hex}"
                Path(mine).write_bytes(pickle.dumps(objects))
                time.sleep(0.01)  # so that a busy machine shows it too
                os.replace(mine, self.file)
            def locked(self):
                return contextlib.nullcontext()
        Suite = SharedSuite
        """, {"test_processes_write_and_read_at_once"}),
    "readers of other processes see nothing meanwhile": ("""
        class Broken(Shared):
            def store(self, objects):
                Path(self.file).unlink(missing_ok=True)
                time.sleep(0.01)  # so that a busy machine shows it too
                super().store(objects)
        Suite = SharedSuite
        """, {"test_processes_write_and_read_at_once"}),
    "other processes are not seen": ("""
        class Broken(Shared):
            cache = None
            def __getstate__(self):
                return {**vars(self), "cache": None}
            def load(self):
                if self.cache is None:
                    self.cache = super().load()
                return self.cache
            def store(self, objects):
                super().store(objects)
                self.cache = objects
        Suite = SharedSuite
        """, {"test_processes_write_and_read_at_once", "test_killed_writer_leaves_whole_values"}),
    "claims of the dead stay": ("""
        class Broken(Shared):
            @contextlib.contextmanager
            def claim(self, key, info):
                path = Path(self.file + ".claim-" + key)
                try:
                    with open(path, "x") as file:
                        json.dump(info, file)
                except FileExistsError:
                    raise Held("held", info=json.loads(path.read_text())) from None
                try:
                    yield
                finally:
                    path.unlink()
        Suite = SharedSuite
        """, {"test_claim_dies_with_its_process"}),
    "claims of others tell nothing": ("""
        class Broken(Shared):
            @contextlib.contextmanager
            def claim(self, key, info):
                with open(f"{self.file}.claim-{key}", "w") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        raise Held("held", info={}) from None
                    yield
        Suite = SharedSuite
        """, {"test_claim_dies_with_its_process"}),
    "does not pickle": ("""
        class Broken(Dict):
            def __init__(self):
                super().__init__()
                self.open = lambda: None
        """, {"test_works_in_another_process", "test_shows_no_secret"}),
    "says that it is shared": ("""
        class Broken(Dict): pass
        class Suite(Suite):
            shared = True
        """, {"test_works_in_another_process"}),
    "claims are not released": ("""
        from d6tstore.errors import Held
        class Broken(Dict):
            @contextlib.contextmanager
            def claim(self, key, info):
                held = self.__dict__.setdefault("held", {})
                if key in held:
                    raise Held("held", info=held[key])
                held[key] = info
                yield
                del held[key]
        """, {"test_claim_is_exclusive_or_none"}),
    "a claim tells nothing": ("""
        from d6tstore.errors import Held
        class Broken(Dict):
            @contextlib.contextmanager
            def claim(self, key, info):
                held = self.__dict__.setdefault("held", set())
                if key in held:
                    raise Held("held", info={})
                held.add(key)
                try:
                    yield
                finally:
                    held.discard(key)
        """, {"test_claim_is_exclusive_or_none"}),
    "the history is lost": ("""
        class Broken(Dict):
            def publish(self, record, previous=None): super().publish(record)
        """, {"test_publish_moves_the_replaced_record_to_the_history", "test_flow_restores_what_it_had"}),
    "records of other families": ("""
        class Broken(Dict):
            def records(self, family):
                for entry in self.list(f".d6tstore/records/{family}"):
                    yield entry.key, self.read(entry.key)
        """, {"test_records_of_a_family"}),
    "a promise that is kept is declared": ("""
        class Broken(Dict): pass
        class Suite(Suite):
            deviations = {**Suite.deviations, "test_delete": "I thought so"}
        """, {"test_delete"}),
}  # fmt: skip

JSON = """
class Json(Format):
    suffix = ".json"
    def dump(self, value, file):
        try:
            file.write(json.dumps(value).encode())
        except TypeError as exc:
            raise FormatError(f"rule {exc}. Cure.") from exc
    def load(self, file):
        try:
            return json.loads(file.read())
        except ValueError as exc:
            raise FormatError(f"these bytes are no JSON: {exc}") from exc

class Suite(FormatTests):
    values = {"dict": {"a": [1, "b" * 50]}}
    refused = {"object": Refused(object(), "rule")}
    @pytest.fixture
    def format(self):
        return self.cls()
"""

FORMATS = {
    "nothing": ("class Broken(Json): pass", set()),
    "loses something": ("""
        class Broken(Json):
            def dump(self, value, file):
                super().dump({**value, "a": (1, 2)} if isinstance(value, dict) else value, file)
        """, {"test_value_comes_back_equal", "test_value_comes_back_from_a_store"}),
    "refuses with a foreign error": ("""
        class Broken(Json):
            def dump(self, value, file): file.write(json.dumps(value).encode())
        """, {"test_value_is_refused_with_rule_and_cure", "test_refused_value_leaves_nothing"}),
    "refuses nothing": ("""
        class Broken(Json):
            def dump(self, value, file): file.write(json.dumps(value, default=repr).encode())
        """, {"test_value_is_refused_with_rule_and_cure", "test_refused_value_leaves_nothing"}),
    "foreign bytes are a foreign error": ("""
        class Broken(Json):
            def load(self, file): return json.loads(file.read())
        """, {
            "test_foreign_bytes_are_an_error_of_ours_or_a_value",
            "test_damaged_bytes_are_an_error_of_ours_or_a_value",
        }),
    "does not pickle": ("""
        class Broken(Json):
            def __init__(self): self.open = lambda: None
        """, {"test_format_pickles"}),
    "suffix": ("""
        class Broken(Json):
            suffix = "json/"
        """, {"test_suffix_is_one_of_a_file"}),
}  # fmt: skip


@pytest.mark.parametrize(("head", "broken"), [(HEAD, BACKENDS), (HEAD + JSON, FORMATS)], ids=["backends", "formats"])
def test_the_kit_finds_what_is_broken(tmp_path, head, broken):
    check(tmp_path, head, broken)


def test_a_deviation_needs_a_test_of_that_name(tmp_path):
    (tmp_path / "test_x.py").write_text(
        HEAD + "class TestX(Suite):\n    cls = Dict\n    deviations = {'test_no_such': 'x'}\n"
    )
    done = subprocess.run(
        [*PYTEST, f"{tmp_path}/test_x.py", "-k", "test_delete"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert "deviations name tests that there are not: test_no_such" in done.stdout
