package page

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lapis/armid"
	"lapis/endpoint"
	"lapis/resource"
)

// trouble knows the endpoints that have failed or are changing, or have a
// deployment that has or is. The records are read when somebody looks and one
// has changed, and with thousands of them not at each look.
type trouble struct {
	tree  *resource.Tree
	now   func() time.Time
	stop  []func()
	dirty atomic.Bool

	mu   sync.Mutex
	next time.Time // of the next reading
	last found
}

// found is what a reading found.
type found struct {
	endpoints, deployments int
	failed, changing       int // deployments
	names                  map[string]troubled
}

// troubled is an endpoint by its key, the name in lower case.
type troubled struct{ failed, changing bool }

const (
	// readAtOnce records are one reading of the store; with no more than that
	// in all, they are read at each look that finds a change.
	readAtOnce = 500
	// spareReading is how many times longer than reading more of them took it
	// is not done again.
	spareReading = 20
)

func watchTrouble(tree *resource.Tree, now func() time.Time) *trouble {
	t := &trouble{tree: tree, now: now}
	t.dirty.Store(true)
	for _, name := range []string{endpoint.TypeName, endpoint.DeploymentType} {
		t.stop = append(t.stop, tree.Watch(name, func() { t.dirty.Store(true) }))
	}
	return t
}

func (t *trouble) close() {
	for _, stop := range t.stop {
		stop()
	}
}

// look returns what there is, which callers only read.
func (t *trouble) look(ctx context.Context) (found, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	began := t.now()
	if began.Before(t.next) || !t.dirty.Swap(false) {
		return t.last, nil
	}
	f := found{names: map[string]troubled{}}
	err := t.each(ctx, endpoint.TypeName, func(r resource.Resource) {
		f.endpoints++
		f.note(r.ID.Name(), r.State)
	})
	if err == nil {
		err = t.each(ctx, endpoint.DeploymentType, func(r resource.Resource) {
			f.deployments++
			if failed, changing := f.note(r.ID.Parent().Name(), r.State); failed {
				f.failed++
			} else if changing {
				f.changing++
			}
		})
	}
	if err != nil {
		t.dirty.Store(true)
		return t.last, err
	}
	ended := t.now()
	t.last, t.next = f, ended
	if f.endpoints+f.deployments > readAtOnce {
		t.next = ended.Add(spareReading * ended.Sub(began))
	}
	return f, nil
}

// note keeps an endpoint's name if a state of it is not Succeeded.
func (f *found) note(name string, state resource.State) (failed, changing bool) {
	failed, changing = state == resource.Failed, !state.Done()
	if failed || changing {
		one := f.names[strings.ToLower(name)]
		f.names[strings.ToLower(name)] = troubled{one.failed || failed, one.changing || changing}
	}
	return failed, changing
}

func (t *trouble) each(ctx context.Context, typeName string, see func(resource.Resource)) error {
	for after := ""; ; {
		list, err := t.tree.ListPage(ctx, typeName, armid.Root, after, readAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, r := range list {
			see(r)
		}
		after = list[len(list)-1].ID.Key()
	}
}
