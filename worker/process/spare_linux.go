package process

import (
	"time"

	"lapis/worker"
)

// spareAfter is the time from a start to the fork for the next one, so that
// they do not compete. A start that comes meanwhile forks for itself.
const spareAfter = 100 * time.Millisecond

// spare is a process that was forked ahead. It has joined its groups, which
// takes longer than anything else about a start, and waits in its cradle to be
// told what it is. Until then it has no identity, no secret and no code of the
// user's, and ends when its zygote does or when we hang up.
type spare struct {
	cradle  *cradle
	process *forkedProcess
	taken   chan struct{} // closed when it has become an instance
	used    bool          // likewise; under the zygote's mu, as is lost
	lost    bool
}

// reserve is what a zygote has ready for the next start: one process at most.
type reserve struct {
	spare  *spare
	limits worker.Limits // of the last instance, which the next one may have too
	making bool          // or about to
}

// expect has a process forked ahead, soon, for an instance with limits like these.
func (z *zygote) expect(limits worker.Limits) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.ahead.limits = limits
	if z.ahead.making || z.retired || z.ahead.spare != nil {
		return
	}
	z.ahead.making = true
	time.AfterFunc(spareAfter, func() { z.runtime.zygotes.later(z.keepSpare) })
}

// keepSpare forks ahead, and sees to what is left of the process if it ends unused.
func (z *zygote) keepSpare() {
	r := z.runtime
	z.mu.Lock()
	limits := z.ahead.limits
	z.mu.Unlock()
	s, err := z.newSpare(limits)
	z.mu.Lock()
	z.ahead.making = false
	if err != nil {
		z.mu.Unlock()
		r.cfg.Logger.Debug("no process was forked ahead", "pid", z.pid(), "error", err)
		return
	}
	z.ahead.spare = s
	if z.retired {
		z.dropSpare()
	}
	z.rest()
	z.mu.Unlock()
	select {
	case <-s.taken:
		return
	case <-s.process.over:
	}
	z.mu.Lock()
	if z.ahead.spare == s {
		z.ahead.spare = nil
	}
	s.lost = !s.used
	used := s.used
	z.mu.Unlock()
	if !used {
		s.process.reap()
		killMarked(s.cradle.mark) // for its zygote may have gone, and left it to the kernel to end it
		r.clear(s.cradle)
	}
}

func (z *zygote) newSpare(limits worker.Limits) (*spare, error) {
	c, err := z.runtime.newCradle("spare", limits)
	if err != nil {
		return nil, err
	}
	forked, err := z.fork(c)
	c.handOver()
	if err != nil {
		z.runtime.clear(c)
		return nil, err
	}
	return &spare{cradle: c, process: forked, taken: make(chan struct{})}, nil
}

// takeSpare makes an instance of the process that was forked ahead. It gives
// none if there is none, or none that will do.
func (z *zygote) takeSpare(spec worker.Spec) (*cradle, *forkedProcess) {
	defer z.expect(spec.Limits)
	z.mu.Lock()
	s := z.ahead.spare
	if s == nil || z.retired {
		z.mu.Unlock()
		return nil, nil
	}
	z.ahead.spare = nil
	z.mu.Unlock()
	if !z.runtime.groups.adopt(s.cradle.group, spec.Limits) || (birth{spec, s.cradle}).tell() != nil {
		s.cradle.hangUp() // it ends, and keepSpare sees to the rest
		return nil, nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if s.lost {
		return nil, nil
	}
	s.used = true
	close(s.taken)
	return s.cradle, s.process
}

// dropSpare has the process that was forked ahead end. The caller holds mu.
func (z *zygote) dropSpare() {
	if z.ahead.spare != nil {
		z.ahead.spare.cradle.hangUp()
		z.ahead.spare = nil
	}
}

// alone reports whether the zygote has no instance. The caller holds mu.
func (z *zygote) alone() bool {
	if z.ahead.spare == nil {
		return len(z.children) == 0
	}
	_, there := z.children[z.ahead.spare.process.id]
	return len(z.children) == 0 || len(z.children) == 1 && there
}
