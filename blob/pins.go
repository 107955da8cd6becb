package blob

import "sync"

// pins keeps the content of blobs that are being read. A blob of many segments
// is opened one after the other; without a pin the later ones could be gone
// when their turn comes.
type pins struct {
	mu     sync.Mutex
	held   map[string]int  // readers by content key
	doomed map[string]bool // keys that no record names, until they are deleted
}

// hold pins all keys, or none of them if one is already to be deleted: the
// caller's record is then out of date.
func (p *pins) hold(keys []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		if p.doomed[k] {
			return false
		}
	}
	if p.held == nil {
		p.held = map[string]int{}
	}
	for _, k := range keys {
		p.held[k]++
	}
	return true
}

// release ends a hold and returns the keys to delete now.
func (p *pins) release(keys []string) (free []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		if p.held[k]--; p.held[k] > 0 {
			continue
		}
		delete(p.held, k)
		if p.doomed[k] {
			free = append(free, k)
		}
	}
	return free
}

// doom marks keys as to be deleted and returns those that nobody reads.
func (p *pins) doom(keys []string) (free []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doomed == nil {
		p.doomed = map[string]bool{}
	}
	for _, k := range keys {
		p.doomed[k] = true
		if p.held[k] == 0 {
			free = append(free, k)
		}
	}
	return free
}

// forget drops the marks of keys that are deleted.
func (p *pins) forget(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		delete(p.doomed, k)
	}
}
