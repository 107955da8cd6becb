package scoring

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lapis/fault"
)

// waited asks a pool, and returns how long that took and the code of the fault.
func waited(ctx context.Context, p *Pool) (time.Duration, string) {
	began := time.Now()
	_, err := p.Score(ctx, request("x"))
	switch {
	case err == nil:
		return time.Since(began), ""
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return time.Since(began), "gone"
	}
	return time.Since(began), fault.From(err).Code
}

func TestWaitsEndWhenTheyShould(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		start, run    time.Duration // of the instance
		queue         time.Duration // QueueWait
		ahead         int           // requests before it
		leaves        time.Duration // of the client
		least, beyond time.Duration // that it takes: from, and less than
		want          string
	}{
		"nothing is ready":                         {start: 60 * second, least: 2 * second, beyond: 2*second + 1, want: codeNotReady},
		"ready in time":                            {start: second, run: second, least: 2 * second, beyond: 2*second + 1},
		"answered after a while":                   {run: 4 * second, least: 4 * second, beyond: 4*second + 1},
		"busy for longer than it waits":            {run: 4 * second, ahead: 1, queue: 3 * second, least: 3 * second, beyond: 3*second + 1, want: codeTimeout},
		"not ready comes after a short queue wait": {start: 60 * second, queue: second, least: second, beyond: second + 1, want: codeTimeout},
		"queue and run together take too long":     {run: 3 * second, ahead: 1, least: 5 * second, beyond: 5*second + 20*time.Millisecond, want: codeTimeout},
		"its time passes in the queue":             {run: 4 * second, ahead: 2, least: 5 * second, beyond: 5*second + 1, want: codeTimeout},
		"the client leaves the queue":              {run: 4 * second, ahead: 1, leaves: second, least: second, beyond: second + 1, want: "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := timedPool(&timed{start: c.start, run: c.run}, nil, Scaling{}, func(cfg *PoolConfig) {
					cfg.RequestTimeout, cfg.QueueWait = 5*second, c.queue
				})
				starting := make(chan error, 1)
				go func() { starting <- p.Start(context.Background()) }()
				synctest.Wait()
				var others sync.WaitGroup
				for range c.ahead {
					others.Go(func() { waited(t.Context(), p) })
					synctest.Wait()
				}
				ctx := t.Context()
				if c.leaves > 0 {
					var leave context.CancelFunc
					ctx, leave = context.WithCancel(ctx)
					time.AfterFunc(c.leaves, leave)
				}
				took, code := waited(ctx, p)
				if took < c.least || took >= c.beyond || code != c.want {
					t.Errorf("%q after %v", code, took)
				}
				others.Wait()
				p.kill()
				_ = p.Close(t.Context())
				<-starting
				time.Sleep(c.start) // until nothing of its instance is left
			})
		})
	}
}

func TestEndOfThePoolEndsAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := timedPool(&timed{start: time.Hour}, nil, Scaling{})
		go func() { _ = p.Start(context.Background()) }()
		time.AfterFunc(time.Second, p.kill)
		if took, code := waited(t.Context(), p); took != time.Second || code != codeNotReady {
			t.Errorf("%q after %v", code, took)
		}
		if took, code := waited(t.Context(), p); took != 0 || code != codeNotReady {
			t.Errorf("afterwards %q after %v", code, took)
		}
		_ = p.Close(t.Context())
		time.Sleep(time.Hour) // until nothing of its instance is left
	})
}

func TestOneTimerServesTheWholeQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := fastSeats(1)
		s := taken(t, g, readyBytes)
		began := time.Now()
		wait := func(size int, over time.Duration, first bool) *ticket {
			_, place := g.take(size, began.Add(over), first)
			return place
		}
		late, later := wait(1, 3*time.Second, false), wait(1, 4*time.Second, false)
		soon := wait(readyBytes, time.Second, true) // one that was given back began earlier
		for _, c := range []struct {
			place *ticket
			after time.Duration
		}{{soon, time.Second}, {late, 3 * time.Second}} {
			if <-c.place.arrived != nil || time.Since(began) != c.after || !errors.Is(c.place.err, context.DeadlineExceeded) {
				t.Errorf("%v after %v, not %v", c.place.err, time.Since(began), c.after)
			}
		}
		g.release(s, readyBytes, time.Microsecond)
		if arrived(later) != s {
			t.Error("the last one has no seat")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !g.alarm.IsZero() {
			t.Error("the timer goes on without a queue")
		}
	})
}

func TestWhoseWaitHasEndedLetsTheNextOnePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := fastSeats(1)
		s := taken(t, g, 1)
		_, large := g.take(readyBytes, time.Now().Add(time.Millisecond), false)
		_, small := g.take(1, time.Now().Add(time.Hour), false)
		<-large.arrived
		synctest.Wait()
		if arrived(small) != s {
			t.Error("the small one still waits behind one that has gone")
		}
	})
}

func TestRequestsShareTheirEndAndNeverLoseTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits{after: 5 * time.Second}
		channels := map[<-chan struct{}]bool{}
		for range 100 {
			began := time.Now()
			expired := l.begin(began)
			channels[expired] = true
			go func() {
				<-expired
				if took := time.Since(began); took < l.after || took > l.after+l.moment() {
					t.Errorf("over after %v", took)
				}
			}()
			time.Sleep(time.Millisecond)
		}
		if len(channels) > 11 {
			t.Errorf("100 ms have %d channels", len(channels))
		}
		time.Sleep(l.after + l.moment())
	})
}
