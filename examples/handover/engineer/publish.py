"""Bring the features up to date and give them to the team: `python publish.py "what is new"`."""

import argparse

from tasks import everything

import d6tstore

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("message", help="what others read in the log")
parser.add_argument("--anew", action="store_true", help="compute all of it again")
options = parser.parse_args()

d6tstore.init()  # results go to ./data
pipe = d6tstore.pipes.get_pipe("team-features")
print(d6tstore.run(everything(), force=options.anew))
print(pipe.push_preview(everything(), upstream=True))
print(pipe.push(everything(), upstream=True, message=options.message))
print("\n".join(str(push) for push in pipe.log(3)))
