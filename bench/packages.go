package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// The benchmarks that packages have beside their code are run as they are, in
// several rounds of all of them.

// packageFigure is a benchmark of a package, and the one that is its floor.
type packageFigure struct {
	name   string
	of     string // benchmark, with its sub-benchmark
	floor  string
	what   string
	target float64 // ns; 0: none was set
}

var benchmarked = []struct {
	dir     string
	pattern string // for -test.bench, whose parts match one level each
	figures []packageFigure
}{
	{"token", "^Benchmark(Mint|MintCached|BareSignature|BareVerification|Verify)$", []packageFigure{
		{"token minted", "Mint", "BareSignature", "an RSA signature", 5e6},
		{"token from the cache", "MintCached", "BareSignature", "an RSA signature", 0},
		{"token verified, first time", "Verify/first", "BareVerification", "an RSA verification", 60e3},
		{"token verified, again", "Verify/again", "BareVerification", "an RSA verification", 2e3},
	}},
	{"rbac", "^BenchmarkDecide$/^100k$", []packageFigure{
		{"decision over 100,000 assignments", "Decide/100k", "Decide/100k/naive-scan", "a scan of all", 1e3},
	}},
}

// packages measures what has no network in it.
func (b *bench) packages(ctx context.Context) error {
	for _, p := range benchmarked {
		test := filepath.Join(b.dir, p.dir+".test")
		if err := b.compile(ctx, "test", "-c", "-o", test, "./"+p.dir); err != nil {
			return err
		}
		seen := map[string]samples{}
		for range 5 {
			cmd := exec.CommandContext(ctx, test, "-test.run=^$", "-test.bench="+p.pattern, "-test.benchtime=150ms")
			cmd.Dir = filepath.Join(b.root, p.dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("benchmarks of %s: %w\n%s", p.dir, err, out)
			}
			for name, v := range benchLines(out) {
				seen[name] = append(seen[name], v)
			}
		}
		for _, f := range p.figures {
			b.report(f.report(seen))
		}
	}
	return nil
}

// report shows times of a millisecond's part in µs, those below 1 µs in ns.
func (f packageFigure) report(seen map[string]samples) figure {
	value, floor, target, u := seen[f.of], seen[f.floor], f.target, ns
	if value.median() >= 1000 {
		u, target = us, target/1000
		value, floor = value.over(1000), floor.over(1000)
	}
	out := figure{name: f.name, unit: u, target: target, value: value, floor: floor, what: f.what}
	if m := seen[f.of].median(); m > 0 {
		out.note = fmt.Sprintf("%s/s a core", number(1e9/m))
	}
	return out
}

func (s samples) over(by float64) samples {
	out := make(samples, len(s))
	for i, v := range s {
		out[i] = v / by
	}
	return out
}

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

// benchLines reads what the go command prints: ns/op by name.
func benchLines(out []byte) map[string]float64 {
	found := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if m := benchLine.FindStringSubmatch(lines.Text()); m != nil {
			if v, err := strconv.ParseFloat(m[2], 64); err == nil {
				found[m[1]] = v
			}
		}
	}
	return found
}
