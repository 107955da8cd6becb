package main

import (
	"context"
	"fmt"
	"time"
)

// single compares what stands between one client and the worker: the front
// over the bare worker, and nginx over the front.
type single struct {
	bare           *direct
	lapis, proxied *process
	added, nginx   []float64 // us, one a turn
	whole          []float64 // us through the front
	missing        error     // why there is no nginx
}

func startSingle(ctx context.Context, dir, python string, lapis *process) (*single, error) {
	s := &single{lapis: lapis}
	var err error
	if s.bare, err = startDirect(ctx, dir, python); err != nil {
		return nil, err
	}
	if s.proxied, s.missing = startNginx(ctx, dir, lapis); s.missing == nil {
		if err := s.proxied.warm(ctx, 1); err != nil {
			return nil, fmt.Errorf("nginx: %w", err)
		}
	}
	return s, nil
}

func (s *single) stop() error {
	if s == nil {
		return nil
	}
	if err := s.proxied.stop(); err != nil {
		return err
	}
	return s.bare.stop()
}

// turns is in how many parts a round is cut: what is compared should have the
// machine in the same mood.
const turns = 5

func (s *single) sample(ctx context.Context, spell time.Duration) error {
	for range turns {
		if err := s.turn(ctx, spell/turns); err != nil {
			return err
		}
	}
	return nil
}

func (s *single) turn(ctx context.Context, spell time.Duration) error {
	bare, err := s.bare.load(ctx, spell)
	if err != nil {
		return err
	}
	front, err := s.lapis.load(ctx, 1, spell)
	if err != nil {
		return err
	}
	s.added, s.whole = append(s.added, micros(front.median-bare)), append(s.whole, micros(front.median))
	if s.missing != nil {
		return nil
	}
	proxied, err := s.proxied.load(ctx, 1, spell)
	if err != nil {
		return err
	}
	s.nginx = append(s.nginx, micros(proxied.median-front.median))
	return nil
}

func (s *single) print() {
	fmt.Printf("%-30s p50 %.0f us; the front adds %.0f us to the bare worker", "one connection", middle(s.whole), middle(s.added))
	if s.missing != nil {
		fmt.Println("; nginx is not measured:", s.missing)
		return
	}
	fmt.Printf(", nginx before it %.0f us (target: the front adds no more): %s\n", middle(s.nginx), verdict(middle(s.added) <= middle(s.nginx)))
}
