package dataplane

import (
	"net/http"
	"strings"

	"lapis/fault"
)

// level is what a URL names.
type level int

const (
	atService level = iota
	atContainer
	atBlob
	atAny
)

// need is what a caller must have for a request. Holders of an account key may
// do everything.
type need struct {
	action string // role action, asked at the container, or at the account for rows of the service
	data   bool   // action is a data action
	create string // data action that suffices to make what is not there yet
	sas    string // SAS permissions of which one suffices
	sasNew string // SAS permission that suffices to make what is not there yet
	// serviceSAS says that a container's or blob's own SAS can grant it, and
	// not only an account SAS.
	serviceSAS bool
}

// row is one operation of the service.
type row struct {
	op      string // as the Storage reference names it
	method  string
	level   level
	restype string
	comp    string
	with    string // a header that must be there
	need
	handle func(*Handler, *response, *request) error // nil: not implemented yet
}

// Operation is a row of the route table, for lists of what is there.
type Operation struct {
	Name        string
	Method      string
	Path        string // with the query, and the header that must be there, that tell the row from others
	Action      string // role action that a bearer of a token needs
	Data        bool
	Implemented bool
}

// Operations lists all operations, in the order of the route table.
func Operations() []Operation {
	var list []Operation
	for _, r := range routes() {
		list = append(list, Operation{r.op, r.method, r.address(), r.action, r.data, r.handle != nil})
	}
	return list
}

// address is how a request of the row looks, for people.
func (r row) address() string {
	path := [...]string{atService: "/", atContainer: "/{container}", atBlob: "/{container}/{blob}", atAny: "/{any}"}[r.level]
	mark := "?"
	for _, parameter := range [][2]string{{"restype", r.restype}, {"comp", r.comp}} {
		if parameter[1] != "" {
			path += mark + parameter[0] + "=" + parameter[1]
			mark = "&"
		}
	}
	for name := range strings.SplitSeq(r.with, "+") {
		if name != "" {
			path += " +" + name
		}
	}
	return path
}

const provider = "Microsoft.Storage/storageAccounts/blobServices/"

// Needs that several rows share.
func readBlob() need {
	return need{action: provider + "containers/blobs/read", data: true, sas: "r", serviceSAS: true}
}
func writeBlob() need {
	return need{action: provider + "containers/blobs/write", data: true, sas: "w", serviceSAS: true}
}
func makeBlob() need {
	n := writeBlob()
	n.create, n.sasNew = provider+"containers/blobs/add/action", "c"
	return n
}
func dataNeed(action, letters string) need {
	return need{action: provider + action, data: true, sas: letters, serviceSAS: true}
}
func accountNeed(action, letters string) need {
	return need{action: provider + action, sas: letters}
}

