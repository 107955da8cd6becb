"""The model of the article: ten numbers in, one out."""

import json

import numpy as np
from sklearn.linear_model import Ridge

model = None


def init():
    global model
    rows = np.random.default_rng(7).normal(size=(442, 10))
    model = Ridge(alpha=0.5).fit(rows, rows @ np.arange(10.0))


def run(raw_data):
    data = np.array(json.loads(raw_data)["data"])
    return model.predict(data).tolist()
