package blob

import (
	"context"
	"errors"
	"io"

	"lapis/content"
	"lapis/store"
)

// Blob returns what is known of a blob.
func (s *Service) Blob(ctx context.Context, at Place, cond Conditions) (Blob, error) {
	rec, err := s.read(ctx, at, cond)
	return rec.Blob, err
}

func (s *Service) read(ctx context.Context, at Place, cond Conditions) (blobRecord, error) {
	var rec blobRecord
	err := s.records.View(ctx, func(r store.Reader) (err error) {
		if _, rec, err = find(r, at); err != nil {
			return err
		}
		return cond.check(reading, state{rec.ETag, rec.Modified})
	})
	return rec, failed(err, "reading the blob")
}

// Reader reads one state of a blob, whatever happens to the blob meanwhile.
type Reader struct {
	Blob  Blob
	s     *Service
	rec   blobRecord
	first content.Reader // of the first segment, nil if there is none
	held  []string
}

// OpenBlob opens a blob. Close the reader.
func (s *Service) OpenBlob(ctx context.Context, at Place, cond Conditions) (*Reader, error) {
	// Between reading the record and opening the content, the blob may be
	// replaced; the next look then finds the new one.
	for range 20 {
		rec, err := s.read(ctx, at, cond)
		if err != nil {
			return nil, err
		}
		r, err := s.open(ctx, rec)
		if errors.Is(err, content.ErrNotFound) {
			continue
		}
		return r, failed(err, "opening the blob's content")
	}
	return nil, failed(content.ErrNotFound, "opening the blob's content")
}

func (s *Service) open(ctx context.Context, rec blobRecord) (*Reader, error) {
	r := &Reader{Blob: rec.Blob, s: s, rec: rec}
	if len(rec.Segments) == 0 {
		return r, nil
	}
	if len(rec.Segments) > 1 { // one that is open can be read to its end anyway
		keys := keysOf(rec.Segments)
		if !s.pins.hold(keys) {
			return nil, content.ErrNotFound
		}
		r.held = keys
	}
	var err error
	if r.first, err = s.content.Open(ctx, rec.Segments[0].Key); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close lets go of the content.
func (r *Reader) Close() {
	if r.first != nil {
		_ = r.first.Close()
	}
	free := r.s.pins.release(r.held)
	r.held = nil
	for _, key := range free {
		_ = r.s.content.Delete(r.s.ctx, key)
	}
	r.s.pins.forget(free)
}

// WriteRange writes length bytes from offset on to w. The range must lie within the blob.
func (r *Reader) WriteRange(ctx context.Context, w io.Writer, offset, length int64) error {
	for i, seg := range r.rec.Segments {
		if length <= 0 {
			return nil
		}
		if offset >= seg.Size {
			offset -= seg.Size
			continue
		}
		n := min(length, seg.Size-offset)
		if err := r.writeSegment(ctx, w, i, offset, n); err != nil {
			return err
		}
		offset, length = 0, length-n
	}
	if length > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (r *Reader) writeSegment(ctx context.Context, w io.Writer, i int, offset, n int64) error {
	c := r.first
	if i > 0 {
		var err error
		if c, err = r.s.content.Open(ctx, r.rec.Segments[i].Key); err != nil {
			return err
		}
		defer c.Close()
	}
	if _, err := c.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(w, c, n)
	return err
}

// Range returns a reader of part of the blob.
func (r *Reader) Range(ctx context.Context, offset, length int64) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(r.WriteRange(ctx, pw, offset, length)) }()
	return pr
}
