"""Drives a blob service with azure-storage-blob, the client that people use.

Environment: ACCOUNT_URL, ACCOUNT_KEY, and tokens of an owner and of a reader
of the container "data". Exits with an assertion that names what went wrong.
"""

import hashlib
import os
import sys
import time
from datetime import datetime, timedelta, timezone

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

URL = os.environ["ACCOUNT_URL"]
KEY = os.environ["ACCOUNT_KEY"]
ACCOUNT = URL.rstrip("/").rsplit("/", 1)[1]
SOON = datetime.now(timezone.utc) + timedelta(hours=1)
PAST = datetime.now(timezone.utc) - timedelta(hours=1)


class Token:
    """A credential with a fixed token."""

    def __init__(self, raw):
        self.raw = raw

    def get_token(self, *scopes, **kwargs):
        return AccessToken(self.raw, int(time.time()) + 3600)


def refused(kind, code, fn, *args, **kwargs):
    try:
        result = fn(*args, **kwargs)
        if hasattr(result, "readall"):
            result.readall()
        elif hasattr(result, "by_page"):
            list(result)
    except kind as error:
        got = getattr(error, "error_code", None)
        got = getattr(got, "value", got)
        assert got == code, f"{fn.__name__}: {got}, not {code}: {error}"
        return str(error)
    raise AssertionError(f"{fn.__name__} was allowed")


def with_key():
    service = BlobServiceClient(URL, credential=KEY)
    info = service.get_account_information()
    assert info["sku_name"] == "Standard_LRS", info
    container = service.create_container("data", metadata={"owner": "me"})
    refused(ResourceExistsError, "ContainerAlreadyExists", service.create_container, "data")
    assert container.exists() and not service.get_container_client("none").exists()
    assert [c.name for c in service.list_containers(include_metadata=True)] == ["data"]
    assert service.get_service_properties()["cors"] == []
    small(container)
    names(container)
    big(container)
    blocks(container)
    conditions(container)
    copies(container)
    not_there(container)


def small(container):
    blob = container.upload_blob(
        "dir/hello.txt", b"hello", metadata={"a_b": "c", "ab": "d"},
        content_settings=ContentSettings(content_type="text/plain", cache_control="no-cache"),
    )
    refused(ResourceExistsError, "BlobAlreadyExists", container.upload_blob, "dir/hello.txt", b"other")
    container.upload_blob("dir/hello.txt", b"hello!", overwrite=True, metadata={"a_b": "c", "ab": "d"})
    assert blob.download_blob().readall() == b"hello!"
    assert blob.download_blob(offset=1, length=3).readall() == b"ell"
    assert blob.download_blob(offset=1, length=3, validate_content=True).readall() == b"ell"
    p = blob.get_blob_properties()
    assert p.size == 6 and p.metadata == {"a_b": "c", "ab": "d"}, p
    assert bytes(p.content_settings.content_md5) == hashlib.md5(b"hello!").digest()
    assert p.blob_type == "BlockBlob" and p.lease.state == "available" and p.blob_tier == "Hot"
    blob.set_blob_metadata({"upload_status": "completed"})
    assert blob.get_blob_properties().metadata == {"upload_status": "completed"}
    blob.set_http_headers(ContentSettings(content_type="text/css"))
    assert blob.get_blob_properties().content_settings.content_type == "text/css"
    container.upload_blob("checked", b"x" * 100, validate_content=True)
    empty = container.upload_blob("empty", b"")
    assert empty.download_blob().readall() == b""
    for name in ("checked", "empty"):
        container.delete_blob(name)
    refused(ResourceNotFoundError, "BlobNotFound", empty.download_blob)
    refused(ResourceNotFoundError, "BlobNotFound", empty.get_blob_properties)


