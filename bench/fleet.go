package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lapis/bench/lineage"
)

// ridge deploys the article's model, once, and returns what its deployment is
// made of, for others of the same.
func (b *bench) ridge(ctx context.Context) (owner, object, error) {
	o, err := b.platform.asOwner()
	if err != nil {
		return o, nil, err
	}
	address := o.workspace() + "/onlineEndpoints/ridge/deployments/blue"
	if !b.ridged {
		if err := copyFiles(filepath.Join(b.dir, "trivial")); err != nil {
			return o, nil, err
		}
		dir := filepath.Join(b.dir, "trivial", "ridge")
		if _, _, err := o.az(ctx, dir, "ml", "online-endpoint", "create", "-f", "endpoint.yml"); err != nil {
			return o, nil, err
		}
		if _, _, err := o.az(ctx, dir, "ml", "online-deployment", "create", "-f", "deployment.yml", "--all-traffic"); err != nil {
			return o, nil, err
		}
		b.ridged = true
	}
	var deployment struct{ Properties object }
	if _, err := o.ask(ctx, http.MethodGet, address, nil, &deployment); err != nil {
		return o, nil, err
	}
	kept := object{}
	for _, name := range []string{"endpointComputeType", "codeConfiguration", "environmentId", "instanceType", "requestSettings"} {
		kept[name] = deployment.Properties[name]
	}
	return o, kept, nil
}

func (o owner) deploymentBody(properties object, more object) object {
	all := object{}
	for _, part := range []object{properties, more} {
		for name, value := range part {
			all[name] = value
		}
	}
	return object{"location": o.info.Location, "sku": object{"name": "Default", "capacity": 1}, "properties": all}
}

func (o owner) endpointBody(deployment string) object {
	properties := object{"authMode": "Key"}
	if deployment != "" {
		properties["traffic"] = object{deployment: 100}
	}
	return object{"location": o.info.Location, "identity": object{"type": "SystemAssigned"}, "properties": properties}
}

// fleet makes as many endpoints of the article's model as are asked for: some
// that are scaled to zero, then some with an instance each.
func (b *bench) fleet(ctx context.Context) error {
	o, model, err := b.ridge(ctx)
	if err != nil {
		return err
	}
	if b.defined > 0 {
		if o, err = b.asleep(ctx, o, model); err != nil {
			return err
		}
	}
	if b.live == 0 {
		return nil
	}
	empty, err := footprint(o.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	ready, err := b.enroll(ctx, o, "live", b.live, o.deploymentBody(model, nil), true)
	if err != nil {
		return err
	}
	took := time.Since(began)
	full, err := footprint(o.pid)
	if err != nil {
		return err
	}
	n, all := float64(b.live), full.sum()-empty.sum()
	last := ready[len(ready)-max(1, len(ready)/20):] // of the last twentieth
	b.report(figure{name: fmt.Sprintf("%d live endpoints of the model, memory", b.live), unit: mb, target: 8 * n, value: samples{all},
		note: fmt.Sprintf("%.2f MB each: instances %.2f, their page tables %.2f, the platform %.2f (Pss and VmPTE, without what the kernel keeps of sockets and cgroups); target 8 MB each; made in %.0f s",
			all/n, (full.workers-empty.workers)/n, (full.tables-empty.tables)/n, (full.platform-empty.platform)/n, took.Seconds())})
	b.report(figure{name: "create of an endpoint to its first answer, the last ones", unit: sec, target: 3, value: last,
		note: fmt.Sprintf("the first of them %s s", number(ready[:min(len(ready), 10)].median()))})
	return nil
}

// asleep makes endpoints that go to zero, starts the platform again, and looks
// at its memory: what it needs for them, without what making them has left.
func (b *bench) asleep(ctx context.Context, o owner, model object) (owner, error) {
	others, err := lineage.Descendants(o.pid)
	if err != nil {
		return o, err
	}
	began := time.Now()
	if _, err := b.enroll(ctx, o, "idle", b.defined, o.deploymentBody(model, sleepy()), false); err != nil {
		return o, err
	}
	took := time.Since(began)
	if err := o.awaitSleep(ctx, len(others)); err != nil {
		return o, err
	}
	if err := b.platform.stop(); err != nil {
		return o, err
	}
	p, again, err := start(ctx, b.program, o.dir, filepath.Join(b.dir, "up.log"))
	if err != nil {
		return o, err
	}
	b.platform = p
	if o, err = p.asOwner(); err != nil {
		return o, err
	}
	score, err := o.scorer(ctx, "ridge")
	if err != nil {
		return o, err
	}
	for began := time.Now(); score() != nil; time.Sleep(10 * time.Millisecond) { // until the one with an instance is back
		if time.Since(began) > readyTime {
			return o, score()
		}
	}
	first, err := resident(o.pid)
	if err != nil {
		return o, err
	}
	if err := atRest(ctx, o.pid); err != nil {
		return o, err
	}
	rss, err := resident(o.pid)
	b.report(figure{name: fmt.Sprintf("%d endpoints scaled to zero, platform's memory", b.defined), unit: mb, target: 150, value: samples{rss},
		note: fmt.Sprintf("target of 10,000; at rest after a start, which took %.2f s; %.0f MB when the first prediction was answered; made in %.0f s", again.Seconds(), first, took.Seconds())})
	return o, err
}

// atRest waits until a process has done next to nothing for two seconds: after
// a start it still looks for bytes that no record names.
func atRest(ctx context.Context, pid int) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last, quiet := -1, 0
	for quiet < 4 {
		now, err := lineage.Ticks(pid)
		if err != nil {
			return err
		}
		if quiet++; last < 0 || now > last+1 {
			quiet = 0
		}
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sleepy is what a deployment says that goes to zero a second after its last request.
func sleepy() object {
	return object{
		"scaleSettings": object{"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 1},
		"properties":    object{"lapis.idle": "PT1S"},
	}
}

// enroll makes endpoints NAME-0, NAME-1, … of one deployment, a few at a time,
// and gives the seconds from each create to its first answer.
func (b *bench) enroll(ctx context.Context, o owner, name string, n int, deployment object, ask bool) (samples, error) {
	took := make(samples, n)
	var next atomic.Int64
	var failed error
	var fail sync.Once
	var all sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				d, err := once(func() error { return o.create(ctx, name+"-"+strconv.Itoa(i), deployment, ask) })
				if took[i] = d.Seconds(); err != nil {
					fail.Do(func() { failed = fmt.Errorf("endpoint %d: %w", i, err) })
					next.Store(int64(n))
				}
			}
		})
	}
	all.Wait()
	return took, failed
}

