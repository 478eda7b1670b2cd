"""Which model tells benign from malignant tumours best? Get data -> preprocess -> train a grid -> compare.

Run it twice, edit a line, run it again: only what depends on the edit is computed.
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.svm import SVC

import d6tstore

SOURCE = Path(__file__).with_name("breast_cancer.csv")


class GetData(d6tstore.tasks.TaskPqPandas):
    files = [SOURCE]  # a raw file: when its content changes, this task is stale

    def run(self):
        self.save(pd.read_csv(SOURCE))


@d6tstore.requires(GetData)
class Preprocess(d6tstore.tasks.TaskPqPandas):
    do_preprocess: bool = True

    def run(self):
        df = self.input().load().drop(columns="patient")
        features = df.drop(columns="target")
        self.save(scale(features).assign(target=df.target) if self.do_preprocess else df)


@d6tstore.requires(Preprocess)  # and inherits its parameters
class Train(d6tstore.tasks.TaskPickle):
    model: Literal["logistic", "svm"] = "logistic"
    C: float = 1.0  # inverse strength of the regularisation

    def run(self):
        df = self.input().load()
        features, target = df.drop(columns="target"), df.target
        estimator = make_estimator(self.model, self.C)
        scores = cross_validate(estimator, features, target, cv=5, scoring=["accuracy", "roc_auc"])
        metrics = {name: scores[f"test_{name}"].mean() for name in ("accuracy", "roc_auc")}
        self.save(estimator.fit(features, target), metrics=metrics)


def scale(features):
    # Each feature gets mean 0 and standard deviation 1.
    return (features - features.mean()) / features.std()


def make_estimator(model, c):
    return SVC(C=c) if model == "svm" else LogisticRegression(C=c, solver="liblinear")


def make_source():
    """Write the raw file, as it might come from a hospital: scikit-learn's data set with patient numbers."""
    if not SOURCE.exists():
        load_breast_cancer(as_frame=True).frame.to_csv(SOURCE, index_label="patient")


def main():
    make_source()
    d6tstore.init()  # results go to ./data
    tasks = d6tstore.grid(Train, do_preprocess=[True, False], model=["logistic", "svm"], C=[0.1, 1.0, 10.0])
    d6tstore.preview(tasks)
    print(d6tstore.run(tasks))
    print(d6tstore.compare(tasks).sort_values("roc_auc", ascending=False).to_string(index=False))


if __name__ == "__main__":
    main()
