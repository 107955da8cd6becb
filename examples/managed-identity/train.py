"""Train the example's model: how far diabetes has gone after a year, from ten measurements.

The data set is part of scikit-learn, so nothing is downloaded. Run this in an
environment made from environment/conda.yml, because a pickled model is only
good for the versions that wrote it:

    python train.py
"""

from pathlib import Path

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODEL = Path(__file__).with_name("model") / "diabetes.joblib"


def main() -> None:
    # Unscaled, so that a request holds years and mg/dl as they are measured.
    rows, progression = load_diabetes(return_X_y=True, scaled=False)
    train_rows, test_rows, train_y, test_y = train_test_split(rows, progression, test_size=0.2, random_state=7)

    model = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    model.fit(train_rows, train_y)

    MODEL.parent.mkdir(exist_ok=True)
    joblib.dump(model, MODEL, compress=3)
    print(f"{MODEL}: {MODEL.stat().st_size} bytes, R2 {model.score(test_rows, test_y):.3f} on rows it has not seen")


if __name__ == "__main__":
    main()
