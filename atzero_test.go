package lapis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/store"
	"lapis/store/sqlite"
)

// What is defined and has no instance costs its records on disk, and some
// kilobytes: no goroutine, listener, file or process. With LAPIS_LONG=1 there
// are ten thousand, each at an endpoint of its own.
func TestDeploymentsAtZeroCostLittle(t *testing.T) {
	count, long := 100, os.Getenv("LAPIS_LONG") != ""
	if long {
		count = 10_000
	}
	dir := t.TempDir()
	fillWithZeros(t, dir, count)
	goroutines, before := runtime.NumGoroutine(), heapInUse()
	began := time.Now()
	p := start(t, dir)
	t.Logf("started in %v", time.Since(began))
	for _, n := range []int{0, count / 2, count - 1} {
		if !p.atZero(fmt.Sprint("zero-", n), "blue") {
			t.Errorf("zero-%d is not at zero", n)
		}
	}
	each := (heapInUse() - before) / count
	t.Logf("%d bytes each, %d goroutines, resident %d MB", each, runtime.NumGoroutine(), residentKB()>>10)
	if now := runtime.NumGoroutine(); now > goroutines+30 {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	if !long {
		return
	}
	if each > 8<<10 {
		t.Errorf("each takes %d bytes", each)
	}
	if kb := residentKB(); kb > 150<<10 { // of the platform and this test
		t.Errorf("%d MB are resident", kb>>10)
	}
	if a := p.scoreAt("zero-0", "blue", p.key("zero-0"), "{}"); a.status != 200 {
		t.Errorf("from zero: %d %s", a.status, a.text)
	}
}

// fillWithZeros makes endpoints through the wire, one deployment, and copies of
// its record for the other endpoints.
func fillWithZeros(t *testing.T, dir string, count int) {
	t.Helper()
	p := start(t, dir)
	p.createEndpoint("zero-0", nil)
	code := p.upload("codes", "pid", "onlinescoring", map[string]string{"score.py": turnScript})
	if op := p.deploy("zero-0", "blue", p.ranged(code, map[string]string{"lapis.min_instances": "0", "lapis.idle": "PT1S"})); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	uids := make([]string, count)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := worker + 1; n < count; n += 4 {
				p.createEndpoint(fmt.Sprint("zero-", n), nil)
			}
		})
	}
	all.Wait()
	eventually(t, "the first is at zero", func() bool { return p.atZero("zero-0", "blue") })
	p.stop()
	st, err := sqlite.Open(filepath.Join(dir, "lapis.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const endpoints = "resource/microsoft.machinelearningservices/workspaces/onlineendpoints"
	err = st.Update(t.Context(), func(tx store.Tx) error {
		list, err := store.Table[map[string]any]{Name: endpoints}.List(tx, "", "", 0)
		if err != nil {
			return err
		}
		for _, e := range list {
			n, _ := strconv.Atoi(e.Key[strings.LastIndexByte(e.Key, '-')+1:])
			uids[n] = fmt.Sprint(e.Value["uid"])
		}
		deployments := store.Table[map[string]any]{Name: endpoints + "/deployments"}
		made, err := deployments.List(tx, "", "", 0)
		if err != nil {
			return err
		}
		for n := 1; n < count; n++ {
			copied, err := copyRecord(tx, deployments, made[0], "zero-0", fmt.Sprint("zero-", n))
			if err != nil {
				return err
			}
			revision := fmt.Sprint(copied["private"].(map[string]any)["revision"])
			at := filepath.Join(dir, "deployments", uids[n], "blue", revision)
			if err := os.MkdirAll(at, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(at, "asleep"), nil, 0o600); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func residentKB() int {
	debug.FreeOSMemory()
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.Atoi(f[1])
			return kb
		}
	}
	return 0
}
