package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lapis/scoring"
	"lapis/worker"
	"lapis/worker/process"
)

//go:embed files
var files embed.FS

const (
	trivialEndpoint = "bench"
	scoreBody       = `{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`
	spell           = 700 * time.Millisecond // of one sample of a rate
)

// deployTrivial deploys a script that does next to nothing, once.
func (b *bench) deployTrivial(ctx context.Context) error {
	if b.trivial {
		return nil
	}
	dir := filepath.Join(b.dir, "trivial")
	if err := copyFiles(dir); err != nil {
		return err
	}
	if _, _, err := b.platform.az(ctx, dir, "ml", "online-endpoint", "create", "-f", "endpoint.yml"); err != nil {
		return err
	}
	_, _, err := b.platform.az(ctx, dir, "ml", "online-deployment", "create", "-f", "deployment.yml", "--all-traffic")
	b.trivial = err == nil
	return err
}

func copyFiles(dir string) error {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, sub)
}

// scoring measures predictions of a script that does next to nothing: through
// the gateway as clients ask for them, and of the packages alone.
func (b *bench) scoring(ctx context.Context) error {
	if err := b.deployTrivial(ctx); err != nil {
		return err
	}
	key, _, err := b.platform.az(ctx, "", "ml", "online-endpoint", "get-credentials", "--name", trivialEndpoint, "--query", "primaryKey", "-o", "tsv")
	if err != nil {
		return err
	}
	header := map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
	ask := func(c *http.Client, address string) func(int) error {
		return func(int) error { return call(c, "POST", address, header, []byte(scoreBody), http.StatusOK, nil) }
	}
	whole := ask(b.platform.http, "https://"+trivialEndpoint+"."+b.platform.info.Location+".inference.ml.azure.com/score")
	floor := ask(b.floor.http, floorURL+"/score")
	front, stop, err := b.front(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, c := range []int{1, 8} {
		if _, err := rate(c, spell/2, whole)(); err != nil { // connections, and the script's first calls
			return err
		}
		got, err := interleave(5, rate(c, spell, whole), rate(c, spell, floor), rate(c, spell, front))
		if err != nil {
			return err
		}
		b.report(figure{name: fmt.Sprintf("scoring through the gateway, c=%d", c), unit: perSec, value: got[0], floor: got[1], what: "a Go handler there"})
		b.report(figure{name: fmt.Sprintf("scoring without sockets, c=%d", c), unit: perSec, value: got[2],
			note: "front, queue, worker, run(); nothing between client and front"})
	}
	got, err := interleave(5, typical(300, whole), typical(300, floor))
	if err != nil {
		return err
	}
	b.report(figure{name: "scoring through the gateway, p50 at c=1", unit: us, value: got[0], floor: got[1], what: "a Go handler there"})
	return nil
}

// front is the scoring packages in this process, with the same script.
func (b *bench) front(ctx context.Context) (ask func(int) error, stop func(), err error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("python3: %w", err)
	}
	runtime, err := process.New(process.Config{Dir: filepath.Join(b.dir, "workers")})
	if err != nil {
		return nil, nil, err
	}
	spec := worker.Spec{
		Python: strings.TrimSpace(string(out)), Dir: filepath.Join(b.dir, "trivial", "code"), Script: "score.py",
		Env: []string{"PATH=" + os.Getenv("PATH")},
	}
	pool := scoring.NewPool(scoring.PoolConfig{
		Name: "bench/blue", Runtime: runtime, MaxConcurrent: 16,
		Spec: func(context.Context, int) (worker.Spec, func(), error) { return spec, nil, nil },
	})
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = pool.Close(ctx)
		_ = runtime.Close(ctx)
	}
	if err := pool.Start(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	f := &scoring.Front{}
	err = f.Set(floorHost, scoring.Endpoint{
		Name: "bench", Authorize: func(context.Context, string) error { return nil },
		Deployments: map[string]*scoring.Pool{"blue": pool}, Traffic: map[string]int{"blue": 100},
	})
	return func(int) error {
		req := httptest.NewRequest(http.MethodPost, floorURL+"/score", bytes.NewReader([]byte(scoreBody)))
		req.Header.Set("Authorization", "Bearer key")
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if f.ServeHTTP(w, req); w.Code != http.StatusOK {
			return fmt.Errorf("%d %s", w.Code, w.Body)
		}
		return nil
	}, stop, err
}
