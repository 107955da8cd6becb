"""Predict with a model, and read a blob with the identity of the endpoint.

The blob is read twice when the script starts, to show both ways of using a
managed identity: with plain HTTP requests, and with Azure's libraries. There is
no key or password anywhere; whether the blob may be read is decided by the role
of the endpoint's identity on the storage account.
"""

import json
import logging
import os
from pathlib import Path

import joblib
import numpy as np
import requests
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobClient

STORAGE = "https://storage.azure.com/"
TIMEOUT = 30  # seconds

# Azure's inference server shows warnings only, unless a logger asks for more.
logging.basicConfig()
log = logging.getLogger("score")
log.setLevel(logging.INFO)

model = None


def init():
    """Load the model and read the blob. Called once, before the first request."""
    global model
    # The folder given as the deployment's model is found here under its own name.
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"], "model", "diabetes.joblib"))
    log.info("Model loaded: %s", type(model).__name__)

    account = os.environ["STORAGE_ACCOUNT_NAME"]
    container = os.environ["STORAGE_CONTAINER_NAME"]
    name = os.environ["FILE_NAME"]
    # Only a user-assigned identity has to be named; the system-assigned one is the default.
    client_id = os.environ.get("UAI_CLIENT_ID")

    log.info("By REST. Blob contains: %s", read_by_rest(account, container, name, client_id))
    log.info("By SDK. Blob contains: %s", read_by_sdk(account, container, name, client_id))


def run(raw):
    """Predict one number for each row of {"data": [[10 numbers], ...]}."""
    rows = np.asarray(json.loads(raw)["data"], dtype=float)
    log.info("Predicting %d rows", len(rows))
    return model.predict(rows).tolist()


def read_by_rest(account, container, name, client_id):
    """Ask the instance's token endpoint for a token, and send it with a GET."""
    query = {"api-version": "2017-09-01", "resource": STORAGE}
    if client_id:
        query["clientid"] = client_id
    answer = requests.get(
        os.environ["MSI_ENDPOINT"], params=query, headers={"secret": os.environ["MSI_SECRET"]}, timeout=TIMEOUT
    )
    answer.raise_for_status()
    token = answer.json()["access_token"]

    blob = requests.get(
        f"https://{account}.blob.core.windows.net/{container}/{name}",
        headers={"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02"},
        timeout=TIMEOUT,
    )
    blob.raise_for_status()
    return blob.text


def read_by_sdk(account, container, name, client_id):
    """Let azure-identity get the token, and azure-storage-blob send it."""
    with (
        ManagedIdentityCredential(client_id=client_id) as credential,
        BlobClient(f"https://{account}.blob.core.windows.net", container, name, credential=credential) as blob,
    ):
        return blob.download_blob(encoding="utf-8").readall()
