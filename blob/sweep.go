package blob

import (
	"context"
	"fmt"
	"strings"

	"lapis/store"
)

const sweepBatch = 500

// Sweep removes what is no longer needed: the blobs of deleted containers,
// uncommitted blocks that have expired, and content that an earlier process
// stored but did not live to refer to. Run it beside the service, after the
// start and then now and again.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.sweepGone(ctx); err != nil {
		return fmt.Errorf("removing deleted containers: %w", err)
	}
	if err := s.sweepStaged(ctx); err != nil {
		return fmt.Errorf("removing expired blocks: %w", err)
	}
	if err := s.sweepContent(ctx); err != nil {
		return fmt.Errorf("removing content without an owner: %w", err)
	}
	return nil
}

func (s *Service) sweepGone(ctx context.Context) error {
	var uids []string
	err := s.records.View(ctx, func(r store.Reader) error {
		found, err := gone.List(r, "", "", 0)
		for _, e := range found {
			uids = append(uids, e.Key)
		}
		return err
	})
	for _, uid := range uids {
		if err == nil {
			err = s.purge(ctx, uid)
		}
	}
	return err
}

// purge removes everything of a deleted container, a batch at a time.
func (s *Service) purge(ctx context.Context, uid string) error {
	for {
		var drop []string
		var n int
		err := s.records.Update(ctx, func(tx store.Tx) (err error) {
			drop, n, err = purgeBatch(tx, uid+"/")
			if err == nil && n == 0 {
				err = gone.Delete(tx, uid, store.Any)
			}
			return err
		})
		if err != nil {
			return err
		}
		s.remove(ctx, drop)
		if n == 0 {
			return nil
		}
	}
}

// purgeBatch deletes up to a batch of records of each table, and returns the
// content they named and how many they were.
func purgeBatch(tx store.Tx, prefix string) (drop []string, n int, err error) {
	blobList, err := blobs.List(tx, prefix, "", sweepBatch)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range blobList {
		drop = append(drop, keysOf(e.Value.Segments)...)
		if err := blobs.Delete(tx, e.Key, store.Any); err != nil {
			return nil, 0, err
		}
	}
	blockList, err := blocks.List(tx, prefix, "", sweepBatch)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range blockList {
		drop = append(drop, e.Value.Key)
		if err := blocks.Delete(tx, e.Key, store.Any); err != nil {
			return nil, 0, err
		}
	}
	stagingList, err := stagings.List(tx, prefix, "", sweepBatch)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range stagingList {
		if err := stagings.Delete(tx, e.Key, store.Any); err != nil {
			return nil, 0, err
		}
	}
	return drop, len(blobList) + len(blockList) + len(stagingList), nil
}

// sweepStaged drops blocks that have waited too long.
func (s *Service) sweepStaged(ctx context.Context) error {
	var old []string
	err := s.records.View(ctx, func(r store.Reader) error {
		found, err := stagings.List(r, "", "", 0)
		for _, e := range found {
			if s.expired(e.Value) {
				old = append(old, e.Key)
			}
		}
		return err
	})
	for _, key := range old {
		if err != nil {
			return err
		}
		err = s.expireBlocks(ctx, key)
	}
	return err
}

func (s *Service) expireBlocks(ctx context.Context, key string) error {
	uid, name, _ := strings.Cut(key, "/")
	var drop []string
	err := s.records.Update(ctx, func(tx store.Tx) error {
		drop = nil
		st, err := stagings.Get(tx, key)
		if err != nil || !s.expired(st.Value) { // committed, or used again, meanwhile
			return ignoreNotFound(err)
		}
		drop, err = unstage(tx, uid, name)
		return err
	})
	if err == nil {
		s.remove(ctx, drop)
	}
	return err
}

// sweepContent deletes the content of earlier starts that no record names. The
// keys are listed before the records are read: what is not named then never will be.
func (s *Service) sweepContent(ctx context.Context) error {
	keys, err := s.content.List(ctx, contentPrefix)
	if err != nil {
		return err
	}
	orphans := map[string]bool{}
	for _, key := range keys {
		if !s.isOurs(key) {
			orphans[key] = true
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	if err := s.records.View(ctx, func(r store.Reader) error { return keepNamed(r, orphans) }); err != nil {
		return err
	}
	for key := range orphans {
		if err := s.content.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// keepNamed takes out of orphans the keys that a record names.
func keepNamed(r store.Reader, orphans map[string]bool) error {
	for after := ""; ; {
		batch, err := blobs.List(r, "", after, sweepBatch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			after = e.Key
			for _, seg := range e.Value.Segments {
				delete(orphans, seg.Key)
			}
		}
		if len(batch) < sweepBatch {
			break
		}
	}
	for after := ""; ; {
		batch, err := blocks.List(r, "", after, sweepBatch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			after = e.Key
			delete(orphans, e.Value.Key)
		}
		if len(batch) < sweepBatch {
			return nil
		}
	}
}
