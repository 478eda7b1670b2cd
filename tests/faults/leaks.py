"""Uses every feature of the project with known secrets, and writes down all that it shows; `test_leaks.py` searches it.

Run as a program in a process of its own, in a folder of its own. A new feature is one more line of `FEATURES`, a
function of `Scene`, or of `COMMANDS`, the words of a command. What a feature returns or raises is written down in
each way in which people and tools look at it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import shlex
import sys
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import rich.pretty

import d6tstore
from d6tstore import context
from d6tstore.access import SecretWarning
from d6tstore.credentials import Credentials, vault
from d6tstore.credentials.secret import Secret

FLOW = '''
import os
from pathlib import Path

import d6tstore


class Get(d6tstore.tasks.TaskJson):
    n: int = 3

    def run(self):
        self.save(list(range(self.n)), metrics={"n": self.n})


@d6tstore.requires(Get)
class Frame(d6tstore.tasks.TaskPqPandas):
    def run(self):
        import pandas as pd

        self.save(pd.DataFrame({"x": self.input().load()}))


@d6tstore.requires(Frame)
class Model(d6tstore.tasks.TaskPickle):
    persist = ["one", "two"]

    def run(self):
        total = int(self.input().load().x.sum())
        self.save({"one": total, "two": [total]}, metrics={"total": total})


@d6tstore.requires(Get)
class Raises(d6tstore.tasks.TaskJson):
    def run(self):
        try:
            self.input().load()["no number"]
        except TypeError as exc:
            raise ValueError("the model does not converge") from exc


class Worker(d6tstore.tasks.TaskJson):
    """What the system and the environment tell about the process that a pool started."""

    def run(self):
        users_own = os.environ["LEAKS_USERS_OWN"].split()
        told = {name: value for name, value in os.environ.items() if name not in users_own}
        if (at := Path("/proc/self/cmdline")).exists():
            told["argv"] = at.read_text(errors="replace")
        self.save(told)
'''


class Scene:
    """What a feature has at hand: the URL as the user wrote it, names of credentials, the tasks."""

    def __init__(self, given):
        self.url, self.name, self.secrets = given["url"], given["name"], given["secrets"]
        self.dead, self.database, self.nobodys = given["dead"], given["database"], given["nobodys"]
        sys.path.insert(0, str(Path.cwd()))
        import flow

        self.flow = flow

    def open(self, url=None, **options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            store = d6tstore.init(url or self.url, **options)
        for warning in caught:
            assert issubclass(warning.category, SecretWarning), warning
            print(warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno))
        return store

    @property
    def store(self):
        return context.current()

    @property
    def all(self):
        return [self.flow.Model(n=n) for n in (3, 4)]

    def run_in_processes(self):
        with ProcessPoolExecutor(1) as pool:
            report = self.store.run([*self.all, self.flow.Worker()], True, executor=pool)
        return report, self.flow.Worker().output().load()

    def run_in_threads(self):
        with ThreadPoolExecutor(2) as pool:
            return self.store.run(self.all, True, executor=pool), self.store.run(self.all, True, workers=2)

    def setting(self, call, **variables):
        """Call something with further variables in the environment."""
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            return call()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def server_down(self):
        """The server goes away in the middle."""
        backend = self.store.repository.default
        url, backend.url = backend.url, self.dead
        try:
            return self.store.run(self.all, True)
        finally:
            backend.url = url

    def refused(self):
        """The place takes the password no more: another user's name."""
        backend = self.store.repository.default
        credentials = backend.credentials
        given = dict(credentials._given)
        backend.credentials = Credentials(credentials.name, user="nobody", given=given)
        try:
            return self.store.run(self.all, True)
        finally:
            backend.credentials = credentials


