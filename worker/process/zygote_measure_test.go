package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis/worker/process"
)

// sklearnVariable names an interpreter that has scikit-learn, for BenchmarkForkedStart.
const sklearnVariable = "LAPIS_TEST_SKLEARN_PYTHON"

// BenchmarkForkedStart tells how long a start to Ready takes through a zygote,
// with a small model of scikit-learn, and what 50 instances hold.
func BenchmarkForkedStart(b *testing.B) {
	python := os.Getenv(sklearnVariable)
	if python == "" {
		b.Skip("needs " + sklearnVariable)
	}
	spec, console := specOf(b, `
import json, os, pickle
import joblib
import numpy as np
from sklearn.linear_model import Ridge

def init():
    global model
    path = os.environ["MODEL"]
    if not os.path.exists(path):
        rows = np.random.default_rng(7).normal(size=(442, 10))
        joblib.dump(Ridge(alpha=0.5).fit(rows, rows @ np.arange(10.0)), path)
    model = joblib.load(path)

def run(raw):
    return model.predict(np.array(json.loads(raw)["data"])).tolist()
`)
	spec.Python, spec.Trust = python, "test"
	spec.Env = append(spec.Env, "MODEL="+filepath.Join(b.TempDir(), "model.pkl"))
	r := newRuntime(b)
	first := time.Now()
	i, err := r.Start(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	awaitReady(b, i, console)
	b.ReportMetric(float64(time.Since(first).Microseconds())/1000, "fresh-ms")
	process.Zygotes(r)
	var took []time.Duration
	var pids []int
	for n := range 200 {
		began := time.Now()
		i, err := r.Start(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		awaitReady(b, i, console)
		took = append(took, time.Since(began))
		if !process.Forked(i) {
			b.Fatal("not forked")
		}
		score(b, i, post(`{"data": [[1,2,3,4,5,6,7,8,9,10]]}`))
		if n < 50 {
			pids = append(pids, process.PID(i))
		} else if err := i.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[100].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[190].Microseconds())/1000, "p95-ms")
	var pss, private int
	for _, pid := range pids {
		pss += rollup(b, pid, "Pss:")
		private += rollup(b, pid, "Private_Dirty:")
	}
	b.ReportMetric(float64(pss)/50, "pss-kB")
	b.ReportMetric(float64(private)/50, "private-kB")
	b.ReportMetric(float64(rollup(b, process.Zygotes(r)[0], "Pss:")), "zygote-pss-kB")
	b.ReportMetric(0, "ns/op")
}

// rollup reads one line of what the kernel says of a process's memory, in kB.
func rollup(t testing.TB, pid int, name string) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var n int
			_, _ = fmt.Sscan(rest, &n)
			return n
		}
	}
	return 0
}
