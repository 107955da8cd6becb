package blob

import (
	"context"
	"errors"
	"io"

	"lapis/fault"
	"lapis/store"
)

// Limits of the service, by what one request carries. API version 2019-12-12
// raised the first two; see [LimitsOf].
const (
	maxPutBlob           = 5000 << 20
	maxBlock             = 4000 << 20
	maxCommittedBlocks   = 50_000
	maxUncommittedBlocks = 100_000
)

// Limits are the largest bodies that an API version takes, in bytes.
type Limits struct{ PutBlob, PutBlock int64 }

// LimitsOf returns the limits of an API version such as 2019-12-12; "" means the newest.
func LimitsOf(version string) Limits {
	switch {
	case version == "" || version >= "2019-12-12":
		return Limits{PutBlob: maxPutBlob, PutBlock: maxBlock}
	case version >= "2016-05-31":
		return Limits{PutBlob: 256 << 20, PutBlock: 100 << 20}
	}
	return Limits{PutBlob: 64 << 20, PutBlock: 4 << 20}
}

// Write is what all ways of making a blob have in common.
type Write struct {
	At         Place
	Headers    HTTPHeaders
	Metadata   Metadata
	Tier       string // "" keeps the account's default
	Conditions Conditions
	OnlyNew    bool // the caller may make blobs, but not replace them
}

func (w Write) check() error {
	if !knownTier(w.Tier) {
		return fault.E(fault.Invalid, "InvalidHeaderValue", "The access tier %q is not supported; Hot, Cool and Cold are.", w.Tier).At("x-ms-access-tier")
	}
	if err := CheckBlobName(w.At.Name); err != nil {
		return err
	}
	return w.Metadata.Check()
}

// admit decides whether the write may replace what is there.
func (w Write) admit(old blobRecord) error {
	if w.OnlyNew && old.ETag != "" {
		return fault.E(fault.Denied, "UnauthorizedBlobOverwrite",
			"This request is not authorized to perform blob overwrites.")
	}
	return w.Conditions.check(creating, state{old.ETag, old.Modified})
}

// record makes the record that replaces old.
func (w Write) record(s *Service, old blobRecord, segments []segment) blobRecord {
	rec := blobRecord{Segments: segments}
	rec.Name, rec.HTTPHeaders, rec.Metadata, rec.Tier = w.At.Name, w.Headers, w.Metadata, w.Tier
	if rec.ContentType == "" {
		rec.ContentType = DefaultContentType
	}
	for _, seg := range segments {
		rec.Size += seg.Size
	}
	rec.ETag, rec.Modified = s.stamp(old.ETag)
	rec.Created = rec.Modified
	return rec
}

// PutBlob is a blob that comes in one request.
type PutBlob struct {
	Write
	Body  io.Reader
	Limit int64   // bytes that the body may have
	Said  Digests // what the client says of the body
}

// PutBlob stores a whole blob and drops the uncommitted blocks of its name.
func (s *Service) PutBlob(ctx context.Context, p PutBlob) (Blob, error) {
	if err := p.check(); err != nil {
		return Blob{}, err
	}
	if err := s.expect(ctx, p.Write); err != nil {
		return Blob{}, err
	}
	seg, found, err := s.receive(ctx, p.Body, p.Limit, p.Said)
	if err != nil {
		return Blob{}, err
	}
	p.Headers.ContentMD5 = found.MD5
	return s.commit(ctx, p.Write, seg)
}

// expect looks, before a body is read, whether the write can succeed at all.
// The answer that counts is given by commit.
func (s *Service) expect(ctx context.Context, w Write) error {
	err := s.records.View(ctx, func(r store.Reader) error {
		_, old, err := findForWrite(r, w.At)
		if err != nil {
			return err
		}
		return w.admit(old)
	})
	return failed(err, "reading the blob")
}

