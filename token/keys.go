package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lapis/store"
)

// Keys are the tenant's signing keys: one that signs, one published and ready
// to follow it, and those whose tokens have not all expired.
type Keys struct {
	cfg  Config
	stop func()
	wake chan struct{} // the keys have changed: there may be something to do

	refreshing sync.Mutex
	current    atomic.Pointer[keySet] // nil: the last refresh failed; the next reader tries again
}

const (
	keyTable = "token.keys"

	// publishFor is how long the next key is published before it signs by
	// itself: consumers are told to refresh their copy of the keys daily.
	publishFor = 24 * time.Hour
	// keepFor is how long a key verifies after its last signature. The hour
	// covers skew and a signature that was under way during the rotation.
	keepFor = maxLifetime + time.Hour
	// lookEvery is the pause between two looks at what is due, and retryAfter
	// that after one that failed.
	lookEvery  = time.Hour
	retryAfter = time.Minute
)

func keyRecords() store.Table[keyRecord] { return store.Table[keyRecord]{Name: keyTable} }

func openKeys(ctx context.Context, cfg Config) (*Keys, error) {
	k := &Keys{cfg: cfg, wake: make(chan struct{}, 1)}
	k.stop = cfg.Store.Watch(keyTable, k.changed)
	_, err := k.refresh(ctx)
	if errors.Is(err, errNoKey) {
		err = k.change(ctx, func(recs []keyRecord, _ time.Time) bool { return !has(recs, current) }, first)
	}
	if err == nil {
		_, err = k.set()
	}
	if err != nil {
		k.close()
		return nil, fmt.Errorf("opening the signing keys: %w", err)
	}
	return k, nil
}

func (k *Keys) close() { k.stop() }

func (k *Keys) changed() {
	_, _ = k.refresh(context.Background()) // if it fails, the next reader tries again
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// set returns the newest keys.
func (k *Keys) set() (*keySet, error) {
	if set := k.current.Load(); set != nil {
		return set, nil
	}
	return k.refresh(context.Background())
}

func (k *Keys) refresh(ctx context.Context) (*keySet, error) {
	k.refreshing.Lock()
	defer k.refreshing.Unlock()
	old := k.current.Load()
	set, err := k.read(ctx, old)
	k.current.Store(set)
	return set, err
}

func (k *Keys) read(ctx context.Context, old *keySet) (*keySet, error) {
	var records []keyRecord
	err := k.cfg.Store.View(ctx, func(r store.Reader) error {
		var err error
		records, err = list(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newKeySet(records, k.cfg.Sealer, old)
}

func list(r store.Reader) ([]keyRecord, error) {
	entries, err := keyRecords().List(r, "", "", 0)
	if err != nil {
		return nil, err
	}
	records := make([]keyRecord, 0, len(entries))
	for _, e := range entries {
		records = append(records, e.Value)
	}
	return records, nil
}

// Rotate makes the next key the current one, the current one a previous one,
// and a new key the next.
func (k *Keys) Rotate(ctx context.Context) error {
	return k.change(ctx, func([]keyRecord, time.Time) bool { return true }, rotate)
}

// Revoke removes every key and makes a new one the current one.
func (k *Keys) Revoke(ctx context.Context) error {
	now := k.cfg.Now()
	fresh, err := newKey(k.cfg.Sealer, now)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	return k.cfg.Store.Update(ctx, func(tx store.Tx) error {
		old, err := list(tx)
		if err != nil {
			return err
		}
		for _, rec := range old {
			if err := keyRecords().Delete(tx, rec.KID, store.Any); err != nil {
				return err
			}
		}
		fresh.Role, fresh.SignsFrom = current, now.UTC()
		_, err = keyRecords().Put(tx, fresh.KID, fresh, store.Absent)
		return err
	})
}

// maintain keeps a next key ready, rotates when the day has come and removes
// what is no longer needed, until ctx ends.
func (k *Keys) maintain(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-k.wake:
		}
		pause := lookEvery
		if err := k.upkeep(ctx); err != nil && ctx.Err() == nil {
			k.cfg.Log.Error("looking after the signing keys", "err", err)
			pause = retryAfter
		}
		timer.Reset(pause)
	}
}

func (k *Keys) upkeep(ctx context.Context) error {
	if err := k.change(ctx, missingNext, addNext); err != nil {
		return err
	}
	if err := k.change(ctx, k.due, rotate); err != nil {
		return err
	}
	return k.prune(ctx)
}

func missingNext(recs []keyRecord, _ time.Time) bool { return !has(recs, next) }

// due reports whether the current key has signed long enough and the next one
// has been published long enough.
func (k *Keys) due(recs []keyRecord, now time.Time) bool {
	ready := false
	for _, r := range recs {
		switch {
		case r.Role == current && now.Before(r.SignsFrom.Add(k.cfg.RotateEvery)):
			return false
		case r.Role == next:
			ready = !now.Before(r.CreatedAt.Add(publishFor))
		}
	}
	return ready
}

func has(recs []keyRecord, role role) bool {
	for _, r := range recs {
		if r.Role == role {
			return true
		}
	}
	return false
}

// change makes a new key and gives it to step, if wanted says so: once before
// the costly making, and again inside the transaction that stores it.
func (k *Keys) change(ctx context.Context, wanted func([]keyRecord, time.Time) bool, step step) error {
	var before []keyRecord
	err := k.cfg.Store.View(ctx, func(r store.Reader) error {
		var err error
		before, err = list(r)
		return err
	})
	now := k.cfg.Now()
	if err != nil || !wanted(before, now) {
		return err
	}
	fresh, err := newKey(k.cfg.Sealer, now)
	if err != nil {
		return fmt.Errorf("making a signing key: %w", err)
	}
	return k.cfg.Store.Update(ctx, func(tx store.Tx) error {
		recs, err := list(tx)
		if err != nil || !wanted(recs, now) {
			return err
		}
		for _, rec := range step(recs, fresh, now) {
			if _, err := keyRecords().Put(tx, rec.KID, rec, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}

// step decides which records to store, given those that are and a new key. It is pure.
type step func(recs []keyRecord, fresh keyRecord, now time.Time) []keyRecord

func first(_ []keyRecord, fresh keyRecord, now time.Time) []keyRecord {
	fresh.Role, fresh.SignsFrom = current, now.UTC()
	return []keyRecord{fresh}
}

func addNext(_ []keyRecord, fresh keyRecord, _ time.Time) []keyRecord {
	fresh.Role = next
	return []keyRecord{fresh}
}

// rotate moves every key on by one role. Where there is no next key the new
// one signs at once, and the upkeep makes another.
func rotate(recs []keyRecord, fresh keyRecord, now time.Time) []keyRecord {
	var changed []keyRecord
	fresh.Role = next
	if !has(recs, next) {
		fresh.Role, fresh.SignsFrom = current, now.UTC()
	}
	for _, r := range recs {
		switch r.Role {
		case current:
			r.Role, r.Sealed, r.KeepUntil = previous, nil, now.Add(keepFor).UTC()
		case next:
			r.Role, r.SignsFrom = current, now.UTC()
		default:
			continue
		}
		changed = append(changed, r)
	}
	return append(changed, fresh)
}

// prune removes previous keys whose tokens have all expired.
func (k *Keys) prune(ctx context.Context) error {
	set, err := k.set()
	if err != nil {
		return err
	}
	now := k.cfg.Now()
	var over []string
	for _, r := range set.records {
		if r.Role == previous && now.After(r.KeepUntil) {
			over = append(over, r.KID)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return k.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for _, kid := range over {
			if err := keyRecords().Delete(tx, kid, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}
