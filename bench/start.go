package main

import (
	"context"
	"os/exec"
	"path/filepath"
)

// starts measures the platform's start, and leaves it running.
func (b *bench) starts(ctx context.Context) error {
	dir, log := filepath.Join(b.dir, "data"), filepath.Join(b.dir, "up.log")
	p, first, err := start(ctx, b.program, dir, log)
	if err != nil {
		return err
	}
	b.platform = p
	again := func() (float64, error) {
		if err := b.platform.stop(); err != nil {
			return 0, err
		}
		p, took, err := start(ctx, b.program, dir, log)
		if err != nil {
			b.platform = nil
			return 0, err
		}
		b.platform = p
		return millis(took), nil
	}
	spawn := timed(func() error { return exec.CommandContext(ctx, b.program, "version").Run() })
	got, err := interleave(9, again, spawn)
	if err != nil {
		return err
	}
	b.report(figure{name: "ready after start, first start", unit: ms, value: samples{millis(first)}, floor: got[1], what: "lapis version",
		note: "makes keys, certificates, the default workspace"})
	b.report(figure{name: "ready after start, second start", unit: ms, target: 500, value: got[0], floor: got[1], what: "lapis version"})
	return nil
}
