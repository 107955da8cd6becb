"""Ask for a token as a request says, and tell whose it is or what was raised.

A request names the variables that are left to the SDK, the credential, and its arguments; or, to speak the
protocol by hand, a path with its query and headers.
"""

import base64
import json
import os
import urllib.error
import urllib.request

import azure.identity

FORMS = {
    "azure-ml": ("MSI_ENDPOINT", "MSI_SECRET"),
    "app-service": ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    "imds": ("AZURE_POD_IDENTITY_AUTHORITY_HOST",),
}
GIVEN = {name: os.environ[name] for names in FORMS.values() for name in names if name in os.environ}
if "IDENTITY_ENDPOINT" not in GIVEN:  # instances are not told of this form, but it is answered
    OWN = {"IDENTITY_ENDPOINT": GIVEN["MSI_ENDPOINT"].rpartition("/MSI/")[0] + "/MSI/token"}
    OWN["IDENTITY_HEADER"] = GIVEN["MSI_SECRET"]
else:
    OWN = {}


def init():
    pass


def run(text):
    asked = json.loads(text)
    if "path" in asked:
        return by_hand(asked["path"], asked.get("headers", {}))
    for name in (*GIVEN, *OWN):
        os.environ.pop(name, None)
    known = {**GIVEN, **OWN}
    names = FORMS[asked["form"]] if asked["form"] != "as given" else GIVEN
    os.environ.update({name: known[name] for name in names if name in known})
    try:
        credential = getattr(azure.identity, asked.get("credential", "ManagedIdentityCredential"))(**asked["arguments"])
        with credential:
            token = credential.get_token("https://storage.azure.com/.default").token
            chosen = getattr(credential, "_credential", None)
    except Exception as error:
        return {"exception": type(error).__name__, "message": str(error)}
    return {"oid": claims(token)["oid"], "chosen": type(chosen).__name__, "version": azure.identity.__version__}


def by_hand(path, headers):
    base = GIVEN["MSI_ENDPOINT"].rpartition("/MSI/")[0]
    asked = urllib.request.Request(base + path, headers={"Secret": GIVEN["MSI_SECRET"], **headers})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(asked, timeout=30) as answer:
            body = json.load(answer)
            return {"status": answer.status, "oid": claims(body["access_token"])["oid"], "kinds": kinds(body)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": json.loads(error.read())}


def kinds(body):
    return {name: type(value).__name__ for name, value in body.items()}


def claims(token):
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
