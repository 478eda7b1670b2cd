"""Take what is new from the team, compute what depends on it, and give the models back: `python analyse.py`."""

from tasks import everything

import d6tstore

d6tstore.init()  # results go to ./data
pipe = d6tstore.pipes.get_pipe("team-features")
print(pipe.pull_preview())
print(pipe.pull())
print(d6tstore.run(everything()))
for task in everything():
    print(task, task.output().load())
try:
    print(pipe.push(everything(), message="models"))
except d6tstore.errors.Denied as exc:
    print(f"Not given back: {exc}")
