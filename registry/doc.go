// Package registry is the data plane of container registries: what a client
// finds at {registry}.azurecr.io.
//
// It owns the repositories, manifests, tags, layers and unfinished uploads of
// every registry, and the registry's own tokens. It promises:
//
//   - A push that was answered is on disk, and each layer had the digest it was
//     pushed under. An upload that was not completed is gone after a restart
//     (BLOB_UPLOAD_UNKNOWN).
//   - A repository shows only the layers that were pushed to it or mounted
//     into it; knowing a digest of another repository is not enough.
//   - Every request but the token endpoints carries a token or credential, and
//     the caller's role is looked up at each request, not only when its token
//     was made.
//
// [Service] keeps the data and knows no permissions; [Service.Handler] mounts
// it behind the checks of a [Access]. [NewClient] speaks the same wire as any
// other client and works against a real registry as well.
//
// Wire: OCI distribution-spec v1.1; tokens as documented in Azure/acr
// docs/AAD-OAuth.md. The roles AcrPull, AcrPush and AcrDelete hold actions, not
// data actions, so decisions here are asked with data = false. Listing the
// catalog needs registries/pull/read, as in registries that are not in ABAC
// mode: there the built-in role described as able to list repositories has only
// that action, and registries/catalog/read is a data action of ABAC mode alone.
package registry