def names(container):
    odd = ["n/ä ö/日本.txt", "n/a+b&c=d%41#?.txt", "n//x", "n/'q'\"", "n/~!*()@:,;$"]
    for name in odd:
        container.upload_blob(name, name.encode())
    assert sorted(container.list_blob_names(name_starts_with="n/")) == sorted(odd)
    for name in odd:
        assert container.download_blob(name).readall() == name.encode(), name
        container.delete_blob(name)
    for i in range(23):
        container.upload_blob(f"many/{i % 3}/{i:02}", b"x", metadata={"i": str(i)})
    pages = list(container.list_blobs(name_starts_with="many/", results_per_page=5, include=["metadata"]).by_page())
    flat = [b for page in pages for b in page]
    assert len(pages) == 5 and len(flat) == 23 and all(b.metadata["i"] for b in flat)
    walked = list(container.walk_blobs("many/", delimiter="/"))
    assert [w.name for w in walked] == ["many/0/", "many/1/", "many/2/"], walked
    for b in flat:
        container.delete_blob(b.name)


def big(container):
    data = os.urandom(1 << 20) * 70 + b"end"
    blob = container.upload_blob("big", data, max_concurrency=4)
    assert len(blob.get_block_list("committed")[0]) > 10
    got = blob.download_blob(max_concurrency=4).readall()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    whole = container.upload_blob("whole", data[: 63 << 20], overwrite=True)
    assert whole.get_blob_properties().size == 63 << 20
    container.delete_blob("big")
    container.delete_blob("whole")


def blocks(container):
    blob = container.get_blob_client("blocks")
    for i, part in enumerate([b"one", b"two", b"three"]):
        blob.stage_block(f"id{i}", part)
    committed, waiting = blob.get_block_list("all")
    assert not committed and [b.size for b in waiting] == [3, 3, 5]
    assert [b.name for b in container.list_blobs(include=["uncommittedblobs"], name_starts_with="blocks")] == ["blocks"]
    blob.commit_block_list([BlobBlock("id2"), BlobBlock("id0")])
    assert blob.download_blob().readall() == b"threeone"
    refused(HttpResponseError, "InvalidBlockList", blob.commit_block_list, [BlobBlock("id1")])
    container.delete_blob("blocks")


def conditions(container):
    blob = container.upload_blob("cond", b"1")
    tag = blob.get_blob_properties().etag
    blob.upload_blob(b"2", overwrite=True, etag=tag, match_condition=MatchConditions.IfNotModified)
    refused(ResourceModifiedError, "ConditionNotMet", blob.upload_blob, b"3", overwrite=True, etag=tag,
            match_condition=MatchConditions.IfNotModified)
    refused(ResourceModifiedError, "ConditionNotMet", blob.delete_blob, etag=tag, match_condition=MatchConditions.IfNotModified)
    refused(HttpResponseError, "ConditionNotMet", blob.get_blob_properties, if_modified_since=SOON)
    assert blob.download_blob().readall() == b"2"


def copies(container):
    blob = container.get_blob_client("copy")
    result = blob.start_copy_from_url(container.get_blob_client("cond").url)
    assert result["copy_status"] == "success", result
    assert blob.download_blob().readall() == b"2"
    p = blob.get_blob_properties()
    assert p.copy.status == "success" and p.copy.id == result["copy_id"]
    container.delete_blob("copy")


def not_there(container):
    blob = container.get_blob_client("x")
    refused(HttpResponseError, "NotImplemented", blob.create_append_blob)
    refused(HttpResponseError, "NotImplemented", blob.create_page_blob, 512)
    refused(HttpResponseError, "NotImplemented", container.get_blob_client("cond").create_snapshot)
    refused(HttpResponseError, "NotImplemented", container.get_blob_client("cond").acquire_lease)
    refused(HttpResponseError, "NotImplemented", container.get_blob_client("cond").upload_blob, b"x", overwrite=True, tags={"a": "b"})
    refused(ResourceNotFoundError, "ContainerNotFound", BlobClient(URL, "none", "x", credential=KEY).upload_blob, b"x")
    wrong = BlobServiceClient(URL, credential="d3Jvbmcga2V5")
    text = refused(ClientAuthenticationError, "AuthenticationFailed", wrong.get_service_properties)
    assert "string to sign" in text, text


