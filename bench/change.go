package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// changes measures what a deployment in use goes through: a first prediction
// from zero, new code, the death of its worker, and changes of traffic.
func (b *bench) changes(ctx context.Context) error {
	o, model, err := b.ridge(ctx)
	if err != nil {
		return err
	}
	if err := b.fromZero(ctx, o, model); err != nil {
		return fmt.Errorf("from zero: %w", err)
	}
	if err := b.redeploy(ctx, o); err != nil {
		return fmt.Errorf("new code: %w", err)
	}
	if err := b.killed(ctx, o, model); err != nil {
		return fmt.Errorf("worker killed: %w", err)
	}
	if err := b.flips(ctx, o, model); err != nil {
		return fmt.Errorf("traffic: %w", err)
	}
	return nil
}

// fromZero times requests that find no instance.
func (b *bench) fromZero(ctx context.Context, o owner, model object) error {
	const n = 20
	folder, err := o.enrolled(ctx, "zero", o.deploymentBody(model, sleepy()))
	if err != nil {
		return err
	}
	score, err := o.scorer(ctx, "zero")
	if err != nil {
		return err
	}
	var first, warm samples
	for range n {
		if err := awaitNone(ctx, folder); err != nil {
			return err
		}
		took, err := once(score)
		if err != nil {
			return err
		}
		first = append(first, millis(took))
		if took, err = once(score); err != nil {
			return err
		}
		warm = append(warm, millis(took))
	}
	b.report(figure{name: "first prediction from zero, p50", unit: ms, target: 25, value: first, floor: warm, what: "the next prediction"})
	b.report(figure{name: "first prediction from zero, p95", unit: ms, target: 60, value: samples{first.sorted()[n*95/100]}, note: fmt.Sprintf("of %d", n)})
	return nil
}

// awaitNone waits until no process works in a folder.
func awaitNone(ctx context.Context, folder string) error {
	for began := time.Now(); len(workersIn(folder)) > 0; {
		if time.Since(began) > time.Minute {
			return fmt.Errorf("an instance still works in %s", folder)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// enrolled creates an endpoint and says in which folder its instances work.
func (o owner) enrolled(ctx context.Context, endpoint string, deployment object) (string, error) {
	before, err := filepath.Glob(filepath.Join(o.dir, "deployments", "*"))
	if err != nil {
		return "", err
	}
	if err := o.create(ctx, endpoint, deployment, true); err != nil {
		return "", err
	}
	after, err := filepath.Glob(filepath.Join(o.dir, "deployments", "*"))
	if err != nil {
		return "", err
	}
	folders := slices.DeleteFunc(after, func(folder string) bool { return slices.Contains(before, folder) })
	if len(folders) != 1 || len(workersIn(folders[0])) != 1 {
		return "", fmt.Errorf("endpoint %s has the folders %v, and not one process in one", endpoint, folders)
	}
	return folders[0], nil
}

// workersIn finds the processes that work in a folder.
func workersIn(folder string) []int {
	var found []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, folder+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			found = append(found, pid)
		}
	}
	return found
}

// redeploy times `az ml online-deployment update` with changed code, by the
// command line, from the command to a request that the new code answers.
func (b *bench) redeploy(ctx context.Context, o owner) error {
	dir := filepath.Join(b.dir, "trivial", "ridge")
	script := filepath.Join(dir, "code", "score.py")
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	score, err := o.scorer(ctx, "ridge")
	if err != nil {
		return err
	}
	var took samples
	for i := range 5 {
		if err := os.WriteFile(script, fmt.Appendf(text, "\n# change %d\n", i), 0o600); err != nil {
			return err
		}
		d, err := once(func() error {
			_, _, err := o.az(ctx, dir, "ml", "online-deployment", "update", "-f", "deployment.yml")
			if err == nil {
				err = score()
			}
			return err
		})
		if err != nil {
			return err
		}
		took = append(took, d.Seconds())
	}
	b.report(figure{name: "redeploy of changed code", unit: sec, target: 2, value: took, note: "az ml online-deployment update, to its end and an answer"})
	return nil
}

// killed kills the only worker of an endpoint between two requests, and times
// from there to the next right answer; a request that the dead worker had is
// asked again.
func (b *bench) killed(ctx context.Context, o owner, model object) error {
	folder, err := o.enrolled(ctx, "mortal", o.deploymentBody(model, nil))
	if err != nil {
		return err
	}
	score, err := o.scorer(ctx, "mortal")
	if err != nil {
		return err
	}
	var took samples
	for range 10 {
		pids := workersIn(folder)
		if len(pids) != 1 {
			return fmt.Errorf("endpoint mortal has the processes %v", pids)
		}
		began := time.Now()
		if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
			return err
		}
		for score() != nil {
			if time.Since(began) > time.Minute {
				return fmt.Errorf("no answer since its worker was killed: %w", score())
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, millis(time.Since(began)))
		select {
		case <-time.After(11 * time.Second): // a worker that has lived so long is started again at once
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.report(figure{name: "worker killed, next success", unit: ms, target: 50, value: took})
	return nil
}

// flips changes the traffic between two deployments a hundred times while
// clients ask, and counts what fails.
func (b *bench) flips(ctx context.Context, o owner, model object) error {
	const n = 100
	if err := o.create(ctx, "flip", o.deploymentBody(model, nil), true); err != nil {
		return err
	}
	address := o.workspace() + "/onlineEndpoints/flip"
	if err := o.change(ctx, http.MethodPut, address+"/deployments/green", o.deploymentBody(model, nil)); err != nil {
		return err
	}
	score, err := o.scorer(ctx, "flip")
	if err != nil {
		return err
	}
	var asked, failed atomic.Int64
	var cause atomic.Value
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := score(); err != nil {
					failed.Add(1)
					cause.Store(err.Error())
				}
				asked.Add(1)
			}
		})
	}
	names := [2]string{"blue", "green"}
	for i := range n {
		if err = o.change(ctx, http.MethodPut, address, o.endpointBody(names[(i+1)%2])); err != nil {
			break
		}
	}
	close(stop)
	clients.Wait()
	if err != nil {
		return err
	}
	note := fmt.Sprintf("of %d requests by 8 clients", asked.Load())
	if text, ok := cause.Load().(string); ok {
		note += "; the last: " + text
	}
	well := 100 * float64(asked.Load()-failed.Load()) / float64(max(asked.Load(), 1))
	b.report(figure{name: "100 changes of traffic under load, answered", unit: unit{name: "%", more: true}, target: 100, value: samples{well}, note: note})
	return nil
}
