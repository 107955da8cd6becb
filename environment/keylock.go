package environment

import (
	"context"
	"sync"
)

// keyLock is a lock per key that a context can give up waiting for.
type keyLock struct {
	mu  sync.Mutex
	all map[string]*keyEntry
}

type keyEntry struct {
	held  chan struct{} // holds one token while locked
	users int
}

// lock takes the key and returns what gives it back.
func (k *keyLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	e := k.all[key]
	if e == nil {
		e = &keyEntry{held: make(chan struct{}, 1)}
		if k.all == nil {
			k.all = map[string]*keyEntry{}
		}
		k.all[key] = e
	}
	e.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(k.all, key)
		}
	}
	select {
	case e.held <- struct{}{}:
		return func() { <-e.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
