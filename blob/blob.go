// Package blob owns containers and block blobs: what they are, which names and
// conditions they take, and how their bytes and records stay together.
//
// It promises: when a change returns without error, bytes and record are on
// disk; a reader sees a blob whole, the one before a change or the one after;
// bytes that nothing refers to are removed. It knows no permissions and no
// HTTP: package blob/dataplane asks who the caller is, decides, and draws.
//
// Bytes lie in package content under keys of the form blob/{2}/{start}-{rest},
// where {start} is drawn anew each time a [Service] is made: a sweep so tells
// what an earlier process left from what this one is about to refer to. Records lie in
// package store:
//
//	blob_containers  {space}/{container}        the container and its uid
//	blob_blobs       {uid}/{blob}               a committed blob and its segments
//	blob_staging     {uid}/{blob}               what is known of its uncommitted blocks together
//	blob_blocks      {uid}/{hash of blob}/{id}  one uncommitted block
//	blob_gone        {uid}                      a deleted container whose blobs are still to be removed
package blob

import (
	"context"
	"strconv"
	"strings"
	"time"

	"lapis/armid"
	"lapis/secret"
)

// Account is what the data plane must know of a storage account.
type Account struct {
	Name           string
	ID             armid.ID
	Keys           [2]secret.String // base64, as clients get them
	AllowSharedKey bool             // Shared Key and SAS signed with a key are taken
	Delegation     secret.String    // that user delegation keys are made with; zero: there are none
	CreatedAt      time.Time        // tells an account from an earlier one of the same name
	SKU            string           // such as Standard_LRS
	Kind           string           // such as StorageV2
}

// Accounts finds an account by name; a fault of kind NotFound says there is none.
type Accounts func(ctx context.Context, name string) (Account, error)

// Space is one life of an account. An account that is deleted and created
// again under the same name has another space, and so starts empty.
type Space string

// Space returns where the account's containers lie.
func (a Account) Space() Space {
	return Space(strings.ToLower(a.Name) + "/" + strconv.FormatInt(a.CreatedAt.UnixMilli(), 36))
}

// ContainerScope returns the scope at which a role on the container is assigned.
func (a Account) ContainerScope(container string) armid.ID {
	return a.ID.Child("blobServices", "default").Child("containers", container)
}

// Place names a blob.
type Place struct {
	Space     Space
	Container string
	Name      string
}

// Metadata is the user's own name-value pairs. Names are in lower case.
type Metadata map[string]string

// Container is what clients see of a container.
type Container struct {
	Name     string
	ETag     string // without quotes
	Created  time.Time
	Modified time.Time
	Metadata Metadata `json:",omitempty"`
}

// HTTPHeaders are the headers a blob is served with.
type HTTPHeaders struct {
	ContentType        string `json:",omitempty"`
	ContentEncoding    string `json:",omitempty"`
	ContentLanguage    string `json:",omitempty"`
	ContentDisposition string `json:",omitempty"`
	CacheControl       string `json:",omitempty"`
	ContentMD5         []byte `json:",omitempty"`
}

// Blob is what clients see of a block blob.
type Blob struct {
	HTTPHeaders
	Name     string
	Size     int64
	ETag     string // without quotes
	Created  time.Time
	Modified time.Time
	Metadata Metadata `json:",omitempty"`
	Tier     string   `json:",omitempty"` // Hot, Cool or Cold; "" when it was never set
	Copy     *Copy    `json:",omitempty"` // set when the blob was made by a copy

	Uncommitted bool `json:"-"` // only blocks were staged; listed, not readable
}

// Copy says where a copied blob came from.
type Copy struct {
	ID       string
	Source   string // URL without its query
	Finished time.Time
}

// DefaultContentType is given to a blob that was stored without a type.
const DefaultContentType = "application/octet-stream"

// Tiers that a blob may have. Archive is not among them: an archived blob
// cannot be read, and we have nowhere to archive to.
func knownTier(tier string) bool {
	return tier == "" || tier == "Hot" || tier == "Cool" || tier == "Cold"
}