# One line for each feature: what it shows is searched. They are done in this order.
FEATURES = {
    "open": lambda s: s.open(),
    "use": lambda s: d6tstore.use(s.store),
    "store": lambda s: (s.store, s.store.repository, s.store.repository.default),
    "credentials": lambda s: s.store.repository.default.credentials,
    "credentials of another": lambda s: Credentials(s.name, write=s.name, user="ann").for_writing(),
    "a secret": lambda s: [Secret(secret) for secret in s.secrets],
    "preview before": lambda s: s.store.preview(s.all),
    "run": lambda s: s.store.run(s.all),
    "run again": lambda s: s.store.run(s.all),
    "preview after": lambda s: d6tstore.preview(s.all),
    "why": lambda s: [str(s.store.why(t)) for t in s.all] + [s.store.why(s.flow.Get(n=9))],
    "plan": lambda s: (s.store.plan(s.all), vars(s.store.plan(s.all))),
    "output": lambda s: (s.flow.Model().output(), s.flow.Frame().output(), s.flow.Frame().output().uri),
    "load": lambda s: (s.flow.Model().output()["one"].load(), s.flow.Frame().output().load()),
    "load a part": lambda s: s.flow.Frame().output().load(columns=["x"], limit=1),
    "input": lambda s: s.flow.Model().input(),
    "compare": lambda s: s.store.compare(s.all),
    "history": lambda s: s.store.history(s.flow.Get()),
    "force": lambda s: s.store.run(s.all, force=s.flow.Get),
    "threads": lambda s: s.run_in_threads(),
    "processes": lambda s: s.run_in_processes(),
    "accept": lambda s: s.store.accept(s.all),
    "verify": lambda s: s.store.verify(),
    "save by hand": lambda s: s.flow.Get(n=7).save([1]),
    "run by hand": lambda s: s.flow.Get(n=8).run(),
    "task that raises": lambda s: s.store.run(s.flow.Raises()),
    "task that raises in a process": lambda s: _in_process(s, s.flow.Raises()),
    "invalidate": lambda s: s.flow.Get().invalidate(),
    "invalidate_downstream": lambda s: s.store.invalidate_downstream(s.flow.Frame(), s.flow.Model()),
    "invalidate_upstream": lambda s: s.store.invalidate_upstream(s.flow.Model()),
    "invalidate_orphans": lambda s: s.store.invalidate_orphans(s.flow.Get(n=4)),
    "gc": lambda s: (s.store.gc(dry_run=True, older_than=-9), s.store.gc(older_than=-9)),
    "invalidate_all": lambda s: s.store.invalidate_all(),
    "never run": lambda s: s.flow.Get().output().load(),
    "server down": lambda s: s.server_down(),
    "server down, opening": lambda s: s.open(s.dead, credentials=s.name),
    "user refused": lambda s: s.refused(),
    "wrong password": lambda s: s.setting(lambda: s.open(s.url, credentials="other"), D6TSTORE_OTHER_PASSWORD="wrong"),
    "role that only reads": lambda s: s.open(s.url, credentials="reader").run(s.all, True),
    "no password": lambda s: s.open(s.dead.replace("ann@", "bob@")),
    "no such option": lambda s: s.open(nonsense=1),
    "no such setting": lambda s: s.open(check="nonsense"),
    "no such scheme": lambda s: s.open(s.url.replace("guarded://", "guardedd://")),
    "password with characters that a URL cannot hold": lambda s: s.open(f"guarded://ann:x/{s.secrets[0]}@127.0.0.1:1/"),
    "secret as an option": lambda s: s.open(s.dead, password=s.secrets[0]),
    "secret as a name": lambda s: s.open(s.dead, credentials=s.secrets[0] + "!"),
    "several backends": lambda s: s.open("memory://", backends={"lake": s.url}),
    "profile": lambda s: s.open("shared").run(s.all),
    "profile, wrong": lambda s: s.open("sharde"),
    "keyring": lambda s: (vault.names(), vault.status(), vault.problem(), vault.backend_name()),
    "keyring keeps": lambda s: [vault.put("extra", "token", Secret(secret)) for secret in s.secrets],
    "keyring forgets": lambda s: [vault.delete("extra", "token"), vault.delete("extra", "token")],
    "close": lambda s: s.store.close(),
    "database": lambda s: (s.open(s.database), s.store.repository.default, vars(s.store.repository.default)),
    "database, run": lambda s: s.store.run(s.all),
    "database, load": lambda s: (s.flow.Frame().output().load(limit=1), s.flow.Frame().output().uri),
    "database, sql": lambda s: d6tstore.sql("select * from {f} where x > :x", f=s.flow.Frame(), params={"x": 0}),
    "database, sql that is wrong": lambda s: d6tstore.sql("select nonsense from {f}", f=s.flow.Frame()),
    "database, processes": lambda s: _in_process(s, s.flow.Worker()),
    "database, bulk": lambda s: vars(s.store.repository.default._connections),
    "database, db.init": lambda s: (d6tstore.db.init(s.database, "other"), context.named),
    "database, wrong password": lambda s: s.open(s.database, credentials="reader", schema="other"),
    "database, wrong password by psycopg2": lambda s: s.open(s.nobodys, credentials=s.name, driver="psycopg2"),
    "database, server down": lambda s: s.open("postgresql://ann@127.0.0.1:9/x", credentials=s.name),
    "database, no password": lambda s: s.open(s.nobodys),
    "database, close": lambda s: s.store.close(),
}
FAIL = {
    "task that raises", "task that raises in a process", "never run", "server down", "server down, opening",
    "user refused", "wrong password", "role that only reads", "no password", "no such option", "no such setting",
    "no such scheme", "password with characters that a URL cannot hold", "secret as an option", "secret as a name",
    "profile, wrong", "database, sql that is wrong", "database, wrong password", "database, server down",
    "database, wrong password by psycopg2", "database, no password",
}  # fmt: skip

