package dataplane

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"lapis/blob"
	"lapis/fault"
)

func (h *Handler) createContainer(w *response, q *request) error {
	if access := q.header("x-ms-blob-public-access"); access != "" {
		return fault.E(fault.Conflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
	}
	c, err := h.c.Service.CreateContainer(q.http.Context(), q.account.Space(), q.container, readMetadata(q.http.Header))
	if err != nil {
		return err
	}
	writeState(w.Header(), c.ETag, c.Modified)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// getContainer answers Get Container Properties and Get Container Metadata.
func (h *Handler) getContainer(w *response, q *request) error {
	c, err := h.c.Service.Container(q.http.Context(), q.account.Space(), q.container)
	if err != nil {
		return err
	}
	head := w.Header()
	writeState(head, c.ETag, c.Modified)
	writeLease(head)
	writeMetadata(head, c.Metadata)
	head.Set("X-Ms-Has-Immutability-Policy", "false")
	head.Set("X-Ms-Has-Legal-Hold", "false")
	head.Set("X-Ms-Default-Encryption-Scope", accountKeyScope)
	head.Set("X-Ms-Deny-Encryption-Scope-Override", "false")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) setContainerMetadata(w *response, q *request) error {
	cond, err := readConditions(q.http.Header, "")
	if err != nil {
		return err
	}
	c, err := h.c.Service.SetContainerMetadata(q.http.Context(), q.account.Space(), q.container, readMetadata(q.http.Header), cond)
	if err != nil {
		return err
	}
	writeState(w.Header(), c.ETag, c.Modified)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) deleteContainer(w *response, q *request) error {
	cond, err := readConditions(q.http.Header, "")
	if err != nil {
		return err
	}
	if err := h.c.Service.DeleteContainer(q.http.Context(), q.account.Space(), q.container, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// getContainerACL answers that there is neither public access nor a stored
// access policy: neither can be set.
func (h *Handler) getContainerACL(w *response, q *request) error {
	c, err := h.c.Service.Container(q.http.Context(), q.account.Space(), q.container)
	if err != nil {
		return err
	}
	writeState(w.Header(), c.ETag, c.Modified)
	return writeXML(w, struct {
		XMLName xml.Name `xml:"SignedIdentifiers"`
	}{})
}

func (h *Handler) listContainers(w *response, q *request) error {
	size, err := pageSize(q)
	if err != nil {
		return err
	}
	include, err := readInclude(q, "metadata", "deleted", "system")
	if err != nil {
		return err
	}
	doc := containerList{
		ServiceEndpoint: h.endpoint(q), Prefix: q.query.Get("prefix"), Marker: q.query.Get("marker"), MaxResults: size.shown,
	}
	page, err := h.c.Service.Containers(q.http.Context(), q.account.Space(),
		blob.ListContainers{Prefix: doc.Prefix, Marker: doc.Marker, Max: size.used})
	if err != nil {
		return err
	}
	for _, c := range page.Containers {
		doc.Containers.Container = append(doc.Containers.Container, drawContainer(c, include["metadata"]))
	}
	doc.NextMarker = page.Next
	return writeXML(w, doc)
}

func (h *Handler) listBlobs(w *response, q *request) error {
	size, err := pageSize(q)
	if err != nil {
		return err
	}
	include, err := readInclude(q, "metadata", "copy", "uncommittedblobs", "snapshots", "deleted", "versions",
		"tags", "immutabilitypolicy", "legalhold", "deletedwithversions", "permissions")
	if err != nil {
		return err
	}
	doc := blobList{
		ServiceEndpoint: h.endpoint(q), ContainerName: q.container, Prefix: q.query.Get("prefix"),
		Marker: q.query.Get("marker"), MaxResults: size.shown, Delimiter: q.query.Get("delimiter"),
	}
	page, err := h.c.Service.ListBlobs(q.http.Context(), q.account.Space(), q.container, blob.ListBlobs{
		Prefix: doc.Prefix, Delimiter: doc.Delimiter, Marker: doc.Marker, Max: size.used, Uncommitted: include["uncommittedblobs"],
	})
	if err != nil {
		return err
	}
	for _, item := range page.Items {
		if item.Prefix != "" {
			doc.Blobs.Items = append(doc.Blobs.Items, prefixXML{Name: encodeName(item.Prefix)})
			continue
		}
		doc.Blobs.Items = append(doc.Blobs.Items, drawBlob(item.Blob, include))
	}
	doc.NextMarker = page.Next
	return writeXML(w, doc)
}

// A page has at most this many items.
const maxPage = 5000

// size is what was asked for, as the answer repeats it, and what is used.
type size struct{ shown, used int }

func pageSize(q *request) (size, error) {
	text := q.query.Get("maxresults")
	if text == "" {
		return size{0, maxPage}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return size{}, invalidQuery("maxresults", "it is not a number")
	}
	if n < 1 {
		return size{}, fault.E(fault.Invalid, "OutOfRangeQueryParameterValue",
			"One of the query parameters specified in the request URI is outside the permissible range: maxresults must be at least 1.").At("maxresults")
	}
	return size{n, min(n, maxPage)}, nil
}

// readInclude reads include=a,b. What is known but cannot exist here, such as
// snapshots, is taken and changes nothing.
func readInclude(q *request, known ...string) (map[string]bool, error) {
	include := map[string]bool{}
	for _, list := range q.query["include"] {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			include[name] = true
		}
	}
	delete(include, "")
	wrong := len(include)
	for _, name := range known {
		if include[name] {
			wrong--
		}
	}
	if wrong > 0 {
		return nil, invalidQuery("include", "it may hold "+strings.Join(known, ", "))
	}
	return include, nil
}

// endpoint is the URL of the account, as the client reached it.
func (h *Handler) endpoint(q *request) string {
	scheme := "http"
	if h.c.Secure(q.http) {
		scheme = "https"
	}
	url := scheme + "://" + q.http.Host + "/"
	if h.c.PathStyle {
		url += q.account.Name + "/"
	}
	return url
}
