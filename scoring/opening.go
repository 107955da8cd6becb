package scoring

import (
	"context"
	"sync"
	"time"

	"lapis/fault"
)

// openTime bounds how long a request waits for its endpoint to be in the table
// while the platform starts.
const openTime = 10 * time.Second

// Opening says that the table is being filled, as after a start: until the
// function that it returns is called, nobody is told that an endpoint does not
// exist. Requests for one that is not in the table yet wait, and are asked to
// come again if that takes long, or if the table was not completed.
func (f *Front) Opening() (opened func(complete bool)) {
	done := make(chan struct{})
	f.opening.Store(&done)
	var once sync.Once
	return func(complete bool) {
		once.Do(func() {
			if complete {
				f.opening.CompareAndSwap(&done, nil)
			}
			close(done)
		})
	}
}

// lookup finds the endpoint of a host.
func (f *Front) lookup(ctx context.Context, host string) (*target, error) {
	opening := f.opening.Load() // before the look: what is there when it ends, the look sees
	if endpoint := f.find(host); endpoint != nil {
		return endpoint, nil
	}
	if opening != nil {
		timer := time.NewTimer(openTime)
		defer timer.Stop()
		select {
		case <-*opening:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		incomplete := f.opening.Load() == opening
		if endpoint := f.find(host); endpoint != nil {
			return endpoint, nil
		}
		if incomplete {
			return nil, fault.E(fault.Unavailable, "ServerBusy", "The platform is starting, and has not come to %s yet. Try again in a second.", hostKey(host))
		}
	}
	return nil, fault.E(fault.NotFound, "EndpointNotFound", "There is no online endpoint at %s.", hostKey(host))
}
