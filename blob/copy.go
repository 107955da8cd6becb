package blob

import (
	"context"
)

// CopyBlob makes a blob out of another one of the platform.
type CopyBlob struct {
	Write
	From           Place
	FromConditions Conditions
	Source         string // URL without query, kept as x-ms-copy-source
	KeepMetadata   bool   // take the source's metadata instead of Write's
}

// CopyBlob copies bytes, HTTP headers and, if asked, metadata. The copy shares
// nothing with its source.
func (s *Service) CopyBlob(ctx context.Context, c CopyBlob) (Blob, error) {
	if err := c.check(); err != nil {
		return Blob{}, err
	}
	if err := s.expect(ctx, c.Write); err != nil {
		return Blob{}, err
	}
	src, err := s.OpenBlob(ctx, c.From, c.FromConditions)
	if err != nil {
		return Blob{}, err
	}
	defer src.Close()
	body := src.Range(ctx, 0, src.Blob.Size)
	defer body.Close()
	seg, _, err := s.receive(ctx, body, src.Blob.Size, Digests{})
	if err != nil {
		return Blob{}, err
	}
	id, err := s.draw(16)
	if err != nil {
		return Blob{}, failed(err, "copying the blob")
	}
	c.Headers = src.Blob.HTTPHeaders
	if c.KeepMetadata {
		c.Metadata = src.Blob.Metadata
	}
	id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	return s.commit(ctx, c.Write, seg, func(rec *blobRecord) {
		rec.Copy = &Copy{ID: id, Source: c.Source, Finished: rec.Modified}
	})
}