def with_sas():
    token = generate_container_sas(ACCOUNT, "data", KEY, permission=ContainerSasPermissions(read=True, create=True, write=True), expiry=SOON)
    container = ContainerClient(URL, "data", credential=token)
    container.upload_blob("sas", b"sas", overwrite=True)
    container.get_blob_client("sas").set_blob_metadata({"upload_status": "completed"})
    assert container.get_blob_client("sas").get_blob_properties().metadata == {"upload_status": "completed"}
    assert container.download_blob("sas").readall() == b"sas"
    refused(HttpResponseError, "AuthorizationPermissionMismatch", container.delete_blob, "sas")
    refused(HttpResponseError, "AuthorizationPermissionMismatch", container.list_blobs)
    one = generate_blob_sas(ACCOUNT, "data", "sas", account_key=KEY, permission=BlobSasPermissions(read=True), expiry=SOON,
                            start=PAST, protocol="https", content_type="image/png", ip="127.0.0.1")
    blob = BlobClient(URL, "data", "sas", credential=one)
    assert blob.get_blob_properties().content_settings.content_type == "image/png"
    refused(ClientAuthenticationError, "AuthenticationFailed", BlobClient(URL, "data", "cond", credential=one).download_blob)
    old = generate_blob_sas(ACCOUNT, "data", "sas", account_key=KEY, permission=BlobSasPermissions(read=True), expiry=PAST)
    refused(ClientAuthenticationError, "AuthenticationFailed", BlobClient(URL, "data", "sas", credential=old).download_blob)
    every = generate_account_sas(ACCOUNT, KEY, ResourceTypes(service=True, container=True, object=True),
                                 AccountSasPermissions(read=True, list=True, write=True, delete=True, create=True), SOON)
    service = BlobServiceClient(URL, credential=every)
    service.create_container("made")
    service.get_container_client("made").upload_blob("b", b"1" * (70 << 20))
    assert [c.name for c in service.list_containers()] == ["data", "made"]
    service.delete_container("made")
    only = generate_account_sas(ACCOUNT, KEY, ResourceTypes(object=True), AccountSasPermissions(read=True), SOON)
    refused(HttpResponseError, "AuthorizationResourceTypeMismatch", BlobServiceClient(URL, credential=only).get_service_properties)


def with_tokens():
    owner = BlobServiceClient(URL, credential=Token(os.environ["OWNER_TOKEN"]))
    owner.create_container("tokens")
    owner.get_container_client("tokens").upload_blob("b", b"b" * (65 << 20))
    owner.delete_container("tokens")
    reader = ContainerClient(URL, "data", credential=Token(os.environ["READER_TOKEN"]))
    assert reader.download_blob("sas").readall() == b"sas"
    assert "sas" in list(reader.list_blob_names())
    text = refused(HttpResponseError, "AuthorizationPermissionMismatch", reader.upload_blob, "sas", b"x", overwrite=True)
    assert "needs Storage Blob Data" in text and "az role assignment create" in text, text
    refused(HttpResponseError, "AuthorizationPermissionMismatch", reader.upload_blob, "sas", b"x" * (60 << 20), overwrite=True)
    bad = ContainerClient(URL, "data", credential=Token("expired"))
    refused(ClientAuthenticationError, "InvalidAuthenticationInfo", bad.download_blob, "sas")
    nobody = ContainerClient(URL, "data")
    refused(ClientAuthenticationError, "NoAuthenticationInformation", nobody.download_blob, "sas")


for step in (with_key, with_sas, with_tokens):
    started = time.monotonic()
    step()
    print(f"{step.__name__}: {time.monotonic() - started:.2f} s", file=sys.stderr)
