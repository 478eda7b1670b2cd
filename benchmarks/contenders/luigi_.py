"""luigi with its local scheduler: a second run looks at the last layer only."""

import json
import warnings

warnings.simplefilter("ignore")
import luigi  # noqa: E402

from contenders import DEPTH, upstream, value  # noqa: E402

place = None


class Node(luigi.Task):
    layer = luigi.IntParameter()
    index = luigi.IntParameter()
    width = luigi.IntParameter()

    def requires(self):
        return [Node(layer, index, self.width) for layer, index in upstream(self.layer, self.index, self.width)]

    def output(self):
        return luigi.LocalTarget(f"{place}/{self.layer}-{self.index}.json")

    def run(self):
        with self.output().open("w") as file:
            json.dump(value(self.layer, self.index), file)


def _all(n, folder):
    global place
    place = folder
    width = n // DEPTH
    assert luigi.build([Node(DEPTH - 1, i, width) for i in range(width)], local_scheduler=True, log_level="CRITICAL")


first = again = _all