// commit makes seg the whole content of a blob.
func (s *Service) commit(ctx context.Context, w Write, seg segment, change ...func(*blobRecord)) (Blob, error) {
	var rec blobRecord
	var drop []string
	err := s.records.Update(ctx, func(tx store.Tx) error {
		c, old, err := findForWrite(tx, w.At)
		if err != nil {
			return err
		}
		if err := w.admit(old); err != nil {
			return err
		}
		var segments []segment
		if seg.Size > 0 {
			segments = []segment{seg}
		}
		rec = w.record(s, old, segments)
		for _, fn := range change {
			fn(&rec)
		}
		if _, err := blobs.Put(tx, blobKey(c.UID, w.At.Name), rec, store.Any); err != nil {
			return err
		}
		drop, err = unstage(tx, c.UID, w.At.Name)
		drop = append(drop, keysOf(old.Segments)...)
		return err
	})
	if err != nil {
		s.abandon(ctx, seg, err)
		return Blob{}, failed(err, "storing the blob")
	}
	s.remove(ctx, drop)
	return rec.Blob, nil
}

func blobKey(uid, name string) string { return uid + "/" + name }

func keysOf(segments []segment) []string {
	keys := make([]string, len(segments))
	for i, seg := range segments {
		keys[i] = seg.Key
	}
	return keys
}

// find returns a container and a committed blob in it.
func find(r store.Reader, at Place) (containerRecord, blobRecord, error) {
	c, rec, err := findForWrite(r, at)
	if err == nil && rec.ETag == "" {
		err = fault.E(fault.NotFound, "BlobNotFound", "The specified blob does not exist.").At(at.Name)
	}
	return c, rec, err
}

// findForWrite is find for requests that need no blob to be there.
func findForWrite(r store.Reader, at Place) (containerRecord, blobRecord, error) {
	c, err := findContainer(r, at.Space, at.Container)
	if err != nil {
		return c, blobRecord{}, err
	}
	e, err := blobs.Get(r, blobKey(c.UID, at.Name))
	if errors.Is(err, store.ErrNotFound) {
		return c, blobRecord{}, nil
	}
	return c, e.Value, err
}

// DeleteBlob removes a blob and the uncommitted blocks of its name.
func (s *Service) DeleteBlob(ctx context.Context, at Place, cond Conditions) error {
	var drop []string
	err := s.records.Update(ctx, func(tx store.Tx) error {
		c, old, err := find(tx, at)
		if err != nil {
			return err
		}
		if err := cond.check(changing, state{old.ETag, old.Modified}); err != nil {
			return err
		}
		if err := blobs.Delete(tx, blobKey(c.UID, at.Name), store.Any); err != nil {
			return err
		}
		drop, err = unstage(tx, c.UID, at.Name)
		drop = append(drop, keysOf(old.Segments)...)
		return err
	})
	if err != nil {
		return failed(err, "deleting the blob")
	}
	s.remove(ctx, drop)
	return nil
}

// SetBlobMetadata replaces all metadata of a blob.
func (s *Service) SetBlobMetadata(ctx context.Context, at Place, meta Metadata, cond Conditions) (Blob, error) {
	if err := meta.Check(); err != nil {
		return Blob{}, err
	}
	return s.change(ctx, at, cond, func(rec *blobRecord) { rec.Metadata = meta })
}

// SetBlobHeaders replaces all HTTP headers of a blob; those left empty are cleared.
func (s *Service) SetBlobHeaders(ctx context.Context, at Place, h HTTPHeaders, cond Conditions) (Blob, error) {
	return s.change(ctx, at, cond, func(rec *blobRecord) { rec.HTTPHeaders = h })
}

// change edits a blob's record in place.
func (s *Service) change(ctx context.Context, at Place, cond Conditions, fn func(*blobRecord)) (Blob, error) {
	var rec blobRecord
	err := s.records.Update(ctx, func(tx store.Tx) error {
		c, old, err := find(tx, at)
		if err != nil {
			return err
		}
		if err := cond.check(changing, state{old.ETag, old.Modified}); err != nil {
			return err
		}
		rec = old
		fn(&rec)
		rec.ETag, rec.Modified = s.stamp(old.ETag)
		_, err = blobs.Put(tx, blobKey(c.UID, at.Name), rec, store.Any)
		return err
	})
	return rec.Blob, failed(err, "changing the blob")
}
