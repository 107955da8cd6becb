"""The workspace that `lapis env` names, and what most scripts deploy there.

It imports azure-ai-ml: scripts that time their imports import it in that step.
"""

import os
from pathlib import Path

from azure.ai.ml import MLClient
from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment
from azure.identity import AzureCliCredential

SUBSCRIPTION, GROUP, WORKSPACE = (
    os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_DEFAULTS_GROUP", "AZURE_DEFAULTS_WORKSPACE")
)
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"


def connect(credential=None):
    """Return an MLClient, as who is signed in to az or as another credential says."""
    return MLClient(credential or AzureCliCredential(), SUBSCRIPTION, GROUP, WORKSPACE)


def write(folder, path, text):
    """Write a file below a folder and return its path as text."""
    file = Path(folder, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def bare(folder, **more):
    """An environment of Python alone, for which nothing is installed."""
    conda = write(folder, "conda.yml", "name: bare\ndependencies: [python]\n")
    return Environment(conda_file=conda, image=IMAGE, **more)


def script(folder):
    """The code of a folder whose script is score.py."""
    return CodeConfiguration(code=str(folder), scoring_script="score.py")


def deployment(endpoint, name="blue", **more):
    """A deployment of one instance; more is what it is made of."""
    return ManagedOnlineDeployment(
        name=name, endpoint_name=endpoint, instance_type="Standard_DS3_v2", instance_count=1, **more
    )