// routes returns the table of all operations. Those without a handler answer
// 501 to callers that would be allowed to use them.
func routes() []row {
	const get, head, put, post, del = http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete
	info := accountNeed("getInfo/action", "rwdlacup")
	info.serviceSAS = true
	return []row{
		{"Get Account Information", get, atAny, "account", "properties", "", info, (*Handler).getAccountInfo},
		{"Get Account Information", head, atAny, "account", "properties", "", info, (*Handler).getAccountInfo},

		{"List Containers", get, atService, "", "list", "", accountNeed("containers/read", "l"), (*Handler).listContainers},
		{"Get Blob Service Properties", get, atService, "service", "properties", "", accountNeed("read", "r"), (*Handler).getServiceProperties},
		{"Set Blob Service Properties", put, atService, "service", "properties", "", accountNeed("write", "w"), nil},
		{"Get Blob Service Stats", get, atService, "service", "stats", "", accountNeed("read", "r"), nil},
		{"Get User Delegation Key", post, atService, "service", "userdelegationkey", "", accountNeed("generateUserDelegationKey/action", ""), (*Handler).getUserDelegationKey},
		{"Find Blobs by Tags", get, atService, "", "blobs", "", dataNeed("containers/blobs/filter/action", "f"), nil},
		{"Blob Batch", post, atService, "", "batch", "", dataNeed("containers/blobs/delete", "d"), nil},

		{"Create Container", put, atContainer, "container", "", "", accountNeed("containers/write", "cw"), (*Handler).createContainer},
		{"Get Container Properties", get, atContainer, "container", "", "", accountNeed("containers/read", "r"), (*Handler).getContainer},
		{"Get Container Properties", head, atContainer, "container", "", "", accountNeed("containers/read", "r"), (*Handler).getContainer},
		{"Get Container Metadata", get, atContainer, "container", "metadata", "", accountNeed("containers/read", "r"), (*Handler).getContainer},
		{"Get Container Metadata", head, atContainer, "container", "metadata", "", accountNeed("containers/read", "r"), (*Handler).getContainer},
		{"Set Container Metadata", put, atContainer, "container", "metadata", "", accountNeed("containers/write", "w"), (*Handler).setContainerMetadata},
		{"Delete Container", del, atContainer, "container", "", "", accountNeed("containers/delete", "d"), (*Handler).deleteContainer},
		{"List Blobs", get, atContainer, "container", "list", "", dataNeed("containers/blobs/read", "l"), (*Handler).listBlobs},
		{"Get Container ACL", get, atContainer, "container", "acl", "", accountNeed("containers/getAcl/action", ""), (*Handler).getContainerACL},
		{"Get Container ACL", head, atContainer, "container", "acl", "", accountNeed("containers/getAcl/action", ""), (*Handler).getContainerACL},
		{"Set Container ACL", put, atContainer, "container", "acl", "", accountNeed("containers/setAcl/action", ""), nil},
		{"Lease Container", put, atContainer, "container", "lease", "", accountNeed("containers/write", "w"), nil},
		{"Restore Container", put, atContainer, "container", "undelete", "", accountNeed("containers/write", "w"), nil},
		{"Find Blobs by Tags in Container", get, atContainer, "container", "blobs", "", dataNeed("containers/blobs/filter/action", "f"), nil},
		{"Blob Batch", post, atContainer, "container", "batch", "", dataNeed("containers/blobs/delete", "d"), nil},

		{"Put Blob From URL", put, atBlob, "", "", "x-ms-copy-source+x-ms-blob-type", makeBlob(), nil},
		{"Copy Blob", put, atBlob, "", "", "x-ms-copy-source", makeBlob(), (*Handler).copyBlob},
		{"Put Blob", put, atBlob, "", "", "", makeBlob(), (*Handler).putBlob},
		{"Get Blob", get, atBlob, "", "", "", readBlob(), (*Handler).getBlob},
		{"Get Blob Properties", head, atBlob, "", "", "", readBlob(), (*Handler).getBlobProperties},
		{"Get Blob Metadata", get, atBlob, "", "metadata", "", readBlob(), (*Handler).getBlobMetadata},
		{"Get Blob Metadata", head, atBlob, "", "metadata", "", readBlob(), (*Handler).getBlobMetadata},
		{"Set Blob Metadata", put, atBlob, "", "metadata", "", writeBlob(), (*Handler).setBlobMetadata},
		{"Set Blob Properties", put, atBlob, "", "properties", "", writeBlob(), (*Handler).setBlobProperties},
		{"Delete Blob", del, atBlob, "", "", "", dataNeed("containers/blobs/delete", "d"), (*Handler).deleteBlob},
		{"Put Block From URL", put, atBlob, "", "block", "x-ms-copy-source", writeBlob(), nil},
		{"Put Block", put, atBlob, "", "block", "", writeBlob(), (*Handler).putBlock},
		{"Put Block List", put, atBlob, "", "blocklist", "", writeBlob(), (*Handler).putBlockList},
		{"Get Block List", get, atBlob, "", "blocklist", "", readBlob(), (*Handler).getBlockList},

		{"Append Block", put, atBlob, "", "appendblock", "", dataNeed("containers/blobs/add/action", "aw"), nil},
		{"Put Page", put, atBlob, "", "page", "", writeBlob(), nil},
		{"Get Page Ranges", get, atBlob, "", "pagelist", "", readBlob(), nil},
		{"Snapshot Blob", put, atBlob, "", "snapshot", "", makeBlob(), nil},
		{"Lease Blob", put, atBlob, "", "lease", "", writeBlob(), nil},
		{"Abort Copy Blob", put, atBlob, "", "copy", "", writeBlob(), nil},
		{"Set Blob Tier", put, atBlob, "", "tier", "", writeBlob(), nil},
		{"Undelete Blob", put, atBlob, "", "undelete", "", writeBlob(), nil},
		{"Set Blob Expiry", put, atBlob, "", "expiry", "", writeBlob(), nil},
		{"Get Blob Tags", get, atBlob, "", "tags", "", dataNeed("containers/blobs/tags/read", "t"), nil},
		{"Set Blob Tags", put, atBlob, "", "tags", "", dataNeed("containers/blobs/tags/write", "t"), nil},
		{"Set Immutability Policy", put, atBlob, "", "immutabilityPolicies", "", dataNeed("containers/blobs/immutableStorage/runAsSuperUser/action", "i"), nil},
		{"Delete Immutability Policy", del, atBlob, "", "immutabilityPolicies", "", dataNeed("containers/blobs/immutableStorage/runAsSuperUser/action", "i"), nil},
		{"Set Legal Hold", put, atBlob, "", "legalhold", "", dataNeed("containers/blobs/immutableStorage/runAsSuperUser/action", "i"), nil},
		{"Query Blob Contents", post, atBlob, "", "query", "", readBlob(), nil},
	}
}

// missing answers for operations that we do not have yet.
func missing(q *request) error {
	return fault.E(fault.NotImplemented, "NotImplemented",
		"The requested operation is not implemented on the specified resource: %s is not supported here yet.", q.op)
}

// route finds the row of a request.
func (h *Handler) route(q *request) (*row, error) {
	at := q.level()
	restype, comp := q.query.Get("restype"), q.query.Get("comp")
	verbs := false
	for i := range h.routes {
		row := &h.routes[i]
		if row.level != at && row.level != atAny {
			continue
		}
		if !strings.EqualFold(row.restype, restype) || !strings.EqualFold(row.comp, comp) || !q.has(row.with) {
			continue
		}
		if row.method == q.http.Method {
			return row, nil
		}
		verbs = true
	}
	if verbs {
		return nil, fault.E(fault.NotAllowed, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
	}
	name := "comp"
	if restype != "" && comp == "" {
		name = "restype"
	}
	return nil, invalidQuery(name, "no operation has this value for this resource")
}

func (q *request) level() level {
	switch {
	case q.container == "":
		return atService
	case q.blob == "":
		return atContainer
	}
	return atBlob
}

// has reports whether all headers are there; names are joined by '+'.
func (q *request) has(headers string) bool {
	if headers == "" {
		return true
	}
	for name := range strings.SplitSeq(headers, "+") {
		if q.http.Header.Get(name) == "" {
			return false
		}
	}
	return true
}
