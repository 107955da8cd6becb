package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"lapis/processors"
	"lapis/worker"
	workerprocess "lapis/worker/process"
)

// direct is a worker without a front: requests are handed to it one by one.
type direct struct {
	runtime  *workerprocess.Runtime
	instance worker.Instance
}

func startDirect(ctx context.Context, dir, python string) (*direct, error) {
	runtime, err := workerprocess.New(workerprocess.Config{Dir: filepath.Join(dir, "direct")})
	if err != nil {
		return nil, err
	}
	d := &direct{runtime: runtime}
	if d.instance, err = runtime.Start(ctx, spec(dir, python)); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	select {
	case <-d.instance.Ready():
		return d, nil
	case <-d.instance.Done():
		return nil, errors.Join(d.instance.Err(), d.stop())
	}
}

func (d *direct) stop() error {
	if d == nil {
		return nil
	}
	return d.runtime.Close(context.Background())
}

// load asks again and again for a while, and gives the middle of the times. It
// runs on as many processors as the front.
func (d *direct) load(ctx context.Context, spell time.Duration) (time.Duration, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	processors.LeaveOne()
	var times []time.Duration
	for began := time.Now(); time.Since(began) < spell; {
		asked := time.Now()
		response, err := d.instance.Score(ctx, &worker.Request{
			ID: "direct", Method: http.MethodPost, Path: "/score", Body: []byte(requestBody),
			Header: http.Header{"Content-Type": {"application/json"}},
		})
		times = append(times, time.Since(asked))
		if err != nil {
			return 0, err
		}
		if response.Status != http.StatusOK {
			return 0, fmt.Errorf("the worker answered %d: %s", response.Status, response.Body)
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
