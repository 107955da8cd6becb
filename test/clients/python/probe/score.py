"""Read a blob with the endpoint's identity when asked to, and tell what came of it.

A request names a form of the token endpoint; the answer has the blob's text, or
the exception that the SDK raised.
"""

import json
import os

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.blob import BlobClient

VARIABLES = ("MSI_ENDPOINT", "MSI_SECRET", "IDENTITY_ENDPOINT", "IDENTITY_HEADER")
given = {name: os.environ[name] for name in VARIABLES if name in os.environ}


def init():
    pass


def run(raw):
    asked = json.loads(raw)
    base = given["MSI_ENDPOINT"].rpartition("/MSI/")[0]
    forms = {
        "azure-ml": {name: given[name] for name in ("MSI_ENDPOINT", "MSI_SECRET")},
        "app-service": {"IDENTITY_ENDPOINT": base + "/MSI/token", "IDENTITY_HEADER": given["MSI_SECRET"]},
    }
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(forms[asked.get("form", "azure-ml")])
    make = DefaultAzureCredential if asked.get("default") else ManagedIdentityCredential
    try:
        with (
            make(**asked.get("arguments", {})) as credential,
            BlobClient(
                f"https://{os.environ['STORAGE_ACCOUNT_NAME']}.blob.core.windows.net",
                os.environ["STORAGE_CONTAINER_NAME"],
                os.environ["FILE_NAME"],
                credential=credential,
            ) as blob,
        ):
            return {"text": blob.download_blob(encoding="utf-8").readall()}
    except AzureError as error:
        return {
            "exception": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "code": getattr(error, "error_code", None),
            "message": str(error),
        }
