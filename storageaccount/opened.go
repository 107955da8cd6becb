package storageaccount

import (
	"strings"
	"sync"
)

// opened are accounts as their records were at the last change of any account:
// each request for a blob needs one, and reading the record and unsealing its
// keys is a third of what a small one costs. Accounts change seldom, so that
// every change makes all of them be read again.
type opened struct {
	mu       sync.RWMutex
	changes  uint64 // how often forget was called
	accounts map[string]Account
}

// get returns an account if it is known, and else what keep needs, which must
// be asked for before the record is read.
func (o *opened) get(name string) (a Account, changes uint64, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	a, ok = o.accounts[strings.ToLower(name)]
	return a, o.changes, ok
}

// keep notes an account, unless there was a change since get: the record may
// be from before it.
func (o *opened) keep(name string, a Account, changes uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changes != changes {
		return
	}
	if o.accounts == nil {
		o.accounts = map[string]Account{}
	}
	o.accounts[strings.ToLower(name)] = a
}

// forget is called at each change, before the call that made it returns.
func (o *opened) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changes++
	o.accounts = nil
}
