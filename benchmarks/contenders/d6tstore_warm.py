import d6tstore


class Warm(d6tstore.tasks.TaskJson):
    def run(self):
        self.save({"warm": True})
