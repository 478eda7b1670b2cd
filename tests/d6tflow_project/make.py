"""A flow in d6tflow, with parameters of every kind. What it wrote lies in `data/`, the ids of its tasks in `ids.json`.

Made with d6tflow 0.2.8, luigi 3.8.1, pandas 3.1.1 on Python 3.11; to make it again, in this folder:

    uv venv /tmp/d6tflow; uv pip install --python /tmp/d6tflow/bin/python d6tflow==0.2.8 pyarrow openpyxl
    rm -r data; /tmp/d6tflow/bin/python make.py
"""

import datetime
import enum
import json

import d6tflow
import luigi
import pandas as pd


class Colour(enum.Enum):
    RED = 1


class GetData(d6tflow.tasks.TaskPqPandas):
    def run(self):
        frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", None, "c"]}, index=[10, 20, 30])
        frame["day"] = pd.to_datetime(["2024-01-01", "2024-01-02", None])
        self.save(frame)


@d6tflow.requires(GetData)
class Preprocess(d6tflow.tasks.TaskCSVPandas):
    do_preprocess = d6tflow.BoolParameter(default=True)

    def run(self):
        frame = self.inputLoad()
        self.save(frame.assign(x=frame.x * 2) if self.do_preprocess else frame)


@d6tflow.requires(Preprocess)
class Train(d6tflow.tasks.TaskPickle):
    model = d6tflow.Parameter(default="ols")

    def run(self):
        self.save({"model": self.model, "mean": float(self.inputLoad().x.mean())})
        self.saveMeta({"score": 0.5})


@d6tflow.requires(GetData)
class Both(d6tflow.tasks.TaskPqPandas):
    persist = ["left", "right"]

    def run(self):
        frame = self.inputLoad()
        self.save({"left": frame[["x"]], "right": frame[["y"]]})


@d6tflow.requires({"data": GetData, "model": Train})
class Report(d6tflow.tasks.TaskJson):
    def run(self):
        self.save({"rows": len(self.input()["data"].load()), "models": [self.input()["model"].load()["model"]]})


class Gz(d6tflow.tasks.TaskCSVGZPandas):
    def run(self):
        # save() of 0.2.8 raises TypeError; what it means to write:
        pd.DataFrame({"n": [1, 2]}).to_csv(self.output().path, index=False, compression="gzip")


class Excel(d6tflow.tasks.TaskExcelPandas):
    def run(self):
        self.save(pd.DataFrame({"n": [1, 2], "text": ["p", "q"]}))


class Typed(d6tflow.tasks.TaskJson):
    date = d6tflow.DateParameter(default=datetime.date(2024, 2, 29))
    hour = d6tflow.DateHourParameter(default=datetime.datetime(2024, 2, 29, 13))
    second = d6tflow.DateSecondParameter(default=datetime.datetime(2024, 2, 29, 13, 1, 2))
    span = d6tflow.TimeDeltaParameter(default=datetime.timedelta(days=9, hours=1, seconds=61))
    rate = d6tflow.FloatParameter(default=1)
    small = d6tflow.FloatParameter(default=1e-05)
    listed = d6tflow.ListParameter(default=[1, "zwei", [3.5]])
    pair = d6tflow.TupleParameter(default=(1, 2))
    table = d6tflow.DictParameter(default={"b": 1, "a": {"c": True}})
    colour = d6tflow.EnumParameter(enum=Colour, default=Colour.RED)
    nothing = d6tflow.Parameter(default=None)
    optional = d6tflow.OptionalParameter(default=None)
    loose = d6tflow.Parameter(default=3)
    loose_list = d6tflow.Parameter(default=["a", 1])
    chosen = d6tflow.ChoiceParameter(choices=["u", "v"], default="v")
    flag = luigi.BoolParameter(default=False)
    workers = d6tflow.IntParameter(default=8, significant=False)

    def run(self):
        self.save({"typed": True})


class Long(d6tflow.tasks.TaskJson):
    a1 = d6tflow.Parameter(default="first/of ?many")
    a2 = d6tflow.Parameter(default="s" * 80)
    a3 = d6tflow.Parameter(default="é ü")
    a4 = d6tflow.IntParameter(default=4)

    def run(self):
        self.save(["long"])


def main():
    d6tflow.set_dir("data")
    tasks = [Report(), Report(model="svm"), Report(do_preprocess=False), Both(), Gz(), Excel(), Typed(), Long()]
    d6tflow.run(tasks)
    ids = {}
    for task in luigi.task.flatten([d6tflow.taskflow_upstream(task) for task in tasks]):
        ids[task.task_id] = task.to_str_params(only_significant=True)
    with open("ids.json", "w") as file:
        json.dump(ids, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()
