package dataplane

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"

	"lapis/blob"
	"lapis/fault"
)

func (h *Handler) putBlock(w *response, q *request) error {
	if !q.query.Has("blockid") {
		return fault.E(fault.Invalid, "MissingRequiredQueryParameter",
			"A query parameter that's mandatory for this request is not specified: blockid.").At("blockid")
	}
	length, err := bodyLength(q.http, blob.LimitsOf(q.version).PutBlock)
	if err != nil {
		return err
	}
	if length == 0 {
		return invalidHeader("Content-Length", "a block must have at least one byte")
	}
	said, err := readDigests(q.http.Header)
	if err != nil {
		return err
	}
	found, err := h.c.Service.PutBlock(q.http.Context(), blob.PutBlock{
		At: q.place(), ID: q.query.Get("blockid"), Body: q.http.Body, Limit: length, Said: said,
	})
	if err != nil {
		return err
	}
	writeDigests(w.Header(), said, found)
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *Handler) putBlockList(w *response, q *request) error {
	if _, err := bodyLength(q.http, maxBlockListBody); err != nil {
		return err
	}
	said, err := readDigests(q.http.Header)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(q.http.Body, maxBlockListBody))
	if err != nil {
		return badXML("the body ended before its declared length")
	}
	found, _ := blob.Digest(bytes.NewReader(body))
	if err := said.Check(found); err != nil {
		return err
	}
	var put blob.PutBlockList
	if put.Blocks, err = readBlockList(bytes.NewReader(body)); err != nil {
		return err
	}
	if put.Write, err = q.write(); err != nil {
		return err
	}
	b, err := h.c.Service.PutBlockList(q.http.Context(), put)
	if err != nil {
		return err
	}
	writeState(w.Header(), b.ETag, b.Modified)
	writeDigests(w.Header(), said, found)
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *Handler) getBlockList(w *response, q *request) error {
	if err := q.noSuchState(); err != nil {
		return err
	}
	which := strings.ToLower(firstOf(q.query.Get("blocklisttype"), "committed"))
	if which != "committed" && which != "uncommitted" && which != "all" {
		return invalidQuery("blocklisttype", "it must be committed, uncommitted or all")
	}
	list, err := h.c.Service.Blocks(q.http.Context(), q.place())
	if err != nil {
		return err
	}
	var doc blockListXML
	if which != "uncommitted" {
		doc.Committed = drawBlocks(list.Committed)
	}
	if which != "committed" {
		doc.Uncommitted = drawBlocks(list.Uncommitted)
	}
	if list.Blob.ETag != "" {
		writeState(w.Header(), list.Blob.ETag, list.Blob.Modified)
		w.Header().Set("X-Ms-Blob-Content-Length", strconv.FormatInt(list.Blob.Size, 10))
	}
	return writeXML(w, doc)
}
