package blob

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"lapis/fault"
	"lapis/store"
)

// Uncommitted blocks go this long after the last one of their blob was put.
const blockLife = 7 * 24 * time.Hour

// blockPrefix is how the keys of a blob's blocks begin. The name is hashed so
// that no name makes a prefix of another's.
func blockPrefix(uid, name string) string {
	sum := sha256.Sum256([]byte(name))
	return uid + "/" + hex.EncodeToString(sum[:16]) + "/"
}

// stagedBlocks returns a blob's uncommitted blocks; none once they have expired.
func (s *Service) stagedBlocks(r store.Reader, uid, name string) (staging, []blockRecord, error) {
	st, err := stagings.Get(r, blobKey(uid, name))
	if errors.Is(err, store.ErrNotFound) || (err == nil && s.expired(st.Value)) {
		return staging{}, nil, nil
	}
	if err != nil {
		return staging{}, nil, err
	}
	found, err := blocks.List(r, blockPrefix(uid, name), "", 0)
	if err != nil {
		return staging{}, nil, err
	}
	list := make([]blockRecord, len(found))
	for i, e := range found {
		list[i] = e.Value
	}
	return st.Value, list, nil
}

func (s *Service) expired(st staging) bool { return s.now().Sub(st.Last) > blockLife }

// unstage drops the records of a blob's uncommitted blocks, and returns the
// keys of their content.
func unstage(tx store.Tx, uid, name string) (drop []string, err error) {
	_, err = stagings.Get(tx, blobKey(uid, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := blocks.List(tx, blockPrefix(uid, name), "", 0)
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		if err := blocks.Delete(tx, e.Key, store.Any); err != nil {
			return nil, err
		}
		drop = append(drop, e.Value.Key)
	}
	return drop, stagings.Delete(tx, blobKey(uid, name), store.Any)
}

// PutBlock is one block, put aside until a block list names it.
type PutBlock struct {
	At    Place
	ID    string // base64
	Body  io.Reader
	Limit int64
	Said  Digests
}

// PutBlock stores a block and returns the digests of what came.
func (s *Service) PutBlock(ctx context.Context, p PutBlock) (Digests, error) {
	if err := CheckBlobName(p.At.Name); err != nil {
		return Digests{}, err
	}
	raw, err := checkBlockID(p.ID)
	if err != nil {
		return Digests{}, err
	}
	if _, err := s.Container(ctx, p.At.Space, p.At.Container); err != nil {
		return Digests{}, err
	}
	seg, found, err := s.receive(ctx, p.Body, p.Limit, p.Said)
	if err != nil {
		return Digests{}, err
	}
	if seg.Size == 0 {
		return Digests{}, fault.E(fault.Invalid, "InvalidHeaderValue", "A block must have at least one byte.").At("Content-Length")
	}
	seg.ID = p.ID
	var drop []string
	err = s.records.Update(ctx, func(tx store.Tx) (err error) {
		drop, err = s.stage(tx, p.At, seg, len(raw))
		return err
	})
	if err != nil {
		s.abandon(ctx, seg, err)
		return Digests{}, failed(err, "storing the block")
	}
	s.remove(ctx, drop)
	return found, nil
}

// checkBlockID returns the id decoded.
func checkBlockID(id string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil || len(raw) == 0 || len(raw) > 64 {
		return nil, fault.E(fault.Invalid, "InvalidQueryParameterValue",
			"The block id must be base64 of 1 to 64 bytes.").At("blockid")
	}
	return raw, nil
}

// stage records a block and returns the content it replaces.
func (s *Service) stage(tx store.Tx, at Place, seg segment, idLength int) (drop []string, err error) {
	c, err := findContainer(tx, at.Space, at.Container)
	if err != nil {
		return nil, err
	}
	key := blobKey(c.UID, at.Name)
	st, err := stagings.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err == nil && s.expired(st.Value) {
		if drop, err = unstage(tx, c.UID, at.Name); err != nil {
			return nil, err
		}
		st.Value = staging{}
	}
	if st.Value.Count > 0 && st.Value.IDLength != idLength {
		return nil, fault.E(fault.Invalid, "InvalidBlobOrBlock",
			"The specified blob or block content is invalid. The ids of all uncommitted blocks of a blob must have one length: %d bytes so far, %d now.", st.Value.IDLength, idLength)
	}
	blockKey := blockPrefix(c.UID, at.Name) + seg.ID
	old, err := blocks.Get(tx, blockKey)
	switch {
	case err == nil:
		drop = append(drop, old.Value.Key)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	case st.Value.Count >= maxUncommittedBlocks:
		return nil, fault.E(fault.Conflict, "BlockCountExceedsLimit",
			"The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.")
	default:
		st.Value.Count++
	}
	st.Value.IDLength, st.Value.Last = idLength, s.now().UTC()
	if _, err := stagings.Put(tx, key, st.Value, store.Any); err != nil {
		return nil, err
	}
	_, err = blocks.Put(tx, blockKey, blockRecord{Name: at.Name, segment: seg}, store.Any)
	return drop, err
}

// From says where a block list looks for a block.
type From int

// Where a block list looks.
const (
	Latest      From = iota // uncommitted, else committed
	Committed               // in the blob as it is
	Uncommitted             // among the blocks put since
)

// BlockRef is one entry of a block list.
type BlockRef struct {
	ID   string // base64
	From From
}

// PutBlockList is a blob made of blocks.
type PutBlockList struct {
	Write
	Blocks []BlockRef
}

// PutBlockList makes a blob of the named blocks, in their order, and drops all
// other blocks of the blob.
func (s *Service) PutBlockList(ctx context.Context, p PutBlockList) (Blob, error) {
	if err := p.check(); err != nil {
		return Blob{}, err
	}
	if len(p.Blocks) > maxCommittedBlocks {
		return Blob{}, fault.E(fault.Invalid, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
	}
	var rec blobRecord
	var drop []string
	err := s.records.Update(ctx, func(tx store.Tx) error {
		c, old, err := findForWrite(tx, p.At)
		if err != nil {
			return err
		}
		if err := p.admit(old); err != nil {
			return err
		}
		_, staged, err := s.stagedBlocks(tx, c.UID, p.At.Name)
		if err != nil {
			return err
		}
		segments, err := choose(p.Blocks, old.Segments, staged)
		if err != nil {
			return err
		}
		rec = p.record(s, old, segments)
		if old.ETag != "" {
			rec.Created = old.Created
		}
		if _, err := blobs.Put(tx, blobKey(c.UID, p.At.Name), rec, store.Any); err != nil {
			return err
		}
		drop, err = unstage(tx, c.UID, p.At.Name)
		drop = unused(append(drop, keysOf(old.Segments)...), segments)
		return err
	})
	if err != nil {
		return Blob{}, failed(err, "storing the block list")
	}
	s.remove(ctx, drop)
	return rec.Blob, nil
}

// choose resolves a block list against what there is.
func choose(refs []BlockRef, committed []segment, staged []blockRecord) ([]segment, error) {
	have := [2]map[string]segment{{}, {}}
	for _, seg := range committed {
		if seg.ID != "" {
			have[0][seg.ID] = seg
		}
	}
	for _, b := range staged {
		have[1][b.ID] = b.segment
	}
	segments := make([]segment, 0, len(refs))
	for _, ref := range refs {
		seg, ok := have[1][ref.ID]
		if ref.From == Committed || (ref.From == Latest && !ok) {
			seg, ok = have[0][ref.ID]
		}
		if !ok {
			return nil, fault.E(fault.Invalid, "InvalidBlockList",
				"The specified block list is invalid: there is no block %q where the list looks for it.", ref.ID)
		}
		segments = append(segments, seg)
	}
	return segments, nil
}

// unused returns the keys that no segment has.
func unused(keys []string, segments []segment) []string {
	used := make(map[string]bool, len(segments))
	for _, seg := range segments {
		used[seg.Key] = true
	}
	var drop []string
	for _, key := range keys {
		if !used[key] {
			drop = append(drop, key)
		}
	}
	return drop
}

// Block is an entry of [Service.Blocks].
type Block struct {
	ID   string
	Size int64
}

// BlockList is what a blob is made of, and what is put aside for it.
type BlockList struct {
	Blob        Blob // the zero value when nothing is committed
	Committed   []Block
	Uncommitted []Block // in the order of their ids
}

// Blocks returns the blocks of a blob. A blob that has only uncommitted blocks counts as there.
func (s *Service) Blocks(ctx context.Context, at Place) (BlockList, error) {
	var list BlockList
	err := s.records.View(ctx, func(r store.Reader) error {
		c, rec, err := findForWrite(r, at)
		if err != nil {
			return err
		}
		_, staged, err := s.stagedBlocks(r, c.UID, at.Name)
		if err != nil {
			return err
		}
		if rec.ETag == "" && len(staged) == 0 {
			return fault.E(fault.NotFound, "BlobNotFound", "The specified blob does not exist.").At(at.Name)
		}
		list.Blob = rec.Blob
		for _, seg := range rec.Segments {
			if seg.ID != "" {
				list.Committed = append(list.Committed, Block{seg.ID, seg.Size})
			}
		}
		for _, b := range staged {
			list.Uncommitted = append(list.Uncommitted, Block{b.ID, b.Size})
		}
		return nil
	})
	return list, failed(err, "reading the block list")
}
