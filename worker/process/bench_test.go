package process_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// bodyScript takes or gives bodies of bytes and of text. Its "raw" is Flask's
// way without Flask: what costs is the transport alone.
const bodyScript = `
import os
class Whole:
    status_code, headers = 200, {"Content-Type": "application/octet-stream"}
    def __init__(self, body): self.body = body
    def get_data(self): return self.body
kept = {}
def init(): pass
def run(data):
    if data.startswith("give "):
        size = int(data[5:])
        if size not in kept:
            kept.clear()
            kept[size] = Whole(b"x" * size)
        return kept[size]
    if data == "peak": return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
    return len(data)
`

// BenchmarkBodies moves large bodies in both directions. Besides MB/s it tells
// the worker's peak of memory in MiB, which a body of 100 MiB is a part of.
func BenchmarkBodies(b *testing.B) {
	for _, size := range []int{1 << 20, 10 << 20, 100 << 20} {
		body := string(bytes.Repeat([]byte("x"), size-1))
		for name, request := range map[string]string{"in": body, "out": fmt.Sprint("give ", size)} {
			b.Run(fmt.Sprintf("%s/%dMiB", name, size>>20), func(b *testing.B) {
				spec, _ := specOf(b, bodyScript)
				i := start(b, spec)
				score(b, i, post(request))
				b.SetBytes(int64(size))
				for b.Loop() {
					resp := score(b, i, post(request))
					if name == "out" && len(resp.Body) != size {
						b.Fatal(len(resp.Body))
					}
				}
				b.StopTimer()
				var peak int
				if _, err := fmt.Sscan(string(score(b, i, post("peak")).Body), &peak); err == nil {
					b.ReportMetric(float64(peak)/1024, "worker-MiB")
				}
				b.ReportMetric(ownPeak(b), "own-MiB")
			})
		}
	}
}

// ownPeak is the highest that this process' memory has been, in MiB.
func ownPeak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.Skip(err)
	}
	return float64(kib) / 1024
}
