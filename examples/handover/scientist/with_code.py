"""The same where the engineer's code can be imported: `PYTHONPATH=.. python with_code.py`."""

import engineer.tasks

import d6tstore


class Features(engineer.tasks.Features):
    external = True  # somebody else runs it: only its results are loaded here


@d6tstore.requires(Features)
class Swing(d6tstore.tasks.TaskJson):
    """By how much the price changed on an average day."""

    def run(self):
        self.save(round(float(self.input().load().change.abs().mean()), 4))


if __name__ == "__main__":
    tasks = [Swing(market=market) for market in engineer.tasks.MARKETS]
    d6tstore.init()  # results go to ./data
    print(d6tstore.pipes.get_pipe("team-features").pull())
    print(d6tstore.run(tasks))
    print({task.market: task.output().load() for task in tasks})
