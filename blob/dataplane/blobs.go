package dataplane

import (
	"net/http"
	"strconv"
	"strings"

	"lapis/blob"
	"lapis/fault"
)

// write reads what all requests that make a blob have in common.
func (q *request) write() (blob.Write, error) {
	head := q.http.Header
	out := blob.Write{At: q.place(), Metadata: readMetadata(head), Tier: q.header("x-ms-access-tier"), OnlyNew: q.caller.onlyNew}
	if strings.EqualFold(out.Tier, "Archive") {
		return out, notImplemented("archived blobs").At("x-ms-access-tier")
	}
	var err error
	if out.Conditions, err = readConditions(head, ""); err != nil {
		return out, err
	}
	out.Headers, err = readBlobHeaders(head)
	return out, err
}

func (h *Handler) putBlob(w *response, q *request) error {
	switch kind := q.header("x-ms-blob-type"); kind {
	case "BlockBlob":
	case "":
		return fault.E(fault.Invalid, "MissingRequiredHeader",
			"An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.").At("x-ms-blob-type")
	case "AppendBlob", "PageBlob":
		return notImplemented("blobs of the type " + kind).At("x-ms-blob-type")
	default:
		return invalidHeader("x-ms-blob-type", "it must be BlockBlob, AppendBlob or PageBlob")
	}
	limit := blob.LimitsOf(q.version).PutBlob
	length, err := bodyLength(q.http, limit)
	if err != nil {
		return err
	}
	put := blob.PutBlob{Body: q.http.Body, Limit: length}
	if put.Write, err = q.write(); err != nil {
		return err
	}
	if put.Said, err = readDigests(q.http.Header); err != nil {
		return err
	}
	if sum := put.Headers.ContentMD5; sum != nil { // said of the blob, which is the body
		if put.Said.MD5 != nil && string(put.Said.MD5) != string(sum) {
			return fault.E(fault.Invalid, "Md5Mismatch", "Content-MD5 and x-ms-blob-content-md5 differ.")
		}
		put.Said.MD5 = sum
	}
	put.Headers = withPlainHeaders(put.Headers, q.http.Header)
	b, err := h.c.Service.PutBlob(q.http.Context(), put)
	if err != nil {
		return err
	}
	head := w.Header()
	writeState(head, b.ETag, b.Modified)
	writeDigests(head, put.Said, blob.Digests{MD5: b.ContentMD5, CRC64: put.Said.CRC64})
	head.Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// noSuchState answers for snapshots and versions, which cannot exist here.
func (q *request) noSuchState() error {
	for _, name := range []string{"snapshot", "versionid"} {
		if q.query.Get(name) != "" {
			return fault.E(fault.NotFound, "BlobNotFound", "The specified blob does not exist: it has no %s of that time.", strings.TrimSuffix(name, "id")).At(q.blob)
		}
	}
	return nil
}

// conditions reads those of a request that may name a snapshot or version.
func (q *request) conditions() (blob.Conditions, error) {
	cond, err := readConditions(q.http.Header, "")
	if err == nil {
		err = q.noSuchState()
	}
	return cond, err
}

func (h *Handler) blob(q *request) (blob.Blob, error) {
	cond, err := q.conditions()
	if err != nil {
		return blob.Blob{}, err
	}
	return h.c.Service.Blob(q.http.Context(), q.place(), cond)
}

func (h *Handler) getBlobProperties(w *response, q *request) error {
	b, err := h.blob(q)
	if err != nil {
		return err
	}
	head := w.Header()
	writeBlobHeaders(head, b, q.caller)
	writeTier(head, b.Tier)
	writeMD5(head, "Content-MD5", b.ContentMD5)
	head.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// The service computes digests of ranges up to this size.
const maxDigestRange = 4 << 20

func (h *Handler) getBlob(w *response, q *request) error {
	cond, err := q.conditions()
	if err != nil {
		return err
	}
	asked, ranged, err := readRange(q.http.Header.Get("x-ms-range"), q.http.Header.Get("Range"))
	if err != nil {
		return err
	}
	ctx := q.http.Context()
	r, err := h.c.Service.OpenBlob(ctx, q.place(), cond)
	if err != nil {
		return err
	}
	defer r.Close()
	head := w.Header()
	offset, length, status := int64(0), r.Blob.Size, http.StatusOK
	if ranged {
		if offset, length, err = asked.within(r.Blob.Size); err != nil {
			head.Set("Content-Range", "bytes */"+strconv.FormatInt(r.Blob.Size, 10))
			return err
		}
		status = http.StatusPartialContent
		head.Set("Content-Range", contentRange(offset, length, r.Blob.Size))
	}
	if err := q.writeRangeDigests(head, r, ranged, offset, length); err != nil {
		head.Del("Content-Range")
		return err
	}
	writeBlobHeaders(head, r.Blob, q.caller)
	head.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	return r.WriteRange(ctx, w, offset, length)
}

// writeRangeDigests writes the digest of the whole blob, and those of the
// range that the request asks for.
func (q *request) writeRangeDigests(head http.Header, r *blob.Reader, ranged bool, offset, length int64) error {
	wantMD5 := strings.EqualFold(q.header("x-ms-range-get-content-md5"), "true")
	wantCRC := strings.EqualFold(q.header("x-ms-range-get-content-crc64"), "true")
	if !ranged && (wantMD5 || wantCRC) {
		return invalidHeader("x-ms-range-get-content-md5", "it needs a range")
	}
	if !ranged {
		writeMD5(head, "Content-MD5", r.Blob.ContentMD5)
		return nil
	}
	writeMD5(head, "X-Ms-Blob-Content-Md5", r.Blob.ContentMD5)
	if !wantMD5 && !wantCRC {
		return nil
	}
	if length > maxDigestRange {
		return invalidHeader("x-ms-range-get-content-md5", "the range may have 4 MiB at most")
	}
	part := r.Range(q.http.Context(), offset, length)
	defer part.Close()
	found, err := blob.Digest(part)
	if err != nil {
		return fault.Wrap(err, "reading the blob")
	}
	if wantMD5 {
		writeMD5(head, "Content-MD5", found.MD5)
	}
	if wantCRC {
		writeMD5(head, "X-Ms-Content-Crc64", found.CRC64)
	}
	return nil
}

func (h *Handler) getBlobMetadata(w *response, q *request) error {
	b, err := h.blob(q)
	if err != nil {
		return err
	}
	writeState(w.Header(), b.ETag, b.Modified)
	writeMetadata(w.Header(), b.Metadata)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) setBlobMetadata(w *response, q *request) error {
	cond, err := readConditions(q.http.Header, "")
	if err != nil {
		return err
	}
	b, err := h.c.Service.SetBlobMetadata(q.http.Context(), q.place(), readMetadata(q.http.Header), cond)
	if err != nil {
		return err
	}
	writeState(w.Header(), b.ETag, b.Modified)
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) setBlobProperties(w *response, q *request) error {
	cond, err := readConditions(q.http.Header, "")
	if err != nil {
		return err
	}
	headers, err := readBlobHeaders(q.http.Header)
	if err != nil {
		return err
	}
	b, err := h.c.Service.SetBlobHeaders(q.http.Context(), q.place(), headers, cond)
	if err != nil {
		return err
	}
	writeState(w.Header(), b.ETag, b.Modified)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) deleteBlob(w *response, q *request) error {
	cond, err := q.conditions()
	if err != nil {
		return err
	}
	switch snapshots := q.header("x-ms-delete-snapshots"); snapshots {
	case "", "include":
		err = h.c.Service.DeleteBlob(q.http.Context(), q.place(), cond)
	case "only": // there are none; the blob itself stays
		_, err = h.c.Service.Blob(q.http.Context(), q.place(), cond)
	default:
		err = invalidHeader("x-ms-delete-snapshots", "it must be include or only")
	}
	if err != nil {
		return err
	}
	w.Header().Set("X-Ms-Delete-Type-Permanent", "true")
	w.WriteHeader(http.StatusAccepted)
	return nil
}
