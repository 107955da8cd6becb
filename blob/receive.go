package blob

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc64"
	"io"
	"strings"

	"lapis/fault"
)

// Digests are what a client says of the bytes it sends, and what we found.
// A nil digest says nothing.
type Digests struct {
	MD5   []byte // 16 bytes
	CRC64 []byte // 8 bytes, little endian, as x-ms-content-crc64 carries them
}

// The polynomial of x-ms-content-crc64 (CRC-64/NVME), bits reflected.
const crcPolynomial = 0x9A6C9329AC4BC9B5

// hasher computes the digests that are asked of it.
type hasher struct {
	md5   hash.Hash
	crc64 hash.Hash64
}

func newHasher(withCRC bool) hasher {
	h := hasher{md5: md5.New()}
	if withCRC {
		h.crc64 = crc64.New(crc64.MakeTable(crcPolynomial))
	}
	return h
}

func (h hasher) Write(p []byte) (int, error) {
	h.md5.Write(p)
	if h.crc64 != nil {
		h.crc64.Write(p)
	}
	return len(p), nil
}

func (h hasher) sum() Digests {
	d := Digests{MD5: h.md5.Sum(nil)}
	if h.crc64 != nil {
		d.CRC64 = binary.LittleEndian.AppendUint64(nil, h.crc64.Sum64())
	}
	return d
}

// Digest returns the digests of what r yields.
func Digest(r io.Reader) (Digests, error) {
	h := newHasher(true)
	_, err := io.Copy(h, r)
	return h.sum(), err
}

// Check holds what the client said against what was found.
func (said Digests) Check(found Digests) error {
	if said.MD5 != nil && !bytes.Equal(said.MD5, found.MD5) {
		return fault.E(fault.Invalid, "Md5Mismatch",
			"The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
	}
	if said.CRC64 != nil && !bytes.Equal(said.CRC64, found.CRC64) {
		return fault.E(fault.Invalid, "Crc64Mismatch",
			"The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	}
	return nil
}

// source remembers the error of the reader it wraps, so that a client that
// broke off is told from a disk that failed.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// receive stores what body yields under a new key. On return without error the
// bytes are durable, and nothing refers to them yet. No bytes give the zero segment.
func (s *Service) receive(ctx context.Context, body io.Reader, limit int64, said Digests) (segment, Digests, error) {
	key, err := s.newKey()
	if err != nil {
		return segment{}, Digests{}, failed(err, "storing the content")
	}
	w, err := s.content.Create(ctx)
	if err != nil {
		return segment{}, Digests{}, failed(err, "storing the content")
	}
	defer w.Abort()
	src := &source{r: body}
	h := newHasher(said.CRC64 != nil)
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(src, limit+1))
	switch {
	case src.err != nil:
		e := fault.E(fault.Invalid, "RequestBodyIncomplete", "The request body ended before its declared length.")
		e.Err = src.err
		return segment{}, Digests{}, e
	case err != nil:
		return segment{}, Digests{}, failed(err, "storing the content")
	case n > limit:
		return segment{}, Digests{}, tooLarge(limit)
	}
	found := h.sum()
	if err := said.Check(found); err != nil {
		return segment{}, Digests{}, err
	}
	if n == 0 { // a blob without bytes has no segment
		return segment{}, found, nil
	}
	if err := w.Commit(key); err != nil {
		return segment{}, Digests{}, failed(err, "storing the content")
	}
	return segment{Key: key, Size: n}, found, nil
}

func tooLarge(limit int64) error {
	return fault.E(fault.TooLarge, "RequestBodyTooLarge",
		"The request body is too large and exceeds the maximum permissible limit of %d bytes.", limit)
}

const contentPrefix = "blob/"

// newKey draws a key of the form blob/{2}/{start}-{rest}.
func (s *Service) newKey() (string, error) {
	name, err := s.draw(16)
	if err != nil {
		return "", err
	}
	return contentPrefix + name[:2] + "/" + s.start + "-" + name[2:], nil
}

// isOurs reports whether this process drew the key, and so may still be about
// to refer to it.
func (s *Service) isOurs(key string) bool {
	return strings.HasPrefix(key[strings.LastIndexByte(key, '/')+1:], s.start+"-")
}

// abandon removes content for which there will be no record: a rule refused
// it, or the request ended before the store took it up. After any other error
// the record might be there after all, so the content stays until a sweep knows.
func (s *Service) abandon(ctx context.Context, seg segment, err error) {
	if seg.Size > 0 && (isFault(err) || errors.Is(err, context.Canceled)) {
		s.remove(ctx, []string{seg.Key})
	}
}

// remove deletes content that no record refers to any more. What a reader
// still needs goes when the reader is closed. A failure costs space until the
// next start, never correctness, so it is not reported.
func (s *Service) remove(ctx context.Context, keys []string) {
	if len(keys) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	free := s.pins.doom(keys)
	for _, key := range free {
		_ = s.content.Delete(ctx, key)
	}
	s.pins.forget(free)
}
