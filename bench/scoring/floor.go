package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// callAlone calls run() in an interpreter and nothing else. It is the least that
// any server can spend.
const callAlone = `
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location("score", sys.argv[1])
score = importlib.util.module_from_spec(spec)
spec.loader.exec_module(score)
score.init()
body = sys.argv[2].encode()
for count in (200, 3000):
    began = time.thread_time()
    for _ in range(count):
        json.dumps(score.run(str(body, "utf-8"))).encode()
    spent = time.thread_time() - began
print(spent / count * 1e6)
`

// floor measures the CPU time of one call of run(), in microseconds.
func floor(ctx context.Context, python, dir string) (float64, error) {
	out, err := command(ctx, python, "-c", callAlone, filepath.Join(dir, "score.py"), requestBody).Output()
	if err != nil {
		return 0, fmt.Errorf("calling run() alone: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
