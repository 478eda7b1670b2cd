"""d6tflow, the predecessor. Each task requires one task only.

With two, as for all others, it walks every path through the lattice, 2 ** 10 and more: 27 ms per task.
"""

import contextlib
import io
import warnings

warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    import d6tflow
import luigi  # noqa: E402

from contenders import DEPTH, upstream, value  # noqa: E402


class Node(d6tflow.tasks.TaskJson):
    layer = luigi.IntParameter()
    index = luigi.IntParameter()
    width = luigi.IntParameter()

    def requires(self):
        return [
            Node(layer=layer, index=index, width=self.width)
            for layer, index in upstream(self.layer, self.index, self.width)[:1]
        ]

    def run(self):
        self.save(value(self.layer, self.index))


def _all(n, folder):
    width = n // DEPTH
    d6tflow.settings.log_level = "CRITICAL"
    with contextlib.redirect_stdout(io.StringIO()):
        d6tflow.set_dir(folder)
        d6tflow.run([Node(layer=DEPTH - 1, index=i, width=width) for i in range(width)])


first = again = _all