# One line for each command, with its exit code. {url} is the place as the user wrote it; < reads a secret from stdin.
COMMANDS = {
    "credentials set cli-test --stdin <": 0,
    "credentials set cli-test token --stdin <": 0,
    "credentials set cli-test --stdin": 2,  # nothing to read
    "credentials list": 0,
    "credentials test {url}": 0,
    "credentials test shared --write": 0,
    "credentials test reader": 0,
    "credentials test nobody": 2,
    "credentials test {dead}": 1,
    "credentials delete cli-test --yes": 0,
    "credentials delete not-there --yes": 1,
    "credentials doctor": 0,
    "profile list": 0,
    "profile show shared": 0,
    "profile show sharde": 2,
    "plugins": 0,
    "--store {url} preview flow:Model": 0,
    "--store {url} run flow:Model": 0,
    "--store {url} run flow:Raises": 1,
    "--store {url} run flow:Model --nonsense 1": 2,
    "--store {url} why flow:Model": 0,
    "--store {url} verify": 0,
    "--store {url} accept flow:Model": 0,
    "--store {url} reset flow:Model --yes": 0,
    "--store {url} gc --older-than 0": 0,
    "--store {dead} run flow:Model": 2,
    "--profile shared run flow:Model --force all": 0,
    "--profile shared preview flow:Model": 0,
}

# What a backend must not do, each found by the search: the test of the test.
LEAKS = {
    way: lambda s, way=way: (s.open(s.url.replace("guarded:", "leaky:"), way=way).run(s.flow.Get(), True), s.store)
    for way in ("nothing", "attribute", "url", "log", "print", "child", "object", "error", "frame")
}
LEAKS["variable"] = lambda s: s.setting(lambda: s.open() and _in_process(s, s.flow.Worker()), LEAKED=s.secrets[0])
LEAKS["plain"] = lambda s: s.secrets[0]
LEAKS["base64"] = lambda s: _basic(s.secrets[0])
LEAKS["file"] = lambda s: (Path.cwd() / "left.bin").write_bytes(s.secrets[0].encode("utf-16"))


# What a URL with a secret does otherwise: it goes before all others, and does not go to other processes.
EXCEPT = {
    "processes, URL",
    "database, processes, URL",
    "database, wrong password, URL",
    "wrong password, URL",
    "role that only reads, URL",
    "credentials test {url}, URL",
}


def _basic(secret):
    import base64

    return base64.b64encode(f"user:{secret}".encode()).decode()


def _in_process(scene, task):
    with ProcessPoolExecutor(1) as pool:
        return scene.store.run(task, True, executor=pool), task.output().load()


# ----------------------------------------------------------------------------- looking


def look(value, write):
    """Write down an object in each way in which it is looked at."""
    for each in [value, *value] if isinstance(value, tuple | list) else [value]:
        write(repr(each), str(each), f"{each}", repr(getattr(each, "__dict__", "")))
        write(rich.pretty.pretty_repr(each, max_depth=8))
        for name in ("_repr_html_", "_repr_mimebundle_", "_repr_pretty_", "to_html", "to_dict", "__getstate__"):
            if hasattr(each, name):
                with contextlib.suppress(Exception):
                    write(repr(getattr(each, name)()))
        for dumps in (pickle.dumps, cloudpickle.dumps, lambda v: pickle.dumps(v, 0)):
            try:
                write(dumps(each).decode("latin-1"))
            except Exception as exc:
                look_at_error(exc, write)