// create makes an endpoint with a deployment and all traffic on it.
func (o owner) create(ctx context.Context, endpoint string, deployment object, ask bool) error {
	address := o.workspace() + "/onlineEndpoints/" + endpoint
	if err := o.change(ctx, http.MethodPut, address, o.endpointBody("")); err != nil {
		return err
	}
	if err := o.change(ctx, http.MethodPut, address+"/deployments/blue", deployment); err != nil {
		return err
	}
	if err := o.change(ctx, http.MethodPut, address, o.endpointBody("blue")); err != nil {
		return err
	}
	if !ask {
		return nil
	}
	score, err := o.scorer(ctx, endpoint)
	if err != nil {
		return err
	}
	return score()
}

// awaitSleep waits until the platform has no more than so many workers.
func (o owner) awaitSleep(ctx context.Context, live int) error {
	for began := time.Now(); ; {
		pids, err := lineage.Descendants(o.pid)
		if err != nil || len(pids) <= live+2 { // what the others are forked from, and one that it has forked ahead
			return err
		}
		if time.Since(began) > 5*time.Minute {
			return fmt.Errorf("%d workers run, where %d are to be", len(pids), live)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// holding is what a platform holds, in MB.
type holding struct {
	platform float64 // its own process
	workers  float64 // those that come from it
	tables   float64 // the page tables of all
}

func (m holding) sum() float64 { return m.platform + m.workers + m.tables }

// footprint measures the memory of a process and its descendants. What they
// share among them counts once, by their proportional shares (Pss), and what
// others do in the machine does not count at all, so that small fleets tell of
// large ones. Sockets, cgroups and the like are the kernel's and not in it.
func footprint(pid int) (holding, error) {
	var m holding
	below, err := lineage.Descendants(pid)
	if err != nil {
		return m, err
	}
	own, err := rollup(pid)
	if err != nil {
		return m, err
	}
	m.platform = own["Pss"] / 1e3
	for _, pid := range append(below, pid) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has ended
		}
		m.tables += kilobytes(string(status))["VmPTE"] / 1e3
	}
	for _, pid := range below {
		if now, err := rollup(pid); err == nil {
			m.workers += now["Pss"] / 1e3
		}
	}
	return m, nil
}

// resident is the memory of one process, in MB.
func resident(pid int) (float64, error) {
	now, err := rollup(pid)
	return now["Rss"] / 1e3, err
}
