package dataplane

import (
	"net/http"
	"net/url"
	"strings"

	"lapis/blob"
	"lapis/blob/sas"
	"lapis/fault"
)

// copyBlob answers Copy Blob for sources within the platform. The copy is
// complete when the answer is given.
func (h *Handler) copyBlob(w *response, q *request) error {
	c := blob.CopyBlob{}
	var err error
	if c.Write, err = q.write(); err != nil {
		return err
	}
	if c.FromConditions, err = readConditions(q.http.Header, "x-ms-source-"); err != nil {
		return err
	}
	if c.From, c.Source, err = h.copySource(q); err != nil {
		return err
	}
	c.KeepMetadata = len(c.Metadata) == 0
	b, err := h.c.Service.CopyBlob(q.http.Context(), c)
	if err != nil {
		return err
	}
	head := w.Header()
	writeState(head, b.ETag, b.Modified)
	head.Set("X-Ms-Copy-Id", b.Copy.ID)
	head.Set("X-Ms-Copy-Status", "success")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// copySource finds the source and checks that the caller may read it.
func (h *Handler) copySource(q *request) (from blob.Place, shown string, err error) {
	source, err := url.Parse(q.header("x-ms-copy-source"))
	if err != nil || source.Host == "" {
		return from, "", invalidHeader("x-ms-copy-source", "it must be a URL")
	}
	if !h.sameService(q.http.Host, source.Host) {
		return from, "", notImplemented("copies from other services (" + source.Host + ")").At("x-ms-copy-source")
	}
	query, err := url.ParseQuery(source.RawQuery)
	if err != nil {
		return from, "", invalidHeader("x-ms-copy-source", "its query cannot be read")
	}
	t, err := h.target(source.Host, source)
	if err != nil {
		return from, "", err
	}
	if t.blob == "" {
		t.container, t.blob = "$root", t.container
	}
	if err := blob.CheckContainerName(t.container); err != nil {
		return from, "", err
	}
	account, err := h.c.Accounts(q.http.Context(), t.account)
	if err != nil {
		return from, "", cannotVerify(fault.NotFound, "there is no such account")
	}
	if err := h.admitSource(q, query, account, t); err != nil {
		return from, "", err
	}
	source.RawQuery, source.User = "", nil
	return blob.Place{Space: account.Space(), Container: t.container, Name: t.blob}, source.String(), nil
}

// admitSource lets a source be read by its own SAS, by the key of its account,
// or by a principal that may read it.
func (h *Handler) admitSource(q *request, query url.Values, account blob.Account, t target) error {
	if sas.Present(query) {
		_, err := h.admitSAS(q, query, account, t, atBlob, readBlob())
		if err != nil {
			e := cannotVerify(fault.Denied, fault.From(err).Message)
			return e.With(fault.From(err).Details...)
		}
		return nil
	}
	sameAccount := account.Space() == q.account.Space()
	switch {
	case !sameAccount || q.caller.kind == sasHolder:
		return cannotVerify(fault.Denied, "the source must carry a SAS that grants read")
	case q.caller.kind == keyHolder:
		return nil
	case q.caller.kind == bearer:
		n := readBlob()
		return permissionMismatch(h.c.Authorize(q.http.Context(), q.caller.principal, n.action, n.data, h.scope(account, t.container)))
	}
	return cannotVerify(fault.Denied, "who asks is not known")
}

// sameService reports whether two hosts are accounts of one service.
func (h *Handler) sameService(a, b string) bool {
	if h.c.PathStyle {
		return strings.EqualFold(a, b)
	}
	_, a, okA := strings.Cut(a, ".")
	_, b, okB := strings.Cut(b, ".")
	return okA && okB && strings.EqualFold(strings.TrimSuffix(a, ":443"), strings.TrimSuffix(b, ":443"))
}

func cannotVerify(kind fault.Kind, why string) *fault.Error {
	return fault.E(kind, "CannotVerifyCopySource", "Could not verify the copy source: %s.", why)
}