def look_at_error(error, write, locals=True):
    """Write down an exception: texts, attributes, causes; and the locals of all frames but the user's (this file)."""
    queue, seen = [error], []
    while queue:
        exc = queue.pop()
        if exc is None or any(exc is other for other in seen):
            continue
        seen.append(exc)
        queue += [exc.__cause__, exc.__context__, *getattr(exc, "exceptions", ())]
        if hasattr(exc, "report"):
            queue += [outcome.error for outcome in exc.report]
            write(repr(exc.report), str(exc.report))
        write(repr(exc), str(exc), repr(exc.args), repr(vars(exc)))
        with contextlib.suppress(Exception):
            write(pickle.dumps(exc).decode("latin-1"))
        frames = [f for f, _ in traceback.walk_tb(exc.__traceback__) if f.f_code.co_filename != __file__]
        for frame in frames if locals else ():
            for local, value in frame.f_locals.items():
                with contextlib.suppress(Exception):  # half-made objects have no repr
                    write(f"{frame.f_code.co_filename}:{frame.f_code.co_name} {local} = {value!r}")
    write("".join(traceback.format_exception(error)))  # what people see; source lines too


class Shown:
    """What one feature showed: a file of it."""

    def __init__(self, folder, name):
        self.file = (folder / f"{name}.txt".replace("/", "_")).open("w", encoding="utf-8", errors="surrogateescape")

    def __call__(self, *texts):
        for text in texts:
            self.file.write(text.encode(errors="replace").decode() + "\n")


def do(name, feature, folder, typed="", locals=True):
    """Use a feature and write down all that it shows, says and starts. Returns what it raised."""
    write, said = Shown(folder, name), io.StringIO()
    Started.write = write
    raised = None
    keyboard, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(typed.encode(errors="surrogateescape")))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            look(feature(), write)
    except (Exception, SystemExit) as exc:
        raised = exc
        look_at_error(exc, write, locals)
    finally:
        sys.stdin = keyboard
        write(said.getvalue())
        Started.write = None
        write.file.close()
    return raised


class Started:
    """Processes that are started: their arguments and what they get as environment."""

    EVENTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
    write = None

    @classmethod
    def hook(cls, event, args):
        if cls.write is not None and event in cls.EVENTS:
            cls.write(event, repr(args))


class ToStderr(logging.Handler):
    """All log records, as a line and as an object, on whatever stderr is now."""

    def emit(self, record):
        print(self.format(record), record.__dict__, file=sys.stderr)


def command(words):
    from d6tstore.cli import cli

    def feature():
        return cli(words, prog_name="d6tstore", standalone_mode=True)

    return feature


def main():
    given = json.load(sys.stdin)
    folder = Path("shown")
    folder.mkdir()
    logging.basicConfig(level=logging.DEBUG, handlers=[ToStderr(), logging.FileHandler("debug.log")])
    logging.captureWarnings(False)
    sys.addaudithook(Started.hook)
    Path("flow.py").write_text(FLOW)
    scene = Scene(given)
    for name, secret in given["put"].items():
        assert do(f"put {name}", command(["credentials", "set", name, "--stdin"]), folder, secret).code in (0, None)
    wrong = {}
    if given["leaks"]:
        scene.open()
        for name, leak in LEAKS.items():
            do(name, lambda leak=leak: leak(scene), folder)
    else:
        for name, feature in FEATURES.items():
            raised = do(name, lambda feature=feature: feature(scene), folder)
            if (raised is not None) != (name in FAIL) and f"{name}, {given['where']}" not in EXCEPT:
                wrong[name] = repr(raised)
        for line, expected in COMMANDS.items():
            if line == "plugins" and given["where"] != "keyring":
                continue  # it imports all that is installed: once is enough
            filled = line.format(url=shlex.quote(scene.url), dead=scene.dead).removesuffix(" <")
            # Of a command that ends, nobody sees the locals of click, which hold what the user typed.
            ended = do(_plain(line), command(shlex.split(filled)), folder, typed(scene, line), locals=False)
            if getattr(ended, "code", repr(ended)) != expected and f"{line}, {given['where']}" not in EXCEPT:
                wrong[line] = repr(ended)
    print(json.dumps(wrong))


def typed(scene, line):
    return scene.secrets[0] if line.endswith("<") else ""


def _plain(line):
    return line.replace("{", "").replace("}", "")


if __name__ == "__main__":
    main()
