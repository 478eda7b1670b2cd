import d6tstore
from contenders import upstream, value


class Node(d6tstore.tasks.TaskJson):
    layer: int
    index: int
    width: int

    def requires(self):
        return [
            Node(layer=layer, index=index, width=self.width)
            for layer, index in upstream(self.layer, self.index, self.width)
        ]

    def run(self):
        self.save(value(self.layer, self.index))
